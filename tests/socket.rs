//! The socket as its subscribers see it: the daemon runs as a library, with a source and a classifier
//! that do what the tests say.

// The helpers here are parts of tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use resnetd::daemon::{
    self, Camera, Classified, Classifier, ClassifyError, DaemonError, Model, Options, Totals,
};
use resnetd::frame::Frame;
use resnetd::label::Prediction;
use resnetd::publish::SocketError;
use resnetd::publish::path::Places;
use resnetd::publish::wire::{Message, ModelInfo, State};
use resnetd::smooth;
use resnetd::source::{Event, Source};

/// Longer than anything here should take, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(20);

/// What the fake source does next.
#[derive(Debug, Clone)]
enum Act {
    /// A picture of the class.
    Frame(u8),
    /// A picture that cannot be classified.
    Torn,
    Lose,
    Panic,
    End,
}

/// Does what comes through a channel.
struct Scripted {
    acts: Receiver<Act>,
    lossless: bool,
}

impl Source for Scripted {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        match self.acts.recv_timeout(timeout) {
            Ok(Act::Frame(class)) => fill(frame, class),
            Ok(Act::Torn) => fill(frame, u8::MAX),
            Ok(Act::Lose) => Event::Lost("unplugged".into()),
            Ok(Act::Panic) => panic!("a driver's surprise"),
            Ok(Act::End) => Event::End,
            Err(_) => Event::Timeout,
        }
    }

    fn lossless(&self) -> bool {
        self.lossless
    }

    fn describe(&self) -> String {
        "scripted".into()
    }
}

/// A picture every `pause`, the class changing every 50.
struct Steady {
    pause: Duration,
    count: usize,
}

impl Source for Steady {
    fn next(&mut self, frame: &mut Frame, _timeout: Duration) -> Event {
        thread::sleep(self.pause);
        self.count += 1;
        fill(frame, u8::from(self.count / 50 % 2 == 1))
    }

    fn lossless(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "steady".into()
    }
}

fn fill(frame: &mut Frame, class: u8) -> Event {
    frame.data.clear();
    frame.data.push(class);
    frame.captured = Instant::now();
    frame.captured_at = SystemTime::now();
    Event::Frame
}

/// The frame's byte is its class.
struct ByByte;

impl Classifier for ByByte {
    fn classify(
        &mut self,
        frame: &Frame,
        out: &mut Prediction,
    ) -> Result<Classified, ClassifyError> {
        let class = frame.data[0];
        if class == u8::MAX {
            return Err(ClassifyError {
                message: "torn".into(),
            });
        }
        out.probabilities.clear();
        out.probabilities
            .extend((0..2u8).map(|id| if id == class { 0.9 } else { 0.1 }));
        Ok(Classified {
            image_width: 4,
            image_height: 3,
            preprocess_ms: 0.5,
            inference_ms: 1.0,
        })
    }
}

/// An inference that never ends.
struct Stuck;

impl Classifier for Stuck {
    fn classify(&mut self, _: &Frame, _: &mut Prediction) -> Result<Classified, ClassifyError> {
        loop {
            thread::park();
        }
    }
}

fn model(classifier: Box<dyn Classifier>) -> Model {
    let labels = ["golf ball", "parachute"].map(String::from);
    let info = ModelInfo {
        name: "fake".into(),
        arch: "resnet50".into(),
        precision: "int8".into(),
        labels: labels.len(),
    };
    Model {
        classifier,
        info,
        labels: Arc::new(labels),
        detail: String::new(),
    }
}

fn camera(source: Box<dyn Source>) -> Camera {
    Camera {
        name: "front".into(),
        source,
        reopen: Box::new(|| Err("not again".into())),
    }
}

fn scripted(lossless: bool) -> (Sender<Act>, Box<dyn Source>) {
    let (send, acts) = mpsc::channel();
    (send, Box::new(Scripted { acts, lossless }))
}

/// A daemon in a thread, with a socket in a directory of its own.
struct Running {
    directory: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Totals, DaemonError>>>,
}

impl Running {
    fn with(source: Box<dyn Source>) -> Self {
        Self::start(vec![camera(source)], Box::new(ByByte), |_| {})
    }

    fn start(
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

    fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn subscribe(&self) -> Subscriber {
        Subscriber::to(&self.path())
    }

    fn join(&mut self) -> Result<Totals, DaemonError> {
        self.thread.take().unwrap().join().unwrap()
    }

    fn stop(&mut self) -> Result<Totals, DaemonError> {
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

fn options(socket: PathBuf, cameras: Vec<Camera>, classifier: Box<dyn Classifier>) -> Options {
    Options {
        cameras,
        model: model(classifier),
        socket: Some(socket),
        places: Places::from_environment(),
        smoothing: smooth::Settings {
            time_constant: Duration::ZERO,
            ..smooth::Settings::default()
        },
        stale_after: LONG,
        frames: None,
        observer: None,
    }
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "it never came to pass");
        thread::sleep(Duration::from_millis(2));
    }
}

struct Subscriber {
    reader: BufReader<UnixStream>,
}

impl Subscriber {
    fn to(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self {
            reader: BufReader::new(stream),
        }
    }

    /// The next message; None at the end.
    fn next(&mut self) -> Option<Message<'static>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    fn until(&mut self, found: impl Fn(&Message<'_>) -> bool) -> Message<'static> {
        loop {
            let message = self.next().expect("the stream goes on");
            if found(&message) {
                return message;
            }
        }
    }

    fn until_state(&mut self, state: State) {
        self.until(|message| matches!(message, Message::Status(status) if status.state == state));
    }

    /// Short names of the next `count` messages.
    fn kinds(&mut self, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| kind(&self.next().expect("the stream goes on")))
            .collect()
    }
}

fn kind(message: &Message<'_>) -> String {
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

#[test]
fn messages_come_in_order_from_hello_to_stopping() {
    let (acts, source) = scripted(true);
    let mut running = Running::with(source);
    let mut subscriber = running.subscribe();
    assert_eq!(subscriber.kinds(3), ["hello", "model", "starting"]);
    for act in [
        Act::Frame(0),
        Act::Frame(1),
        Act::Torn,
        Act::Frame(1),
        Act::End,
    ] {
        acts.send(act).unwrap();
    }
    assert_eq!(
        subscriber.kinds(7),
        [
            "streaming",
            "1 golf ball",
            "nothing -> golf ball",
            "2 parachute",
            "golf ball -> parachute",
            "4 parachute",
            "stopping"
        ]
    );
    assert_eq!(subscriber.next(), None);
    assert_eq!(
        running.join().unwrap(),
        Totals {
            classified: 3,
            bad: 1
        }
    );
    assert!(!running.path().exists());
}

#[test]
fn a_classification_says_what_the_frame_was() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut subscriber = running.subscribe();
    let before = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    acts.send(Act::Torn).unwrap();
    acts.send(Act::Frame(1)).unwrap();
    let Message::Classification(one) =
        subscriber.until(|message| matches!(message, Message::Classification(_)))
    else {
        unreachable!()
    };
    assert_eq!((one.image.width, one.image.height), (4, 3));
    assert_eq!(one.model, "fake");
    assert_eq!(one.dropped, 1, "the frame that could not be classified");
    let classes: Vec<(usize, &str)> = one
        .predictions
        .iter()
        .map(|scored| (scored.class_id, scored.class.as_ref()))
        .collect();
    assert_eq!(classes, [(1, "parachute"), (0, "golf ball")]);
    assert!(one.timestamp >= before - 0.001 && one.timestamp < before + 20.0);
    assert!(one.timing.age_ms >= 0.0 && one.timing.age_ms < 20_000.0);
}

#[test]
fn a_late_subscriber_gets_the_last_state() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut early = running.subscribe();
    acts.send(Act::Frame(0)).unwrap();
    acts.send(Act::Frame(1)).unwrap();
    early.until(|message| kind(message) == "golf ball -> parachute");
    assert_eq!(
        running.subscribe().kinds(4),
        ["hello", "model", "streaming", "2 parachute"]
    );
}

#[test]
fn a_loss_is_told_and_the_same_scene_after_it_is_no_change() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut subscriber = running.subscribe();
    for act in [
        Act::Frame(0),
        Act::Lose,
        Act::Lose,
        Act::Frame(0),
        Act::Frame(1),
    ] {
        acts.send(act).unwrap();
    }
    subscriber.until_state(State::Streaming);
    assert_eq!(
        subscriber.kinds(7),
        [
            "1 golf ball",
            "nothing -> golf ball",
            "camera_lost",
            "streaming",
            "2 golf ball",
            "3 parachute",
            "golf ball -> parachute"
        ]
    );
}

#[test]
fn a_source_that_panics_is_a_lost_camera_and_is_opened_again() {
    let (acts, source) = scripted(true);
    let (acts_again, source_again) = scripted(true);
    let mut again = Some(source_again);
    let mut camera = camera(source);
    camera.reopen = Box::new(move || again.take().ok_or_else(|| "not a third time".into()));
    let running = Running::start(vec![camera], Box::new(ByByte), |_| {});
    let mut subscriber = running.subscribe();
    acts.send(Act::Panic).unwrap();
    let lost =
        subscriber.until(|m| matches!(m, Message::Status(s) if s.state == State::CameraLost));
    let Message::Status(lost) = lost else {
        unreachable!()
    };
    assert!(lost.detail.unwrap().contains("a driver's surprise"));
    acts_again.send(Act::Frame(1)).unwrap();
    assert_eq!(subscriber.kinds(2), ["streaming", "1 parachute"]);
}

#[test]
fn a_camera_that_delivers_nothing_is_stale_until_it_does() {
    let (acts, source) = scripted(false);
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        options.stale_after = Duration::from_millis(150);
    });
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(0)).unwrap();
    subscriber.until_state(State::Streaming);
    subscriber.until_state(State::Stale);
    acts.send(Act::Frame(0)).unwrap();
    subscriber.until_state(State::Streaming);
}

#[test]
fn cameras_share_the_classifier_and_one_lost_leaves_the_other_alone() {
    let (front, front_source) = scripted(true);
    let (back, back_source) = scripted(true);
    let mut second = camera(back_source);
    second.name = "back".into();
    let mut running = Running::start(vec![camera(front_source), second], Box::new(ByByte), |_| {});
    let mut subscriber = running.subscribe();
    let Some(Message::Hello(hello)) = subscriber.next() else {
        panic!("hello first")
    };
    assert_eq!(hello.cameras, ["front", "back"]);
    front.send(Act::Lose).unwrap();
    subscriber.until_state(State::CameraLost);
    back.send(Act::Frame(1)).unwrap();
    subscriber
        .until(|message| matches!(message, Message::Classification(one) if one.camera == "back"));
    back.send(Act::End).unwrap();
    front.send(Act::End).unwrap();
    assert_eq!(running.join().unwrap().classified, 1);
}

#[test]
fn the_run_ends_after_the_frames_that_were_asked_for() {
    let steady = Steady {
        pause: Duration::from_millis(1),
        count: 0,
    };
    let mut running = Running::start(
        vec![camera(Box::new(steady))],
        Box::new(ByByte),
        |options| {
            options.frames = Some(7);
        },
    );
    assert_eq!(running.join().unwrap().classified, 7);
}

#[test]
fn a_stop_ends_within_a_second_and_removes_the_socket() {
    let (_acts, source) = scripted(false);
    let mut running = Running::with(source);
    let mut subscriber = running.subscribe();
    let begin = Instant::now();
    running.stop().unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert!(!running.path().exists());
    subscriber.until_state(State::Stopping);
    assert_eq!(subscriber.next(), None);
}

#[test]
fn a_stop_waits_neither_for_a_stuck_inference_nor_for_a_stuck_camera() {
    struct Deaf;
    impl Source for Deaf {
        fn next(&mut self, frame: &mut Frame, _: Duration) -> Event {
            if frame.data.is_empty() {
                return fill(frame, 0);
            }
            loop {
                thread::park();
            }
        }
        fn lossless(&self) -> bool {
            false
        }
        fn describe(&self) -> String {
            "deaf".into()
        }
    }
    let mut running = Running::start(vec![camera(Box::new(Deaf))], Box::new(Stuck), |_| {});
    running.subscribe().until_state(State::Streaming);
    let begin = Instant::now();
    running.stop().unwrap();
    assert!(
        begin.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begin.elapsed()
    );
    assert!(!running.path().exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_refused() {
    let (_acts, source) = scripted(false);
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        drop(UnixListener::bind(options.socket.as_ref().unwrap()).unwrap());
    });
    let path = running.path();
    let (_more_acts, second) = scripted(false);
    let refused = daemon::run(
        options(path.clone(), vec![camera(second)], Box::new(ByByte)),
        &AtomicBool::new(false),
    );
    let Err(DaemonError::Socket(SocketError::InUse(named))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(named, path);
    Subscriber::to(&path).kinds(1);
    drop(running);
    assert!(!path.exists());
}

/// How one of the subscribers that deserve no sympathy behaves until told to end.
fn misbehave(path: &Path, how: usize, end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        let mut stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let pause = |ms| thread::sleep(Duration::from_millis(ms));
        match how % 4 {
            // Never reads.
            0 => wait_until(|| end.load(Ordering::Acquire)),
            // Reads a byte now and then.
            1 => {
                while !end.load(Ordering::Acquire)
                    && stream.read(&mut [0u8; 1]).is_ok_and(|n| n == 1)
                {
                    pause(100);
                }
            }
            // Goes away in the middle of a line.
            2 => {
                let _ = stream.read(&mut [0u8; 100]);
                pause(5);
            }
            // Sends as much as it can.
            _ => {
                let garbage = vec![b'x'; 64 * 1024];
                while !end.load(Ordering::Acquire) && stream.write(&garbage).is_ok() {}
                pause(20);
            }
        }
    }
}

#[test]
fn nobody_is_disturbed_by_subscribers_that_misbehave() {
    const MESSAGES: usize = 300;
    let steady = Steady {
        pause: Duration::from_millis(5),
        count: 0,
    };
    let running = Running::with(Box::new(steady));
    let end = Arc::new(AtomicBool::new(false));
    let bad: Vec<JoinHandle<()>> = (0..16)
        .map(|how| {
            let (path, end) = (running.path(), Arc::clone(&end));
            thread::spawn(move || misbehave(&path, how, &end))
        })
        .collect();
    let healthy: Vec<JoinHandle<Vec<f64>>> = (0..4)
        .map(|_| {
            let mut subscriber = running.subscribe();
            thread::spawn(move || follow(&mut subscriber, MESSAGES))
        })
        .collect();
    for thread in healthy {
        let mut delays = thread.join().unwrap();
        delays.sort_by(f64::total_cmp);
        // Of all but the last hundredth, which belongs to whatever else this machine does.
        let worst = delays[delays.len() * 99 / 100];
        assert!(worst < 0.05, "{:.1} ms", worst * 1e3);
    }
    end.store(true, Ordering::Release);
    bad.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Reads on and sees that nothing is missing; the delays from capture to here, in seconds.
fn follow(subscriber: &mut Subscriber, messages: usize) -> Vec<f64> {
    let mut last: Option<u64> = None;
    let mut delays = Vec::new();
    while delays.len() < messages {
        match subscriber.next().expect("the stream goes on") {
            Message::Classification(one) => {
                if let Some(last) = last {
                    assert_eq!(
                        one.frame_id,
                        last + 1 + one.dropped,
                        "every frame is told or counted"
                    );
                }
                last = Some(one.frame_id);
                let now = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap();
                delays.push(now.as_secs_f64() - one.timestamp);
            }
            Message::Lagged(lagged) => panic!("{} missed", lagged.missed),
            _ => {}
        }
    }
    // The first is the state of things when it came, and as old as that is.
    delays.split_off(1)
}

#[test]
fn who_does_not_read_is_told_how_much_it_missed() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut lazy = running.subscribe();
    let mut eager = running.subscribe();
    let frames = 3000;
    for _ in 0..frames {
        acts.send(Act::Frame(0)).unwrap();
    }
    eager.until(|message| kind(message) == format!("{frames} golf ball"));

    let mut expected = 1;
    let mut lagged = 0;
    while expected <= frames {
        match lazy.next().expect("the stream goes on") {
            Message::Classification(one) => {
                assert_eq!(one.frame_id, expected);
                expected += 1;
            }
            Message::Lagged(gap) => {
                lagged += 1;
                expected += gap.missed;
            }
            _ => {}
        }
    }
    assert!(lagged > 0);
}

#[test]
fn more_subscribers_than_allowed_are_closed_and_the_others_served() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut first = running.subscribe();
    let mut all: Vec<Subscriber> = (0..270).map(|_| running.subscribe()).collect();
    acts.send(Act::Frame(0)).unwrap();
    first.until(|message| kind(message) == "1 golf ball");
    let refused = all.iter_mut().rev().take(5);
    assert!(
        refused
            .map(Subscriber::next)
            .all(|message| message.is_none())
    );
    drop(all);
    wait_until(|| Subscriber::to(&running.path()).next().is_some());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let path = directory.path().join("file/s");
    let (_acts, source) = scripted(false);
    let refused = daemon::run(
        options(path.clone(), vec![camera(source)], Box::new(ByByte)),
        &AtomicBool::new(false),
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains(path.to_str().unwrap()) && message.contains("--socket"),
        "{message}"
    );
}
