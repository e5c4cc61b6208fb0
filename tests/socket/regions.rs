//! Parts of a picture with labels of their own, and what is said where no label is sure, or several are.

use std::time::Duration;

use resnetd::daemon::{Classified, Classifier, ClassifyError, Look, Model, Worth};
use resnetd::frame::Frame;
use resnetd::label::Prediction;
use resnetd::publish::wire::{Change, Classification, Message};
use resnetd::smooth::Confidences;
use resnetd::spec::{Activation, Area, Framing};

use crate::fakes::{Act, ByByte, camera, model, scripted};
use crate::harness::{Running, Subscriber, whole};
use crate::reload::{Reloader, change, the_same};

fn left() -> Area {
    Area::try_from([0.0, 0.0, 0.5, 1.0]).unwrap()
}

fn right() -> Area {
    Area::try_from([0.5, 0.0, 0.5, 1.0]).unwrap()
}

/// On the left it sees the frame's class, elsewhere the other one.
struct BySide;

impl Classifier for BySide {
    fn classify(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let classified = ByByte.classify(frame, framing, worth, out);
        if framing.area != left() {
            out.probabilities.reverse();
        }
        classified
    }
}

fn region(name: &str, area: Area) -> Look {
    let mut look = whole().remove(0);
    look.region = Some(name.into());
    look.framing.area = area;
    look
}

fn classification(message: &Message<'_>) -> Option<(String, String)> {
    match message {
        Message::Classification(Classification { region, top, .. }) => {
            Some((region.as_deref().unwrap_or("-").into(), top.to_string()))
        }
        _ => None,
    }
}

/// The next `count` classifications, as region and label.
fn seen(subscriber: &mut Subscriber, count: usize) -> Vec<(String, String)> {
    let next = |_| {
        let message = subscriber.until(|message| classification(message).is_some());
        classification(&message).unwrap()
    };
    (0..count).map(next).collect()
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(a, b)| (a.into(), b.into())).to_vec()
}

#[test]
fn each_region_has_labels_and_changes_of_its_own_and_late_subscribers_learn_all() {
    let (acts, source) = scripted(true);
    let running = Running::start(vec![camera(source)], Box::new(BySide), |options| {
        options.cameras[0].looks = vec![region("door", left()), region("yard", right())];
    });
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(1)).unwrap();
    let both = owned([("door", "parachute"), ("yard", "golf ball")]);
    assert_eq!(seen(&mut subscriber, 2), both);
    let Message::Change(Change { region, to, .. }) = subscriber.next().unwrap() else {
        panic!("a first label is a change")
    };
    assert_eq!((region.as_deref(), &*to), (Some("yard"), "golf ball"));
    assert_eq!(seen(&mut running.subscribe(), 2), both);
}

#[test]
fn other_regions_count_at_once_and_the_camera_goes_on() {
    let (acts, source) = scripted(true);
    let (reloader, reload) = Reloader::new();
    let running = Running::start(vec![camera(source)], Box::new(BySide), |options| {
        options.reload = Some(reload);
    });
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(0)).unwrap();
    assert_eq!(seen(&mut subscriber, 1), owned([("-", "parachute")]));
    let (told, is_told) = std::sync::mpsc::channel();
    reloader.ask(move || {
        told.send(()).unwrap();
        let mut same = the_same("front");
        same.looks = vec![region("door", left())];
        change(None, vec![same])
    });
    is_told.recv().unwrap();
    // the order comes after the reload; a frame of before may still be looked at whole
    let door = owned([("door", "golf ball")]);
    loop {
        acts.send(Act::Frame(0)).unwrap();
        if seen(&mut subscriber, 1) == door {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(seen(&mut running.subscribe(), 1), door);
}

#[test]
fn other_rules_for_one_region_tell_nothing_again() {
    let (acts, source) = scripted(true);
    let (reloader, reload) = Reloader::new();
    let running = Running::start(vec![camera(source)], Box::new(BySide), |options| {
        options.cameras[0].looks = vec![region("door", left()), region("yard", right())];
        options.reload = Some(reload);
    });
    let mut subscriber = running.subscribe();
    acts.send(Act::Frame(1)).unwrap();
    let both = owned([("door", "parachute"), ("yard", "golf ball")]);
    assert_eq!(seen(&mut subscriber, 2), both);
    subscriber.until(|message| matches!(message, Message::Change(_)));
    let (told, is_told) = std::sync::mpsc::channel();
    reloader.ask(move || {
        told.send(()).unwrap();
        let mut same = the_same("front");
        let mut door = region("door", left());
        door.saying.confidences.usual = Some(0.2);
        same.looks = vec![door, region("yard", right())];
        change(None, vec![same])
    });
    is_told.recv().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    acts.send(Act::Frame(1)).unwrap();
    assert_eq!(seen(&mut subscriber, 2), both);
    acts.send(Act::Frame(0)).unwrap();
    let next = subscriber.until(|message| classification(message).is_none());
    let Message::Change(first) = next else {
        panic!("{next:?}")
    };
    assert_eq!(first.from.as_deref(), Some("parachute"));
}

#[test]
fn a_label_below_its_threshold_is_unknown() {
    let (acts, source) = scripted(true);
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        options.cameras[0].looks[0].saying.confidences = Confidences {
            usual: Some(0.5),
            named: [("parachute".to_owned(), 0.95)].into(),
        };
    });
    let mut subscriber = running.subscribe();
    for class in [0, 1] {
        acts.send(Act::Frame(class)).unwrap();
    }
    let said = seen(&mut subscriber, 2);
    assert_eq!(said, owned([("-", "golf ball"), ("-", "golf ball")]));
    // that none is known is told when it has been so for a while
    std::thread::sleep(Duration::from_millis(1100));
    acts.send(Act::Frame(1)).unwrap();
    assert_eq!(seen(&mut subscriber, 1), owned([("-", "unknown")]));
    let Message::Change(change) = subscriber.next().unwrap() else {
        panic!("that is a change")
    };
    assert_eq!(
        (change.from.as_deref(), &*change.to),
        (Some("golf ball"), "unknown")
    );
}

/// Sees both classes in frames of class 1.
struct Both;

impl Classifier for Both {
    fn classify(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let classified = ByByte.classify(frame, framing, worth, out);
        out.probabilities[0] = 0.8;
        classified
    }
}

#[test]
fn a_model_of_several_labels_says_all_that_hold() {
    let (acts, source) = scripted(true);
    let running = Running::start(vec![camera(source)], Box::new(Both), |options| {
        options.choice.model = Model {
            activation: Activation::Sigmoid,
            ..model(Box::new(Both))
        };
    });
    let mut subscriber = running.subscribe();
    let mut labels = Vec::new();
    for class in [0, 1] {
        acts.send(Act::Frame(class)).unwrap();
        let message = subscriber.until(|message| classification(message).is_some());
        let Message::Classification(said) = message else {
            unreachable!()
        };
        let held = said.labels.unwrap();
        let all: Vec<String> = held.iter().map(|label| label.class.to_string()).collect();
        let Message::Change(change) = subscriber.next().unwrap() else {
            panic!("a label has come")
        };
        assert_eq!(change.labels.unwrap(), all);
        labels.push((all.join(", "), said.top.to_string()));
    }
    let expected = [
        ("golf ball", "golf ball"),
        ("golf ball, parachute", "parachute"),
    ];
    assert_eq!(labels, owned(expected));
}
