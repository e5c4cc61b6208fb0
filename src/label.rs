//! What comes out of the network and travels on: scores of one frame, and the smoothed label.
//!
//! Only data. Which label a score belongs to is the bundle's business ([`crate::spec`]); how a stream
//! of scores becomes a steady label is [`crate::smooth`]'s.

use std::sync::Arc;

/// The names of a model's classes, in the order of its outputs; shared, never copied per frame.
pub type Labels = Arc<[String]>;

/// The network's answer for one frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    /// Probability of each class in `0..=1` (softmax: they sum to 1; sigmoid: each for itself).
    pub probabilities: Vec<f32>,
    /// What the last layer said, before softmax or sigmoid.
    pub logits: Vec<f32>,
}

/// A class and how sure the network is of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    pub class_id: usize,
    pub confidence: f32,
}

impl Prediction {
    /// The `k` most probable classes, most probable first; equal ones in the order of their ids.
    #[must_use]
    pub fn top(&self, k: usize) -> Vec<Score> {
        let mut all: Vec<Score> = self
            .probabilities
            .iter()
            .enumerate()
            .map(|(class_id, &confidence)| Score {
                class_id,
                confidence,
            })
            .collect();
        all.sort_by(|a, b| {
            b.confidence
                .total_cmp(&a.confidence)
                .then(a.class_id.cmp(&b.class_id))
        });
        all.truncate(k);
        all
    }
}
