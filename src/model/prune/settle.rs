//! Brings a cut network's layers back to the statistics of the original's, one after the other on the calibration
//! pictures. What training does when it re-estimates batch normalization, for convolutions that have theirs folded in: each
//! channel gets the mean and standard deviation back that the original gave it.

use std::collections::HashMap;
use std::sync::Arc;

use tract_nnef::internal::*;

use super::measure::{Measured, Seen};
use super::surgery::Pruned;
use super::walk::{Maps, Statistics, Walk};
use crate::model::error::ModelError;
use crate::model::layers::{Kind, Layer};
use crate::model::sweep::progress;

/// A channel is not scaled by more than this: where it hardly varies any more there is nothing left to scale.
const MOST: f64 = 2.0;

/// How the convolutions' outputs are spread, before residual and ReLU, by the layers' outputs.
pub type Spread = HashMap<OutletId, Statistics>;

/// The layers of `pruned`, settled, and how they are spread now.
///
/// # Errors
/// If tract fails.
pub fn settle(
    pruned: &Pruned,
    measured: &Measured,
    source: OutletId,
    pictures: Maps,
) -> Result<(Vec<Layer>, Spread), ModelError> {
    let mut spread = Spread::new();
    let mut walk = Walk::new(pruned.layers.clone(), source, pictures);
    let bar = progress(walk.layers.len(), "settling layers");
    for index in 0..walk.layers.len() {
        let mut maps = walk.compute(index)?;
        let (output, residual) = (walk.layers[index].output, walk.layers[index].residual);
        if let Some(seen) = measured.seen.get(&output) {
            let mut now = Statistics::of(&maps)?;
            let shortcut = match residual {
                Some(outlet) => Statistics::of(walk.values(outlet)?)?.mean,
                None => Vec::new(),
            };
            let kept = pruned.kept.get(&output).map(|k| &k[..]);
            let changes = changes(seen, kept, &now, &shortcut);
            if changes.iter().any(|change| *change != (1.0, 0.0)) {
                change(&mut walk.layers[index], &mut maps, &changes)?;
            }
            let each = now.mean.iter_mut().zip(&mut now.deviation);
            for ((mean, deviation), (factor, summand)) in each.zip(changes) {
                (*mean, *deviation) = (*mean * factor + summand, *deviation * factor);
            }
            spread.insert(output, now);
        }
        walk.finish(index, maps)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((walk.layers, spread))
}

/// Per channel what to multiply by and then to add. The bias also takes off what the shortcut is off by.
fn changes(
    seen: &Seen,
    kept: Option<&[usize]>,
    now: &Statistics,
    shortcut: &[f64],
) -> Vec<(f64, f64)> {
    let change = |(i, (&mean, &deviation)): (usize, (&f64, &f64))| {
        let channel = kept.map_or(i, |k| k[i]);
        let wanted = seen.own.deviation[channel];
        let factor = if deviation > 0.0 && wanted > 0.0 {
            (wanted / deviation).clamp(1.0 / MOST, MOST)
        } else {
            1.0
        };
        let of = |means: &[f64]| means.get(channel).copied().unwrap_or(0.0);
        let drift = seen.residual.as_ref().map_or(0.0, |r| of(r) - of(shortcut));
        (factor, seen.own.mean[channel] - factor * mean + drift)
    };
    let each = now.mean.iter().zip(&now.deviation).enumerate();
    each.map(change).collect()
}

#[allow(clippy::cast_possible_truncation)] // to the precision of the graph
fn change(layer: &mut Layer, maps: &mut Maps, changes: &[(f64, f64)]) -> Result<(), ModelError> {
    let Kind::Conv(conv) = &mut layer.kind else {
        return Ok(());
    };
    let weights = &mut conv.weights;
    let mut changed = (*weights.weights).clone();
    scale(&mut changed, changes, false)?;
    weights.weights = Arc::new(changed);
    for (bias, (factor, summand)) in weights.bias.iter_mut().zip(changes) {
        *bias = (f64::from(*bias) * factor + summand) as f32;
    }
    maps.iter_mut()
        .try_for_each(|map| scale(map, changes, true))
}

/// `changes` per equal part of the tensor: per filter of weights, per channel of a map.
#[allow(clippy::cast_possible_truncation)] // to the precision of the graph
fn scale(tensor: &mut Tensor, changes: &[(f64, f64)], add: bool) -> Result<(), ModelError> {
    let mut view = tensor.try_as_plain_ram_mut()?;
    let values = view.as_slice_mut::<f32>()?;
    let part = (values.len() / changes.len().max(1)).max(1);
    for (part, (factor, summand)) in values.chunks_exact_mut(part).zip(changes) {
        let (factor, summand) = (*factor as f32, if add { *summand as f32 } else { 0.0 });
        part.iter_mut().for_each(|v| *v = *v * factor + summand);
    }
    Ok(())
}
