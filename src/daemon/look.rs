//! What the inference thread knows of one part of a camera's pictures that gets labels of its own (all of it, where no
//! regions are named): what is said of it, whether it is still, and what was told last.

use std::borrow::Cow;
use std::mem;
use std::time::{Duration, Instant};

use super::Settings;
use super::view::{Introduction, Outlet, Scores, Seen};
use crate::adapt::still::{Settle, StillGate, Thumbnail, Verdict};
use crate::frame::Square;
use crate::label::{Labels, Prediction};
use crate::publish::wire::{self, Change, Classification, Image, Message};
use crate::smooth::{self, Confidences, Labelling, Smoothed, Smoother, Votes};
use crate::spec::{Activation, Framing};

/// What is said where no label is sure enough.
const UNKNOWN: &str = "unknown";

/// A part of a camera's pictures, and how its labels are told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// `None`: the camera is all that messages name.
    pub region: Option<String>,
    pub framing: Framing,
    pub saying: Saying,
}

/// When a label is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saying {
    pub smoothing: smooth::Settings,
    pub confidences: Confidences,
}

/// What a model's scores mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Meaning {
    pub labels: Labels,
    pub activation: Activation,
}

impl Meaning {
    fn labelling(&self) -> Labelling {
        match self.activation {
            Activation::Softmax => Labelling::Single,
            Activation::Sigmoid => Labelling::Several,
        }
    }
}

/// The state of a look.
pub struct Part {
    pub look: Look,
    /// Frames that were not classified since the last message.
    pub dropped: u64,
    smoother: Smoother,
    /// Where frames may be passed over.
    gate: Option<StillGate>,
    /// What was told last. Outlives a loss of the camera: coming back to the same scene is no change.
    told: Option<Told>,
}

/// Labels by their numbers.
struct Told {
    top: Option<usize>,
    holding: Vec<usize>,
}

impl Part {
    pub fn new(look: Look, about: &Introduction, settings: &Settings, meaning: &Meaning) -> Self {
        Self {
            smoother: smoother(&look, about, meaning),
            gate: gate(&look, about, settings),
            look,
            dropped: 0,
            told: None,
        }
    }

    /// This look in place of that of `before`: what was told is not told again, if it is the same place.
    pub fn taking_over(mut self, before: Self) -> Self {
        if self.look.framing == before.look.framing {
            self.told = before.told;
        }
        self.dropped = before.dropped;
        self
    }

    /// By other rules from now on; of still scenes.
    pub fn change_gate(&mut self, about: &Introduction, settings: &Settings) {
        self.gate = gate(&self.look, about, settings);
    }

    /// What was seen before says nothing about what comes.
    pub fn reset(&mut self) {
        self.smoother.reset();
        self.forget_scene();
    }

    /// Whatever comes next is new.
    pub fn forget_scene(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.reset();
        }
    }

    /// The numbers of labels mean something else.
    pub fn change_meaning(&mut self, about: &Introduction, meaning: &Meaning) {
        self.smoother = smoother(&self.look, about, meaning);
        self.told = None;
    }

    /// Whether a picture, captured at `at`, shows something that was not classified yet.
    pub fn is_worth(&mut self, picture: &Square, at: Instant) -> bool {
        let gate = self.gate.as_mut();
        gate.is_none_or(|gate| gate.see(Thumbnail::of(picture), at) == Verdict::Classify)
    }

    /// How long it may be left alone where it shows what was classified last.
    pub fn leave_alone(&self) -> Duration {
        { self.gate.as_ref() }.map_or(Duration::ZERO, StillGate::look)
    }

    /// Publishes what a frame shows, and the change of the labels if it is one.
    pub fn publish<'a>(
        &mut self,
        camera: &str,
        seen: &Seen<'a, '_>,
        prediction: &Prediction,
        scores: &mut Scores<'a>,
        out: &mut Outlet,
    ) {
        let captured = seen.frame.captured;
        let smoothed = self.smoother.update(&prediction.probabilities, captured);
        let Some(smoothed) = smoothed else {
            return;
        };
        let several = self.smoother.holding();
        scores.fill(prediction, several.unwrap_or_default(), seen.labels);
        out.send(&Message::Classification(Classification {
            camera: Cow::Borrowed(camera),
            region: self.look.region.as_deref().map(Cow::Borrowed),
            frame_id: seen.frame_id,
            timestamp: wire::unix_seconds(seen.frame.captured_at),
            model: Cow::Borrowed(seen.model),
            image: Image {
                width: seen.classified.image_width,
                height: seen.classified.image_height,
            },
            predictions: Cow::Borrowed(&scores.frame),
            labels: several.map(|_| Cow::Borrowed(&scores.holding[..])),
            top: told_as(seen.labels, smoothed.top),
            confidence: smoothed.confidence,
            timing: seen.timing(),
            dropped: mem::take(&mut self.dropped),
        }));
        self.tell_change(camera, &smoothed, seen, out);
    }

    fn tell_change(
        &mut self,
        camera: &str,
        smoothed: &Smoothed,
        seen: &Seen<'_, '_>,
        out: &mut Outlet,
    ) {
        let several = self.smoother.holding();
        let holding = several.unwrap_or_default();
        let is_told = |told: &Told| match several {
            Some(holding) => told.holding == holding,
            None => told.top == smoothed.top,
        };
        if !smoothed.changed || self.told.as_ref().is_some_and(is_told) {
            return;
        }
        let now = Told {
            top: smoothed.top,
            holding: holding.to_vec(),
        };
        let labels = several.map(|all| all.iter().map(|&id| named(seen.labels, id)).collect());
        let from = self.told.replace(now);
        out.send(&Message::Change(Change {
            camera: Cow::Borrowed(camera),
            region: self.look.region.as_deref().map(Cow::Borrowed),
            timestamp: wire::unix_seconds(seen.frame.captured_at),
            from: from.map(|told| told_as(seen.labels, told.top)),
            to: told_as(seen.labels, smoothed.top),
            labels,
            confidence: smoothed.confidence,
        }));
    }
}

/// Pictures that have nothing to do with each other are each worth a look.
fn gate(look: &Look, about: &Introduction, settings: &Settings) -> Option<StillGate> {
    let still = settings.still.filter(|_| !about.independent)?;
    let smoothing = &look.saying.smoothing;
    let settle = Settle {
        time: smoothing.settled(),
        frames: smoothing.votes.map_or(0, Votes::of),
    };
    Some(StillGate::new(still, settle))
}

fn smoother(look: &Look, about: &Introduction, meaning: &Meaning) -> Smoother {
    let labelling = meaning.labelling();
    let thresholds = { &look.saying.confidences }.thresholds(&meaning.labels, labelling);
    if about.independent {
        Smoother::pass_through(thresholds, labelling)
    } else {
        Smoother::new(look.saying.smoothing, thresholds, labelling)
    }
}

fn told_as(labels: &[String], top: Option<usize>) -> Cow<'_, str> {
    top.map_or(Cow::Borrowed(UNKNOWN), |id| named(labels, id))
}

/// The label of a class. A bundle's labels match its outputs; the number is for a classifier that is none.
pub fn named(labels: &[String], class_id: usize) -> Cow<'_, str> {
    labels.get(class_id).map_or_else(
        || Cow::Owned(format!("class {class_id}")),
        |label| Cow::Borrowed(label.as_str()),
    )
}
