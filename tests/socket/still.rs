//! Still scenes: what does not change is not classified, what changes is, and nothing is forgotten for long.

use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use resnetd::adapt::still;
use resnetd::publish::wire::Message;

use crate::fakes::{Act, ByByte, camera, scripted};
use crate::harness::{Running, Subscriber};

const FRAME: Duration = Duration::from_millis(5);

fn start(interval: Duration) -> (Sender<Act>, Running) {
    let (acts, source) = scripted(false);
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        options.cameras[0].looks[0].saying.smoothing.hold = Duration::from_millis(100);
        options.settings.still = Some(still::Settings {
            look: 2 * FRAME,
            max_interval: interval,
        });
    });
    (acts, running)
}

/// Shows a class for `time`; how many classifications that made.
fn show(acts: &Sender<Act>, subscriber: &mut Subscriber, class: u8, time: Duration) -> usize {
    let end = Instant::now() + time;
    while Instant::now() < end {
        acts.send(Act::Frame(class)).unwrap();
        thread::sleep(FRAME);
    }
    // the last word comes after everything that was said before
    acts.send(Act::Lose).unwrap();
    let mut count = 0;
    subscriber.until(|message| {
        count += usize::from(matches!(message, Message::Classification(_)));
        matches!(message, Message::Status(status) if status.detail.is_some())
    });
    count
}

#[test]
fn a_still_scene_is_not_classified_frame_by_frame() {
    let (acts, mut running) = start(Duration::from_secs(60));
    let mut subscriber = running.subscribe();
    let count = show(&acts, &mut subscriber, 0, Duration::from_secs(2));
    // for the first tenth of a second each one, then none: some 20 of 400
    assert!((1..150).contains(&count), "{count}");
    running.stop().unwrap();
}

#[test]
fn a_still_scene_is_classified_again_after_the_interval() {
    let (acts, mut running) = start(Duration::from_millis(200));
    let mut subscriber = running.subscribe();
    let count = show(&acts, &mut subscriber, 0, Duration::from_secs(2));
    assert!(count >= 5, "{count}");
    running.stop().unwrap();
}

#[test]
fn a_change_is_told_although_the_scene_was_still() {
    let (acts, mut running) = start(Duration::from_secs(60));
    let mut subscriber = running.subscribe();
    let began = Instant::now();
    let mut class = 0;
    let mut changes = Vec::new();
    while changes.len() < 4 {
        assert!(began.elapsed() < Duration::from_secs(20), "{changes:?}");
        for _ in 0..100 {
            acts.send(Act::Frame(class)).unwrap();
            thread::sleep(FRAME);
        }
        subscriber.until(|message| match message {
            Message::Change(change) => {
                changes.push(change.to.to_string());
                true
            }
            _ => false,
        });
        class = 1 - class;
    }
    assert_eq!(
        changes,
        ["golf ball", "parachute", "golf ball", "parachute"]
    );
    running.stop().unwrap();
}
