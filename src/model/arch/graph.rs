//! The float graph of a network, of `float_layers`.

use std::sync::Arc;

use tract_nnef::internal::*;

use super::{Block, FoldedConv, Resnet, Shortcut};
use crate::kernels::Padding;
use crate::model::float_layers;
use crate::model::layers::{Convolution, Weights, Window};

impl Resnet {
    /// The float graph: f32 `[1, 3, size, size]`, normalized, to f32 `[1, classes]`.
    ///
    /// # Errors
    /// If tract refuses an operator.
    pub fn to_graph(&self, size: usize) -> TractResult<TypedModel> {
        let mut graph = TypedModel::default();
        let mut x = graph.add_source("image", f32::fact([1, 3, size, size]))?;
        for (i, layer) in self.stem.iter().enumerate() {
            x = conv(&mut graph, layer, x)?;
            let last = i + 1 == self.stem.len();
            let name = format!("{}_relu", layer.name);
            x = float_layers::relu(&mut graph, if last { "relu" } else { &name }, x)?;
        }
        let window = square(3, 2, Padding::all(1));
        x = float_layers::max_pool(&mut graph, "maxpool", window, x)?;
        for each in self.stages.iter().flatten() {
            x = block(&mut graph, each, x)?;
        }
        x = float_layers::average(&mut graph, "avgpool", x)?;
        x = conv(&mut graph, &self.head, x)?;
        x = float_layers::scores(&mut graph, "logits", x)?;
        graph.select_output_outlets(&[x])?;
        Ok(graph)
    }
}

fn square(kernel: usize, stride: usize, pad: Padding) -> Window {
    Window {
        kernel: (kernel, kernel),
        stride: (stride, stride),
        pad,
    }
}

fn conv(graph: &mut TypedModel, conv: &FoldedConv, x: OutletId) -> TractResult<OutletId> {
    let kernel = conv.shape()[2];
    let convolution = Convolution {
        weights: Weights {
            weights: Arc::new(conv.weights.clone()),
            bias: conv.bias.clone(),
        },
        window: square(kernel, conv.stride, Padding::all(kernel / 2)),
        groups: conv.groups,
    };
    float_layers::conv(graph, &conv.name, &convolution, x)
}

fn block(graph: &mut TypedModel, block: &Block, x: OutletId) -> TractResult<OutletId> {
    let (last, others) = block.convs.split_last().context("a block without layers")?;
    let mut y = x;
    for layer in others {
        y = conv(graph, layer, y)?;
        y = float_layers::relu(graph, &format!("{}_relu", layer.name), y)?;
    }
    y = conv(graph, last, y)?;
    let shortcut = match &block.shortcut {
        Some(layer) => shortcut(graph, layer, x)?,
        None => x,
    };
    y = float_layers::add(graph, &format!("{}_add", last.name), y, shortcut)?;
    float_layers::relu(graph, &format!("{}_relu", last.name), y)
}

fn shortcut(graph: &mut TypedModel, shortcut: &Shortcut, mut x: OutletId) -> TractResult<OutletId> {
    if shortcut.averaged {
        x = halve(graph, &format!("{}_average", shortcut.conv.name), x)?;
    }
    conv(graph, &shortcut.conv, x)
}

/// PyTorch's `AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)`: where rows or columns are odd, the last
/// average is of those that are there.
fn halve(graph: &mut TypedModel, name: &str, x: OutletId) -> TractResult<OutletId> {
    let shape = &graph.outlet_fact(x)?.shape;
    let (rows, columns) = (shape[2].to_usize()?, shape[3].to_usize()?);
    let pad = Padding {
        bottom: rows % 2,
        right: columns % 2,
        ..Padding::default()
    };
    float_layers::average_pool(graph, name, (square(2, 2, pad), false), x)
}
