//! The int8 bundle that is taught, and the head that takes its last layer's place: the standardization of features is
//! folded into its weights, which are rounded as every other layer's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_nnef::internal::*;

use super::fit::Head;
use crate::bundle::{Bundle, Manifest};
use crate::infer::EngineError;
use crate::infer::engine::read_graph;
use crate::infer::qdense::QDense;
use crate::infer::registry::OPERATORS;
use crate::infer::weights;
use crate::kernels::{Backend, Quant};
use crate::model::error::ModelError;
use crate::model::layers::Weights;
use crate::model::round::{Rounded, Rounding, round};
use crate::model::save;

/// A bundle to be taught.
pub struct Base {
    path: PathBuf,
    pub manifest: Manifest,
    graph: TypedModel,
    /// The last layer's node, and how it reads its features.
    dense: usize,
    pub input: Quant,
    backend: Backend,
}

impl Base {
    /// # Errors
    /// If it is no int8 bundle that ends with a dense layer.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let bundle = Bundle::open(path, OPERATORS)?;
        if bundle.manifest.quantization.is_none() {
            return Err(ModelError::FloatBase { path: path.into() });
        }
        let backend = Backend::selected().map_err(EngineError::from)?;
        let graph = read_graph(&bundle, backend)?;
        let dense = graph.outputs.first().map_or(0, |o| o.node);
        let layer = graph.nodes.get(dense).and_then(|n| n.op_as::<QDense>());
        let layer = layer.ok_or_else(|| ModelError::Base {
            path: path.into(),
            reason: "its last layer is no 8-bit dense layer".into(),
        })?;
        Ok(Self {
            path: path.into(),
            manifest: bundle.manifest,
            input: layer.input,
            dense,
            graph,
            backend,
        })
    }

    pub fn no_features(&self) -> ModelError {
        ModelError::Base {
            path: self.path.clone(),
            reason: "it takes no average over the picture before its last layer".into(),
        }
    }

    /// The bundle with another head.
    ///
    /// # Errors
    /// If the head does not fit the network.
    pub fn with_head(mut self, head: &Head, manifest: Manifest) -> Result<Bundle, ModelError> {
        let rounded = rounded(head, self.input)?;
        let classes = head.classes;
        let node = &mut self.graph.nodes[self.dense];
        let name = node.op_as::<QDense>().map(|old| old.name.clone());
        let op = QDense::new(
            name.unwrap_or_default(),
            self.input,
            weights::Weights::new(&rounded.weights, self.backend)?,
            rounded.bias,
            rounded.scales,
        )?;
        node.op = Box::new(op);
        node.outputs[0].fact = f32::fact([1, classes]);
        // what the new layer reads and writes fits the graph?
        self.graph.check_consistency()?;
        save::bundle(&self.path, self.graph, manifest)
    }
}

/// A head in 8 bits, for features as `input` has them.
///
/// # Errors
/// If a weight is not finite.
#[allow(clippy::cast_possible_truncation)] // to the precision that weights have before they are rounded
pub fn rounded(head: &Head, input: Quant) -> Result<Rounded, ModelError> {
    let depth = head.standard.mean.len();
    let step = f64::from(input.scale.get());
    let zero = f64::from(input.zero.get());
    let (mut folded, mut biases) = (Vec::with_capacity(head.classes * depth), Vec::new());
    for (weights, bias) in head.rows() {
        let mut bias = f64::from(bias);
        let standard = head.standard.mean.iter().zip(&head.standard.scale);
        for (weight, (mean, scale)) in weights.iter().zip(standard) {
            let weight = f64::from(*weight) * f64::from(*scale);
            bias += weight * (zero - f64::from(*mean));
            folded.push((weight / step) as f32);
        }
        biases.push(bias as f32);
    }
    let weights = Tensor::from_shape(&[head.classes, depth, 1, 1], &folded)?;
    let weights = Weights {
        weights: Arc::new(weights),
        bias: biases,
    };
    round(&weights, input.scale, Rounding::default())
}

/// What a rounded head says of features: the dense layer's own sum.
///
/// # Errors
/// Only if the weights are no i8 tensor.
#[allow(clippy::cast_precision_loss)] // the layer's own rounding
pub fn logits(rounded: &Rounded, input: Quant, features: &[u8]) -> Result<Vec<f32>, ModelError> {
    let weights = rounded.weights.try_as_plain_ram()?;
    let rows = weights
        .as_slice::<i8>()?
        .chunks_exact(features.len().max(1));
    let scales = rounded.bias.iter().zip(&*rounded.scales);
    Ok(rows
        .zip(scales)
        .map(|(row, (&bias, scale))| {
            let products = row
                .iter()
                .zip(features)
                .map(|(&w, &x)| i32::from(w) * (i32::from(x) - input.zero.get()));
            (products.sum::<i32>() + bias) as f32 * (input.scale.get() * scale.get())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::teach::fit::Standard;
    use crate::random::Random;

    #[test]
    fn a_rounded_head_says_almost_what_it_said_before() {
        let mut random = Random::new(9);
        let (classes, depth) = (3, 64);
        let pictures: Vec<Vec<u8>> = (0..50)
            .map(|_| (0..depth).map(|_| random.byte() / 2 + 3).collect())
            .collect();
        let head = Head {
            standard: Standard::of(pictures.iter().map(|p| &p[..])),
            parameters: (0..classes * (depth + 1))
                .map(|_| random.normal())
                .collect(),
            classes,
        };
        let input = Quant::new(0.02, 3).unwrap();
        let rounded = rounded(&head, input).unwrap();
        for picture in &pictures {
            let want = head.logits(picture);
            let got = logits(&rounded, input, picture).unwrap();
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 0.05, "{got} {want}");
            }
        }
    }
}
