//! Two bundles as one model: the first answers every frame, the second where the first is not sure and there is time.

use std::time::Duration;

use super::model::{Loaded, Prepared};
use crate::adapt::Pace;
use crate::adapt::cascade::Cascade;
use crate::daemon::{Classified, Classifier, ClassifyError, Model, Worth};
use crate::frame::Frame;
use crate::infer::ActivationMap;
use crate::label::Prediction;
use crate::spec::{Activation, Framing};

/// Less sure than this, a second model is asked.
pub const BELOW: f32 = 0.8;

pub struct Both {
    first: Loaded,
    second: Loaded,
    activation: Activation,
    /// Both prepare pictures alike, so that it is done once.
    alike: bool,
    /// The frame is decoded for the second, too.
    decoded: bool,
    /// The last answer is the second one's.
    second_spoke: bool,
    /// The first one's answer, while the second is asked.
    first_said: Prediction,
    cascade: Cascade,
}

impl Both {
    /// Of bundles with the same labels in the same order; `takes`: what an inference of the second takes.
    #[must_use]
    pub fn new(first: Loaded, second: Loaded, (below, takes): (f32, Duration)) -> Self {
        Self {
            activation: first.engine.manifest().activation,
            alike: first.preprocessing() == second.preprocessing(),
            first,
            second,
            decoded: false,
            second_spoke: false,
            first_said: Prediction::default(),
            cascade: Cascade::new(below, takes),
        }
    }

    /// As the daemon wants it; `why` it is these.
    #[must_use]
    pub fn into_model(self, below: f32, why: &str) -> Model {
        let names = [&self.first, &self.second].map(|one| one.engine.manifest().name.clone());
        let mut info = self.first.info();
        let second = self.second.info();
        info.name = names.join("+");
        info.arch = format!("{}+{}", info.arch, second.arch);
        Model {
            info,
            labels: self.first.labels(),
            activation: self.activation,
            detail: format!(
                "{why}; where {} is less than {:.0} % sure, {} is asked if there is time",
                names[0],
                below * 100.0,
                names[1]
            ),
            speakers: names.into(),
            others: Vec::new(),
            classifier: Box::new(self),
        }
    }

    /// Has the second look at what the first saw; how long that took.
    fn ask(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        out: &mut Prediction,
    ) -> Result<(Duration, Duration), ClassifyError> {
        let preparing = if self.alike {
            self.second.show(self.first.shown()?)?;
            Duration::ZERO
        } else {
            if !self.decoded {
                self.second.decode(frame)?;
                self.decoded = true;
            }
            self.second.prepare(frame, framing)?.took
        };
        Ok((preparing, self.second.infer(out)?))
    }
}

/// How sure an answer is: of one label, or of all its labels.
fn confidence(activation: Activation, probabilities: &[f32]) -> f32 {
    let each = probabilities.iter().copied();
    match activation {
        Activation::Softmax => each.fold(0.0, f32::max),
        Activation::Sigmoid => each.map(|p| p.max(1.0 - p)).fold(1.0, f32::min),
    }
}

impl Classifier for Both {
    fn begin(&mut self, frame: &Frame) -> Result<(), ClassifyError> {
        self.decoded = false;
        self.first.decode(frame)
    }

    fn classify(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let Prepared {
            square,
            size,
            took: preparing,
        } = self.first.prepare(frame, framing)?;
        if !worth(&square) {
            return Ok(None);
        }
        self.second_spoke = false;
        let inference = self.first.infer(out)?;
        let alone = Prepared::classified(size, preparing, inference);
        let sure = confidence(self.activation, &out.probabilities);
        if !self.cascade.asks(sure, preparing + inference) {
            return Ok(Some(alone));
        }
        self.first_said.copy_from(out);
        let (preparing_more, second) = match self.ask(frame, framing, out) {
            Ok(took) => took,
            Err(error) => {
                log::warn!(
                    "the second model of the cascade: {error}; the first one's answer counts"
                );
                out.copy_from(&self.first_said);
                return Ok(Some(alone));
            }
        };
        self.second_spoke = true;
        self.cascade.asked(preparing_more + second);
        let both = Prepared::classified(size, preparing + preparing_more, inference + second);
        Ok(Some(Classified {
            opinion_ms: both.inference_ms - alone.inference_ms,
            speaker: 1,
            ..both
        }))
    }

    fn seen(&self) -> [f32; 4] {
        self.first.seen()
    }

    fn map(&self, class_id: usize) -> Option<ActivationMap> {
        let spoke = if self.second_spoke {
            &self.second
        } else {
            &self.first
        };
        spoke.map(class_id)
    }

    fn pace(&mut self, pace: Pace) {
        self.cascade.change(pace);
    }

    fn spare(&mut self, half: bool) {
        self.first.spare(half);
        self.second.spare(half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_sure_as_its_label_or_as_the_least_sure_of_many() {
        let of = |activation, probabilities: &[f32]| confidence(activation, probabilities);
        assert!((of(Activation::Softmax, &[0.2, 0.7, 0.1]) - 0.7).abs() < 1e-6);
        assert!((of(Activation::Sigmoid, &[0.05, 0.9, 0.4]) - 0.6).abs() < 1e-6);
    }
}
