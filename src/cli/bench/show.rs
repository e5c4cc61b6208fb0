//! What was measured, as tables or as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Peak;
use super::measure::{LayerTime, Measured};
use crate::kernels::Isa;

pub struct Shown<'a> {
    pub measured: &'a [Measured],
    pub peak: Peak,
    /// Show how many times the fastest's time each takes.
    pub compare: bool,
}

impl Shown<'_> {
    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let bundles: Vec<Value> = self.measured.iter().map(|m| self.bundle(m)).collect();
        let mut all = json!({ "bundles": bundles });
        if let Peak::Found(peak) = self.peak {
            all["peak_gmac_per_s"] = peak.into();
        }
        writeln!(out, "{all}")
    }

    fn bundle(&self, m: &Measured) -> Value {
        let mut value = json!({
            "name": m.name, "precision": m.precision, "isa": m.isa.map(Isa::name), "threads": m.threads,
            "avg_ms": m.average(), "min_ms": m.percentile(0), "p50_ms": m.percentile(50),
            "p90_ms": m.percentile(90), "p99_ms": m.percentile(99), "fps": 1000.0 / m.average(),
            "rss_mib": m.rss_mib, "gmac_per_s": m.gmac_per_s(),
        });
        if let Some(share) = self.share(m, m.gmac_per_s()) {
            value["peak_share"] = share.into();
        }
        if self.compare {
            value["ratio"] = self.ratio(m).into();
        }
        if !m.layers.is_empty() {
            value["layers"] = m.layers.iter().map(|l| self.layer(m, l)).collect();
        }
        value
    }

    fn layer(&self, m: &Measured, layer: &LayerTime) -> Value {
        let info = &layer.info;
        let mut value = json!({
            "name": info.name, "kind": info.kind, "output": info.output, "ms": layer.ms,
            "share": layer.ms / sum(&m.layers), "gmac_per_s": layer.gmac_per_s(),
        });
        if let Some(share) = self.share(m, layer.gmac_per_s()) {
            value["peak_share"] = share.into();
        }
        value
    }

    /// Of the peak of the cores that were used, if it is known and the bundle's layers are int8.
    fn share(&self, m: &Measured, gmac_per_s: f64) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)] // a few hundred
        match (self.peak, m.isa) {
            (Peak::Found(peak), Some(_)) => Some(gmac_per_s / (peak * m.threads as f64)),
            _ => None,
        }
    }

    /// Median to the fastest's median.
    fn ratio(&self, m: &Measured) -> f64 {
        let medians = self.measured.iter().map(|m| m.percentile(50));
        m.percentile(50) / medians.fold(f64::INFINITY, f64::min)
    }

    pub fn tables(&self, out: &mut impl Write) -> io::Result<()> {
        let asked = self.peak != Peak::NotAsked;
        let width = widest(self.measured.iter().map(|m| &m.name));
        write!(
            out,
            "{:width$}  {:10}{:12}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>9}",
            "model",
            "precision",
            "isa",
            "threads",
            "avg ms",
            "min",
            "p50",
            "p90",
            "p99",
            "fps",
            "GMAC/s",
            "rss MiB"
        )?;
        headings(out, &[(asked, "peak"), (self.compare, "ratio")])?;
        for m in self.measured {
            write!(
                out,
                "{:width$}  {:10}{:12}{:>8}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>8.1}{:>8.1}{:>9}",
                m.name,
                m.precision,
                m.isa.map_or("-", Isa::name),
                m.threads,
                m.average(),
                m.percentile(0),
                m.percentile(50),
                m.percentile(90),
                m.percentile(99),
                1000.0 / m.average(),
                m.gmac_per_s(),
                m.rss_mib.map_or("-".into(), |mib| format!("{mib:.1}")),
            )?;
            if asked {
                write!(out, "{:>8}", percent(self.share(m, m.gmac_per_s())))?;
            }
            if self.compare {
                write!(out, "{:>8.2}", self.ratio(m))?;
            }
            writeln!(out)?;
        }
        match self.peak {
            Peak::Found(peak) => writeln!(out, "\npeak of one core: {peak:.1} GMAC/s")?,
            Peak::None => writeln!(
                out,
                "\nno peak: the backend in use has no instructions of its own (RESNETD_ISA, `resnetd doctor`)"
            )?,
            Peak::NotAsked => {}
        }
        for m in self.measured.iter().filter(|m| !m.layers.is_empty()) {
            self.layers(m, out)?;
        }
        Ok(())
    }

    fn layers(&self, m: &Measured, out: &mut impl Write) -> io::Result<()> {
        let asked = self.peak != Peak::NotAsked;
        let total = sum(&m.layers);
        let width = widest(m.layers.iter().map(|l| &l.info.name)).max(m.name.len());
        write!(
            out,
            "\n{:width$}  {:16}{:>13}{:>9}{:>8}{:>9}",
            m.name, "kind", "output", "ms", "share", "GMAC/s"
        )?;
        headings(out, &[(asked, "peak")])?;
        for l in &m.layers {
            let [h, w, c] = l.info.output;
            let size = if c == 0 {
                String::new()
            } else {
                format!("{h}x{w}x{c}")
            };
            let speed = if l.info.macs == 0 {
                String::new()
            } else {
                format!("{:.1}", l.gmac_per_s())
            };
            write!(
                out,
                "{:width$}  {:16}{size:>13}{:>9.3}{:>8}{speed:>9}",
                l.info.name,
                l.info.kind,
                l.ms,
                percent(Some(l.ms / total)),
            )?;
            if asked && l.info.macs > 0 {
                write!(out, "{:>8}", percent(self.share(m, l.gmac_per_s())))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Further columns, each if it is wanted, and the end of the line.
fn headings(out: &mut impl Write, columns: &[(bool, &str)]) -> io::Result<()> {
    for (_, name) in columns.iter().filter(|(wanted, _)| *wanted) {
        write!(out, "{name:>8}")?;
    }
    writeln!(out)
}

fn widest<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    names
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(5)
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0))
}

fn sum(layers: &[LayerTime]) -> f64 {
    layers.iter().map(|l| l.ms).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::inspect::LayerInfo;

    fn measured(name: &str, isa: Option<Isa>, ms: f64) -> Measured {
        let info = LayerInfo {
            name: "stem".into(),
            kind: "conv 7x7/2".into(),
            input: [224, 224, 3],
            output: [112, 112, 64],
            macs: 1_000_000_000,
            params: 1,
        };
        Measured {
            name: name.into(),
            precision: if isa.is_some() { "int8" } else { "f32" },
            isa,
            threads: 2,
            times: vec![ms],
            macs: 4_000_000_000,
            layers: vec![LayerTime { info, ms: ms / 4.0 }],
            rss_mib: Some(60.0),
        }
    }

    fn pair() -> [Measured; 2] {
        [
            measured("small", Some(Isa::Scalar), 20.0),
            measured("a-float-network", None, 60.0),
        ]
    }

    fn text(peak: Peak, compare: bool) -> String {
        let shown = Shown {
            measured: &pair(),
            peak,
            compare,
        };
        let mut out = Vec::new();
        shown.tables(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_the_keys_that_scripts_look_for() {
        let shown = Shown {
            measured: &pair(),
            peak: Peak::Found(200.0),
            compare: true,
        };
        let mut out = Vec::new();
        shown.json(&mut out).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        let int8 = &value["bundles"][0];
        for key in [
            "avg_ms",
            "min_ms",
            "p50_ms",
            "p90_ms",
            "p99_ms",
            "fps",
            "rss_mib",
            "threads",
            "gmac_per_s",
            "peak_share",
        ] {
            assert!(int8[key].is_number(), "{key}: {int8}");
        }
        assert_eq!(int8["isa"], "scalar");
        // 200 G in a second, of twice 200
        assert_eq!(int8["peak_share"], 0.5);
        assert_eq!(int8["layers"][0]["gmac_per_s"], 200.0);
        let float = &value["bundles"][1];
        assert!(
            float["isa"].is_null() && float.get("peak_share").is_none(),
            "{float}"
        );
        assert_eq!(float["ratio"], 3.0);
    }

    #[test]
    fn without_a_peak_there_is_no_key() {
        for peak in [Peak::NotAsked, Peak::None] {
            let shown = Shown {
                measured: &pair(),
                peak,
                compare: false,
            };
            let mut out = Vec::new();
            shown.json(&mut out).unwrap();
            assert!(!String::from_utf8(out).unwrap().contains("peak"));
        }
    }

    #[test]
    fn every_table_is_aligned() {
        let text = text(Peak::Found(200.0), true);
        for table in text
            .split("\n\n")
            .filter(|table| !table.starts_with("peak of"))
        {
            let lines: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
            assert!(
                lines.windows(2).all(|pair| pair[0] == pair[1]),
                "{lines:?}\n{text}"
            );
        }
        assert!(text.contains("50.0 %") && text.contains("3.00"), "{text}");
    }

    #[test]
    fn a_backend_without_a_peak_says_so() {
        assert!(text(Peak::None, false).contains("no peak"));
        assert!(!text(Peak::NotAsked, false).contains("peak"));
    }
}
