//! What `resnetd run` shows on standard output: changes of the label as they come, on a terminal also what
//! is seen at present, and a summary at the end.
//!
//! The inference thread only leaves what is new in a bounded buffer; a thread of its own writes, so that a
//! terminal that is stopped (Ctrl-S) or a pipe that is full stops no inference.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::view::{Screen, View, printable};
use crate::daemon::Observer;
use crate::publish::wire::{Classification, Message};

/// Lines that wait for a slow terminal; the oldest go.
const MOST_WAITING: usize = 1000;
/// How many of the last inferences the median is of.
const MOST_TIMES: usize = 4096;
/// The updated line's interval: faster than this nobody reads.
const REFRESH: Duration = Duration::from_millis(100);
/// News is announced, so this only bounds surprises.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long standard output may take for the last lines: with the daemon's own patience less than a second.
const PATIENCE: Duration = Duration::from_millis(150);

/// The console of one run.
pub struct Console {
    shared: Arc<Shared>,
    writer: JoinHandle<()>,
}

struct Shared {
    screen: Screen,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    view: View,
    waiting: VecDeque<String>,
    statistics: Statistics,
    /// There is something to show.
    dirty: bool,
    ending: bool,
}

impl Console {
    /// Starts the thread that writes to standard output.
    pub fn start(screen: Screen) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(screen));
        let writing = Arc::clone(&shared);
        // An error means that nobody looks any more (a pipe was closed); the labels go on over the socket.
        let write = move || drop(writing.write_all(&mut io::stdout()));
        let writer = thread::Builder::new().name("console".into()).spawn(write)?;
        Ok(Self { shared, writer })
    }

    /// What the daemon calls with every message.
    pub fn observer(&self) -> Observer {
        let shared = Arc::clone(&self.shared);
        Box::new(move |message| shared.take(message))
    }

    /// Writes the summary and waits for it to be out.
    pub fn finish(self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        let end = Instant::now() + PATIENCE;
        while !self.writer.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Shared {
    fn new(screen: Screen) -> Self {
        let state = State {
            view: View::default(),
            waiting: VecDeque::new(),
            statistics: Statistics::new(Instant::now()),
            dirty: false,
            ending: false,
        };
        Self {
            screen,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn take(&self, message: &Message<'_>) {
        let mut state = self.lock();
        if let Message::Classification(classification) = message {
            state.statistics.add(classification);
        }
        if let Some(line) = state.view.take(message) {
            if state.waiting.len() >= MOST_WAITING {
                state.waiting.pop_front();
            }
            state.waiting.push_back(line);
        }
        state.dirty = true;
        drop(state);
        self.changed.notify_all();
    }

    fn write_all(&self, out: &mut impl Write) -> io::Result<()> {
        loop {
            let (lines, bars, ending) = self.next();
            if self.screen.terminal {
                write_over(out, lines.iter().map(String::as_str), &bars)?;
            } else {
                lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            }
            if ending {
                if self.screen.terminal {
                    writeln!(out)?;
                }
                let summary = self.lock().statistics.summary(Instant::now());
                out.write_all(summary.as_bytes())?;
                return out.flush();
            }
            out.flush()?;
            drop(self.wait(REFRESH, |state| !state.ending));
        }
    }

    /// Waits for news.
    fn next(&self) -> (VecDeque<String>, String, bool) {
        let mut state = self.wait(LONGEST_WAIT, |state| !state.dirty && !state.ending);
        state.dirty = false;
        let lines = std::mem::take(&mut state.waiting);
        (lines, state.view.bars(self.screen), state.ending)
    }

    fn wait(&self, time: Duration, idle: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), time, |state| idle(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts lines above the line that is updated. The cursor stays at its start, where a log line may write over it.
pub fn write_over<'a>(
    out: &mut impl Write,
    lines: impl Iterator<Item = &'a str>,
    bars: &str,
) -> io::Result<()> {
    for line in lines {
        writeln!(out, "\r\x1b[K{line}")?;
    }
    write!(out, "\r\x1b[K{bars}\r")
}

/// What the summary is made of.
struct Statistics {
    started: Instant,
    frames: u64,
    dropped: u64,
    /// The last inference times in milliseconds, a ring.
    times: Vec<f32>,
    labels: BTreeMap<String, u64>,
}

impl Statistics {
    fn new(started: Instant) -> Self {
        Self {
            started,
            frames: 0,
            dropped: 0,
            times: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    fn add(&mut self, message: &Classification<'_>) {
        let place = usize::try_from(self.frames).unwrap_or(0) % MOST_TIMES;
        match self.times.get_mut(place) {
            Some(time) => *time = message.timing.inference_ms,
            None => self.times.push(message.timing.inference_ms),
        }
        self.frames += 1;
        self.dropped += message.dropped;
        if let Some(count) = self.labels.get_mut(message.top.as_ref()) {
            *count += 1;
        } else {
            self.labels.insert(message.top.clone().into_owned(), 1);
        }
    }

    fn median(&self) -> f32 {
        let mut times = self.times.clone();
        times.sort_by(f32::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(0.0)
    }

    fn summary(&self, now: Instant) -> String {
        let seconds = now.saturating_duration_since(self.started).as_secs_f64();
        // Exact up to 2^53 frames.
        #[allow(clippy::cast_precision_loss)]
        let fps = if seconds > 0.0 {
            self.frames as f64 / seconds
        } else {
            0.0
        };
        let mut text = format!(
            "{} frames in {seconds:.1} s ({fps:.1} fps), {} dropped, median inference {:.1} ms\n",
            self.frames,
            self.dropped,
            self.median()
        );
        let mut labels: Vec<(&String, &u64)> = self.labels.iter().collect();
        labels.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (label, count) in labels {
            text.push_str(&format!("{count:>6}  {}\n", printable(label)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::wire::{Image, Timing};

    fn classification(top: &'static str, inference_ms: f32) -> Classification<'static> {
        Classification {
            camera: "front".into(),
            region: None,
            frame_id: 1,
            timestamp: 0.0,
            model: "m".into(),
            image: Image {
                width: 1,
                height: 1,
            },
            predictions: Vec::new().into(),
            labels: None,
            top: top.into(),
            confidence: 0.5,
            timing: Timing {
                capture_ms: 0.0,
                preprocess_ms: 0.0,
                inference_ms,
                age_ms: 0.0,
            },
            dropped: 2,
        }
    }

    #[test]
    fn the_summary_counts_frames_labels_and_the_median() {
        let start = Instant::now();
        let mut statistics = Statistics::new(start);
        for (top, time) in [
            ("golf ball", 10.0),
            ("parachute", 90.0),
            ("parachute", 20.0),
        ] {
            statistics.add(&classification(top, time));
        }
        assert_eq!(
            statistics.summary(start + Duration::from_secs(2)),
            "3 frames in 2.0 s (1.5 fps), 6 dropped, median inference 20.0 ms\n     2  parachute\n     1  golf ball\n"
        );
    }

    #[test]
    fn the_times_are_bounded() {
        let mut statistics = Statistics::new(Instant::now());
        (0..MOST_TIMES + 10).for_each(|_| statistics.add(&classification("x", 1.0)));
        assert_eq!(statistics.times.len(), MOST_TIMES);
    }

    #[test]
    fn lines_for_a_blocked_terminal_are_bounded() {
        let screen = Screen {
            terminal: false,
            colour: false,
            width: 80,
        };
        let shared = Shared::new(screen);
        shared.lock().ending = true;
        for missed in 0..2000 {
            shared.take(&Message::Lagged(crate::publish::wire::Lagged { missed }));
        }
        let mut out = Vec::new();
        shared.write_all(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), MOST_WAITING + 1);
        assert!(text.starts_with("1000 messages missed\n"));
    }
}
