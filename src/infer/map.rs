//! Where in a picture a label comes from: the class activation map. A ResNet averages its last features over the picture
//! and weighs the averages; weighing first and averaging afterwards is the same, and says what each place adds to the
//! score (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016).

use tract_nnef::internal::*;

use super::features::FeatureMap;
use super::qdense::QDense;
use crate::kernels::Pool;

/// What each place of the last features adds to a score.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivationMap {
    pub rows: usize,
    pub columns: usize,
    /// Row by row. Their mean and the class's bias make the logit, but for the rounding of the averages.
    pub values: Vec<f32>,
}

impl ActivationMap {
    /// Of these classes together, through the layer that made their scores of the averages. `None` if it has no such
    /// class or read other features.
    pub(super) fn of(dense: &QDense, last: &FeatureMap<'_>, classes: &[usize]) -> Option<Self> {
        let [outputs, _, _, depth] = dense.weights.shape;
        if depth != last.channels || classes.iter().any(|&class| class >= outputs) {
            return None;
        }
        let unrounded = &dense.clone().unrounded();
        let mut scores = vec![0.0; outputs];
        let mut sum = |place: &[u8]| {
            unrounded.scores(&Pool::serial(), place, &mut scores);
            classes.iter().map(|&class| scores[class]).sum::<f32>()
        };
        // the layer's bias and the zero points of its input are in both, and cancel out
        let zero = last.quant.zero.0 ^ last.storage.flip();
        let nothing = sum(&vec![zero; depth]);
        let unit = last.quant.scale.get() / dense.input.scale.get();
        let places = last.stored.chunks_exact(depth);
        Some(Self {
            rows: last.rows,
            columns: last.columns,
            values: places.map(|place| (sum(place) - nothing) * unit).collect(),
        })
    }

    /// That of a network's layers that makes the scores.
    pub(super) fn dense(model: &TypedModel) -> Option<&QDense> {
        model.nodes().iter().find_map(|node| node.op_as::<QDense>())
    }
}
