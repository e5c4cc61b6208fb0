//! The times as a picture: per bundle a histogram of its inferences, or with layers a bar for each.

use super::measure::Measured;
use crate::cli::svg::{self, bar, float, label, line};

const WIDTH: f64 = 820.0;
/// Left of it are names, right of it bars.
const LEFT: f64 = 250.0;
const RIGHT: f64 = WIDTH - 70.0;
/// Of a layer's row.
const ROW: f64 = 14.0;
/// Of a histogram.
const HISTOGRAM: f64 = 90.0;
const BINS: usize = 50;

/// The picture of what was measured.
#[must_use]
pub fn draw(measured: &[Measured]) -> String {
    let mut body = String::new();
    let layered = measured.iter().any(|m| !m.layers.is_empty());
    let bottom = if layered {
        layers(measured, &mut body)
    } else {
        histograms(measured, &mut body)
    };
    svg::document((WIDTH, bottom + 10.0), "", &body)
}

/// One below the other over a common axis in milliseconds. Returns how far down they reach.
fn histograms(measured: &[Measured], out: &mut String) -> f64 {
    let times = || measured.iter().flat_map(|m| m.times.iter().copied());
    let low = times().fold(f64::INFINITY, f64::min);
    let high = times().fold(0.0, f64::max);
    // one inference, or equal times, still have a width
    let (low, span) = (low, (high - low).max(high * 0.01).max(1e-6));
    let mut bottom = 0.0;
    for m in measured {
        bottom += HISTOGRAM + 16.0;
        let title = format!(
            "{} ({}), median {:.2} ms",
            m.name,
            m.precision,
            m.percentile(50)
        );
        label(out, "", LEFT, bottom - HISTOGRAM, &title);
        let counts = bins(&m.times, low, span);
        let most = counts.iter().copied().max().unwrap_or(1).max(1);
        let width = (RIGHT - LEFT) / float(BINS);
        for (i, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = (HISTOGRAM - 20.0) * float(count) / float(most);
            bar(
                out,
                LEFT + float(i) * width,
                bottom - height,
                width - 1.0,
                height,
            );
        }
        label(
            out,
            "n",
            LEFT - 8.0,
            bottom - HISTOGRAM + 26.0,
            &format!("{most}"),
        );
        line(out, (LEFT, bottom), (RIGHT, bottom));
    }
    for fifth in 0..=5 {
        let part = f64::from(fifth) / 5.0;
        let text = format!("{:.2} ms", low + span * part);
        label(out, "m", LEFT + (RIGHT - LEFT) * part, bottom + 16.0, &text);
    }
    bottom + 20.0
}

fn bins(times: &[f64], low: f64, span: f64) -> [usize; BINS] {
    let mut counts = [0; BINS];
    for time in times {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to BINS
        let bin = ((time - low) / span * float(BINS)) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    counts
}

/// A bar per layer, all to one scale. Returns how far down they reach.
fn layers(measured: &[Measured], out: &mut String) -> f64 {
    let all = measured.iter().flat_map(|m| &m.layers);
    let longest = all.map(|l| l.ms).fold(1e-6, f64::max);
    let mut bottom = 0.0;
    for m in measured {
        bottom += 22.0;
        let title = format!(
            "{} ({}), {:.2} ms on average",
            m.name,
            m.precision,
            m.average()
        );
        label(out, "", LEFT, bottom, &title);
        for layer in &m.layers {
            bottom += ROW;
            let width = (RIGHT - LEFT) * layer.ms / longest;
            let name = format!("{} {}", layer.info.name, layer.info.kind);
            label(out, "n", LEFT - 6.0, bottom + 1.0, &name);
            bar(out, LEFT, bottom - 8.0, width, 10.0);
            label(
                out,
                "",
                LEFT + width + 4.0,
                bottom + 1.0,
                &format!("{:.3}", layer.ms),
            );
        }
    }
    bottom + 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, times: &[f64]) -> Measured {
        Measured {
            name: name.into(),
            precision: "int8",
            isa: None,
            threads: 1,
            times: times.to_vec(),
            macs: 1,
            layers: Vec::new(),
            rss_mib: None,
        }
    }

    #[test]
    fn every_inference_is_in_a_bin() {
        let times: Vec<f64> = (0..1000).map(|i| 20.0 + f64::from(i % 37)).collect();
        assert_eq!(bins(&times, 20.0, 36.0).iter().sum::<usize>(), 1000);
        assert_eq!(bins(&[5.0; 3], 5.0, 0.05)[0], 3);
    }

    #[test]
    fn a_single_inference_has_a_picture_too() {
        let svg = draw(&[measured("a", &[1.0])]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn two_bundles_share_an_axis() {
        let svg = draw(&[measured("a", &[10.0, 11.0]), measured("b", &[30.0])]);
        assert!(
            svg.contains(">10.00 ms<") && svg.contains(">30.00 ms<"),
            "{svg}"
        );
        assert_eq!(svg.matches("<rect").count(), 3);
    }
}
