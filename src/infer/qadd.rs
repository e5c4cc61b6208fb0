//! The addition of two int8 tensors as a tract operator, for sums that no convolution carries.

use tract_nnef::internal::*;

use super::layer::{self, Layer, operator};
use super::qconv::nhwc;
use crate::kernels::{Add, Backend, Pool, Quant};

/// Two u8 `[1, h, w, c]` to a third one.
#[derive(Debug, Clone, PartialEq)]
pub struct QAdd {
    pub inputs: [Quant; 2],
    pub output: Quant,
    pub relu: bool,
    backend: Backend,
    add: Add,
}

impl Eq for QAdd {}

impl QAdd {
    /// # Errors
    /// If a ratio of scales is absurd.
    pub fn new(
        inputs: [Quant; 2],
        output: Quant,
        relu: bool,
        backend: Backend,
    ) -> TractResult<Self> {
        Ok(Self {
            inputs,
            output,
            relu,
            backend,
            add: Add::new(inputs, output, relu)?,
        })
    }
}

operator!(QAdd, "QAdd");

impl Layer for QAdd {
    fn output(&self, inputs: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        Ok((u8::datum_type(), inputs[0].shape().into()))
    }

    fn run(&self, pool: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let (a, b) = (inputs[0].try_as_plain_ram()?, inputs[1].try_as_plain_ram()?);
        let inputs = [a.as_slice::<u8>()?, b.as_slice::<u8>()?];
        let mut out = out.try_as_plain_ram_mut()?;
        self.backend
            .add(pool, &self.add, inputs, out.as_slice_mut::<u8>()?);
        Ok(())
    }
}

impl TypedOp for QAdd {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let &[a, b] = inputs else {
            bail!("an addition of {} tensors", inputs.len())
        };
        let ([h, w, c], other) = (nhwc(a)?, nhwc(b)?);
        ensure!([h, w, c] == other, "{:?} added to {other:?}", [h, w, c]);
        Ok(tvec!(u8::fact([1, h, w, c])))
    }

    as_op!();
}
