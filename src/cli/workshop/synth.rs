//! `resnetd-model synth`: a bundle with seeded weights.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::cli::Failure;
use crate::model::{quantize, synth};

/// Write a bundle with seeded weights, for benchmarks and tests.
#[derive(Debug, Parser)]
#[command(after_help = "Example:
  resnetd-model synth --arch resnet101 --seed 1 -o resnet101-synthetic.nnef.tar")]
pub struct Args {
    #[arg(long, value_enum)]
    arch: Arch,
    /// The same seed gives the same bundle.
    #[arg(long)]
    seed: u64,
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    classes: u16,
    /// Do not quantize.
    #[arg(long)]
    float: bool,
    /// Where the bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Arch {
    Resnet50,
    Resnet101,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let arch = match self.arch {
            Arch::Resnet50 => "resnet50",
            Arch::Resnet101 => "resnet101",
        };
        let mut bundle = synth::bundle(&self.out, arch, usize::from(self.classes), self.seed)?;
        if !self.float {
            bundle = quantize::synthetic(&bundle, self.seed)?;
        }
        bundle.write(&self.out)?;
        super::show(format_args!(
            "{}: {arch}, {} classes, seed {}\n",
            self.out.display(),
            self.classes,
            self.seed
        ))
    }
}
