//! A daemon in a thread and a subscriber to it: what every test here needs before it can say what it is about.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use resnetd::daemon::{
    self, Camera, Choice, Classifier, DaemonError, Look, Options, Saying, Settings, Totals,
};
use resnetd::publish::path::Places;
use resnetd::publish::wire::{Message, State};
use resnetd::smooth;
use resnetd::source::Source;

use crate::fakes::{ByByte, camera, model};

/// Longer than anything here should take, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(20);

/// A daemon in a thread, with a socket in a directory of its own.
pub struct Running {
    pub directory: tempfile::TempDir,
    pub stop: Arc<AtomicBool>,
    pub thread: Option<JoinHandle<Result<Totals, DaemonError>>>,
}

impl Running {
    pub fn with(source: Box<dyn Source>) -> Self {
        Self::start(vec![camera(source)], Box::new(ByByte), |_| {})
    }

    pub fn start(
        cameras: Vec<Camera>,
        classifier: Box<dyn Classifier>,
        adjust: impl FnOnce(&mut Options),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path().join("s"), cameras, classifier);
        adjust(&mut options);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || daemon::run(options, &stopping)));
        let mut running = Self {
            directory,
            stop,
            thread,
        };
        while UnixStream::connect(running.path()).is_err() {
            let ended = running.thread.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!ended, "it ended at once: {:?}", running.join());
            thread::sleep(Duration::from_millis(2));
        }
        running
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub fn subscribe(&self) -> Subscriber {
        Subscriber::to(&self.path())
    }

    pub fn join(&mut self) -> Result<Totals, DaemonError> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn stop(&mut self) -> Result<Totals, DaemonError> {
        self.stop.store(true, Ordering::Release);
        self.join()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn options(socket: PathBuf, cameras: Vec<Camera>, classifier: Box<dyn Classifier>) -> Options {
    Options {
        cameras,
        choice: Choice {
            model: model(classifier),
            others: None,
        },
        socket: Some(socket),
        places: Places::from_environment(),
        settings: settings(),
        frames: None,
        observer: None,
        http: None,
        mqtt: None,
        snapshots: None,
        reload: None,
    }
}

/// All of the picture, each frame for itself.
pub fn whole() -> Vec<Look> {
    vec![Look {
        saying: Saying {
            smoothing: smooth::Settings {
                time_constant: Duration::ZERO,
                ..smooth::Settings::default()
            },
            ..Saying::default()
        },
        ..Look::default()
    }]
}

pub fn settings() -> Settings {
    Settings {
        stale_after: LONG,
        target_fps: None,
        max_latency: None,
        dwell: LONG,
        still: None,
    }
}

pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "it never came to pass");
        thread::sleep(Duration::from_millis(2));
    }
}

pub struct Subscriber {
    pub reader: BufReader<UnixStream>,
}

impl Subscriber {
    pub fn to(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut reader = BufReader::new(stream);
        // its hello is there: what is sent from now on comes live, not as the last state
        reader.fill_buf().unwrap();
        Self { reader }
    }

    /// The next message; None at the end.
    pub fn next(&mut self) -> Option<Message<'static>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    pub fn until(&mut self, mut found: impl FnMut(&Message<'_>) -> bool) -> Message<'static> {
        loop {
            let message = self.next().expect("the stream goes on");
            if found(&message) {
                return message;
            }
        }
    }

    pub fn until_state(&mut self, state: State) {
        self.until(|message| matches!(message, Message::Status(status) if status.state == state));
    }

    /// Short names of the next `count` messages.
    pub fn kinds(&mut self, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| kind(&self.next().expect("the stream goes on")))
            .collect()
    }
}

pub fn kind(message: &Message<'_>) -> String {
    match message {
        Message::Hello(_) => "hello".into(),
        Message::Model(_) => "model".into(),
        Message::Classification(one) => format!("{} {}", one.frame_id, one.top),
        Message::Change(change) => {
            format!(
                "{} -> {}",
                change.from.as_deref().unwrap_or("nothing"),
                change.to
            )
        }
        Message::Status(status) => status.state.as_str().into(),
        Message::Lagged(lagged) => format!("lagged {}", lagged.missed),
    }
}
