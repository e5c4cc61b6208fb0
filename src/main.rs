//! The program for the device: arguments to a command, errors to exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    resnetd::cli::main()
}
