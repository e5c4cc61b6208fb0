//! What is said and in which order, as frames come, cameras fail and subscribers arrive late.

use std::time::{Duration, SystemTime};

use resnetd::daemon::{Classified, Classifier, ClassifyError, Totals, Worth};
use resnetd::frame::Frame;
use resnetd::label::Prediction;
use resnetd::publish::wire::{Message, State};
use resnetd::source::{Event, Source};
use resnetd::spec::Framing;

use crate::fakes::{Act, ByByte, camera, scripted};
use crate::harness::{Running, kind};

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
            bad: 1,
            over: true
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
        options.settings.stale_after = Duration::from_millis(150);
    });
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(0)).unwrap();
    subscriber.until_state(State::Streaming);
    subscriber.until_state(State::Stale);
    acts.send(Act::Frame(0)).unwrap();
    subscriber.until_state(State::Streaming);
}

/// Pictures that are given when their turn comes, not by a camera.
struct Pictures(Box<dyn Source>);

impl Source for Pictures {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        self.0.next(frame, timeout)
    }

    fn lossless(&self) -> bool {
        self.0.lossless()
    }

    fn independent(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "pictures".into()
    }
}

#[test]
fn pictures_that_come_slowly_are_not_stale() {
    let (acts, source) = scripted(false);
    let pictures = camera(Box::new(Pictures(source)));
    let running = Running::start(vec![pictures], Box::new(ByByte), |options| {
        options.settings.stale_after = Duration::from_millis(100);
    });
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(0)).unwrap();
    subscriber.until_state(State::Streaming);
    std::thread::sleep(Duration::from_millis(500));
    acts.send(Act::End).unwrap();
    let rest: Vec<String> = std::iter::from_fn(|| subscriber.next())
        .map(|message| kind(&message))
        .collect();
    assert!(!rest.iter().any(|kind| kind == "stale"), "{rest:?}");
    assert_eq!(rest.last().map(String::as_str), Some("stopping"));
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
fn a_camera_of_which_no_frame_can_be_classified_is_stale_until_one_can() {
    let (acts, source) = scripted(false);
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        options.settings.stale_after = Duration::from_millis(300);
    });
    let mut subscriber = running.subscribe();
    let feeding = std::thread::spawn(move || {
        for _ in 0..100 {
            acts.send(Act::Torn).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        acts
    });
    let stale = subscriber.until(|m| matches!(m, Message::Status(s) if s.state == State::Stale));
    let Message::Status(stale) = stale else {
        unreachable!()
    };
    let acts = feeding.join().unwrap();
    acts.send(Act::Frame(0)).unwrap();
    assert_eq!(subscriber.kinds(2), ["streaming", "101 golf ball"]);
    let detail = stale.detail.unwrap();
    assert!(detail.contains("classified"), "{detail}");
}

#[test]
fn another_reason_for_a_loss_is_told_and_the_same_is_not_told_again() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut subscriber = running.subscribe();
    for act in [Act::Lose, Act::Lose, Act::Panic] {
        acts.send(act).unwrap();
    }
    let mut reason = || {
        let lost =
            subscriber.until(|m| matches!(m, Message::Status(s) if s.state == State::CameraLost));
        let Message::Status(lost) = lost else {
            unreachable!()
        };
        lost.detail.unwrap()
    };
    assert_eq!(reason(), "unplugged");
    let second = reason();
    assert!(second.contains("a driver's surprise"), "{second}");
}

#[test]
fn a_frame_that_makes_the_classifier_panic_is_a_bad_frame_but_not_again_and_again() {
    struct Brittle;
    impl Classifier for Brittle {
        fn classify(
            &mut self,
            frame: &Frame,
            framing: &Framing,
            worth: Worth,
            out: &mut Prediction,
        ) -> Result<Option<Classified>, ClassifyError> {
            assert_ne!(frame.data[0], 1, "as planned");
            ByByte.classify(frame, framing, worth, out)
        }
    }
    let (acts, source) = scripted(true);
    let mut running = Running::start(vec![camera(source)], Box::new(Brittle), |_| {});
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(1)).unwrap();
    acts.send(Act::Frame(0)).unwrap();
    subscriber.until(|m| matches!(m, Message::Classification(one) if one.dropped == 1));
    for _ in 0..40 {
        // It ends before the last.
        let _ = acts.send(Act::Frame(1));
    }
    let ended = running.join().unwrap_err().to_string();
    assert!(ended.contains("as planned"), "{ended}");
}
