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
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    pub class_id: usize,
    pub confidence: f32,
}

impl Prediction {
    /// Becomes equal to another, in its own memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.probabilities.clone_from(&other.probabilities);
        self.logits.clone_from(&other.logits);
    }

    /// The `k` most probable classes, most probable first; equal ones in the order of their ids.
    #[must_use]
    pub fn top(&self, k: usize) -> Vec<Score> {
        let mut best = vec![Score::default(); k.min(self.probabilities.len())];
        self.top_into(&mut best);
        best
    }

    /// As [`Prediction::top`], as many as `best` has room for, without allocating: the part of `best` that was filled.
    pub fn top_into<'b>(&self, best: &'b mut [Score]) -> &'b [Score] {
        let mut count = 0;
        for (class_id, &confidence) in self.probabilities.iter().enumerate() {
            let worse = |score: &Score| confidence > score.confidence;
            let place = best[..count].iter().position(worse).unwrap_or(count);
            if place < best.len() {
                count = (count + 1).min(best.len());
                best[place..count].rotate_right(1);
                best[place] = Score {
                    class_id,
                    confidence,
                };
            }
        }
        &best[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_top_classes_are_the_first_of_all_in_order(probabilities in prop::collection::vec((0u8..20).prop_map(|n| f32::from(n) / 20.0), 0..30), k in 0usize..8) {
            let mut all: Vec<usize> = (0..probabilities.len()).collect();
            all.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
            all.truncate(k);
            let prediction = Prediction { probabilities, logits: Vec::new() };
            let found: Vec<usize> = prediction.top(k).iter().map(|score| score.class_id).collect();
            prop_assert_eq!(found, all);
        }
    }
}
