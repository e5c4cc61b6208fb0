//! The fused int8 convolution as a tract operator: convolution, bias, requantization, optional
//! residual addition and ReLU in one pass.

use std::sync::Arc;

use tract_nnef::internal::*;

use super::layer::{self, Layer, operator};
use super::weights::Weights;
use crate::kernels::{Budget, Conv, Geometry, Padding, Pool, Quant, Requant, Scale, Storage};

/// What a graph says of a convolution, besides its weights.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConvParams {
    pub stride: (usize, usize),
    pub pad: Padding,
    /// What padding holds, per input channel; empty: the input's zero point. The first layer pads
    /// pictures with their mean colour, which stands for the zeros that training padded with.
    pub border: Vec<u8>,
    pub relu: bool,
    pub input: Quant,
    pub output: Quant,
    /// Where a residual is added: how its values are to be read.
    pub residual: Option<Quant>,
    /// Whether the input is the picture itself, whose bytes every backend takes as they are.
    pub picture: bool,
}

/// Inputs: u8 `[1, h, w, c]`, and where `params.residual` is set a second one shaped as the output.
/// Output: u8 `[1, oh, ow, oc]`.
#[derive(Debug, Clone)]
pub struct QConv {
    /// Names its tensors in a bundle: `NAME_weights`, `NAME_bias`, `NAME_scales`.
    pub name: String,
    pub params: ConvParams,
    pub weights: Weights,
    /// As stored: in units of input scale times weight scale, the zero point not folded in.
    pub bias: Arc<[i32]>,
    /// One per output channel.
    pub scales: Arc<[Scale]>,
    conv: Arc<Conv>,
}

/// Operators are equal if they are the same operator: comparing 25 million weights decides nothing.
impl PartialEq for QConv {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.conv, &other.conv)
    }
}

impl Eq for QConv {}

impl QConv {
    /// Prepares a convolution for inputs of `input` rows and columns; its weights may be transformed
    /// within `budget`.
    ///
    /// # Errors
    /// If shapes, counts or scales do not fit together.
    pub fn new(
        name: String,
        params: ConvParams,
        mut weights: Weights,
        (bias, scales): (Arc<[i32]>, Arc<[Scale]>),
        input: (usize, usize),
        budget: &Budget,
    ) -> TractResult<Self> {
        let [out_c, kernel_h, kernel_w, in_c] = weights.shape;
        let geometry = Geometry::new(
            input,
            (in_c, out_c),
            (kernel_h, kernel_w),
            params.stride,
            params.pad,
        )?;
        let storage = weights.backend.storage();
        let requant = Requant::new(
            storage,
            (params.input, params.output, params.residual),
            (&bias, &scales),
            weights.packed()?.sums(),
            params.relu,
        )?;
        let mut border = match &params.border[..] {
            [] => vec![params.input.zero.0; in_c],
            border if border.len() == in_c => border.to_vec(),
            border => bail!(
                "{name}: a border of {} values for {in_c} channels",
                border.len()
            ),
        };
        let stored = if params.picture {
            Storage::Unsigned
        } else {
            storage
        };
        border.iter_mut().for_each(|b| *b ^= stored.flip());
        let conv = Conv {
            geometry,
            filter: weights.filter,
            input: stored,
            border,
            requant,
        };
        let conv = weights.backend.prepare(conv, budget);
        weights.filter = conv.filter.clone();
        let conv = Arc::new(conv);
        Ok(Self {
            name,
            params,
            weights,
            bias,
            scales,
            conv,
        })
    }

    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.conv.geometry
    }

    /// Runs it on activations as they lie in memory.
    pub(super) fn apply(&self, pool: &Pool, x: &[u8], residual: Option<&[u8]>, y: &mut [u8]) {
        self.weights.backend.conv(pool, &self.conv, x, residual, y);
    }
}

operator!(QConv, "QConv");

impl Layer for QConv {
    fn output(&self, _: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        let g = self.geometry();
        Ok((u8::datum_type(), tvec!(1, g.out_h(), g.out_w(), g.out_c)))
    }

    fn run(&self, pool: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let x = inputs[0].try_as_plain_ram()?.as_slice::<u8>()?;
        let residual = match inputs.get(1) {
            Some(r) => Some(r.try_as_plain_ram()?.as_slice::<u8>()?),
            None => None,
        };
        let mut out = out.try_as_plain_ram_mut()?;
        self.apply(pool, x, residual, out.as_slice_mut::<u8>()?);
        Ok(())
    }
}

/// `[1, h, w, c]` of a u8 tensor.
pub(super) fn nhwc(fact: &TypedFact) -> TractResult<[usize; 3]> {
    ensure!(
        fact.datum_type == u8::datum_type(),
        "expected u8 activations, got {fact:?}"
    );
    match fact.shape.as_concrete() {
        Some(&[1, h, w, c]) => Ok([h, w, c]),
        _ => bail!("expected activations of shape [1, h, w, c], got {fact:?}"),
    }
}

impl TypedOp for QConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let g = self.geometry();
        let wanted = 1 + usize::from(self.params.residual.is_some());
        ensure!(
            inputs.len() == wanted,
            "{}: {} inputs, not {wanted}",
            self.name,
            inputs.len()
        );
        let input = nhwc(inputs[0])?;
        ensure!(
            input == [g.in_h, g.in_w, g.in_c],
            "{}: input of {input:?} where {:?} was expected",
            self.name,
            [g.in_h, g.in_w, g.in_c]
        );
        let output = [g.out_h(), g.out_w(), g.out_c];
        if let Some(r) = inputs.get(1) {
            let r = nhwc(r)?;
            ensure!(
                r == output,
                "{}: residual of {r:?} added to {output:?}",
                self.name
            );
        }
        Ok(tvec!(u8::fact([1, output[0], output[1], output[2]])))
    }

    fn cost(&self, _: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        Ok(tvec!((
            Cost::FMA(i8::datum_type()),
            self.geometry().macs().to_dim()
        )))
    }

    as_op!();
}
