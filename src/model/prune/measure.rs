//! What the calibration pictures say of a network, in one walk through its layers: how each convolution's output is
//! spread, how the channels within a block vary together, and how much the labels would miss each block.

use std::collections::HashMap;

use tract_nnef::internal::tract_ndarray::{Array2, ArrayView2};
use tract_nnef::internal::*;

use super::blocks::{self, Block};
use super::eliminate::Covariance;
use super::walk::{Maps, Statistics, Walk, each, floats};
use crate::model::emit;
use crate::model::error::{ModelError, tract};
use crate::model::layers::{Kind, Layer};
use crate::model::sweep::progress;

/// Blocks are taken out before one picture in so many.
const SENSED: usize = 3;
/// Pictures whose covariances are in memory together.
const TOGETHER: usize = 8;

/// One convolution's output before residual and ReLU.
#[derive(Debug)]
pub struct Seen {
    pub own: Statistics,
    /// Mean of each channel of the residual.
    pub residual: Option<Vec<f64>>,
}

#[derive(Debug, Default)]
pub struct Measured {
    /// By the layer's output.
    pub seen: HashMap<OutletId, Seen>,
    /// Of what a convolution inside a block writes, ReLU included, by its place in the list.
    pub covariance: HashMap<usize, Covariance>,
    /// Per block: the change of the logits if its convolutions gave nothing but their mean, squared, as a share of the
    /// logits' variance.
    pub sensitivity: Vec<f64>,
}

/// # Errors
/// If tract fails, or a value is not finite.
pub fn measure(
    layers: &[Layer],
    blocks: &[Block],
    source: OutletId,
    pictures: Maps,
) -> Result<Measured, ModelError> {
    let mut found = Measured::default();
    let mut without: Vec<Vec<Vec<f32>>> = Vec::new();
    let mut walk = Walk::new(layers.to_vec(), source, pictures);
    let bar = progress(layers.len(), "measuring layers");
    for (index, layer) in layers.iter().enumerate() {
        let maps = walk.compute(index)?;
        if matches!(layer.kind, Kind::Conv(_)) {
            let seen = seen(&walk, layer, &maps)?;
            if blocks.iter().any(|b| b.convs.last() == Some(&index)) {
                without.push(ablated(&walk, index, &seen.own.mean)?);
            }
            found.seen.insert(layer.output, seen);
        }
        walk.finish(index, maps)?;
        let inner = |b: &Block| {
            blocks::narrowable(layers, b)
                .iter()
                .any(|&p| b.convs[p] == index)
        };
        if blocks.iter().any(inner) {
            found
                .covariance
                .insert(index, covariance(walk.values(layer.output)?)?);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let last = layers
        .last()
        .ok_or_else(|| tract("a network without layers"))?;
    let logits = walk.values(last.output)?.iter().step_by(SENSED);
    let logits = logits.map(|l| Ok(floats(l)?.to_vec()));
    let logits = logits.collect::<Result<Vec<_>, ModelError>>()?;
    found.sensitivity = without.iter().map(|w| change(&logits, w)).collect();
    Ok(found)
}

fn seen(walk: &Walk, layer: &Layer, maps: &Maps) -> Result<Seen, ModelError> {
    let own = Statistics::of(maps)?;
    if !own.mean.iter().chain(&own.deviation).all(|v| v.is_finite()) {
        return Err(ModelError::NotFinite(layer.name.clone()));
    }
    let residual = match layer.residual {
        Some(outlet) => Some(Statistics::of(walk.values(outlet)?)?.mean),
        None => None,
    };
    Ok(Seen { own, residual })
}

/// The logits of some pictures if the convolutions of the block that ends at `index` gave nothing but `mean`.
fn ablated(walk: &Walk, index: usize, mean: &[f64]) -> Result<Vec<Vec<f32>>, ModelError> {
    let layer = &walk.layers[index];
    let residual = layer
        .residual
        .ok_or_else(|| tract("a block without a shortcut"))?;
    let shortcuts: Vec<&Tensor> = walk.values(residual)?.iter().step_by(SENSED).collect();
    let last = walk.layers.last().map_or(layer.output, |l| l.output);
    let source = (layer.output, shortcuts[0].shape());
    let tail = emit::graph(&walk.layers[index + 1..], source, &[last])?;
    let plan = tail.into_optimized()?.into_runnable()?;
    each(shortcuts.len(), |picture| {
        let mut map = shortcuts[picture].clone();
        let mut view = map.try_as_plain_ram_mut()?;
        let values = view.as_slice_mut::<f32>()?;
        let pixels = (values.len() / mean.len().max(1)).max(1);
        for (plane, mean) in values.chunks_exact_mut(pixels).zip(mean) {
            #[allow(clippy::cast_possible_truncation)] // to the precision of the map
            let mean = *mean as f32;
            let least = if layer.relu { 0.0 } else { f32::NEG_INFINITY };
            plane.iter_mut().for_each(|v| *v = (*v + mean).max(least));
        }
        let outputs = plan.run(tvec!(map.into_tvalue()))?;
        Ok(floats(&outputs[0])?.to_vec())
    })
}

/// Squared difference as a share of the variance over pictures.
#[allow(clippy::cast_precision_loss)] // a count of pictures
fn change(logits: &[Vec<f32>], other: &[Vec<f32>]) -> f64 {
    let count = logits.len().max(1) as f64;
    let classes = logits.first().map_or(0, Vec::len);
    let (mut off, mut variance) = (0.0, 0.0);
    for class in 0..classes {
        let values = || logits.iter().map(|l| f64::from(l[class]));
        let mean = values().sum::<f64>() / count;
        variance += values().map(|v| (v - mean).powi(2)).sum::<f64>();
        let pairs = values().zip(other.iter().map(|o| f64::from(o[class])));
        off += pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    }
    off / variance.max(1e-30)
}

#[allow(clippy::cast_precision_loss)] // counts of pixels
fn covariance(maps: &Maps) -> Result<Covariance, ModelError> {
    let channels = maps[0].shape()[1];
    let mut matrix = Array2::<f64>::zeros((channels, channels));
    let mut mean = vec![0.0; channels];
    let mut count = 0;
    for some in maps.chunks(TOGETHER) {
        let products = each(some.len(), |picture| {
            let values = floats(&some[picture])?;
            let pixels = values.len() / channels.max(1);
            let x = ArrayView2::from_shape((channels, pixels), values).map_err(tract)?;
            let sums = x
                .rows()
                .into_iter()
                .map(|row| row.iter().map(|&v| f64::from(v)).sum());
            Ok((x.dot(&x.t()), sums.collect::<Vec<f64>>(), pixels))
        })?;
        for (product, sums, pixels) in products {
            matrix.zip_mut_with(&product, |m, &p| *m += f64::from(p));
            mean.iter_mut().zip(sums).for_each(|(m, s)| *m += s);
            count += pixels;
        }
    }
    let count = count.max(1) as f64;
    mean.iter_mut().for_each(|m| *m /= count);
    for ((i, j), v) in matrix.indexed_iter_mut() {
        *v = *v / count - mean[i] * mean[j];
    }
    Ok(Covariance { mean, matrix })
}
