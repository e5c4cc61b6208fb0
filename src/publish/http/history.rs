//! The last hour, for somebody who was away: each label with the time from which it held, and every ten seconds how long the
//! stages took. Bounded however long the daemon runs and however often labels change.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde::Serialize;

use crate::publish::sensors::Readings;
use crate::publish::wire::{Classification, Message, State, unix_seconds};

const HOUR: f64 = 3600.0;
/// Of one part of a camera's pictures.
const MOST_LABELS: usize = 1000;
/// Seconds of an interval.
const STEP: f64 = 10.0;
/// As many as an hour has.
const MOST_INTERVALS: usize = 360;

/// What is remembered.
#[derive(Debug, Default, Serialize)]
pub struct History {
    timelines: Vec<Timeline>,
    charts: Vec<Chart>,
    heat: VecDeque<Warmth>,
}

/// Labels of a part of a camera's pictures.
#[derive(Debug, Serialize)]
struct Timeline {
    camera: String,
    region: Option<String>,
    labels: VecDeque<Held>,
}

/// A label, and since when.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Held {
    /// Unix seconds.
    since: f64,
    /// `None`: the camera saw nothing.
    label: Option<String>,
    confidence: f32,
}

/// How a camera's frames went, every [`STEP`] seconds.
#[derive(Debug, Serialize)]
struct Chart {
    camera: String,
    #[serde(skip)]
    last_frame: u64,
    intervals: VecDeque<Interval>,
}

/// Milliseconds are averages.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Interval {
    /// Unix seconds of its beginning.
    at: f64,
    frames: u32,
    classifications: u32,
    dropped: u64,
    capture_ms: f32,
    preprocess_ms: f32,
    inference_ms: f32,
    age_ms: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Warmth {
    at: f64,
    celsius: f64,
}

impl History {
    pub fn hear(&mut self, message: &Message<'_>) {
        match message {
            Message::Hello(hello) => {
                let there = |camera: &String| hello.cameras.contains(camera);
                self.timelines.retain(|timeline| there(&timeline.camera));
                self.charts.retain(|chart| there(&chart.camera));
            }
            Message::Status(status) => {
                let blind = matches!(status.state, State::CameraLost | State::Stale);
                let of = { &mut self.timelines }
                    .iter_mut()
                    .filter(|timeline| blind && timeline.camera == status.camera);
                of.for_each(|timeline| timeline.hold(status.timestamp, None, 0.0));
            }
            Message::Classification(classification) => self.classified(classification),
            Message::Change(change) => {
                let timeline = self.timeline(&change.camera, change.region.as_deref());
                timeline.hold(change.timestamp, Some(&change.to), change.confidence);
            }
            Message::Model(_) | Message::Lagged(_) => {}
        }
    }

    pub fn sense(&mut self, readings: &Readings) {
        if let Some(celsius) = readings.celsius {
            let at = unix_seconds(SystemTime::now());
            push(&mut self.heat, Warmth { at, celsius }, MOST_INTERVALS);
        }
    }

    fn classified(&mut self, classification: &Classification<'_>) {
        let region = classification.region.as_deref();
        let timeline = self.timeline(&classification.camera, region);
        // a label that holds again after a gap is no change
        if timeline
            .labels
            .back()
            .is_none_or(|held| held.label.is_none())
        {
            let (at, top) = (classification.timestamp, &classification.top);
            timeline.hold(at, Some(top), classification.confidence);
        }
        self.chart(&classification.camera).add(classification);
    }

    fn timeline(&mut self, camera: &str, region: Option<&str>) -> &mut Timeline {
        let same = |one: &Timeline| one.camera == camera && one.region.as_deref() == region;
        let place = self.timelines.iter().position(same).unwrap_or_else(|| {
            self.timelines.push(Timeline {
                camera: camera.to_owned(),
                region: region.map(str::to_owned),
                labels: VecDeque::new(),
            });
            self.timelines.len() - 1
        });
        &mut self.timelines[place]
    }

    fn chart(&mut self, camera: &str) -> &mut Chart {
        let place = { &self.charts }
            .iter()
            .position(|chart| chart.camera == camera);
        let place = place.unwrap_or_else(|| {
            self.charts.push(Chart {
                camera: camera.to_owned(),
                last_frame: 0,
                intervals: VecDeque::new(),
            });
            self.charts.len() - 1
        });
        &mut self.charts[place]
    }
}

fn push<T>(list: &mut VecDeque<T>, new: T, most: usize) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(new);
}

impl Timeline {
    fn hold(&mut self, since: f64, label: Option<&str>, confidence: f32) {
        let same = |held: &Held| held.label.as_deref() == label;
        if self.labels.back().is_some_and(same) {
            return;
        }
        // the one that held an hour ago stays
        while { self.labels.get(1) }.is_some_and(|second| second.since < since - HOUR) {
            self.labels.pop_front();
        }
        let held = Held {
            since,
            label: label.map(str::to_owned),
            confidence,
        };
        push(&mut self.labels, held, MOST_LABELS);
    }
}

impl Chart {
    fn add(&mut self, classification: &Classification<'_>) {
        let at = (classification.timestamp / STEP).floor() * STEP;
        if { self.intervals.back() }.is_none_or(|interval| interval.at < at) {
            let new = Interval {
                at,
                ..Interval::default()
            };
            push(&mut self.intervals, new, MOST_INTERVALS);
        }
        let Some(interval) = self.intervals.back_mut() else {
            return;
        };
        // regions of one frame are one frame, and all tell of what was dropped before it
        if classification.frame_id != self.last_frame {
            self.last_frame = classification.frame_id;
            interval.frames += 1;
            interval.dropped += classification.dropped;
        }
        interval.classifications += 1;
        let timing = &classification.timing;
        #[allow(clippy::cast_precision_loss)] // of ten seconds
        let count = interval.classifications as f32;
        let average = |mean: &mut f32, new: f32| *mean += (new - *mean) / count;
        average(&mut interval.capture_ms, timing.capture_ms);
        average(&mut interval.preprocess_ms, timing.preprocess_ms);
        average(&mut interval.inference_ms, timing.inference_ms);
        average(&mut interval.age_ms, timing.age_ms);
    }
}

#[cfg(test)]
mod tests;
