//! The `exec:` source: a program that writes MJPEG or Y4M to its standard output, started, watched and started
//! again with growing pauses. It is the way in for cameras that the kernel alone cannot read: CSI cameras
//! (rpicam-vid, GStreamer) and streams from the network (ffmpeg).
//!
//! A program that ends, or delivers no frame for a while, is a lost camera. Nothing here waits longer than the
//! caller allows: starting, ending and pausing are states.

mod child;
mod complaints;
#[cfg(test)]
mod tests;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::intake::{Intake, Read, wait};
use super::steps::{Paused, step_until};
use super::stream::Stream;
use super::{Event, Source};
use crate::backoff::Backoff;
use crate::frame::Frame;
use child::{Child, manner};

/// A program that delivers no frame for this long is ended and started again.
const SILENCE: Duration = Duration::from_secs(10);
/// One that closed its output is about to end: so long to do it by itself, and tell its exit status.
const LEAVE: Duration = Duration::from_millis(500);
/// Between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often a child that is to end is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A command whose output is the camera.
#[derive(Debug)]
pub struct Exec {
    command: String,
    /// What it is called in the log: its first word.
    name: String,
    backoff: Backoff,
    silence: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Started after it.
    Paused(Paused),
    Running(Box<Running>),
    /// To be ended, because of `why`.
    Ending {
        child: Box<Child>,
        why: Why,
        delivered: Duration,
        since: Instant,
        asked: Asked,
    },
}

#[derive(Debug)]
struct Running {
    child: Child,
    intake: Intake,
    first_frame: Option<Instant>,
    /// The last frame came, or the program was started.
    last_frame: Instant,
}

/// Why a program is ended.
#[derive(Debug)]
enum Why {
    /// Its output ended: its exit status will tell.
    Over,
    Reason(String),
}

/// What was done so far to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Term,
    Kill,
}

impl Exec {
    /// The command is started when the first frame is asked for.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self::with(command, Backoff::new(), SILENCE)
    }

    /// As [`new`](Self::new) with pauses from `first` to `longest`, for who cannot wait for half a minute.
    #[must_use]
    pub fn with_pauses(command: &str, first: Duration, longest: Duration) -> Self {
        Self::with(command, Backoff::between(first, longest), SILENCE)
    }

    fn with(command: &str, backoff: Backoff, silence: Duration) -> Self {
        let program = command.split_whitespace().next().unwrap_or("exec");
        let name = program.rsplit('/').next().unwrap_or(program);
        Self {
            command: command.to_owned(),
            name: name.to_owned(),
            backoff,
            silence,
            state: State::Paused(Paused::until(Instant::now())),
        }
    }

    fn pause(&mut self, delivered: Duration, why: String) -> Event {
        let pause = self.backoff.pause(delivered);
        log::debug!("{}: {why}; next start in {pause:?}", self.name);
        self.state = State::Paused(Paused::after_loss(pause, why.clone()));
        Event::Lost(why)
    }

    /// Starts the command if it is time.
    fn start(&mut self) -> Option<Event> {
        match Child::start(&self.command, &self.name) {
            Ok(child) => {
                self.state = State::Running(Box::new(Running {
                    child,
                    intake: Intake::new(Stream::of_any_kind()),
                    first_frame: None,
                    last_frame: Instant::now(),
                }));
                None
            }
            Err(error) => {
                let why = format!("{} cannot be started: {error}", self.name);
                Some(self.pause(Duration::ZERO, why))
            }
        }
    }

    fn end(&mut self, why: Why) {
        let now = Instant::now();
        let paused = State::Paused(Paused::until(now));
        if let State::Running(running) = std::mem::replace(&mut self.state, paused) {
            let delivered = running
                .first_frame
                .map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
            self.state = State::Ending {
                child: Box::new(running.child),
                why,
                delivered,
                since: now,
                asked: Asked::Nothing,
            };
        }
    }

    /// One step of whatever there is to do, not beyond `deadline`. None: there is more to do.
    fn step(&mut self, frame: &mut Frame, deadline: Instant) -> Option<Event> {
        match &mut self.state {
            State::Paused(paused) => {
                if let Err(news) = paused.wait(deadline) {
                    return news;
                }
                self.start()
            }
            State::Running(running) => {
                match running.step(frame, &self.name, self.silence, deadline) {
                    Ok(true) => return Some(Event::Frame),
                    Ok(false) => {}
                    Err(why) => self.end(why),
                }
                None
            }
            State::Ending {
                child,
                why,
                delivered,
                since,
                asked,
            } => {
                let Some(status) = child.look() else {
                    urge(child, why, *since, asked);
                    let left = deadline.saturating_duration_since(Instant::now());
                    thread::sleep(LOOK.min(left));
                    return None;
                };
                child.listen_to_the_end();
                let reason = match why {
                    Why::Over => format!("{} {}", self.name, manner(status)),
                    Why::Reason(reason) => format!("{}: {reason}", self.name),
                };
                let reason = with_last_words(reason, child.last_words());
                let delivered = *delivered;
                Some(self.pause(delivered, reason))
            }
        }
    }
}

impl Running {
    /// True if there is a frame.
    fn step(
        &mut self,
        frame: &mut Frame,
        name: &str,
        silence: Duration,
        deadline: Instant,
    ) -> Result<bool, Why> {
        match self.intake.frame(frame, name) {
            Ok(true) => {
                let now = Instant::now();
                self.last_frame = now;
                self.first_frame.get_or_insert(now);
                return Ok(true);
            }
            Ok(false) => {}
            Err(error) => return Err(Why::Reason(error.to_string())),
        }
        let patience = self.last_frame + silence;
        if Instant::now() >= patience {
            return Err(Why::Reason(self.silent(silence)));
        }
        // If the shell is gone and others of its group write on, this ends them: the end of the output follows.
        self.child.look();
        let failed = |error: io::Error| Why::Reason(format!("reading its output failed: {error}"));
        if !self.wait(deadline.min(patience)).map_err(failed)? {
            return Ok(false);
        }
        self.child.listen();
        match self.intake.read(&self.child.stdout).map_err(failed)? {
            Read::Bytes | Read::Nothing => Ok(false),
            Read::End => Err(Why::Over),
        }
    }

    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        match self.child.outputs() {
            (stdout, Some(stderr)) => wait(&mut [stdout, stderr], deadline),
            (stdout, None) => wait(&mut [stdout], deadline),
        }
    }

    fn silent(&self, silence: Duration) -> String {
        let seconds = silence.as_secs();
        if self.intake.stream.kind().is_none() && self.intake.has_read() {
            format!(
                "what it writes is neither MJPEG nor Y4M (rpicam-vid wants `--codec mjpeg -o -`, ffmpeg `-f mjpeg -`), so no frame for {seconds} seconds"
            )
        } else {
            format!("no frame for {seconds} seconds")
        }
    }
}

/// Makes a child end, harder as time passes.
fn urge(child: &Child, why: &Why, since: Instant, asked: &mut Asked) {
    let patience = match why {
        Why::Over => LEAVE,
        Why::Reason(_) => Duration::ZERO,
    };
    let passed = since.elapsed();
    if *asked == Asked::Nothing && passed >= patience {
        child.signal(Signal::TERM);
        *asked = Asked::Term;
    } else if *asked == Asked::Term && passed >= patience + GRACE {
        child.signal(Signal::KILL);
        *asked = Asked::Kill;
    }
}

fn with_last_words(reason: String, words: &str) -> String {
    if words.is_empty() {
        reason
    } else {
        format!("{reason}; its last words: {words}")
    }
}

impl Source for Exec {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        step_until(timeout, |deadline| self.step(frame, deadline))
    }

    fn lossless(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("the output of `{}`", self.command)
    }
}
