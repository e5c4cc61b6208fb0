//! `resnetd bench`: how many milliseconds is this network, here? `measure` runs it, `show` prints, `plot` draws.

mod measure;
mod plot;
mod show;

use std::io;
use std::path::PathBuf;

use super::Failure;
use crate::cores::Threads;
use crate::infer::EngineError;
use crate::kernels::{Backend, probe};
use show::Shown;

const EXAMPLES: &str = "\
Examples:
  resnetd bench models/resnet50-imagenette.nnef.tar
  resnetd bench --layers --peak mine.nnef.tar
  resnetd bench --compare int8.nnef.tar float.nnef.tar
  resnetd bench --plot times.svg mine.nnef.tar
  RESNETD_ISA=portable resnetd bench --json --iters 10 a.nnef.tar b.nnef.tar

Inference alone, on a picture of noise. The memory is the most that the whole process has had resident, with several
bundles that of all so far. `peak` compares int8 layers with what this processor's own instructions reach in registers.
A float bundle runs on tract's kernels, on one thread.";

/// Times inferences of bundles.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[arg(required = true, value_name = "BUNDLE")]
    bundles: Vec<PathBuf>,
    /// How many threads run the int8 layers [default: one for each performance core]
    #[arg(long, value_name = "N")]
    threads: Option<Threads>,
    /// Inferences before those that count
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup: u32,
    /// Inferences that count
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    iters: u32,
    /// Show what each layer takes
    #[arg(long)]
    layers: bool,
    /// Take the bundles in turn, one inference of each, and show how many times the fastest's time each takes
    #[arg(long)]
    compare: bool,
    /// Measure this processor's own int8 peak and show the share of it that is reached
    #[arg(long)]
    peak: bool,
    /// Draw the times, with --layers those of the layers, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The peak of one core, in G multiply-adds a second.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Peak {
    NotAsked,
    /// The selected backend has no instruction of its own.
    None,
    Found(f64),
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let peak = if arguments.peak {
        let isa = Backend::selected().map_err(EngineError::from)?.isa();
        probe::peak(isa).map_or(Peak::None, |peak| Peak::Found(peak / 1e9))
    } else {
        Peak::NotAsked
    };
    let measured = measure::all(arguments)?;
    if let Some(path) = &arguments.plot {
        let written = std::fs::write(path, plot::draw(&measured));
        let named = |e| io::Error::other(format!("{}: {e}", path.display()));
        written.map_err(|e| Failure::Output(named(e)))?;
    }
    let shown = Shown {
        measured: &measured,
        peak,
        compare: arguments.compare,
    };
    let mut out = io::stdout().lock();
    let done = if arguments.json {
        shown.json(&mut out)
    } else {
        shown.tables(&mut out)
    };
    done.map_err(Failure::Output)
}
