//! What the inference thread knows of one camera, and the messages that come of it: its state, and the parts of its
//! pictures that are looked at ([`super::look`]).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::look::{Look, Meaning, Part, named};
use super::preview::{Preview, Previews};
use super::{Classified, Observer, Settings};
use crate::frame::Frame;
use crate::label::{Prediction, Score};
use crate::publish::Hub;
use crate::publish::wire::{self, Message, Scored, State, Status, Timing};
use crate::slot::CameraId;
use crate::telemetry::{Frames, Telemetry};

/// How many classes of a frame are published.
const TOP: usize = 5;

/// Where messages go.
pub struct Outlet {
    pub hub: Arc<Hub>,
    pub observer: Option<Observer>,
    pub telemetry: Arc<Telemetry>,
    pub previews: Arc<Previews>,
}

impl Outlet {
    pub fn send(&mut self, message: &Message<'_>) {
        self.hub.publish(message);
        if let Some(observer) = &mut self.observer {
            observer(message);
        }
    }
}

/// A camera as it is announced to the inference thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Introduction {
    pub camera: CameraId,
    pub name: String,
    pub looks: Vec<Look>,
    /// Frames come of themselves, so that their absence says something.
    pub live: bool,
    /// Each picture stands for itself: not smoothed.
    pub independent: bool,
}

/// What is known of a camera.
pub struct View {
    pub about: Introduction,
    pub ended: bool,
    pub parts: Vec<Part>,
    pub frames: Arc<Frames>,
    /// Where people look at its pictures.
    pub preview: Option<Arc<Preview>>,
    state: State,
    /// Why, as it was told.
    detail: Option<String>,
    /// Since when no frame could be classified.
    bad_since: Option<Instant>,
}

impl View {
    /// Of a camera that begins; says so.
    pub fn begin(
        about: Introduction,
        settings: &Settings,
        meaning: &Meaning,
        out: &mut Outlet,
    ) -> Self {
        out.send(&status(&about.name, State::Starting, None));
        Self {
            parts: parts(&about, settings, meaning),
            frames: out.telemetry.watch(&about.name),
            preview: out.previews.find(&about.name),
            about,
            state: State::Starting,
            detail: None,
            bad_since: None,
            ended: false,
        }
    }

    /// Begins afresh what is looked at by other rules.
    pub fn change_settings(&mut self, old: &Settings, new: &Settings) {
        if old.still != new.still {
            for part in &mut self.parts {
                part.change_gate(&self.about, new);
            }
        }
    }

    /// Other parts of the pictures, or the same by other rules. Those that stay as they are go on undisturbed. True if
    /// there are others.
    pub fn change_looks(
        &mut self,
        looks: Vec<Look>,
        settings: &Settings,
        meaning: &Meaning,
    ) -> bool {
        let mut before = std::mem::take(&mut self.parts);
        let mut named = |look: &Look| {
            let same = |part: &Part| part.look.region == look.region;
            before
                .iter()
                .position(same)
                .map(|place| before.remove(place))
        };
        let mut new = false;
        let parts = looks.iter().map(|look| {
            let begun = || Part::new(look.clone(), &self.about, settings, meaning);
            match named(look) {
                Some(part) if part.look == *look => part,
                Some(part) => begun().taking_over(part),
                None => {
                    new = true;
                    begun()
                }
            }
        });
        self.parts = parts.collect();
        self.about.looks = looks;
        new || !before.is_empty()
    }

    /// Another model, which has not seen the scene yet; its scores may mean something else.
    pub fn change_model(&mut self, other_meaning: Option<&Meaning>) {
        for part in &mut self.parts {
            part.forget_scene();
            if let Some(meaning) = other_meaning {
                part.change_meaning(&self.about, meaning);
            }
        }
    }

    /// A frame showed in all its parts what was classified last. How long the camera may be left alone.
    pub fn is_still(&mut self) -> Duration {
        self.frames.still.add(1);
        self.bad_since = None;
        let looks = self.parts.iter().map(Part::leave_alone);
        let shortest = looks.min().filter(|_| self.about.live);
        shortest.unwrap_or_default()
    }

    fn count_dropped(&mut self, frames: u64) {
        for part in &mut self.parts {
            part.dropped += frames;
        }
    }

    /// A frame has come. While none can be classified that says nothing new.
    pub fn arrived(&mut self, dropped: u64, out: &mut Outlet) {
        self.frames.captured.add(dropped + 1);
        self.frames.dropped.add(dropped);
        self.count_dropped(dropped);
        if self.state != State::Stale || self.bad_since.is_none() {
            self.enter(State::Streaming, None, out);
        }
    }

    /// A frame could not be classified, in the parts from one on.
    pub fn bad_frame(&mut self, from: usize, now: Instant) {
        self.frames.unreadable.add(1);
        for part in self.parts.iter_mut().skip(from) {
            part.dropped += 1;
        }
        self.bad_since.get_or_insert(now);
    }

    /// Tells that nothing useful comes, if for `limit` nothing has: no frame (`silence` long), or bad ones only.
    pub fn look_whether_stale(&mut self, silence: Duration, limit: Duration, out: &mut Outlet) {
        let waits = matches!(self.state, State::Starting | State::Streaming);
        if !waits || !self.about.live || self.ended {
            return;
        }
        let what = if silence >= limit {
            "no frame"
        } else if self.bad_since.is_some_and(|since| since.elapsed() >= limit) {
            "no frame that can be classified"
        } else {
            return;
        };
        let detail = format!("{what} for {:.0} s", limit.as_secs_f32());
        self.enter(State::Stale, Some(&detail), out);
    }

    /// Tells a new state, or a new reason for it, once; what was seen before a gap says nothing about what comes
    /// after it.
    pub fn enter(&mut self, state: State, detail: Option<&str>, out: &mut Outlet) {
        if self.state == state && self.detail.as_deref() == detail {
            return;
        }
        self.state = state;
        self.detail = detail.map(str::to_owned);
        if matches!(state, State::CameraLost | State::Stale) {
            self.parts.iter_mut().for_each(Part::reset);
        }
        match detail {
            Some(detail) => log::warn!("{}: {}: {detail}", self.about.name, state.as_str()),
            None => log::info!("{}: {}", self.about.name, state.as_str()),
        }
        out.send(&status(&self.about.name, state, detail));
    }

    /// Publishes what a part of a frame shows.
    pub fn publish<'a>(
        &mut self,
        part: usize,
        seen: &Seen<'a, '_>,
        prediction: &Prediction,
        scores: &mut Scores<'a>,
        out: &mut Outlet,
    ) {
        self.bad_since = None;
        self.enter(State::Streaming, None, out);
        if let Some(part) = self.parts.get_mut(part) {
            part.publish(&self.about.name, seen, prediction, scores, out);
        }
    }
}

fn parts(about: &Introduction, settings: &Settings, meaning: &Meaning) -> Vec<Part> {
    let part = |look: &Look| Part::new(look.clone(), about, settings, meaning);
    about.looks.iter().map(part).collect()
}

/// A frame that was taken and what came of it. `'a` is the model's life, `'f` the frame's.
pub struct Seen<'a, 'f> {
    pub frame: &'f Frame,
    pub frame_id: u64,
    pub classified: Classified,
    pub model: &'a str,
    pub labels: &'a [String],
}

impl Seen<'_, '_> {
    pub fn timing(&self) -> Timing {
        Timing {
            capture_ms: self.frame.capture_ms,
            preprocess_ms: self.classified.preprocess_ms,
            inference_ms: self.classified.inference_ms,
            age_ms: self.frame.captured.elapsed().as_secs_f32() * 1e3,
        }
    }
}

/// What is published of a frame, used again for each.
pub struct Scores<'a> {
    /// The frame's most probable classes.
    pub frame: Vec<Scored<'a>>,
    /// The labels that hold, where there may be several, as sure as the frame is of them.
    pub holding: Vec<Scored<'a>>,
}

impl<'a> Scores<'a> {
    pub fn new() -> Self {
        Self {
            frame: Vec::with_capacity(TOP),
            holding: Vec::new(),
        }
    }

    /// Allocates at most when more labels hold than ever before.
    pub fn fill(&mut self, prediction: &Prediction, holding: &[usize], labels: &'a [String]) {
        let scored = |score: Score| Scored {
            class: named(labels, score.class_id),
            class_id: score.class_id,
            confidence: score.confidence,
        };
        let mut best = [Score::default(); TOP];
        let best = prediction.top_into(&mut best);
        self.frame.clear();
        self.frame.extend(best.iter().copied().map(scored));
        let of = |&class_id: &usize| Score {
            class_id,
            confidence: { prediction.probabilities.get(class_id) }
                .copied()
                .unwrap_or_default(),
        };
        self.holding.clear();
        self.holding.extend(holding.iter().map(of).map(scored));
    }
}

pub fn status<'a>(camera: &'a str, state: State, detail: Option<&'a str>) -> Message<'a> {
    Message::Status(Status {
        camera: camera.into(),
        timestamp: wire::unix_seconds(SystemTime::now()),
        state,
        detail: detail.map(Into::into),
    })
}
