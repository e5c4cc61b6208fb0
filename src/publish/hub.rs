//! What the rest of the program publishes to: serializes once, keeps the state that a new subscriber must
//! know, and wakes the thread that does the I/O. Never waits for anybody.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use rustix::event::EventfdFlags;

use super::lock;
use super::ring::{Line, Read, Ring};
use super::wire::{Hello, Message, Model, ModelInfo, PROTOCOL};
use crate::telemetry::Count;

/// Lines that a subscriber may be behind: at one camera's 30 frames per second 8 seconds, some 200 KB in all.
const CAPACITY: usize = 256;

/// Shared by who publishes and the thread that sends.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    wake: OwnedFd,
    /// Of further publishers.
    ears: Mutex<Ears>,
    closing: AtomicBool,
    /// Subscribers of the socket now, and messages that such did not get because they were slow.
    pub(super) subscribers: Count,
    pub(super) missed: Count,
}

/// Called after each message, by who publishes it: it must not wait.
pub type Ear = Arc<dyn Fn() + Send + Sync>;

/// Those that somebody still holds.
#[derive(Default)]
struct Ears(Vec<Weak<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Ears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ears", self.0.len())
    }
}

#[derive(Debug)]
struct State {
    ring: Ring,
    running: ModelInfo,
    hello: Line,
    model: Line,
    cameras: Vec<Camera>,
}

/// The last that was said of a camera.
#[derive(Debug)]
struct Camera {
    name: String,
    status: Option<Line>,
    /// Of each region, or of all of the picture.
    classifications: Vec<(Option<String>, Line)>,
}

impl Camera {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: None,
            classifications: Vec::new(),
        }
    }

    /// There are as many regions as the configuration names.
    fn keep(&mut self, region: Option<&str>, line: Line) {
        let same = |(known, _): &&mut (Option<String>, Line)| known.as_deref() == region;
        match self.classifications.iter_mut().find(same) {
            Some((_, kept)) => *kept = line,
            None => self.classifications.push((region.map(str::to_owned), line)),
        }
    }
}

impl Hub {
    /// A hub whose subscribers are told of these cameras and this model.
    pub fn new(cameras: &[String], model: &Model) -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let cameras: Vec<Camera> = cameras.iter().map(|name| Camera::named(name)).collect();
        let state = State {
            ring: Ring::new(CAPACITY),
            running: model.model.clone(),
            hello: hello(&cameras, &model.model),
            model: line(&Message::Model(model.clone())),
            cameras,
        };
        Ok(Self {
            state: Mutex::new(state),
            wake,
            ears: Mutex::default(),
            closing: AtomicBool::new(false),
            subscribers: Count::default(),
            missed: Count::default(),
        })
    }

    /// Sends a message to every subscriber, and keeps it for those to come if it is the state of something.
    pub fn publish(&self, message: &Message<'_>) {
        let mut state = self.lock();
        let line = state.ring.push(|buffer| message.write(buffer));
        state.remember(message, line);
        drop(state);
        self.wake();
    }

    /// Forgets the cameras that are `gone` and knows those that are `new`, if it did not; then every subscriber
    /// gets a `hello` with the cameras that there are now.
    pub fn change_cameras<'a>(
        &self,
        gone: impl IntoIterator<Item = &'a str>,
        new: impl IntoIterator<Item = &'a str>,
    ) {
        let mut state = self.lock();
        let mut changed = false;
        for name in gone {
            state.cameras.retain(|camera| camera.name != name);
            changed = true;
        }
        for name in new {
            if state.camera(name).is_none() {
                state.cameras.push(Camera::named(name));
                changed = true;
            }
        }
        if changed {
            state.hello = hello(&state.cameras, &state.running);
            let line = Arc::clone(&state.hello);
            state.ring.push(|buffer| buffer.extend_from_slice(&line));
        }
        drop(state);
        self.wake();
    }

    /// What a camera showed is not told to new subscribers any more: it has other regions now. A `hello` tells those
    /// that are there to forget it, too.
    pub fn forget_labels(&self, camera: &str) {
        let mut state = self.lock();
        if let Some(camera) = state.camera(camera) {
            camera.classifications.clear();
        }
        let line = Arc::clone(&state.hello);
        state.ring.push(|buffer| buffer.extend_from_slice(&line));
        drop(state);
        self.wake();
    }

    /// The cameras that there are now.
    #[must_use]
    pub fn cameras(&self) -> Vec<String> {
        let state = self.lock();
        state.cameras.iter().map(|one| one.name.clone()).collect()
    }

    /// What a new subscriber gets first, and the number of the live line that comes then.
    pub(super) fn welcome(&self) -> (VecDeque<Line>, u64) {
        let state = self.lock();
        let mut lines = VecDeque::from([Arc::clone(&state.hello), Arc::clone(&state.model)]);
        for camera in &state.cameras {
            let labels = camera.classifications.iter().map(|(_, line)| line);
            lines.extend(camera.status.iter().chain(labels).cloned());
        }
        (lines, state.ring.end())
    }

    /// Has a further publisher hear of each message, as long as it holds its ear.
    pub(super) fn listen(&self, ear: &Ear) {
        lock(&self.ears).0.push(Arc::downgrade(ear));
    }

    pub(super) fn read(&self, cursor: &mut u64) -> Read {
        let read = self.lock().ring.read(cursor);
        if let Read::Missed(missed) = read {
            self.missed.add(missed);
        }
        read
    }

    /// Readable when there is something to do.
    pub(super) fn wakes(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Empties what [`Hub::wakes`] became readable for.
    pub(super) fn awake(&self) {
        // Nothing to read (EAGAIN) is as good.
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the thread is being woken already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        lock(&self.ears)
            .0
            .retain(|ear| ear.upgrade().inspect(|ear| ear()).is_some());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn remember(&mut self, message: &Message<'_>, line: Line) {
        match message {
            Message::Status(status) => {
                if let Some(camera) = self.camera(&status.camera) {
                    camera.status = Some(line);
                }
            }
            Message::Classification(classification) => {
                if let Some(camera) = self.camera(&classification.camera) {
                    camera.keep(classification.region.as_deref(), line);
                }
            }
            Message::Model(model) => {
                self.running = model.model.clone();
                self.hello = hello(&self.cameras, &self.running);
                self.model = line;
            }
            Message::Hello(_) | Message::Change(_) | Message::Lagged(_) => {}
        }
    }

    fn camera(&mut self, name: &str) -> Option<&mut Camera> {
        self.cameras.iter_mut().find(|camera| camera.name == name)
    }
}

fn hello(cameras: &[Camera], model: &ModelInfo) -> Line {
    line(&Message::Hello(Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        cameras: cameras.iter().map(|camera| camera.name.clone()).collect(),
        model: model.clone(),
    }))
}

fn line(message: &Message<'_>) -> Line {
    let mut line = Vec::new();
    message.write(&mut line);
    Arc::new(line)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{ModelInfo, Reason, State as CameraState, Status};
    use super::*;

    fn model(name: &str) -> Model {
        let model = ModelInfo {
            name: name.into(),
            arch: "resnet50".into(),
            precision: "int8".into(),
            labels: 2,
        };
        Model {
            timestamp: 1.0,
            model,
            reason: Reason::Start,
            detail: String::new(),
            others: Vec::new(),
        }
    }

    fn status(hub: &Hub, camera: &str, state: CameraState) {
        hub.publish(&Message::Status(Status {
            camera: camera.into(),
            timestamp: 2.0,
            state,
            detail: None,
        }));
    }

    /// The welcome as `type` or, of a status, `camera:state`.
    fn welcome(hub: &Hub) -> Vec<String> {
        let parse = |line: &Line| match serde_json::from_slice(line).unwrap() {
            Message::Hello(hello) => format!("hello {}", hello.model.name),
            Message::Model(model) => format!("model {}", model.model.name),
            Message::Status(status) => format!("{}:{}", status.camera, status.state.as_str()),
            other => format!("{other:?}"),
        };
        hub.welcome().0.iter().map(parse).collect()
    }

    #[test]
    fn a_new_subscriber_learns_the_state_of_things() {
        let hub = Hub::new(&["a".into(), "b".into()], &model("first")).unwrap();
        status(&hub, "b", CameraState::Starting);
        status(&hub, "a", CameraState::Starting);
        status(&hub, "a", CameraState::Streaming);
        assert_eq!(
            welcome(&hub),
            ["hello first", "model first", "a:streaming", "b:starting"]
        );
        assert_eq!(hub.welcome().1, 3);
    }

    #[test]
    fn a_switch_of_the_model_changes_hello() {
        let hub = Hub::new(&[], &model("first")).unwrap();
        hub.publish(&Message::Model(model("second")));
        assert_eq!(welcome(&hub), ["hello second", "model second"]);
    }

    #[test]
    fn other_cameras_are_told_in_a_new_hello_and_keep_what_is_known() {
        let hub = Hub::new(&["a".into(), "b".into()], &model("first")).unwrap();
        status(&hub, "a", CameraState::Streaming);
        status(&hub, "b", CameraState::Streaming);
        let before = hub.welcome().1;
        hub.change_cameras([], ["a", "b"]);
        assert_eq!(hub.welcome().1, before);
        hub.change_cameras(["b"], ["b", "c"]);
        assert_eq!(welcome(&hub), ["hello first", "model first", "a:streaming"]);
        assert_eq!(hub.welcome().1, before + 1);
        let Message::Hello(hello) = serde_json::from_slice(&hub.welcome().0[0]).unwrap() else {
            panic!("hello comes first")
        };
        assert_eq!(hello.cameras, ["a", "b", "c"]);
    }
}
