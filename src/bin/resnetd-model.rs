//! The program for the workbench: arguments to a command, errors to exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    resnetd::cli::workshop::main()
}
