//! Equalization across layers (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
//! 2019): between two convolutions with nothing but a ReLU, a channel may be divided by any number in the first and
//! multiplied by it in the second. One scale for all channels of a tensor serves those best that are equally large; how
//! much the second one's weights may suffer for that is shared evenly (Xiao et al., "SmoothQuant", 2022).

use std::collections::HashMap;
use std::sync::Arc;

use tract_nnef::internal::*;

use super::error::ModelError;
use super::layers::{Convolution, Kind, Layer};

/// No channel is scaled by more than this, or by less than its inverse, against the mean of its tensor.
pub const MOST: f32 = 16.0;

/// Equalizes where it can; gives what each channel of the touched outlets was divided by. `highest` has the largest
/// magnitude of every channel of every outlet that was measured.
///
/// # Errors
/// If tract cannot make a tensor.
pub fn equalize(
    layers: &mut [Layer],
    highest: &HashMap<OutletId, Vec<f32>>,
) -> Result<HashMap<OutletId, Vec<f32>>, ModelError> {
    let mut divided = HashMap::new();
    for second in 0..layers.len() {
        let Some(first) = before(layers, second) else {
            continue;
        };
        let outlet = layers[first].output;
        let Some(highest) = highest.get(&outlet) else {
            continue;
        };
        let Kind::Conv(conv) = &layers[second].kind else {
            continue;
        };
        let weights = largest_by_input(conv)?;
        if weights.len() != highest.len() {
            continue;
        }
        let by = factors(highest, &weights);
        if let Kind::Conv(conv) = &mut layers[second].kind {
            multiply_inputs(conv, &by)?;
        }
        if let Kind::Conv(conv) = &mut layers[first].kind {
            divide_outputs(conv, &by)?;
        }
        divided.insert(outlet, by);
    }
    Ok(divided)
}

/// The layers whose channels [`equalize`] may divide.
pub fn divisible(layers: &[Layer]) -> impl Iterator<Item = &str> {
    let firsts = (0..layers.len()).filter_map(|second| before(layers, second));
    firsts.map(|first| &*layers[first].name)
}

/// The convolution that a convolution reads, if nothing but a ReLU is between them and nobody else reads it.
fn before(layers: &[Layer], second: usize) -> Option<usize> {
    let layer = &layers[second];
    let plain = matches!(&layer.kind, Kind::Conv(conv) if conv.groups == 1);
    let first = layers.iter().position(|l| l.output == layer.input)?;
    let candidate = &layers[first];
    let scales = matches!(candidate.kind, Kind::Conv(_)) && candidate.residual.is_none();
    let outlet = candidate.output;
    let readers = layers
        .iter()
        .filter(|l| {
            l.input == outlet || l.residual == Some(outlet) || l.operands().any(|o| o == outlet)
        })
        .count();
    (plain && scales && readers == 1).then_some(first)
}

/// What each channel is divided by; one where a channel or its weights are nothing.
fn factors(highest: &[f32], weights: &[f32]) -> Vec<f32> {
    let live = |(a, w): (&f32, &f32)| (*a > 1e-6 && *w > 1e-9).then(|| (a / w).sqrt());
    let raw: Vec<Option<f32>> = highest.iter().zip(weights).map(live).collect();
    let logs: Vec<f32> = raw.iter().flatten().map(|f| f.ln()).collect();
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let mean = (logs.iter().sum::<f32>() / logs.len().max(1) as f32).exp();
    let bounded = |f: Option<f32>| f.map_or(1.0, |f| (f / mean).clamp(1.0 / MOST, MOST));
    raw.into_iter().map(bounded).collect()
}

fn largest_by_input(conv: &Convolution) -> Result<Vec<f32>, ModelError> {
    let shape = conv.weights.weights.shape();
    let (inputs, taps) = (shape[1], shape[2] * shape[3]);
    let plain = conv.weights.weights.try_as_plain_ram()?;
    let mut largest = vec![0f32; inputs];
    for (i, tap) in plain.as_slice::<f32>()?.chunks_exact(taps).enumerate() {
        let most = tap.iter().fold(0f32, |a, w| a.max(w.abs()));
        largest[i % inputs] = largest[i % inputs].max(most);
    }
    Ok(largest)
}

fn multiply_inputs(conv: &mut Convolution, by: &[f32]) -> Result<(), ModelError> {
    let taps: usize = conv.weights.weights.shape()[2..].iter().product();
    change(conv, taps, |i, w| w * by[i % by.len()])
}

fn divide_outputs(conv: &mut Convolution, by: &[f32]) -> Result<(), ModelError> {
    let filter: usize = conv.weights.weights.shape()[1..].iter().product();
    for (b, by) in conv.weights.bias.iter_mut().zip(by) {
        *b /= by;
    }
    change(conv, filter, |o, w| w / by[o])
}

/// Changes weights in runs of `run`.
fn change(
    conv: &mut Convolution,
    run: usize,
    value: impl Fn(usize, f32) -> f32,
) -> Result<(), ModelError> {
    let old = &conv.weights.weights;
    let plain = old.try_as_plain_ram()?;
    let runs = plain.as_slice::<f32>()?.chunks_exact(run).enumerate();
    let values: Vec<f32> = runs
        .flat_map(|(i, run)| run.iter().map(move |&w| (i, w)))
        .map(|(i, w)| value(i, w))
        .collect();
    let new = Tensor::from_shape(old.shape(), &values)?;
    conv.weights.weights = Arc::new(new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_meet_their_weights_half_way() {
        let by = factors(&[1.0, 4.0, 0.0], &[1.0, 1.0, 1.0]);
        // a ratio of two between them, their geometric mean one, and nothing where nothing is
        assert!((by[1] / by[0] - 2.0).abs() < 1e-6 && (by[0] * by[1] - 1.0).abs() < 1e-6);
        assert_eq!(by[2], 1.0);
        assert_eq!(factors(&[1.0, 1e12], &[1.0, 1.0]), [1.0 / MOST, MOST]);
    }
}
