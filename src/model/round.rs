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

/// How weights are rounded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rounding<'a> {
    /// The mean of each input channel: what rounding the weights adds to the mean of an output is taken off its bias.
    pub means: Option<&'a [f32]>,
    /// Whether scales are those of the least squared error, and not those of the largest weight.
    pub fit: bool,
}

/// One scale per output channel; biases in units of input scale times weight scale.
#[allow(clippy::cast_possible_truncation)] // clamped
pub fn round(weights: &Weights, input: Scale, rounding: Rounding) -> Result<Rounded, ModelError> {
    let &[out, inputs, rows, columns] = weights.weights.shape() else {
        return Err(ModelError::Tract("weights without four dimensions".into()));
    };
    let plain = weights.weights.try_as_plain_ram()?;
    let plain = plain.as_slice::<f32>()?;
    let taps = rows * columns;
    let mut rounded = Vec::with_capacity(plain.len());
    let (mut bias, mut scales) = (Vec::with_capacity(out), Vec::with_capacity(out));
    let filters = plain.chunks_exact(inputs * taps);
    for (o, (filter, &b)) in filters.zip(&weights.bias).enumerate() {
        let scale = scale(filter, b, input, rounding.fit)?;
        for pixel in 0..taps {
            for c in 0..inputs {
                rounded.push(nearest(filter[c * taps + pixel], scale.get()) as i8);
            }
        }
        let means = rounding.means.filter(|m| m.len().is_multiple_of(inputs));
        let shift = means.map_or(0.0, |means| {
            // in groups, each part of the outputs sees its own part of the inputs
            let group = o * (means.len() / inputs) / out;
            mean_error(filter, &means[group * inputs..][..inputs], scale.get())
        });
        let unit = f64::from(input.get()) * f64::from(scale.get());
        bias.push(((f64::from(b) - shift) / unit).round() as i32);
        scales.push(scale);
    }
    Ok(Rounded {
        weights: Tensor::from_shape(&[out, rows, columns, inputs], &rounded)?,
        bias: bias.into(),
        scales: scales.into(),
    })
}

/// A weight in units of `scale`.
fn nearest(w: f32, scale: f32) -> f32 {
    (w / scale).round_ties_even().clamp(-127.0, 127.0)
}

/// What rounding a filter adds to its output's mean.
fn mean_error(filter: &[f32], means: &[f32], scale: f32) -> f64 {
    let taps = filter.len() / means.len().max(1);
    let planes = filter.chunks_exact(taps.max(1)).zip(means);
    planes
        .map(|(plane, &mean)| {
            let errors = plane
                .iter()
                .map(|&w| f64::from(nearest(w, scale) * scale - w));
            errors.sum::<f64>() * f64::from(mean)
        })
        .sum()
}

/// A channel's scale: the largest weight becomes 127, or, where that fits better, a little more.
fn scale(filter: &[f32], bias: f32, input: Scale, fit: bool) -> Result<Scale, ModelError> {
    let largest = filter.iter().fold(0f32, |a, w| a.max(w.abs()));
    // a channel of (almost) nothing but a bias: its bias must still fit
    let floor = bias.abs() / (input.get() * 16_777_216.0);
    let usable = |scale: f32| scale.max(floor).max(1e-10);
    let mut best = usable(largest / 127.0);
    if fit {
        let error = |scale: f32| {
            let errors = filter
                .iter()
                .map(|&w| f64::from(nearest(w, scale) * scale - w).powi(2));
            errors.sum::<f64>()
        };
        let mut least = error(best);
        for hundredth in (60..100u8).rev() {
            let scale = usable(largest / 127.0 * f32::from(hundredth) / 100.0);
            let found = error(scale);
            if found < least {
                (least, best) = (found, scale);
            }
        }
    }
    Scale::new(best).map_err(tract)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(shape: [usize; 4], values: &[f32], bias: &[f32]) -> Weights {
        Weights {
            weights: Arc::new(Tensor::from_shape(&shape, values).unwrap()),
            bias: bias.to_vec(),
        }
    }

    #[test]
    fn the_mean_that_rounding_adds_is_taken_off_the_bias() {
        let w = weights([1, 2, 1, 1], &[1.27, 0.014], &[0.5]);
        let input = Scale::new(0.01).unwrap();
        let plain = round(&w, input, Rounding::default()).unwrap();
        // 0.014 is rounded to one hundredth: at a mean of 10 the output loses 0.04
        let rounding = Rounding {
            means: Some(&[3.0, 10.0]),
            fit: false,
        };
        let corrected = round(&w, input, rounding).unwrap();
        assert_eq!((plain.bias[0], corrected.bias[0]), (5000, 5400));
    }

    #[test]
    fn a_fitted_scale_never_has_the_greater_error() {
        let values = [1.0, 0.1, 0.11, 0.12, -0.09, 0.1, 0.113, 0.087];
        let w = weights([1, 8, 1, 1], &values, &[0.0]);
        let input = Scale::new(1.0).unwrap();
        let error = |fit| {
            let rounded = round(&w, input, Rounding { means: None, fit }).unwrap();
            let q = rounded.weights.try_as_plain_ram().unwrap();
            let q = q.as_slice::<i8>().unwrap();
            let pairs = q.iter().zip(values);
            let errors = pairs.map(|(&q, w)| (f32::from(q) * rounded.scales[0].get() - w).powi(2));
            errors.sum::<f32>()
        };
        assert!(error(true) <= error(false));
    }
}
