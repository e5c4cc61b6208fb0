//! The commands of `resnetd-model`.

mod eval;
mod import;
mod quantize;
mod synth;

use clap::{Parser, Subcommand};

use crate::model::error::ModelError;

/// Makes bundles for resnetd: imports weights, quantizes, measures.
#[derive(Debug, Parser)]
#[command(name = "resnetd-model", version, propagate_version = true)]
pub struct Workshop {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Args),
    Quantize(quantize::Args),
    Eval(eval::Args),
    Synth(synth::Args),
}

impl Workshop {
    /// # Errors
    /// What the command could not do.
    pub fn run(self) -> Result<(), ModelError> {
        match self.command {
            Command::Import(args) => args.run(),
            Command::Quantize(args) => args.run(),
            Command::Eval(args) => args.run(),
            Command::Synth(args) => args.run(),
        }
    }
}

/// A bundle's name is its file's, without the endings.
fn name_of(path: &std::path::Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file.strip_suffix(".nnef.tar").unwrap_or(&file);
    if name.is_empty() {
        "model".into()
    } else {
        name.to_owned()
    }
}
