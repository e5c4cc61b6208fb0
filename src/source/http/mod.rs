//! The `http:` source: a network camera that sends JPEG pictures over plain HTTP, as one endless answer
//! (`multipart/x-mixed-replace`), or one picture for each request.
//!
//! A connection that breaks, sends no picture for a while or gives something else is a lost camera; it is made
//! again with growing pauses. HTTPS and RTSP are left to ffmpeg, behind `exec:`.

mod chunked;
mod connect;
pub mod response;
#[cfg(test)]
mod tests;
pub mod url;

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::intake::{count, readable, wait};
use super::steps::{Paused, step_until};
use super::{Event, Source};
use crate::backoff::Backoff;
use crate::frame::Frame;
use connect::Outcome;
use response::{AnswerError, Response};
use url::Url;

/// No picture for this long, from the beginning of a connection or from the last picture: the camera is lost.
const SILENCE: Duration = Duration::from_secs(10);
/// How often a camera that gives one picture for each request is asked: five times a second at most.
const POLL: Duration = Duration::from_millis(200);
const MAX_REDIRECTS: u8 = 3;
const PIECE: usize = 64 << 10;

/// A camera behind a URL.
#[derive(Debug)]
pub struct Http {
    url: Url,
    backoff: Backoff,
    silence: Duration,
    piece: Vec<u8>,
    torn: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Connected to after it.
    Paused(Paused),
    Connecting {
        target: Target,
        since: Instant,
        outcome: Receiver<Outcome>,
    },
    Receiving(Box<Receiving>),
}

/// Where to connect to, and after how many redirects.
#[derive(Debug, Clone)]
struct Target {
    url: Url,
    redirects: u8,
}

#[derive(Debug)]
struct Receiving {
    target: Target,
    socket: TcpStream,
    response: Response,
    began: Instant,
    first_frame: Option<Instant>,
    last_frame: Instant,
    /// When the last bytes came, on both clocks.
    came: (Instant, SystemTime),
}

/// What a step of receiving found, besides nothing.
enum Found {
    Frame,
    Nothing,
    /// The one picture of the answer has come.
    Done,
}

impl Http {
    /// The connection is made when the first frame is asked for.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self::with(url, Backoff::new(), SILENCE)
    }

    fn with(url: Url, backoff: Backoff, silence: Duration) -> Self {
        Self {
            url,
            backoff,
            silence,
            piece: vec![0; PIECE],
            torn: 0,
            state: State::Paused(Paused::until(Instant::now())),
        }
    }

    fn lose(&mut self, delivered: Duration, why: String) -> Event {
        let pause = self.backoff.pause(delivered);
        log::debug!("{}: {why}; next attempt in {pause:?}", self.url);
        self.state = State::Paused(Paused::after_loss(pause, why.clone()));
        Event::Lost(why)
    }

    fn connect(&mut self, target: Target) -> Option<Event> {
        match connect::begin(&target.url) {
            Ok(outcome) => {
                self.state = State::Connecting {
                    target,
                    since: Instant::now(),
                    outcome,
                };
                None
            }
            Err(error) => Some(self.lose(
                Duration::ZERO,
                format!("cannot start a thread to connect: {error}"),
            )),
        }
    }

    /// One step of whatever there is to do, not beyond `deadline`. None: there is more to do.
    fn step(&mut self, frame: &mut Frame, deadline: Instant) -> Option<Event> {
        match &self.state {
            State::Paused(paused) => {
                if let Err(news) = paused.wait(deadline) {
                    return news;
                }
                let target = Target {
                    url: self.url.clone(),
                    redirects: 0,
                };
                self.connect(target)
            }
            State::Connecting { .. } => self.await_connection(deadline),
            State::Receiving(_) => self.receive(frame, deadline),
        }
    }

    fn await_connection(&mut self, deadline: Instant) -> Option<Event> {
        let State::Connecting {
            target,
            since,
            outcome,
        } = &self.state
        else {
            return None;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match outcome.recv_timeout(left) {
            Ok(Ok(socket)) => {
                self.state = State::Receiving(Box::new(Receiving::new(target.clone(), socket)));
                None
            }
            Ok(Err(why)) => Some(self.lose(Duration::ZERO, why)),
            // Never a second thread beside one that still tries.
            Err(RecvTimeoutError::Timeout) => (since.elapsed() >= self.silence).then(|| {
                let why = format!("no connection to {} yet", target.url);
                Event::Lost(why)
            }),
            Err(RecvTimeoutError::Disconnected) => {
                Some(self.lose(Duration::ZERO, "connecting failed".to_owned()))
            }
        }
    }

    fn receive(&mut self, frame: &mut Frame, deadline: Instant) -> Option<Event> {
        let State::Receiving(receiving) = &mut self.state else {
            return None;
        };
        let torn_before = receiving.response.torn();
        let found = receiving.step(frame, &mut self.piece, self.silence, deadline);
        let torn = receiving.response.torn() - torn_before;
        let delivered = receiving.delivered();
        let began = receiving.began;
        if (self.torn + torn).checked_ilog2() != self.torn.checked_ilog2() {
            let sum = self.torn + torn;
            log::warn!(
                "{}: {sum} damaged or incomplete pictures dropped so far",
                self.url
            );
        }
        self.torn += torn;
        match found {
            Ok(Found::Frame) => Some(Event::Frame),
            Ok(Found::Nothing) => None,
            Ok(Found::Done) => {
                self.state = State::Paused(Paused::until(began + POLL));
                None
            }
            Err(Ended::Answer(AnswerError::Redirect(location))) => self.redirect(&location),
            Err(ended) => Some(self.lose(delivered, ended.to_string())),
        }
    }

    fn redirect(&mut self, location: &str) -> Option<Event> {
        let State::Receiving(receiving) = &self.state else {
            return None;
        };
        let from = receiving.target.clone();
        match from.url.follow(location) {
            Some(url) if from.redirects < MAX_REDIRECTS => self.connect(Target {
                url,
                redirects: from.redirects + 1,
            }),
            Some(_) => {
                let why = format!("it leads on more than {MAX_REDIRECTS} times");
                Some(self.lose(Duration::ZERO, why))
            }
            None => {
                let why = format!(
                    "it leads on to `{location}`, and only http: can be followed; for https: let ffmpeg do it: `exec:ffmpeg -nostdin -loglevel warning -i https://... -f mjpeg -q:v 3 -`"
                );
                Some(self.lose(Duration::ZERO, why))
            }
        }
    }
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the camera ended the connection")]
    Closed,
    #[error("no picture for {} seconds", .0.as_secs())]
    Silent(Duration),
}

impl Receiving {
    fn new(target: Target, socket: TcpStream) -> Self {
        let now = Instant::now();
        Self {
            target,
            socket,
            response: Response::default(),
            began: now,
            first_frame: None,
            last_frame: now,
            came: (now, SystemTime::now()),
        }
    }

    /// For how long frames have come.
    fn delivered(&self) -> Duration {
        self.first_frame
            .map_or(Duration::ZERO, |first| first.elapsed())
    }

    fn step(
        &mut self,
        frame: &mut Frame,
        piece: &mut [u8],
        silence: Duration,
        deadline: Instant,
    ) -> Result<Found, Ended> {
        if self.response.next(frame)? {
            self.stamp(frame);
            return Ok(Found::Frame);
        }
        if self.response.is_over() {
            return self.over();
        }
        let patience = self.last_frame + silence;
        if Instant::now() >= patience {
            return Err(Ended::Silent(silence));
        }
        if !wait(&mut [readable(&self.socket)], deadline.min(patience))? {
            return Ok(Found::Nothing);
        }
        match count(self.socket.read(piece))? {
            None => {}
            Some(0) => return self.over(),
            Some(count) => {
                self.came = (Instant::now(), SystemTime::now());
                self.response.push(piece.get(..count).unwrap_or_default())?;
            }
        }
        Ok(Found::Nothing)
    }

    fn over(&self) -> Result<Found, Ended> {
        if self.response.is_single() && self.first_frame.is_some() {
            Ok(Found::Done)
        } else {
            Err(Ended::Closed)
        }
    }

    fn stamp(&mut self, frame: &mut Frame) {
        let now = Instant::now();
        self.last_frame = now;
        self.first_frame.get_or_insert(now);
        (frame.captured, frame.captured_at) = self.came;
        frame.capture_ms = now.saturating_duration_since(self.came.0).as_secs_f32() * 1e3;
        frame.file = None;
    }
}

impl Source for Http {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        step_until(timeout, |deadline| self.step(frame, deadline))
    }

    fn lossless(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("pictures from {}", self.url)
    }
}
