//! The commands of `resnetd-model`.

mod curve;
mod diff;
mod eval;
mod import;
mod judgement;
mod prune;
mod pull;
mod quantize;
mod synth;
mod teach;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{Failure, exit};
use crate::model::error::ModelError;
use crate::plain_file;

/// Makes bundles for resnetd: imports weights, quantizes, measures.
#[derive(Debug, Parser)]
#[command(name = "resnetd-model", version, after_help = exit::TABLE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Args),
    Pull(pull::Args),
    Quantize(quantize::Args),
    Eval(eval::Args),
    Synth(synth::Args),
    Teach(teach::Args),
    Diff(diff::Args),
    Prune(prune::Args),
}

/// Runs the command that the program's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    super::start_logging();
    let outcome = match Arguments::parse().command {
        Command::Import(args) => args.run(),
        Command::Pull(args) => args.run(),
        Command::Quantize(args) => args.run(),
        Command::Eval(args) => args.run(),
        Command::Synth(args) => args.run(),
        Command::Teach(args) => args.run(),
        Command::Diff(args) => args.run(),
        Command::Prune(args) => args.run(),
    };
    super::exit_code("resnetd-model", outcome)
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Bundle(error) => error.into(),
            ModelError::Engine(error) => error.into(),
            ModelError::Write { path, error } => Self::unwritable(&path, &error),
            ModelError::Tract(_) => Self::Internal(error.to_string()),
            ModelError::Labels { .. }
            | ModelError::Label { .. }
            | ModelError::TwoLabels(_)
            | ModelError::Exclusive
            | ModelError::Preprocessing(_)
            | ModelError::Lower { .. }
            | ModelError::Quantized { .. }
            | ModelError::PruneQuantized { .. }
            | ModelError::PruneTarget { .. }
            | ModelError::Export(_)
            | ModelError::FloatBase { .. }
            | ModelError::Base { .. }
            | ModelError::Unlike { .. } => Self::Model(error.to_string()),
            _ => Self::Input(error.to_string()),
        }
    }
}

/// To standard output.
fn show(text: impl Display) -> Result<(), Failure> {
    write!(io::stdout().lock(), "{text}").map_err(Failure::Output)
}

/// To four digits behind the point: sums over pictures are made in any order.
fn round(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
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

/// What is made must not take the place of what it is made of.
fn keep_apart(made_of: &Path, made: &Path) -> Result<(), Failure> {
    let place = |path: &Path| path.canonicalize().ok();
    match place(made).filter(|made| Some(made) == place(made_of).as_ref()) {
        Some(_) => Err(Failure::Input(format!(
            "{} would take the place of what it is made of; give another name by -o",
            made.display()
        ))),
        None => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    plain_file::replace(path, bytes).map_err(|error| ModelError::Write {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_shows_an_example() {
        Arguments::command().debug_assert();
        for command in Arguments::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }

    #[test]
    fn what_is_made_never_replaces_what_it_is_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let [one, link, other] = ["one", "link", "other"].map(|n| folder.path().join(n));
        std::fs::write(&one, "x").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        assert!(keep_apart(&one, &link).is_err());
        assert!(keep_apart(&one, &other).is_ok());
    }

    #[test]
    fn a_bundle_is_named_like_its_file() {
        assert_eq!(name_of("a/b.nnef.tar".as_ref()), "b");
        assert_eq!(name_of("b.tar".as_ref()), "b.tar");
    }
}
