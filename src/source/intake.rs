//! From a descriptor through a [`Stream`] to frames with their times: what pipes, children and connections have
//! in common. Waiting never exceeds what the caller allows.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::stream::{Stream, StreamError};
use crate::frame::Frame;

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Bytes,
    Nothing,
    End,
}

#[derive(Debug)]
pub(super) struct Intake {
    pub(super) stream: Stream,
    /// When the last bytes came, on both clocks.
    came: Instant,
    came_at: SystemTime,
    torn_told: u64,
    has_read: bool,
}

impl Intake {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            came: Instant::now(),
            came_at: SystemTime::now(),
            torn_told: 0,
            has_read: false,
        }
    }

    /// The next whole frame of what was read, stamped with the time when its last byte came; false if more must
    /// be read. `name` is whose frames they are, for the log.
    pub(super) fn frame(&mut self, frame: &mut Frame, name: &str) -> Result<bool, StreamError> {
        let found = self.stream.next(frame);
        let torn = self.stream.torn();
        // Told at 1, 2, 4, 8 ...: a stream that is always torn does not fill the log.
        if torn.checked_ilog2() != self.torn_told.checked_ilog2() {
            self.torn_told = torn;
            log::warn!("{name}: {torn} damaged or incomplete frames dropped so far");
        }
        if found? {
            frame.captured = self.came;
            frame.captured_at = self.came_at;
            frame.capture_ms = self.came.elapsed().as_secs_f32() * 1e3;
            frame.file = None;
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads what is there. `from` must be non-blocking or have been found ready by [`wait`].
    pub(super) fn read(&mut self, from: impl AsFd) -> io::Result<Read> {
        let read = rustix::io::read(from, self.stream.space());
        let read = count(read.map_err(io::Error::from))?;
        Ok(match read {
            None => Read::Nothing,
            Some(0) => Read::End,
            Some(count) => {
                self.stream.filled(count);
                self.note_time();
                Read::Bytes
            }
        })
    }

    /// Whether anything came at all.
    pub(super) fn has_read(&self) -> bool {
        self.has_read
    }

    /// Bytes that belong to the stream have come just now.
    pub(super) fn note_time(&mut self) {
        self.has_read = true;
        self.came = Instant::now();
        self.came_at = SystemTime::now();
    }
}

/// How many bytes were read; None if nothing is there yet.
pub(super) fn count(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Waits until one of `wait` is ready (or broken, which reading will show), at most until `deadline`. False if
/// none is.
pub(super) fn wait(wait: &mut [PollFd<'_>], deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    match rustix::event::poll(wait, Some(&timespec(left))) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn readable(fd: &impl AsFd) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::IN)
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
