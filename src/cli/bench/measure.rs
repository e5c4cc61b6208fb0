//! Runs bundles and keeps the times; what is made of them is for `show` and `plot`.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Arguments;
use crate::cli::model::precision;
use crate::cli::progress::Progress;
use crate::cli::{Failure, machine};
use crate::cores::Threads;
use crate::infer::Engine;
use crate::infer::inspect::LayerInfo;
use crate::kernels::Isa;
use crate::label::Prediction;

/// What was measured of one bundle.
pub struct Measured {
    pub name: String,
    pub precision: &'static str,
    /// Of the int8 layers; a float network runs on tract's own kernels.
    pub isa: Option<Isa>,
    pub threads: usize,
    /// In milliseconds, ascending.
    pub times: Vec<f64>,
    /// Multiply-adds of one inference.
    pub macs: u64,
    /// With `--layers`: in the order in which they run.
    pub layers: Vec<LayerTime>,
    /// The whole process's most so far, in MiB.
    pub rss_mib: Option<f64>,
}

/// A layer's mean time.
pub struct LayerTime {
    pub info: LayerInfo,
    pub ms: f64,
}

impl Measured {
    #[allow(clippy::cast_precision_loss)] // a few thousand
    pub fn average(&self) -> f64 {
        self.times.iter().sum::<f64>() / self.times.len().max(1) as f64
    }

    /// The time that `percent` of the inferences do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100);
        let time = self.times.get(rank.saturating_sub(1));
        time.copied().unwrap_or(f64::NAN)
    }

    pub fn gmac_per_s(&self) -> f64 {
        giga(self.macs) / (self.average() / 1000.0)
    }
}

impl LayerTime {
    pub fn gmac_per_s(&self) -> f64 {
        giga(self.info.macs) / (self.ms / 1000.0)
    }
}

#[allow(clippy::cast_precision_loss)] // exact up to 9 million G
fn giga(macs: u64) -> f64 {
    macs as f64 / 1e9
}

/// One bundle while it is measured.
struct Subject {
    engine: Engine,
    prediction: Prediction,
    times: Vec<f64>,
    /// Each node that reported and its times' sum.
    nodes: Vec<(String, Duration)>,
}

/// Measures the bundles: each to its end, or with `--compare` one inference of each in turn, so that what disturbs
/// the machine disturbs all alike.
///
/// # Errors
/// If a bundle cannot be loaded or run.
pub fn all(arguments: &Arguments) -> Result<Vec<Measured>, Failure> {
    let bundles = &arguments.bundles;
    let threads = arguments.threads.unwrap_or_else(Threads::suggested);
    let together = if arguments.compare { bundles.len() } else { 1 };
    let steps = u32::try_from(bundles.len()).unwrap_or(u32::MAX);
    let inferences = arguments.warmup.saturating_add(arguments.iters);
    let mut progress = Progress::new(steps.saturating_mul(inferences));
    let mut measured = Vec::new();
    for group in bundles.chunks(together) {
        let mut subjects = Vec::new();
        for path in group {
            subjects.push(Subject::load(path, threads, arguments.iters)?);
        }
        for turn in 0..inferences {
            for subject in &mut subjects {
                subject.step(turn >= arguments.warmup, arguments.layers)?;
                progress.step();
            }
        }
        let rss = machine::peak_resident();
        measured.extend(subjects.into_iter().map(|subject| subject.finish(rss)));
    }
    Ok(measured)
}

impl Subject {
    fn load(path: &Path, threads: Threads, iters: u32) -> Result<Self, Failure> {
        let mut engine = Engine::load(path, threads)?;
        // noise: on AVX2, where time depends a little on values, rather more than a photograph takes
        for (i, byte) in engine.picture()?.iter_mut().enumerate() {
            *byte = i.wrapping_mul(2_654_435_761).to_le_bytes()[3];
        }
        Ok(Self {
            engine,
            prediction: Prediction::default(),
            times: Vec::with_capacity(iters as usize),
            nodes: Vec::new(),
        })
    }

    /// One inference; its time is kept if it `counts`.
    fn step(&mut self, counts: bool, layers: bool) -> Result<(), Failure> {
        let started = Instant::now();
        if counts && layers {
            let mut place = 0;
            let nodes = &mut self.nodes;
            self.engine.run_timed(&mut self.prediction, |name, time| {
                add(nodes, place, name, time);
                place += 1;
            })?;
        } else {
            self.engine.run(&mut self.prediction)?;
        }
        if counts {
            self.times.push(milliseconds(started.elapsed()));
        }
        Ok(())
    }

    fn finish(self, rss_mib: Option<f64>) -> Measured {
        let precision = precision(&self.engine);
        let is_int8 = precision == "int8";
        let isa = is_int8.then(|| self.engine.isa());
        let threads = if is_int8 { self.engine.threads() } else { 1 };
        let name = self.engine.manifest().name.clone();
        let infos = self.engine.layers().to_vec();
        let mut times = self.times;
        times.sort_by(f64::total_cmp);
        Measured {
            macs: infos.iter().map(|info| info.macs).sum(),
            layers: layers(infos, &self.nodes, times.len()),
            name,
            precision,
            isa,
            threads,
            times,
            rss_mib,
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Nodes report in the same order each time, so that `place` is where this one's sum is.
fn add(nodes: &mut Vec<(String, Duration)>, place: usize, name: &str, time: Duration) {
    match nodes.get_mut(place) {
        Some((known, sum)) if known == name => *sum += time,
        _ => nodes.push((name.to_owned(), time)),
    }
}

/// The times joined to what is known of the layers. What is no layer (moving values, and in a float network
/// everything whose name tract has changed) is summed up in a last row.
fn layers(
    infos: Vec<LayerInfo>,
    nodes: &[(String, Duration)],
    inferences: usize,
) -> Vec<LayerTime> {
    if nodes.is_empty() {
        return Vec::new();
    }
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let mean = |sum: Duration| milliseconds(sum) / inferences.max(1) as f64;
    let time_of = |name: &str| {
        let of_name = nodes.iter().filter(|(node, _)| node == name);
        of_name.map(|(_, sum)| *sum).sum::<Duration>()
    };
    let known: Duration = infos.iter().map(|info| time_of(&info.name)).sum();
    let all: Duration = nodes.iter().map(|(_, sum)| *sum).sum();
    let rest = LayerInfo {
        name: "(all else)".into(),
        kind: String::new(),
        input: [0; 3],
        output: [0; 3],
        macs: 0,
        params: 0,
    };
    let rest = LayerTime {
        info: rest,
        ms: mean(all.saturating_sub(known)),
    };
    let found = infos.into_iter().map(|info| LayerTime {
        ms: mean(time_of(&info.name)),
        info,
    });
    found.filter(|layer| layer.ms > 0.0).chain([rest]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(times: &[f64]) -> Measured {
        Measured {
            name: "x".into(),
            precision: "int8",
            isa: None,
            threads: 1,
            times: times.to_vec(),
            macs: 4_000_000_000,
            layers: Vec::new(),
            rss_mib: None,
        }
    }

    #[test]
    fn a_percentile_is_not_exceeded_by_that_share() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let of = |percent| measured(&ten).percentile(percent);
        assert_eq!(
            [of(0), of(10), of(50), of(90), of(99), of(100)],
            [1.0, 1.0, 5.0, 9.0, 10.0, 10.0]
        );
        assert_eq!(measured(&[7.0]).percentile(50), 7.0);
    }

    #[test]
    fn speed_follows_from_the_average() {
        assert!((measured(&[10.0, 30.0]).gmac_per_s() - 200.0).abs() < 1e-9);
    }

    #[test]
    fn times_join_layers_by_name_and_the_rest_is_kept() {
        let info = |name: &str| LayerInfo {
            name: name.into(),
            kind: "conv 1x1".into(),
            input: [1, 1, 8],
            output: [1, 1, 8],
            macs: 64,
            params: 64,
        };
        let ms = Duration::from_millis;
        let mut nodes = Vec::new();
        for _ in 0..2 {
            for (place, (name, time)) in [("a", 3), ("input", 1), ("b", 5)].into_iter().enumerate()
            {
                add(&mut nodes, place, name, ms(time));
            }
        }
        assert_eq!(nodes.len(), 3);
        let layers = layers(vec![info("a"), info("b"), info("absent")], &nodes, 2);
        let shown: Vec<_> = layers.iter().map(|l| (&*l.info.name, l.ms)).collect();
        assert_eq!(shown, [("a", 3.0), ("b", 5.0), ("(all else)", 1.0)]);
    }
}
