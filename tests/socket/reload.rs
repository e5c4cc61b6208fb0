//! Other cameras, another model, other settings while it runs; and a reload that fails.

use std::sync::mpsc::{self, Receiver, Sender};

use resnetd::daemon::{Camera, Change, Choice, Model, Reload};
use resnetd::publish::wire::{Message, Reason, State};

use crate::fakes::{Act, ByByte, camera, labelled, named, scripted};
use crate::harness::{Running, settings};

type Wanted = Result<Change, String>;

/// Loads what comes through a channel.
struct ByChannel {
    wanted: Receiver<Box<dyn FnOnce() -> Wanted + Send>>,
    next: Option<Box<dyn FnOnce() -> Wanted + Send>>,
}

impl Reload for ByChannel {
    fn is_due(&mut self) -> bool {
        self.next = self.wanted.try_recv().ok();
        self.next.is_some()
    }

    fn load(&mut self) -> Wanted {
        self.next.take().unwrap()()
    }
}

pub struct Reloader(Sender<Box<dyn FnOnce() -> Wanted + Send>>);

impl Reloader {
    pub fn new() -> (Self, Box<dyn Reload>) {
        let (send, wanted) = mpsc::channel();
        (Self(send), Box::new(ByChannel { wanted, next: None }))
    }

    pub fn ask(&self, wanted: impl FnOnce() -> Wanted + Send + 'static) {
        self.0.send(Box::new(wanted)).unwrap();
    }
}

pub fn change(model: Option<Model>, cameras: Vec<Camera>) -> Wanted {
    Ok(Change {
        choice: model.map(|model| Choice {
            model,
            others: None,
        }),
        settings: settings(),
        cameras,
    })
}

/// One that is watched already: never opened.
pub fn the_same(name: &str) -> Camera {
    Camera {
        source: None,
        reopen: Box::new(|| panic!("it is watched already")),
        ..named(name, scripted(false).1)
    }
}

#[test]
fn another_model_loses_no_subscriber_and_no_camera() {
    let (acts, source) = scripted(true);
    let (reloader, reload) = Reloader::new();
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        options.reload = Some(reload);
    });
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(1)).unwrap();
    assert_eq!(
        subscriber.kinds(6)[3..],
        ["streaming", "1 parachute", "nothing -> parachute"]
    );
    reloader.ask(|| {
        let model = labelled(["cat", "dog"], Box::new(ByByte));
        change(Some(model), vec![the_same("front")])
    });
    let Some(Message::Model(model)) = subscriber.next() else {
        panic!("the model is told")
    };
    assert_eq!(model.reason, Reason::Config);
    acts.send(Act::Frame(1)).unwrap();
    // Another model's labels begin anew, the camera's frames go on.
    assert_eq!(subscriber.kinds(2), ["2 dog", "nothing -> dog"]);
}

#[test]
fn cameras_come_and_go_and_the_others_go_on() {
    let (front, front_source) = scripted(true);
    let (_back, back_source) = scripted(true);
    let (reloader, reload) = Reloader::new();
    let cameras = vec![named("front", front_source), named("back", back_source)];
    let running = Running::start(cameras, Box::new(ByByte), |options| {
        options.reload = Some(reload);
    });
    let mut subscriber = running.subscribe();
    front.send(Act::Frame(0)).unwrap();
    subscriber.until(|m| matches!(m, Message::Change(_)));
    let (side, side_source) = scripted(true);
    reloader.ask(|| change(None, vec![the_same("front"), named("side", side_source)]));
    subscriber.until(
        |m| matches!(m, Message::Status(s) if s.camera == "back" && s.state == State::Stopping),
    );
    let Some(Message::Hello(hello)) = subscriber.next() else {
        panic!("who is there is told")
    };
    assert_eq!(hello.cameras, ["front", "side"]);
    subscriber.until(
        |m| matches!(m, Message::Status(s) if s.camera == "side" && s.state == State::Starting),
    );
    side.send(Act::Frame(1)).unwrap();
    subscriber.until(|m| matches!(m, Message::Classification(c) if c.camera == "side"));
    front.send(Act::Frame(0)).unwrap();
    subscriber.until(
        |m| matches!(m, Message::Classification(c) if c.camera == "front" && c.frame_id == 2),
    );
}

#[test]
fn a_reload_that_fails_changes_nothing_and_the_next_one_counts() {
    let (acts, source) = scripted(true);
    let (reloader, reload) = Reloader::new();
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        options.reload = Some(reload);
    });
    let mut subscriber = running.subscribe();
    subscriber.until_state(State::Starting);
    reloader.ask(|| Err("no such model".into()));
    reloader.ask(|| panic!("a surprise in a bundle"));
    acts.send(Act::Frame(0)).unwrap();
    assert_eq!(
        subscriber.kinds(3),
        ["streaming", "1 golf ball", "nothing -> golf ball"]
    );
    reloader.ask(|| {
        let model = labelled(["cat", "dog"], Box::new(ByByte));
        change(Some(model), vec![the_same("front")])
    });
    subscriber.until(|m| matches!(m, Message::Model(_)));
    acts.send(Act::Frame(0)).unwrap();
    assert_eq!(subscriber.kinds(1), ["2 cat"]);
}

#[test]
fn a_camera_with_another_source_is_another_camera_even_under_its_old_name() {
    let (old, old_source) = scripted(true);
    let (reloader, reload) = Reloader::new();
    let mut running = Running::start(vec![camera(old_source)], Box::new(ByByte), |options| {
        options.reload = Some(reload);
    });
    let mut subscriber = running.subscribe();
    old.send(Act::Frame(0)).unwrap();
    subscriber.until(|m| matches!(m, Message::Change(_)));
    let (new, new_source) = scripted(true);
    reloader.ask(|| {
        let mut camera = camera(new_source);
        camera.key = "another".into();
        change(None, vec![camera])
    });
    subscriber.until_state(State::Starting);
    // Its thread has ended, and with it the old source.
    assert!(old.send(Act::Frame(0)).is_err());
    new.send(Act::Frame(1)).unwrap();
    assert_eq!(
        subscriber.kinds(3),
        ["streaming", "1 parachute", "nothing -> parachute"]
    );
    new.send(Act::End).unwrap();
    assert_eq!(running.join().unwrap().classified, 2);
}
