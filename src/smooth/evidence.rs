//! What speaks for each class: a moving average of its probability, or how many of the last frames said it.

use std::time::{Duration, Instant};

use super::Votes;

/// An exponential moving average for each class, by the time that passes between frames.
#[derive(Debug, Default)]
pub(super) struct Average {
    values: Vec<f32>,
    last: Option<Instant>,
}

impl Average {
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.last = None;
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn of(&self, class_id: usize) -> f32 {
        self.values.get(class_id).copied().unwrap_or(0.0)
    }

    /// Takes the probabilities of a frame. `constant`: after so long without support 63% are gone.
    pub(super) fn add(&mut self, probabilities: &[f32], constant: Duration, at: Instant) {
        let step = self.last.map(|last| at.saturating_duration_since(last));
        let share = step.map_or(1.0, |step| share(step, constant));
        // Not the later of both: a clock that was ahead for one frame must not stop time until it has caught up.
        self.last = Some(at);
        self.values.resize(probabilities.len(), 0.0);
        for (average, &probability) in self.values.iter_mut().zip(probabilities) {
            let probability = if probability.is_nan() {
                0.0
            } else {
                probability.clamp(0.0, 1.0)
            };
            let next = *average + share * (probability - *average);
            *average = if share >= 1.0 {
                probability
            } else {
                next.clamp(0.0, 1.0)
            };
        }
    }
}

/// The weight of a frame that comes `step` after the one before it.
fn share(step: Duration, constant: Duration) -> f32 {
    let constant = constant.as_secs_f32();
    if constant > 0.0 {
        -libm::expm1f(-step.as_secs_f32() / constant)
    } else {
        1.0
    }
}

/// For each class the last frames, one bit each, set where the frame spoke for it; the last in the lowest.
#[derive(Debug, Default)]
pub(super) struct Ballots(Vec<u128>);

impl Ballots {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes a frame: whether it speaks for each of `classes`.
    pub(super) fn add(&mut self, classes: usize, votes: Votes, spoke: impl Fn(usize) -> bool) {
        self.0.resize(classes, 0);
        for (class, ballots) in self.0.iter_mut().enumerate() {
            *ballots = (*ballots << 1 | u128::from(spoke(class))) & votes.mask();
        }
    }

    pub(super) fn count(&self, class: usize) -> u32 {
        self.0.get(class).map_or(0, |ballots| ballots.count_ones())
    }

    /// The class with the most votes, if that is enough; of equals the one that holds, else the one that was voted for
    /// last.
    pub(super) fn elected(&self, votes: Votes, holds: Option<usize>) -> Option<usize> {
        let enough = |(_, ballots): &(usize, &u128)| ballots.count_ones() >= votes.needed();
        let by_votes = |(class, ballots): &(usize, &u128)| {
            let since = ballots.trailing_zeros();
            (
                ballots.count_ones(),
                holds == Some(*class),
                u32::MAX - since,
            )
        };
        let found = self.0.iter().enumerate().filter(enough);
        found.max_by_key(by_votes).map(|(class, _)| class)
    }
}
