//! Weights and biases to integers.

use std::iter;
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
    /// Whether a plane's errors are to cancel each other (see [`balance`]).
    pub balance: bool,
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
        let mut units: Vec<f32> = filter.iter().map(|&w| nearest(w, scale.get())).collect();
        if rounding.balance {
            let planes = units.chunks_exact_mut(taps).zip(filter.chunks_exact(taps));
            planes.for_each(|(units, weights)| balance(units, weights, scale.get()));
        }
        for pixel in 0..taps {
            rounded.extend((0..inputs).map(|c| units[c * taps + pixel] as i8));
        }
        let means = rounding.means.filter(|m| m.len().is_multiple_of(inputs));
        let shift = means.map_or(0.0, |means| {
            // in groups, each part of the outputs sees its own part of the inputs
            let group = o * (means.len() / inputs) / out;
            let means = &means[group * inputs..][..inputs];
            mean_error((filter, &units), means, scale.get())
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

/// Rounds some of a plane's weights the other way, until its errors sum to half a unit at most. Neighbouring pixels of a
/// picture are nearly equal: what a plane says of them is its sum, and errors of many taps that happen to have one sign are
/// the brightness of the picture in every value, which later layers do not average away as they do noise.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a number of taps
fn balance(units: &mut [f32], weights: &[f32], scale: f32) {
    let errors = units.iter().zip(weights).map(|(u, w)| u - w / scale);
    let mut errors: Vec<(usize, f32)> = errors.enumerate().collect();
    let sum: f32 = errors.iter().map(|(_, e)| e).sum();
    let step = sum.signum();
    errors.sort_by(|(_, a), (_, b)| (b * step).total_cmp(&(a * step)));
    for &(tap, _) in errors.iter().take(sum.abs().round() as usize) {
        units[tap] = (units[tap] - step).clamp(-127.0, 127.0);
    }
}

/// What a filter that was rounded to `units` adds to its output's mean.
fn mean_error((filter, units): (&[f32], &[f32]), means: &[f32], scale: f32) -> f64 {
    let taps = (filter.len() / means.len().max(1)).max(1);
    let errors = filter
        .iter()
        .zip(units)
        .map(|(w, u)| f64::from(u * scale - w));
    let means = means.iter().flat_map(|&mean| iter::repeat_n(mean, taps));
    errors.zip(means).map(|(e, mean)| e * f64::from(mean)).sum()
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
    use crate::random::Random;

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
            ..Rounding::default()
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
            let rounding = Rounding {
                fit,
                ..Rounding::default()
            };
            let rounded = round(&w, input, rounding).unwrap();
            let q = rounded.weights.try_as_plain_ram().unwrap();
            let q = q.as_slice::<i8>().unwrap();
            let pairs = q.iter().zip(values);
            let errors = pairs.map(|(&q, w)| (f32::from(q) * rounded.scales[0].get() - w).powi(2));
            errors.sum::<f32>()
        };
        assert!(error(true) <= error(false));
    }

    #[test]
    fn a_balanced_plane_sums_as_it_did_and_no_weight_moves_by_more_than_a_unit() {
        // all but the largest lie a little above a whole number
        let weights: Vec<f32> = (0..49u8).map(|i| f32::from(i % 7) + 0.3).collect();
        let mut units: Vec<f32> = weights.iter().map(|&w| nearest(w, 1.0)).collect();
        let sum = |v: &[f32]| v.iter().sum::<f32>();
        assert!((sum(&units) - sum(&weights)).abs() > 14.0);
        balance(&mut units, &weights, 1.0);
        assert!((sum(&units) - sum(&weights)).abs() <= 0.5);
        let mut pairs = units.iter().zip(&weights);
        assert!(pairs.all(|(u, w)| (u - w).abs() < 1.0));
    }

    #[test]
    fn a_balanced_filter_answers_a_plain_colour_as_before_rounding() {
        let mut random = Random::new(5);
        let values: Vec<f32> = (0..16 * 3 * 49).map(|_| random.normal()).collect();
        let filters = weights([16, 3, 7, 7], &values, &[0.0; 16]);
        let means = [124.0, 116.0, 104.0];
        let rounding = Rounding {
            means: Some(&means),
            balance: true,
            ..Rounding::default()
        };
        let found = round(&filters, Scale::new(1.0).unwrap(), rounding).unwrap();
        let units = found.weights.try_as_plain_ram().unwrap();
        let units = units.as_slice::<i8>().unwrap();
        for colour in [[255.0, 0.0, 0.0], [0.0; 3], [255.0; 3], means] {
            // each plane's sum is wrong by half a unit at most, and the mean colour's by the bias' rounding
            let distance = colour.iter().zip(means).map(|(c, m)| f32::abs(c - m));
            let bound = 0.5 * distance.sum::<f32>() + 1.0;
            for (o, scale) in found.scales.iter().map(|s| s.get()).enumerate() {
                let exact = values[o * 147..][..147].chunks(49).zip(colour);
                let exact: f32 = exact.map(|(w, c)| w.iter().sum::<f32>() * c).sum();
                let pixels = units[o * 147..][..147].chunks(3);
                let one = |p: &[i8]| {
                    p.iter()
                        .zip(colour)
                        .map(|(&u, c)| f32::from(u) * c)
                        .sum::<f32>()
                };
                #[allow(clippy::cast_precision_loss)] // below 2^24
                let got = pixels.map(one).sum::<f32>() + found.bias[o] as f32;
                assert!(
                    (got - exact / scale).abs() < bound,
                    "{o}, {colour:?}: {got}"
                );
            }
        }
    }
}
