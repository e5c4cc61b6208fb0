//! The `mjpeg:` and `y4m:` sources: a stream from standard input, a file or a named pipe. No frame is lost, the
//! writer waits instead; after the last one the source has ended.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};

use super::intake::{Intake, Read, readable, wait};
use super::stream::{Kind, Stream};
use super::{Event, Source, SourceError};
use crate::frame::Frame;

/// What `mjpeg:` or `y4m:` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Stdin,
    File(PathBuf),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[derive(Debug)]
pub struct Pipe {
    name: String,
    kind: Kind,
    /// None once it has ended.
    input: Option<OwnedFd>,
    intake: Intake,
}

impl Pipe {
    /// # Errors
    /// The file cannot be opened or is no file or pipe; standard input is a terminal.
    pub fn open(input: &Input, kind: Kind) -> Result<Self, SourceError> {
        let file = match input {
            Input::Stdin => stdin(kind)?,
            Input::File(path) => named(path).map_err(|source| SourceError::Stream {
                path: path.clone(),
                source,
            })?,
        };
        Ok(Self {
            name: input.to_string(),
            kind,
            input: Some(file),
            intake: Intake::new(Stream::new(kind)),
        })
    }

    /// Reads on; an error is the end.
    fn read(&mut self, deadline: Instant) -> io::Result<Read> {
        let Some(input) = &self.input else {
            return Ok(Read::End);
        };
        // Waiting first, so that standard input need not be made non-blocking: others may share it.
        if wait(&mut [readable(input)], deadline)? {
            self.intake.read(input)
        } else {
            Ok(Read::Nothing)
        }
    }
}

impl Source for Pipe {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        let deadline = Instant::now() + timeout;
        loop {
            match self.intake.frame(frame, &self.name) {
                Ok(true) => return Event::Frame,
                Ok(false) => {}
                Err(error) => {
                    log::error!("{}: {error}", self.name);
                    self.input = None;
                    return Event::End;
                }
            }
            match self.read(deadline) {
                Ok(Read::Nothing) if Instant::now() >= deadline => return Event::Timeout,
                Ok(Read::Nothing | Read::Bytes) => {}
                Ok(Read::End) => {
                    self.input = None;
                    return Event::End;
                }
                Err(error) => {
                    log::error!("{}: reading failed: {error}", self.name);
                    self.input = None;
                    return Event::End;
                }
            }
        }
    }

    fn lossless(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("{} from {}", self.kind, self.name)
    }
}

/// A descriptor of our own for standard input.
fn stdin(kind: Kind) -> Result<OwnedFd, SourceError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(SourceError::Terminal {
            scheme: kind.scheme(),
        });
    }
    let unreadable = |source| SourceError::Stream {
        path: "standard input".into(),
        source,
    };
    stdin.as_fd().try_clone_to_owned().map_err(unreadable)
}

fn named(path: &PathBuf) -> io::Result<OwnedFd> {
    // NONBLOCK: opening a pipe that nobody writes to would wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Fifo) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a plain file nor a pipe",
        ));
    }
    Ok(file.into())
}
