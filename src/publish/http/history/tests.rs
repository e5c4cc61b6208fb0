//! What is remembered of an hour, and what is not.

use super::*;
use crate::publish::wire::{Change, Image, Scored, Status, Timing};

fn classification(at: f64, frame_id: u64, region: Option<&str>, top: &str) -> Message<'static> {
    Message::Classification(Classification {
        camera: "a".into(),
        region: region.map(|region| region.to_owned().into()),
        frame_id,
        timestamp: at,
        model: "m".into(),
        image: Image {
            width: 4,
            height: 3,
        },
        predictions: Vec::<Scored>::new().into(),
        labels: None,
        top: top.to_owned().into(),
        confidence: 0.5,
        timing: Timing {
            capture_ms: 1.0,
            preprocess_ms: 2.0,
            inference_ms: 10.0 * frame_id as f32,
            age_ms: 50.0,
        },
        dropped: 1,
    })
}

fn change(at: f64, to: &str) -> Message<'static> {
    Message::Change(Change {
        camera: "a".into(),
        region: None,
        timestamp: at,
        from: None,
        to: to.to_owned().into(),
        labels: None,
        confidence: 0.5,
    })
}

fn lost(at: f64) -> Message<'static> {
    Message::Status(Status {
        camera: "a".into(),
        timestamp: at,
        state: State::CameraLost,
        detail: None,
    })
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
        classification(1.0, 1, None, "x"),
        change(1.0, "x"),
        classification(2.0, 2, None, "x"),
        change(3.0, "y"),
        lost(4.0),
        lost(5.0),
        classification(6.0, 3, None, "y"),
    ];
    messages.iter().for_each(|message| history.hear(message));
    let held = [
        (1.0, Some("x")),
        (3.0, Some("y")),
        (4.0, None),
        (6.0, Some("y")),
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
        history.hear(&classification(at * 10.0, n.into(), None, "x"));
    }
    assert_eq!(history.timelines[0].labels.len(), MOST_LABELS);
    assert_eq!(history.charts[0].intervals.len(), MOST_INTERVALS);
}

#[test]
fn intervals_have_averages_and_regions_of_a_frame_are_one_frame() {
    let mut history = History::default();
    history.hear(&classification(11.0, 1, Some("door"), "x"));
    history.hear(&classification(11.0, 1, Some("gate"), "x"));
    history.hear(&classification(12.0, 4, Some("door"), "x"));
    history.hear(&classification(20.5, 5, Some("door"), "x"));
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
    history.hear(&change(1.0, "x"));
    let hello = r#"{"type":"hello","protocol":1,"version":"0","cameras":["b"],"model":{"name":"m","arch":"r","precision":"int8","labels":1}}"#;
    history.hear(&serde_json::from_str(hello).unwrap());
    assert!(history.timelines.is_empty());
}
