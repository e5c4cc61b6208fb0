//! The program that writes the manual pages and shell completions of the other two: arguments to a command, errors to
//! exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    resnetd::cli::pages::main()
}
