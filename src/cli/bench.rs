//! `resnetd bench`: how many milliseconds is this network, here?

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::Failure;
use super::model::precision;
use crate::cores::Threads;
use crate::infer::Engine;
use crate::label::Prediction;

const EXAMPLES: &str = "\
Examples:
  resnetd bench models/resnet50-imagenette.nnef.tar
  RESNETD_ISA=portable resnetd bench --iters 10 mine.nnef.tar
  resnetd bench --json a.nnef.tar b.nnef.tar

Inference alone, on a picture of noise.";

/// Times inferences of bundles.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[arg(required = true)]
    bundles: Vec<PathBuf>,
    /// How many threads run the int8 layers [default: one for each performance core]
    #[arg(long, value_name = "N")]
    threads: Option<Threads>,
    /// Inferences before those that count
    #[arg(long, default_value_t = 3)]
    warmup: u32,
    /// Inferences that count
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    iters: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

struct Timed {
    name: String,
    precision: &'static str,
    isa: &'static str,
    threads: usize,
    /// In milliseconds, ascending.
    times: Vec<f64>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let threads = arguments.threads.unwrap_or_else(Threads::suggested);
    let mut timed = Vec::new();
    for path in &arguments.bundles {
        let mut engine = Engine::load(path, threads)?;
        let picture = engine.picture()?;
        // any picture costs the same: there is no branch on values
        for (i, byte) in picture.iter_mut().enumerate() {
            *byte = i.wrapping_mul(2_654_435_761).to_le_bytes()[3];
        }
        timed.push(time(&mut engine, arguments)?);
    }
    let mut out = io::stdout().lock();
    let shown = if arguments.json {
        let bundles: Vec<_> = timed.iter().map(to_json).collect();
        writeln!(out, "{}", json!({ "bundles": bundles }))
    } else {
        table(&timed, &mut out)
    };
    shown.map_err(Failure::Output)
}

fn time(engine: &mut Engine, arguments: &Arguments) -> Result<Timed, Failure> {
    let mut prediction = Prediction::default();
    for _ in 0..arguments.warmup {
        engine.run(&mut prediction)?;
    }
    let mut times = Vec::new();
    for _ in 0..arguments.iters {
        let started = Instant::now();
        engine.run(&mut prediction)?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(Timed {
        name: engine.manifest().name.clone(),
        precision: precision(engine),
        isa: engine.isa().name(),
        threads: engine.threads(),
        times,
    })
}

impl Timed {
    #[allow(clippy::cast_precision_loss)] // a few thousand
    fn average(&self) -> f64 {
        self.times.iter().sum::<f64>() / self.times.len() as f64
    }

    /// The time that `percent` of the inferences do not exceed.
    fn percentile(&self, percent: usize) -> f64 {
        self.times[(self.times.len() - 1) * percent / 100]
    }
}

fn to_json(t: &Timed) -> serde_json::Value {
    json!({
        "name": t.name, "precision": t.precision, "isa": t.isa, "threads": t.threads,
        "avg_ms": t.average(), "min_ms": t.percentile(0), "p50_ms": t.percentile(50),
        "p90_ms": t.percentile(90), "p99_ms": t.percentile(99), "fps": 1000.0 / t.average(),
    })
}

fn table(timed: &[Timed], out: &mut impl Write) -> io::Result<()> {
    let width = timed.iter().map(|t| t.name.len()).max().unwrap_or(0).max(5);
    writeln!(
        out,
        "{:width$}  {:10}{:10}{:>9}{:>9}{:>9}{:>9}{:>8}",
        "model", "precision", "isa", "avg ms", "min", "p50", "p90", "fps"
    )?;
    for t in timed {
        writeln!(
            out,
            "{:width$}  {:10}{:10}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>8.1}",
            t.name,
            t.precision,
            if t.precision == "int8" {
                t.isa
            } else {
                "tract"
            },
            t.average(),
            t.percentile(0),
            t.percentile(50),
            t.percentile(90),
            1000.0 / t.average()
        )?;
    }
    Ok(())
}
