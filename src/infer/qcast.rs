//! Between the int8 layers and those that tract runs in float: u8 in NHWC order to f32 in NCHW order and back.

use std::sync::Arc;

use tract_nnef::internal::*;

use super::layer::{self, Layer, operator};
use super::qconv::nhwc;
use crate::kernels::{Pool, Quant, Requant, Storage};

/// f32 `[1, c, h, w]` to u8 `[1, h, w, c]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantize {
    pub output: Quant,
    storage: Storage,
    rule: Requant,
}

impl Eq for Quantize {}

impl Quantize {
    #[must_use]
    pub fn new(output: Quant, storage: Storage) -> Self {
        Self {
            output,
            storage,
            rule: Requant::rounding(output, false),
        }
    }
}

operator!(Quantize, "Quantize");

impl Layer for Quantize {
    fn output(&self, inputs: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        let &[_, c, h, w] = inputs[0].shape() else {
            bail!("expected NCHW")
        };
        Ok((u8::datum_type(), tvec!(1, h, w, c)))
    }

    fn run(&self, _: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let &[_, channels, ..] = inputs[0].shape() else {
            bail!("expected NCHW")
        };
        let x = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let mut out = out.try_as_plain_ram_mut()?;
        let (y, pixels) = (out.as_slice_mut::<u8>()?, x.len() / channels.max(1));
        let (per_unit, flip) = (1.0 / self.output.scale.get(), self.storage.flip());
        for (pixel, y) in y.chunks_exact_mut(channels.max(1)).enumerate() {
            for (c, y) in y.iter_mut().enumerate() {
                *y = self.rule.round(x[c * pixels + pixel] * per_unit) ^ flip;
            }
        }
        Ok(())
    }
}

impl TypedOp for Quantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let fact = inputs[0];
        match fact.shape.as_concrete() {
            Some(&[1, c, h, w]) if fact.datum_type == f32::datum_type() => {
                Ok(tvec!(u8::fact([1, h, w, c])))
            }
            _ => bail!("expected f32 activations of shape [1, c, h, w], got {fact:?}"),
        }
    }

    as_op!();
}

/// u8 `[1, h, w, c]` to f32 `[1, c, h, w]`: `(q - zero[c]) * scale[c]`, one scale and zero for all channels or one each.
#[derive(Debug, Clone, PartialEq)]
pub struct Dequantize {
    pub scale: Arc<[f32]>,
    /// Not always a whole number: a picture's mean colour is none.
    pub zero: Arc<[f32]>,
    /// How the input lies in memory.
    storage: Storage,
}

impl Eq for Dequantize {}

impl Dequantize {
    /// # Errors
    /// If a number is not finite, or there are not as many scales as zeros.
    pub fn new(scale: Vec<f32>, zero: Vec<f32>, storage: Storage) -> TractResult<Self> {
        ensure!(
            scale.len() == zero.len() && !scale.is_empty(),
            "{} scales and {} zeros",
            scale.len(),
            zero.len()
        );
        ensure!(
            scale.iter().chain(&zero).all(|x| x.is_finite()),
            "a scale or zero that is not finite"
        );
        Ok(Self {
            scale: scale.into(),
            zero: zero.into(),
            storage,
        })
    }
}

operator!(Dequantize, "Dequantize");

impl Layer for Dequantize {
    fn output(&self, inputs: &[TValue]) -> TractResult<(DatumType, TVec<usize>)> {
        let &[_, h, w, c] = inputs[0].shape() else {
            bail!("expected NHWC")
        };
        Ok((f32::datum_type(), tvec!(1, c, h, w)))
    }

    fn run(&self, _: &Pool, inputs: &[TValue], out: &mut Tensor) -> TractResult<()> {
        let &[_, h, w, channels] = inputs[0].shape() else {
            bail!("expected NHWC")
        };
        let x = inputs[0].try_as_plain_ram()?.as_slice::<u8>()?;
        let mut out = out.try_as_plain_ram_mut()?;
        let y = out.as_slice_mut::<f32>()?;
        let flip = self.storage.flip();
        for (c, plane) in y.chunks_exact_mut((h * w).max(1)).enumerate() {
            let at = c % self.scale.len();
            let (scale, zero) = (self.scale[at], self.zero[at]);
            for (y, x) in plane.iter_mut().zip(x.chunks_exact(channels.max(1))) {
                *y = (f32::from(x[c] ^ flip) - zero) * scale;
            }
        }
        Ok(())
    }
}

impl TypedOp for Dequantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [h, w, c] = nhwc(inputs[0])?;
        let scales = self.scale.len();
        ensure!(
            scales == 1 || scales == c,
            "{scales} scales for {c} channels"
        );
        Ok(tvec!(f32::fact([1, c, h, w])))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_near_as_a_step() {
        let quant = Quant::new(0.5, 3).unwrap();
        for storage in [Storage::Unsigned, Storage::Signed] {
            let x = Tensor::from_shape(&[1, 2, 1, 2], &[-1.5f32, 0.0, 0.6, 1000.0]).unwrap();
            let bytes = Quantize::new(quant, storage);
            let q = layer::evaluate(&bytes, &[x.into_tvalue()]).unwrap();
            let stored: Vec<u8> = q[0].as_bytes().iter().map(|q| q ^ storage.flip()).collect();
            assert_eq!(stored, [0, 4, 3, 255], "channels innermost");
            let back = Dequantize::new(vec![0.5], vec![3.0], storage).unwrap();
            let y = layer::evaluate(&back, &q).unwrap();
            let y = y[0].try_as_plain_ram().unwrap();
            assert_eq!(y.as_slice::<f32>().unwrap(), [-1.5, 0.0, 0.5, 126.0]);
        }
    }

    #[test]
    fn channels_may_have_scales_of_their_own() {
        let picture = Dequantize::new(vec![1.0, 2.0], vec![0.5, 1.0], Storage::Unsigned).unwrap();
        let x = Tensor::from_shape(&[1, 1, 1, 2], &[4u8, 4]).unwrap();
        let y = layer::evaluate(&picture, &[x.into_tvalue()]).unwrap();
        let y = y[0].try_as_plain_ram().unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap(), [3.5, 6.0]);
        assert!(Dequantize::new(vec![f32::NAN], vec![0.0], Storage::Unsigned).is_err());
    }
}
