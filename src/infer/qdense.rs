//! The last layer as a tract operator: 8-bit features in, one float score per class out.

use std::sync::Arc;

use tract_nnef::internal::*;

use super::layer::{self, Layer, operator};
use super::qconv::nhwc;
use super::weights::Weights;
use crate::kernels::requant::{fold_zero_point, multipliers};
use crate::kernels::{Dense, Pool, Quant, Requant, Scale};

/// u8 `[1, 1, 1, depth]` to f32 `[1, classes]`.
///
/// Graphs that came quantized round their scores as well: with `rounded` each becomes the nearest value of that scale.
#[derive(Debug, Clone)]
pub struct QDense {
    /// Names its tensors, as for convolutions.
    pub name: String,
    pub input: Quant,
    pub weights: Weights,
    pub bias: Arc<[i32]>,
    pub scales: Arc<[Scale]>,
    pub rounded: Option<Quant>,
    dense: Arc<Dense>,
}

impl PartialEq for QDense {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dense, &other.dense)
    }
}

impl Eq for QDense {}

impl QDense {
    /// # Errors
    /// If shapes, counts or scales do not fit together.
    pub fn new(
        name: String,
        input: Quant,
        weights: Weights,
        bias: Arc<[i32]>,
        scales: Arc<[Scale]>,
    ) -> TractResult<Self> {
        let [classes, rows, columns, _] = weights.shape;
        ensure!(
            (rows, columns) == (1, 1),
            "{name}: a dense layer has no {rows} x {columns} window"
        );
        let packed = weights.packed()?;
        let dense = Arc::new(Dense {
            weights: packed.clone(),
            bias: fold_zero_point(weights.backend.storage(), input, &bias, packed.sums())?,
            multiplier: multipliers(input.scale, &scales, None, classes)?,
        });
        Ok(Self {
            name,
            input,
            weights,
            bias,
            scales,
            rounded: None,
            dense,
        })
    }

    /// The same with scores rounded to a scale.
    #[must_use]
    pub fn rounded_to(self, quant: Quant) -> Self {
        Self {
            rounded: Some(quant),
            ..self
        }
    }

    /// The same with scores as they are.
    #[must_use]
    pub(super) fn unrounded(self) -> Self {
        Self {
            rounded: None,
            ..self
        }
    }

    /// A score for each class of as many features as the layer reads.
    pub(super) fn scores(&self, pool: &Pool, x: &[u8], scores: &mut [f32]) {
        self.weights.backend.dense(pool, &self.dense, x, scores);
    }

    #[must_use]
    pub fn macs(&self) -> u64 {
        (self.dense.weights.out_c * self.dense.weights.depth) as u64
    }
}

operator!(QDense, "QDense");

impl Layer for QDense {
    fn output(&self, _: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        Ok((f32::datum_type(), tvec!(1, self.dense.weights.out_c)))
    }

    fn run(&self, pool: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let x = inputs[0].try_as_plain_ram()?.as_slice::<u8>()?;
        let mut out = out.try_as_plain_ram_mut()?;
        let scores = out.as_slice_mut::<f32>()?;
        self.scores(pool, x, scores);
        if let Some(quant) = self.rounded {
            let (rule, scale) = (Requant::rounding(quant, false), quant.scale.get());
            for score in scores {
                let q = i32::from(rule.round(*score / scale)) - quant.zero.get();
                #[allow(clippy::cast_precision_loss)] // within -255..=255
                let value = q as f32 * scale;
                *score = value;
            }
        }
        Ok(())
    }
}

impl TypedOp for QDense {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let input = nhwc(inputs[0])?;
        let depth = self.dense.weights.depth;
        ensure!(
            input == [1, 1, depth],
            "{}: {input:?} where 1 x 1 x {depth} was expected",
            self.name
        );
        Ok(tvec!(f32::fact([1, self.dense.weights.out_c])))
    }

    fn cost(&self, _: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        Ok(tvec!((Cost::FMA(i8::datum_type()), self.macs().to_dim())))
    }

    as_op!();
}
