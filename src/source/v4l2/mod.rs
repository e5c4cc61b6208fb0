//! The `v4l2:` source: a camera behind the kernel's V4L2 interface, which may go away and come back.
//!
//! It hands over the newest whole frame and gives the older ones back to the driver. A camera that is
//! gone, stuck or in other hands is [`Event::Lost`]; it is opened again by itself, with growing pauses,
//! never beyond the caller's timeout. Decisions are here, in `open`, `format` and
//! `controls`; system calls in `kernel`.

mod controls;
mod device;
mod format;
mod kernel;
mod mapping;
mod open;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

pub use controls::{plain_name, possible};
pub use device::{Control, ControlKind, Menu, Rates, Sizes, Steps};
pub use open::{Listed, OfferedFormat, OfferedSize, Offers, has_camera, list};

use super::uri::V4l2Spec;
use super::{Event, Source, SourceError};
use crate::backoff::Backoff;
use crate::frame::{Frame, PixelFormat};
use device::{Device, Filled, Ready, System};
use kernel::Kernel;
use open::Stream;

/// The first pause before a lost camera is opened again; it doubles with each failure, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A camera that gives no usable frame for so long is taken for lost.
const SILENCE: Duration = Duration::from_secs(10);
/// A timestamp further back than this is not believed.
const OLDEST: Duration = Duration::from_secs(10);
/// How long to wait when the driver announces a frame and then has none.
const BREATH: Duration = Duration::from_millis(2);
/// How often a call that a signal interrupted is made again.
const RETRIES: u32 = 100;

/// Opens a camera.
///
/// # Errors
/// One variant of [`SourceError`] for each cause that has a remedy of its own.
pub fn open(spec: &V4l2Spec) -> Result<impl Source + use<>, SourceError> {
    Capture::open(Kernel, spec)
}

struct Capture<S: System> {
    system: S,
    spec: V4l2Spec,
    state: State<S::Device>,
    /// Starts over with the first frame.
    backoff: Backoff,
    description: String,
    /// The node that was opened last.
    path: PathBuf,
    bad_frames: u64,
}

enum State<D> {
    Streaming {
        stream: Stream<D>,
        last_frame: Instant,
    },
    Gone {
        why: String,
        next_try: Instant,
    },
}

impl<S: System> Capture<S> {
    fn open(mut system: S, spec: &V4l2Spec) -> Result<Self, SourceError> {
        let stream = open::stream(&mut system, spec)?;
        let (description, stream_path) = (stream.describe(), stream.path.clone());
        let state = State::Streaming {
            stream,
            last_frame: system.now(),
        };
        Ok(Self {
            system,
            spec: spec.clone(),
            path: stream_path,
            state,
            backoff: Backoff::between(FIRST_PAUSE, LONGEST_PAUSE),
            description,
            bad_frames: 0,
        })
    }

    /// Tries to get a lost camera back, waiting until it is time for that, at most until `deadline`.
    fn reopen(&mut self, deadline: Instant) -> Result<(), String> {
        let State::Gone { why, next_try } = &self.state else {
            return Ok(());
        };
        let until = deadline.min(*next_try);
        self.system
            .sleep(until.saturating_duration_since(self.system.now()));
        if until < *next_try {
            return Err(why.clone());
        }
        let stream =
            open::stream(&mut self.system, &self.spec).map_err(|error| error.to_string())?;
        self.description = stream.describe();
        self.path.clone_from(&stream.path);
        log::info!("the camera is back: {}", self.description);
        self.state = State::Streaming {
            stream,
            last_frame: self.system.now(),
        };
        Ok(())
    }

    /// Waits for a usable frame; false if none came before `deadline`. An error means that the camera
    /// must be opened again.
    fn wait(&mut self, frame: &mut Frame, deadline: Instant) -> Result<bool, String> {
        let State::Streaming { stream, last_frame } = &mut self.state else {
            return Ok(false);
        };
        loop {
            let left = deadline.saturating_duration_since(self.system.now());
            let ready = match stream.device.poll(left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ready::Nothing,
                other => other.map_err(|error| format!("waiting failed: {error}"))?,
            };
            let arrived = self.system.now();
            if ready == Ready::Changed {
                return Err("the picture that comes in has changed its size".into());
            }
            if ready != Ready::Nothing {
                let drained = stream.drain()?;
                self.bad_frames += drained.bad;
                match drained.newest {
                    Some(filled) if stream.take(filled, frame)? => {
                        stamp(frame, filled, arrived, &self.system);
                        *last_frame = arrived;
                        self.backoff.reset();
                        return Ok(true);
                    }
                    Some(_) => self.bad_frames += 1,
                    None if drained.bad > 0 => {}
                    None if ready == Ready::Trouble => {
                        return Err("the device reports an error".into());
                    }
                    None => self.system.sleep(BREATH.min(left)),
                }
            }
            let now = self.system.now();
            if now.saturating_duration_since(*last_frame) >= SILENCE {
                let trouble = stream.device.no_signal();
                return Err(silent(trouble));
            }
            if now >= deadline {
                return Ok(false);
            }
        }
    }

    /// Closes the device and plans the next attempt.
    fn lose(&mut self, why: String) -> Event {
        let now = self.system.now();
        if matches!(self.state, State::Streaming { .. }) {
            log::warn!("{}: camera lost: {why}", self.path.display());
        }
        self.state = State::Gone {
            why: why.clone(),
            next_try: now + self.backoff.pause(Duration::ZERO),
        };
        Event::Lost(why)
    }
}

impl<S: System> Source for Capture<S> {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        let deadline = self.system.now() + timeout;
        let bad_before = self.bad_frames;
        if let Err(why) = self.reopen(deadline) {
            let early = matches!(&self.state, State::Gone { next_try, .. } if self.system.now() < *next_try);
            return if early {
                Event::Lost(why)
            } else {
                self.lose(why)
            };
        }
        let found = self.wait(frame, deadline);
        if self.bad_frames.checked_ilog2() != bad_before.checked_ilog2() {
            let camera = self.path.display();
            log::warn!(
                "{camera}: {} damaged or incomplete frames dropped so far",
                self.bad_frames
            );
        }
        match found {
            Ok(true) => Event::Frame,
            Ok(false) => Event::Timeout,
            Err(why) => self.lose(why),
        }
    }

    fn lossless(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

/// What [`Stream::drain`] found.
struct Drained {
    /// The newest frame that looks whole; still dequeued.
    newest: Option<Filled>,
    /// Damaged or truncated ones, given back already.
    bad: u64,
}

impl<D: Device> Stream<D> {
    /// Takes all filled buffers from the driver and gives back all but the newest good one.
    fn drain(&mut self) -> Result<Drained, String> {
        let mut drained = Drained {
            newest: None,
            bad: 0,
        };
        // Bounded: a driver that fills faster than we empty must not hold us here.
        for _ in 0..2 * self.buffers {
            let filled = match retry(|| self.device.dequeue()) {
                Ok(Some(filled)) => filled,
                Ok(None) => break,
                // What is in hand is good; the error will come again.
                Err(_) if drained.newest.is_some() => break,
                Err(error) => return Err(format!("fetching a frame failed: {error}")),
            };
            if filled.index >= self.buffers {
                return Err(format!(
                    "the driver named buffer {} of {}",
                    filled.index, self.buffers
                ));
            }
            let back = if filled.damaged || (filled.bytes as usize) < self.layout.bytes {
                drained.bad += 1;
                Some(filled)
            } else {
                drained.newest.replace(filled)
            };
            if let Some(back) = back {
                self.give_back(back.index)?;
            }
        }
        Ok(drained)
    }

    /// Copies a dequeued buffer to `frame` and gives it back; false if it was not a whole picture.
    fn take(&mut self, filled: Filled, frame: &mut Frame) -> Result<bool, String> {
        let layout = self.layout;
        let jpeg = layout.format == PixelFormat::Mjpg;
        let bytes = if jpeg {
            filled.bytes as usize
        } else {
            layout.bytes
        };
        let copied = self.device.copy(filled.index, bytes, &mut frame.data);
        self.give_back(filled.index)?;
        frame.format = layout.format;
        (frame.width, frame.height, frame.stride) = (layout.width, layout.height, layout.stride);
        frame.yuv = layout.yuv;
        frame.file = None;
        Ok(copied && (!jpeg || format::is_whole_jpeg(&frame.data)))
    }

    fn give_back(&mut self, index: u32) -> Result<(), String> {
        retry(|| self.device.queue(index))
            .map_err(|error| format!("giving back a buffer failed: {error}"))
    }
}

/// Notes when the picture was taken, on both clocks: the driver's stamp if it is on the monotonic clock
/// and can be true, else when the frame was found.
fn stamp(frame: &mut Frame, filled: Filled, arrived: Instant, system: &impl System) {
    let now = system.now();
    let age = filled
        .taken
        .and_then(|taken| system.monotonic().checked_sub(taken))
        .filter(|age| *age <= OLDEST)
        .unwrap_or_else(|| now.saturating_duration_since(arrived));
    frame.captured = now.checked_sub(age).unwrap_or(now);
    frame.captured_at = SystemTime::now() - age;
    frame.capture_ms = now.saturating_duration_since(arrived).as_secs_f32() * 1000.0;
}

fn silent(trouble: Option<&str>) -> String {
    let trouble = trouble.map(|trouble| format!(": {trouble}"));
    let seconds = SILENCE.as_secs();
    format!(
        "no usable frame for {seconds} seconds{}",
        trouble.unwrap_or_default()
    )
}

/// Makes a call again that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..RETRIES {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    call()
}
