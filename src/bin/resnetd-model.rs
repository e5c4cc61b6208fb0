//! The workshop's program: arguments to a command, errors to exit codes.

use clap::Parser;
use resnetd::cli::workshop::Workshop;

fn main() -> std::process::ExitCode {
    env_logger::Builder::from_env(
        env_logger::Env::new().filter_or("RESNETD_LOG", "info,tract=warn"),
    )
    .init();
    match Workshop::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("resnetd-model: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
