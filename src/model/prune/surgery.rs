//! Carries a cut out on the list of layers: the readers of removed channels are fitted anew, removed blocks leave their
//! mean with the layer before them.

use std::collections::HashMap;
use std::sync::Arc;

use tract_nnef::internal::tract_ndarray::Array2;
use tract_nnef::internal::*;

use super::blocks::{Block, conv, writer};
use super::eliminate::{self, Columns};
use super::measure::Measured;
use super::plan::{Cut, Room};
use crate::model::error::{ModelError, tract};
use crate::model::layers::{Kind, Layer, Weights};

/// A network that was cut.
#[derive(Debug, Clone)]
pub struct Pruned {
    pub layers: Vec<Layer>,
    /// By output: which of the original's channels are left, where some are not.
    pub kept: HashMap<OutletId, Vec<usize>>,
}

/// # Errors
/// If a weight is not f32, or a covariance not finite.
pub fn apply(
    layers: &[Layer],
    blocks: &[Block],
    measured: &Measured,
    rooms: &[Room],
    cut: &Cut,
) -> Result<Pruned, ModelError> {
    let mut layers = layers.to_vec();
    let mut kept = HashMap::new();
    let mut gone = Vec::new();
    for ((block, room), widths) in blocks.iter().zip(rooms).zip(cut) {
        let Some(widths) = widths else {
            remove(&mut layers, block, measured)?;
            gone.extend(&block.convs);
            continue;
        };
        for (place, &width) in widths.iter().enumerate() {
            let (Some(curve), true) = (&room.curves[place], width < room.widths[place]) else {
                continue;
            };
            let (producer, reader) = (block.convs[place], block.convs[place + 1]);
            let channels = curve.kept(width);
            narrow_reader(&mut layers[reader], measured, producer, &channels)?;
            narrow_producer(&mut layers[producer], &channels)?;
            kept.insert(layers[producer].output, channels);
        }
    }
    gone.sort_unstable();
    let left = layers.into_iter().enumerate();
    let left = left.filter(|(i, _)| gone.binary_search(i).is_err());
    Ok(Pruned {
        layers: left.map(|(_, layer)| layer).collect(),
        kept,
    })
}

/// Whoever read the block's output reads its input; the mean of what the block added goes to whoever writes that.
fn remove(layers: &mut [Layer], block: &Block, measured: &Measured) -> Result<(), ModelError> {
    let end = block
        .convs
        .last()
        .ok_or_else(|| tract("a block without layers"))?;
    let output = layers[*end].output;
    // a removed block before this one has moved its input
    let input = layers[block.convs[0]].input;
    for layer in layers.iter_mut() {
        for read in layer.reads_mut() {
            if *read == output {
                *read = input;
            }
        }
    }
    let (Some(before), Some(seen)) = (writer(layers, input), measured.seen.get(&output)) else {
        return Ok(());
    };
    if let Kind::Conv(conv) = &mut layers[before].kind {
        add(&mut conv.weights.bias, &seen.own.mean);
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation)] // to the precision of the graph
fn add(bias: &mut [f32], what: &[f64]) {
    for (bias, what) in bias.iter_mut().zip(what) {
        *bias = (f64::from(*bias) + what) as f32;
    }
}

fn weights_of(layer: &mut Layer) -> Result<&mut Weights, ModelError> {
    match &mut layer.kind {
        Kind::Conv(conv) => Ok(&mut conv.weights),
        _ => Err(tract("no convolution")),
    }
}

/// The weights of the convolution at `index` as a column for each input channel.
///
/// # Errors
/// If there is none, or its weights are not f32.
pub fn columns(layers: &[Layer], index: usize) -> Result<Columns, ModelError> {
    let conv = conv(layers, index).ok_or_else(|| tract("no convolution"))?;
    let weights = &conv.weights.weights;
    let plain = weights.try_as_plain_ram()?;
    let values = plain.as_slice::<f32>()?;
    let (channels, pixels) = (
        weights.shape()[1],
        weights.shape()[2..].iter().product::<usize>(),
    );
    let rows = weights.shape()[0] * pixels;
    Ok(Array2::from_shape_fn((rows, channels), |(row, channel)| {
        let (output, pixel) = (row / pixels, row % pixels);
        f64::from(values[(output * channels + channel) * pixels + pixel])
    }))
}

fn narrow_reader(
    reader: &mut Layer,
    measured: &Measured,
    producer: usize,
    channels: &[usize],
) -> Result<(), ModelError> {
    let name = reader.name.clone();
    let covariance = measured.covariance.get(&producer);
    let covariance = covariance.ok_or_else(|| tract(format!("{name}: nothing was measured")))?;
    let before = columns(std::slice::from_ref(reader), 0)?;
    let fitted = eliminate::refit(covariance, &before, channels, &name)?;
    let weights = weights_of(reader)?;
    let mut shape = weights.weights.shape().to_vec();
    shape[1] = channels.len();
    let pixels: usize = shape[2..].iter().product();
    let mut values = Vec::with_capacity(shape.iter().product());
    for output in 0..shape[0] {
        for channel in 0..channels.len() {
            for pixel in 0..pixels {
                #[allow(clippy::cast_possible_truncation)] // to the precision of the graph
                values.push(fitted.columns[[output * pixels + pixel, channel]] as f32);
            }
        }
    }
    let rows = fitted.bias.chunks_exact(pixels.max(1));
    let bias: Vec<f64> = rows.map(|pixels| pixels.iter().sum()).collect();
    weights.weights = Arc::new(Tensor::from_shape(&shape, &values)?);
    add(&mut weights.bias, &bias);
    Ok(())
}

fn narrow_producer(producer: &mut Layer, channels: &[usize]) -> Result<(), ModelError> {
    let weights = weights_of(producer)?;
    let mut shape = weights.weights.shape().to_vec();
    let size: usize = shape[1..].iter().product();
    let plain = weights.weights.try_as_plain_ram()?;
    let values = plain.as_slice::<f32>()?;
    let rows = channels
        .iter()
        .flat_map(|&c| &values[c * size..(c + 1) * size]);
    let left: Vec<f32> = rows.copied().collect();
    shape[0] = channels.len();
    weights.weights = Arc::new(Tensor::from_shape(&shape, &left)?);
    weights.bias = channels.iter().map(|&c| weights.bias[c]).collect();
    Ok(())
}
