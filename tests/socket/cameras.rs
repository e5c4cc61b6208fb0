//! Several cameras, cameras that come late, and how often each is looked at.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use resnetd::daemon::{Classified, Classifier, ClassifyError, Worth};
use resnetd::frame::Frame;
use resnetd::label::Prediction;
use resnetd::publish::wire::{Message, State};
use resnetd::source::{Event, Source};
use resnetd::spec::Framing;

use crate::fakes::{ByByte, Steady, camera, named, scripted};
use crate::harness::Running;

fn steady(milliseconds: u64) -> Box<dyn Source> {
    Box::new(Steady {
        pause: Duration::from_millis(milliseconds),
        count: 0,
    })
}

/// Takes a while, so that frames wait for it.
struct Slow(Duration);

impl Classifier for Slow {
    fn classify(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        thread::sleep(self.0);
        ByByte.classify(frame, framing, worth, out)
    }
}

/// Gone from the beginning.
struct Gone;

impl Source for Gone {
    fn next(&mut self, _: &mut Frame, timeout: Duration) -> Event {
        thread::sleep(timeout.min(Duration::from_millis(1)));
        Event::Lost("not there".into())
    }

    fn lossless(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "gone".into()
    }
}

#[test]
fn fast_cameras_take_turns_and_a_lost_one_takes_none() {
    let cameras = vec![
        named("fast", steady(1)),
        named("gone", Box::new(Gone)),
        named("slower", steady(4)),
    ];
    let slow = Slow(Duration::from_millis(20));
    let running = Running::start(cameras, Box::new(slow), |_| {});
    let mut subscriber = running.subscribe();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for _ in 0..60 {
        let message = subscriber.until(|m| matches!(m, Message::Classification(_)));
        let Message::Classification(one) = message else {
            unreachable!()
        };
        *seen.entry(one.camera.into_owned()).or_default() += 1;
    }
    // Half each if the machine lets every thread run in time.
    assert!(seen["fast"] >= 20 && seen["slower"] >= 20, "{seen:?}");
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_camera_is_looked_at_no_more_often_than_wanted_and_always_at_the_newest_frame() {
    let running = Running::start(vec![camera(steady(2))], Box::new(ByByte), |options| {
        options.settings.target_fps = Some(20.0);
    });
    let mut subscriber = running.subscribe();
    subscriber.until(|m| matches!(m, Message::Classification(_)));
    let begin = Instant::now();
    let mut oldest = 0.0f32;
    for _ in 0..10 {
        let message = subscriber.until(|m| matches!(m, Message::Classification(_)));
        let Message::Classification(one) = message else {
            unreachable!()
        };
        assert!(one.dropped > 0);
        oldest = oldest.max(one.timing.age_ms);
    }
    assert!(
        begin.elapsed() >= Duration::from_millis(450),
        "{:?}",
        begin.elapsed()
    );
    // A frame that had waited for its turn would be 50 ms old.
    assert!(oldest < 45.0, "{oldest} ms");
}

#[test]
fn a_camera_that_is_not_there_yet_is_lost_until_it_comes() {
    let (_acts, opened) = scripted(false);
    drop(opened);
    let mut tries = 0;
    let mut late = camera(steady(5));
    late.source = None;
    late.reopen = Box::new(move || {
        tries += 1;
        if tries < 3 {
            return Err(format!("try {tries}"));
        }
        Ok(steady(5))
    });
    let running = Running::start(vec![late], Box::new(ByByte), |_| {});
    let mut subscriber = running.subscribe();
    let lost =
        subscriber.until(|m| matches!(m, Message::Status(s) if s.state == State::CameraLost));
    let Message::Status(lost) = lost else {
        unreachable!()
    };
    assert!(lost.detail.unwrap().starts_with("try "));
    subscriber.until_state(State::Streaming);
    subscriber.until(|m| matches!(m, Message::Classification(_)));
}
