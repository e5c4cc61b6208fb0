//! Weights and biases to integers.

use std::sync::Arc;

use tract_nnef::internal::*;

use super::error::{ModelError, tract};
use super::layers::Weights;
use crate::kernels::Scale;
use crate::spec::Preprocessing;

/// Weights for bytes: `w / (255 std)`, and a bias that takes `w * mean / std` off.
#[allow(clippy::cast_possible_truncation)] // back to the precision the graph has
pub fn fold_normalization(weights: &Weights, p: &Preprocessing) -> Result<Weights, ModelError> {
    let shape = weights.weights.shape().to_vec();
    let plain = weights.weights.try_as_plain_ram()?;
    let mut values = plain.as_slice::<f32>()?.to_vec();
    let mut bias = weights.bias.clone();
    let per_channel = shape[2] * shape[3];
    for (filter, bias) in values.chunks_exact_mut(3 * per_channel).zip(&mut bias) {
        let mut taken = 0f64;
        for (c, plane) in filter.chunks_exact_mut(per_channel).enumerate() {
            let (mean, std) = (f64::from(p.mean[c]), f64::from(p.std[c]));
            for w in plane {
                taken += f64::from(*w) * mean / std;
                *w = (f64::from(*w) / (255.0 * std)) as f32;
            }
        }
        *bias = (f64::from(*bias) - taken) as f32;
    }
    Ok(Weights {
        weights: Arc::new(Tensor::from_shape(&shape, &values)?),
        bias,
    })
}

/// Weights and biases in integers.
pub struct Rounded {
    /// i8, OHWI.
    pub weights: Tensor,
    pub bias: Arc<[i32]>,
    pub scales: Arc<[Scale]>,
}

/// One scale per output channel, the largest weight becoming 127; biases in units of input scale
/// times weight scale.
#[allow(clippy::cast_possible_truncation)] // clamped
pub fn round(weights: &Weights, input: Scale) -> Result<Rounded, ModelError> {
    let &[out, inputs, rows, columns] = weights.weights.shape() else {
        return Err(ModelError::Tract("weights without four dimensions".into()));
    };
    let plain = weights.weights.try_as_plain_ram()?;
    let plain = plain.as_slice::<f32>()?;
    let mut rounded = Vec::with_capacity(plain.len());
    let (mut bias, mut scales) = (Vec::with_capacity(out), Vec::with_capacity(out));
    for (filter, &b) in plain
        .chunks_exact(inputs * rows * columns)
        .zip(&weights.bias)
    {
        let largest = filter.iter().fold(0f32, |a, w| a.max(w.abs()));
        // a channel of (almost) nothing but a bias: its bias must still fit
        let floor = b.abs() / (input.get() * 16_777_216.0);
        let scale = Scale::new((largest / 127.0).max(floor).max(1e-10)).map_err(tract)?;
        for pixel in 0..rows * columns {
            for c in 0..inputs {
                let w = filter[c * rows * columns + pixel] / scale.get();
                rounded.push(w.round_ties_even().clamp(-127.0, 127.0) as i8);
            }
        }
        bias.push(
            (f64::from(b) / (f64::from(input.get()) * f64::from(scale.get()))).round() as i32,
        );
        scales.push(scale);
    }
    Ok(Rounded {
        weights: Tensor::from_shape(&[out, rows, columns, inputs], &rounded)?,
        bias: bias.into(),
        scales: scales.into(),
    })
}
