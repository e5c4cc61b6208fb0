//! The one table of exit codes, and how each module's error gets its code. `docs/EXIT_CODES.md` shows the same table.

use std::path::Path;
use std::process::ExitCode;

use crate::bundle::BundleError;
use crate::config::ConfigError;
use crate::daemon::DaemonError;
use crate::infer::EngineError;
use crate::publish::SocketError;
use crate::publish::http::HttpError;
use crate::source::SourceError;

/// Shown below `--help`. Code 2 is given by the parser of the arguments itself.
pub const TABLE: &str = "\
Exit codes:
  0  ended as asked
  1  internal failure: please report it
  2  wrong arguments
  3  the configuration file or environment
  4  the model (bundle): missing, damaged, foreign, too large for the memory
  5  the source or camera: missing, busy, no permission
  6  the socket: cannot be made, is taken, nobody listens
  7  an input file cannot be read or is no picture
  8  the output cannot be written";

/// Why a command ends without success: one line for a person, and a code for a program.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Internal(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Exposed(HttpError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Model(String),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("{0}")]
    Input(String),
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// As in [`TABLE`].
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Internal(_) | Self::Engine(EngineError::Run(_)) => 1,
            Self::Config(_)
            | Self::Exposed(_)
            | Self::Engine(
                EngineError::Isa(_) | EngineError::Winograd(_) | EngineError::Threads { .. },
            ) => 3,
            Self::Engine(_) | Self::Model(_) => 4,
            Self::Source(_) => 5,
            Self::Socket(_) => 6,
            Self::Input(_) => 7,
            Self::Output(_) => 8,
        }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Socket(error) => Self::Socket(error),
            DaemonError::Http(error @ HttpError::Exposed(_)) => Self::Exposed(error),
            DaemonError::Http(HttpError::Thread(_))
            | DaemonError::Mqtt(_)
            | DaemonError::Thread(_)
            | DaemonError::Panicked(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Write { path, error } => Self::unwritable(&path, &error),
            error => Self::Engine(EngineError::Bundle(error)),
        }
    }
}

impl Failure {
    /// A file that cannot be written.
    #[must_use]
    pub fn unwritable(path: &Path, error: &std::io::Error) -> Self {
        Self::Output(std::io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        ))
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        Self::from(failure.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io;

    #[test]
    fn every_code_is_in_the_table_once() {
        let other = || io::Error::other("x");
        let failures = [
            Failure::Internal(String::new()),
            Failure::Config(ConfigError::Unreadable {
                path: "x".into(),
                reason: other(),
            }),
            Failure::Model(String::new()),
            Failure::Source(SourceError::NoPictures("x".into())),
            Failure::Socket(SocketError::Serve(other())),
            Failure::Input(String::new()),
            Failure::Output(other()),
        ];
        let mut codes: BTreeSet<u8> = failures.iter().map(Failure::code).collect();
        assert_eq!(codes.len(), failures.len());
        codes.extend([0, 2]);
        let number = |line: &str| {
            line.split_whitespace()
                .next()
                .unwrap()
                .parse::<u8>()
                .unwrap()
        };
        let table: Vec<u8> = TABLE.lines().skip(1).map(number).collect();
        assert_eq!(table, codes.into_iter().collect::<Vec<u8>>());
    }

    #[test]
    fn a_bundle_that_cannot_be_written_is_the_outputs_failure() {
        let path = "/nowhere/x.nnef.tar".into();
        let failure = Failure::from(BundleError::Write {
            path,
            error: io::ErrorKind::NotFound.into(),
        });
        assert_eq!(failure.code(), 8);
        assert!(failure.to_string().contains("/nowhere/x.nnef.tar"));
    }

    #[test]
    fn the_document_shows_the_same_table() {
        let document = include_str!("../../docs/EXIT_CODES.md");
        for line in TABLE.lines().skip(1) {
            let (code, meaning) = line.trim().split_once("  ").unwrap();
            assert!(
                document.contains(&format!("| {code} | {meaning} |")),
                "{line}"
            );
        }
    }
}
