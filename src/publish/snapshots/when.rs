//! Which frames are worth keeping: a pure function of the messages.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::publish::wire::Message;
use crate::spec::When;

/// Of a part of a camera's pictures there are two at least so far apart, but for changes.
const APART: Duration = Duration::from_secs(10);
/// Changes that follow each other quickly are one.
const CHANGES_APART: Duration = Duration::from_secs(1);
/// A network that is less sure is not sure.
const UNSURE: f32 = 0.6;

/// A frame to be kept, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    pub camera: String,
    pub region: Option<String>,
    pub top: String,
    pub confidence: f32,
    pub because: When,
}

pub struct Moments {
    when: When,
    last: HashMap<(String, Option<String>), Instant>,
}

impl Moments {
    pub fn new(when: When) -> Self {
        Self {
            when,
            last: HashMap::new(),
        }
    }

    /// The moment, if this message is one.
    pub fn hear(&mut self, message: &Message<'_>, now: Instant) -> Option<Moment> {
        let (camera, region, top, confidence, apart) = match message {
            Message::Hello(hello) => {
                self.last
                    .retain(|(camera, _), _| hello.cameras.contains(camera));
                return None;
            }
            Message::Change(change) if self.when == When::Change => {
                // of a camera's first label nobody knows whether it is one
                change.from.as_ref()?;
                (
                    &change.camera,
                    &change.region,
                    &change.to,
                    change.confidence,
                    CHANGES_APART,
                )
            }
            Message::Classification(frame) if self.when != When::Change => {
                let sure = frame
                    .predictions
                    .first()
                    .map_or(0.0, |first| first.confidence);
                if self.when == When::Uncertain && sure >= UNSURE {
                    return None;
                }
                (
                    &frame.camera,
                    &frame.region,
                    &frame.top,
                    frame.confidence,
                    APART,
                )
            }
            _ => return None,
        };
        let key = (camera.to_string(), region.as_deref().map(str::to_owned));
        let last = self.last.get(&key);
        if last.is_some_and(|last| now.saturating_duration_since(*last) < apart) {
            return None;
        }
        self.last.insert(key.clone(), now);
        Some(Moment {
            camera: key.0,
            region: key.1,
            top: top.to_string(),
            confidence,
            because: self.when,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::samples;

    fn change() -> Message<'static> {
        samples::change(None, 1.0, "x")
    }

    fn frame(confidence: f32, region: &'static str) -> Message<'static> {
        Message::Classification(samples::classification(Some(region), confidence))
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn changes_are_kept_but_not_the_first_label_nor_each_of_a_flurry() {
        let (mut moments, start) = (Moments::new(When::Change), Instant::now());
        let Message::Change(mut first) = change() else {
            panic!("a change is none")
        };
        first.from = None;
        assert_eq!(moments.hear(&Message::Change(first), start), None);
        assert_eq!(moments.hear(&change(), start).unwrap().top, "x");
        assert_eq!(moments.hear(&change(), start + seconds(1) / 2), None);
        assert!(moments.hear(&change(), start + seconds(2)).is_some());
        assert_eq!(moments.hear(&frame(0.1, "r"), start + seconds(3)), None);
    }

    #[test]
    fn what_the_network_is_not_sure_of_is_kept_now_and_then_for_each_region() {
        let (mut moments, start) = (Moments::new(When::Uncertain), Instant::now());
        assert_eq!(moments.hear(&frame(0.7, "r"), start), None);
        assert!(moments.hear(&frame(0.5, "r"), start).is_some());
        assert!(moments.hear(&frame(0.5, "s"), start).is_some());
        assert_eq!(moments.hear(&frame(0.5, "r"), start + seconds(9)), None);
        assert!(
            moments
                .hear(&frame(0.5, "r"), start + seconds(10))
                .is_some()
        );
        assert_eq!(moments.hear(&change(), start + seconds(99)), None);
    }

    #[test]
    fn every_means_every_ten_seconds() {
        let (mut moments, start) = (Moments::new(When::Every), Instant::now());
        let kept = (0..100).filter(|&n| {
            moments
                .hear(&frame(0.99, "r"), start + seconds(n))
                .is_some()
        });
        assert_eq!(kept.count(), 10);
    }
}
