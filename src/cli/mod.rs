//! The command line: one file per command, and the way from arguments to an exit code.

mod bench;
mod cascade;
mod choice;
mod classify;
mod console;
mod devices;
mod doctor;
mod exit;
mod inspect;
mod journal;
pub mod lines;
mod looks;
mod machine;
mod model;
mod page;
#[cfg(feature = "pages")]
pub mod pages;
mod progress;
mod relabel;
mod reload;
mod run;
mod shelf;
mod svg;
mod taught;
pub mod view;
mod watch;
#[cfg(feature = "tools")]
pub mod workshop;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Failure;

use crate::heap;

/// Watches a camera with an int8 ResNet and publishes labels over a local Unix socket.
#[derive(Debug, Parser)]
#[command(name = "resnetd", version, after_help = exit::TABLE)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Watch(watch::Arguments),
    Classify(classify::Arguments),
    Bench(bench::Arguments),
    Inspect(inspect::Arguments),
    Devices(devices::Arguments),
    Doctor(doctor::Arguments),
}

/// Runs the command that the program's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    heap::settle();
    start_logging();
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run::run(arguments),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Classify(arguments) => classify::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    exit_code("resnetd", outcome)
}

/// A command's outcome as an exit code; a failure is told in one line.
fn exit_code(program: &str, outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has seen enough (`| head`).
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say_failure(&format!("{program}: {failure}"));
            ExitCode::from(&failure)
        }
    }
}

/// Why the program ends.
fn say_failure(line: &str) {
    if journal::is_stderr() {
        let _ = journal::write_lines(&mut io::stderr(), log::Level::Error, line);
    } else {
        say(line);
    }
}

/// One line on standard error. If that is closed there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// To standard error, as `RESNETD_LOG` says (`warn`, `resnetd=debug`, ...).
fn start_logging() {
    // tract warns of every newer ONNX operator set; what is read of it, we check ourselves
    let level = env_logger::Env::default().filter_or("RESNETD_LOG", "info,tract_onnx=error");
    let mut logger = env_logger::Builder::from_env(level);
    if journal::is_stderr() {
        logger.format(journal::write);
    }
    logger.init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Arguments::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }
}
