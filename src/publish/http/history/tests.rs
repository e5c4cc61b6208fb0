//! What is remembered of an hour, and what is not.

use super::*;
use crate::publish::samples;

fn classification(at: f64, frame_id: u64, region: Option<&'static str>) -> Message<'static> {
    let mut message = samples::classification(region, 0.5);
    (message.timestamp, message.frame_id) = (at, frame_id);
    message.timing.inference_ms = if frame_id == 4 { 40.0 } else { 10.0 };
    Message::Classification(message)
}

fn change(at: f64, to: &'static str) -> Message<'static> {
    samples::change(None, at, to)
}

fn lost(at: f64) -> Message<'static> {
    samples::status("a", at, State::CameraLost)
}

fn labels(history: &History) -> Vec<(f64, Option<&str>)> {
    let held = history
        .timelines
        .iter()
        .flat_map(|timeline| &timeline.labels);
    held.map(|held| (held.since, held.label.as_deref()))
        .collect()
}

#[test]
fn a_label_holds_until_the_next_or_until_the_camera_is_lost() {
    let mut history = History::default();
    let messages = [
        classification(1.0, 1, None),
        change(1.0, "ball"),
        classification(2.0, 2, None),
        change(3.0, "y"),
        lost(4.0),
        lost(5.0),
        classification(6.0, 3, None),
    ];
    messages.iter().for_each(|message| history.hear(message));
    let held = [
        (1.0, Some("ball")),
        (3.0, Some("y")),
        (4.0, None),
        (6.0, Some("ball")),
    ];
    assert_eq!(labels(&history), held);
}

#[test]
fn an_hour_is_remembered_and_what_held_when_it_began() {
    let mut history = History::default();
    for (at, to) in [(0.0, "a"), (10.0, "b"), (2000.0, "c"), (3700.0, "d")] {
        history.hear(&change(at, to));
    }
    let held = [(10.0, Some("b")), (2000.0, Some("c")), (3700.0, Some("d"))];
    assert_eq!(labels(&history), held);
}

#[test]
fn neither_flapping_labels_nor_long_days_take_more_memory() {
    let mut history = History::default();
    for n in 0..3000_u32 {
        let at = f64::from(n);
        history.hear(&change(at / 10.0, if n % 2 == 0 { "x" } else { "y" }));
        history.hear(&classification(at * 10.0, n.into(), None));
    }
    assert_eq!(history.timelines[0].labels.len(), MOST_LABELS);
    assert_eq!(history.charts[0].intervals.len(), MOST_INTERVALS);
}

#[test]
fn intervals_have_averages_and_regions_of_a_frame_are_one_frame() {
    let mut history = History::default();
    history.hear(&classification(11.0, 1, Some("door")));
    history.hear(&classification(11.0, 1, Some("gate")));
    history.hear(&classification(12.0, 4, Some("door")));
    history.hear(&classification(20.5, 5, Some("door")));
    let first = &history.charts[0].intervals[0];
    assert_eq!(
        (first.at, first.frames, first.classifications, first.dropped),
        (10.0, 2, 3, 2)
    );
    assert!((first.inference_ms - 20.0).abs() < 1e-4);
    assert_eq!(history.charts[0].intervals[1].at, 20.0);
    assert_eq!(history.timelines.len(), 2);
}

#[test]
fn a_camera_that_is_not_watched_any_more_is_forgotten() {
    let mut history = History::default();
    history.hear(&change(1.0, "ball"));
    history.hear(&samples::hello(&["b"]));
    assert!(history.timelines.is_empty());
}
