//! What a broker is told, of messages that are made up.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::publish::pictures::{Picture, Question, Scene, View, Why};
use crate::publish::samples::{self, hello};

/// A camera with two regions, `a`, and one without.
#[derive(Default)]
struct Scenes {
    /// What is looked at is not known yet.
    hidden: AtomicBool,
}

impl Pictures for Scenes {
    fn number(&self, _: &str) -> u64 {
        0
    }

    fn newest(&self, _: &str, _: u64) -> Option<Picture> {
        None
    }

    fn part(&self, _: &str, _: Option<&str>, _: u64) -> Option<Picture> {
        None
    }

    fn scene(&self, camera: &str) -> Option<Scene> {
        if self.hidden.load(Ordering::Relaxed) {
            return None;
        }
        let regions = if camera == "a" {
            vec![Some("x"), Some("y")]
        } else {
            vec![None]
        };
        let view = |region: Option<&str>| View {
            region: region.map(str::to_owned),
            area: [0.0, 0.0, 1.0, 1.0],
            seen: None,
        };
        Some(Scene {
            views: regions.into_iter().map(view).collect(),
            ..Scene::default()
        })
    }

    fn why(&self, _: Question<'_>) -> Option<Why> {
        None
    }
}

fn composer() -> Composer {
    composer_of(Arc::default())
}

fn composer_of(scenes: Arc<Scenes>) -> Composer {
    let topics = Topics::new("pi");
    let labels = vec!["ball".to_owned()];
    Composer::new(topics, labels, Some("ha".into()), scenes)
}

fn classification(confidence: f32) -> Message<'static> {
    Message::Classification(samples::classification(Some("x"), confidence))
}

fn change(to: &'static str) -> Message<'static> {
    samples::change(Some("x"), 6.0, to)
}

fn drain(out: &mut Outbox) -> Vec<(String, serde_json::Value)> {
    std::iter::from_fn(|| out.take())
        .map(|item| {
            (
                item.topic,
                serde_json::from_slice(&item.payload).unwrap_or_default(),
            )
        })
        .collect()
}

fn of<'a>(sent: &'a [(String, serde_json::Value)], topic: &str) -> Vec<&'a serde_json::Value> {
    let same = sent.iter().filter(|(one, _)| one == topic);
    same.map(|(_, payload)| payload).collect()
}

#[test]
fn a_change_is_a_state_and_an_event_whose_number_grows_by_one() {
    let (mut composer, mut out) = (composer(), Outbox::default());
    composer.hear(&hello(&["a"]), &mut out);
    composer.hear(&change("cup"), &mut out);
    composer.hear(&change("ball"), &mut out);
    let sent = drain(&mut out);
    let label = of(&sent, "resnetd/pi/a/x/label");
    assert_eq!(label.len(), 1);
    assert_eq!(
        (&label[0]["label"], &label[0]["labels"][0]),
        (&"ball".into(), &"ball".into())
    );
    let events = of(&sent, "resnetd/pi/a/x/event");
    let numbers: Vec<_> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(events[0]["region"], "x");
    assert_eq!(events[0]["run"], events[1]["run"]);
}

#[test]
fn a_label_that_stays_is_not_told_with_every_frame() {
    let (mut composer, mut out) = (composer(), Outbox::default());
    composer.hear(&hello(&["a"]), &mut out);
    (0..50_u8).for_each(|n| composer.hear(&classification(f32::from(n) / 50.0), &mut out));
    let sent = drain(&mut out);
    assert_eq!(of(&sent, "resnetd/pi/a/x/label").len(), 1);
    composer.hear(&classification(0.5), &mut out);
    assert!(of(&drain(&mut out), "resnetd/pi/a/x/label").is_empty());
}

#[test]
fn home_assistant_is_told_of_each_region_and_wanted_label() {
    let (mut composer, mut out) = (composer(), Outbox::default());
    composer.hear(&hello(&["a", "b"]), &mut out);
    let sent = drain(&mut out);
    let config = of(&sent, "ha/device/resnetd-pi/config")[0];
    assert_eq!(label_sensors(config), 3);
    assert_eq!(config["device"]["model"], "m");
}

fn label_sensors(config: &serde_json::Value) -> usize {
    let components = config["components"].as_object().unwrap();
    let is = { components.values() }.filter(|one| one["platform"] == "binary_sensor");
    is.count()
}

#[test]
fn home_assistant_is_told_again_once_the_parts_of_a_camera_are_known() {
    let scenes = Arc::new(Scenes::default());
    scenes.hidden.store(true, Ordering::Relaxed);
    let (mut composer, mut out) = (composer_of(Arc::clone(&scenes)), Outbox::default());
    composer.hear(&hello(&["a", "b"]), &mut out);
    let topic = "ha/device/resnetd-pi/config";
    let sent = drain(&mut out);
    assert_eq!(label_sensors(of(&sent, topic)[0]), 0);
    scenes.hidden.store(false, Ordering::Relaxed);
    composer.hear(&classification(0.5), &mut out);
    let sent = drain(&mut out);
    assert_eq!(label_sensors(of(&sent, topic)[0]), 3);
    composer.hear(&change("cup"), &mut out);
    let sent = drain(&mut out);
    assert!(of(&sent, topic).is_empty(), "nothing is new");
}

#[test]
fn what_was_told_of_a_camera_that_has_gone_is_to_be_forgotten() {
    let (mut composer, mut out) = (composer(), Outbox::default());
    composer.hear(&hello(&["a", "ab"]), &mut out);
    composer.hear(&change("cup"), &mut out);
    composer.hear(&samples::status("ab", 1.0, State::Streaming), &mut out);
    drain(&mut out);
    composer.hear(&hello(&["ab"]), &mut out);
    let gone: Vec<String> = std::iter::from_fn(|| out.take())
        .filter(|item| item.payload.is_empty())
        .map(|item| item.topic)
        .collect();
    assert_eq!(gone, ["resnetd/pi/a/camera", "resnetd/pi/a/x/label"]);
}

#[test]
fn a_cameras_frames_are_averages_since_the_last_time() {
    let (mut composer, mut out) = (composer(), Outbox::default());
    composer.hear(&hello(&["a"]), &mut out);
    composer.hear(&classification(0.5), &mut out);
    drain(&mut out);
    composer.sense(&Readings::default(), &mut out);
    let sent = drain(&mut out);
    let camera = of(&sent, "resnetd/pi/a/camera")[0];
    assert_eq!(camera["inference_ms"], 30.0);
    assert_eq!(of(&sent, "resnetd/pi/machine")[0]["model"], "m");
    composer.sense(&Readings::default(), &mut out);
    assert!(of(&drain(&mut out), "resnetd/pi/a/camera")[0]["inference_ms"].is_null());
}

#[test]
fn pictures_of_changes_are_not_sent_more_often_than_people_look() {
    let (mut composer, mut out) = (composer(), Outbox::default());
    composer.hear(&hello(&["a"]), &mut out);
    assert!(composer.pictures_due("a"));
    assert!(!composer.pictures_due("a"));
    assert!(!composer.pictures_due("other"));
}
