//! What the inference thread knows of one camera, and the messages that come of it: its state, its smoothed
//! label and what was dropped since the last message.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Classified, Observer, Settings};
use crate::adapt::still::{StillGate, Thumbnail, Verdict};
use crate::frame::Frame;
use crate::label::{Prediction, Score};
use crate::publish::Hub;
use crate::publish::wire::{
    self, Change, Classification, Image, Message, Scored, State, Status, Timing,
};
use crate::slot::CameraId;
use crate::smooth::{self, Smoothed, Smoother};

/// How many classes of a frame are published.
const TOP: usize = 5;

/// Where messages go.
pub struct Outlet {
    pub hub: Arc<Hub>,
    pub observer: Option<Observer>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    pub camera: CameraId,
    pub name: String,
    /// Frames come of themselves, so that their absence says something.
    pub live: bool,
    /// Each picture stands for itself: not smoothed.
    pub independent: bool,
}

/// What is known of a camera.
pub struct View {
    pub about: Introduction,
    pub ended: bool,
    /// Not classified since the last message.
    pub dropped: u64,
    state: State,
    /// Why, as it was told.
    detail: Option<String>,
    /// Since when no frame could be classified.
    bad_since: Option<Instant>,
    smoother: Smoother,
    /// Where frames may be passed over.
    gate: Option<StillGate>,
    /// The label of the last change that was told. Outlives a loss of the camera: coming back to the same
    /// scene is no change.
    told: Option<usize>,
}

impl View {
    /// Of a camera that begins; says so.
    pub fn begin(about: Introduction, settings: &Settings, out: &mut Outlet) -> Self {
        out.send(&status(&about.name, State::Starting, None));
        Self {
            smoother: smoother(&about, settings.smoothing),
            gate: gate(&about, settings),
            about,
            state: State::Starting,
            detail: None,
            bad_since: None,
            ended: false,
            dropped: 0,
            told: None,
        }
    }

    /// What has changed from `old` to `new` begins afresh, by other rules.
    pub fn restart(&mut self, old: &Settings, new: &Settings) {
        let smoothing = old.smoothing != new.smoothing;
        if smoothing {
            self.smoother = smoother(&self.about, new.smoothing);
        }
        if smoothing || old.still != new.still {
            self.gate = gate(&self.about, new);
        }
    }

    /// Another model, which has not seen the scene yet; with other labels, whose numbers mean something else.
    pub fn change_model(&mut self, other_labels: bool) {
        self.forget_scene();
        if other_labels {
            self.smoother.reset();
            self.told = None;
        }
    }

    fn forget_scene(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.reset();
        }
    }

    /// Whether a picture, captured at `at`, shows something that was not classified yet.
    pub fn is_worth(&mut self, picture: &[u8], at: Instant) -> bool {
        let gate = self.gate.as_mut();
        gate.is_none_or(|gate| gate.see(Thumbnail::of(picture), at) == Verdict::Classify)
    }

    /// A frame showed what was classified last. How long the camera may be left alone.
    pub fn is_still(&mut self) -> Duration {
        self.bad_since = None;
        self.dropped += 1;
        let look = self.gate.as_ref().map(StillGate::look);
        look.filter(|_| self.about.live).unwrap_or_default()
    }

    /// A frame has come. While none can be classified that says nothing new.
    pub fn arrived(&mut self, dropped: u64, out: &mut Outlet) {
        self.dropped += dropped;
        if self.state != State::Stale || self.bad_since.is_none() {
            self.enter(State::Streaming, None, out);
        }
    }

    /// A frame could not be classified.
    pub fn bad_frame(&mut self, now: Instant) {
        self.dropped += 1;
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
            self.smoother.reset();
            self.forget_scene();
        }
        match detail {
            Some(detail) => log::warn!("{}: {}: {detail}", self.about.name, state.as_str()),
            None => log::info!("{}: {}", self.about.name, state.as_str()),
        }
        out.send(&status(&self.about.name, state, detail));
    }

    /// Publishes what a frame shows, and the change of the label if it is one.
    pub fn publish<'a>(
        &mut self,
        seen: &Seen<'a, '_>,
        prediction: &Prediction,
        scored: &mut Vec<Scored<'a>>,
        out: &mut Outlet,
    ) {
        self.bad_since = None;
        self.enter(State::Streaming, None, out);
        let smoothed = self
            .smoother
            .update(&prediction.probabilities, seen.frame.captured);
        let Some(smoothed) = smoothed else {
            return;
        };
        fill(scored, prediction, seen.labels);
        let message = Message::Classification(Classification {
            camera: Cow::Borrowed(&self.about.name),
            frame_id: seen.frame_id,
            timestamp: wire::unix_seconds(seen.frame.captured_at),
            model: Cow::Borrowed(seen.model),
            image: Image {
                width: seen.classified.image_width,
                height: seen.classified.image_height,
            },
            predictions: Cow::Borrowed(scored),
            top: name(seen.labels, smoothed.top.class_id),
            confidence: smoothed.top.confidence,
            timing: seen.timing(),
            dropped: mem::take(&mut self.dropped),
        });
        out.send(&message);
        self.tell_change(&smoothed, seen, out);
    }

    fn tell_change(&mut self, smoothed: &Smoothed, seen: &Seen<'_, '_>, out: &mut Outlet) {
        let to = smoothed.top.class_id;
        if !smoothed.changed || self.told == Some(to) {
            return;
        }
        let from = self.told.replace(to);
        out.send(&Message::Change(Change {
            camera: Cow::Borrowed(&self.about.name),
            timestamp: wire::unix_seconds(seen.frame.captured_at),
            from: from.map(|id| name(seen.labels, id)),
            to: name(seen.labels, to),
            confidence: smoothed.top.confidence,
        }));
    }
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
    fn timing(&self) -> Timing {
        Timing {
            capture_ms: self.frame.capture_ms,
            preprocess_ms: self.classified.preprocess_ms,
            inference_ms: self.classified.inference_ms,
            age_ms: self.frame.captured.elapsed().as_secs_f32() * 1e3,
        }
    }
}

/// How many classes of a frame are published at most.
pub fn scores<'a>() -> Vec<Scored<'a>> {
    Vec::with_capacity(TOP)
}

pub fn status<'a>(camera: &'a str, state: State, detail: Option<&'a str>) -> Message<'a> {
    Message::Status(Status {
        camera: camera.into(),
        timestamp: wire::unix_seconds(SystemTime::now()),
        state,
        detail: detail.map(Into::into),
    })
}

/// Pictures that have nothing to do with each other are each worth a look.
fn gate(about: &Introduction, settings: &Settings) -> Option<StillGate> {
    let still = settings.still.filter(|_| !about.independent)?;
    Some(StillGate::new(still, settings.smoothing.settled()))
}

fn smoother(about: &Introduction, smoothing: smooth::Settings) -> Smoother {
    if about.independent {
        Smoother::pass_through()
    } else {
        Smoother::new(smoothing)
    }
}

/// The label of a class. A bundle's labels match its outputs; the number is for a classifier that is none.
fn name(labels: &[String], class_id: usize) -> Cow<'_, str> {
    labels.get(class_id).map_or_else(
        || Cow::Owned(format!("class {class_id}")),
        |label| Cow::Borrowed(label.as_str()),
    )
}

/// Puts the most probable classes into `scored`, without allocating.
fn fill<'a>(scored: &mut Vec<Scored<'a>>, prediction: &Prediction, labels: &'a [String]) {
    let mut best = [Score::default(); TOP];
    scored.clear();
    let named = |score: &Score| Scored {
        class: name(labels, score.class_id),
        class_id: score.class_id,
        confidence: score.confidence,
    };
    scored.extend(prediction.top_into(&mut best).iter().map(named));
}
