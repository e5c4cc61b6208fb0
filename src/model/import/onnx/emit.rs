//! The float graph of a list of layers, as `lower.rs` reads it: f32 `[1, 3, size, size]` to `[1, classes]`, the
//! same operators that `arch.rs` builds with, but with each layer's own padding, groups and names.

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::math;
use tract_nnef::tract_core::ops::nn::sigmoid;

use super::layers::{Affine, Bound, Conv, Divisor, Kind, Layer, Window};
use super::names::Names;
use crate::model::float_layers;
use crate::model::layers::{Convolution, Weights};

/// # Errors
/// If tract refuses an operator.
pub fn graph(layers: &[Layer]) -> TractResult<TypedModel> {
    let mut emit = Emit {
        graph: TypedModel::default(),
        names: Names::default(),
    };
    let mut outlets = Vec::with_capacity(layers.len());
    for layer in layers {
        let inputs: Vec<OutletId> = layer.inputs.iter().map(|&i| outlets[i]).collect();
        outlets.push(emit.layer(layer, &inputs)?);
    }
    let x = *outlets.last().context("no layers")?;
    let x = float_layers::scores(&mut emit.graph, "logits", x)?;
    emit.graph.select_output_outlets(&[x])?;
    Ok(emit.graph)
}

struct Emit {
    graph: TypedModel,
    names: Names,
}

impl Emit {
    fn wire(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        Ok(self.graph.wire_node(name, op, inputs)?[0])
    }

    fn layer(&mut self, layer: &Layer, inputs: &[OutletId]) -> TractResult<OutletId> {
        let name = self.names.of(&layer.name, &layer.op);
        match &layer.kind {
            Kind::Image => {
                let [channels, rows, columns] = layer.shape;
                self.graph
                    .add_source(name, f32::fact([1, channels, rows, columns]))
            }
            Kind::Conv(layer) => conv(&mut self.graph, &name, layer, inputs[0]),
            Kind::Affine(affine) => conv(&mut self.graph, &name, &depthwise(affine), inputs[0]),
            Kind::Relu => float_layers::relu(&mut self.graph, &name, inputs[0]),
            Kind::Bound(bound, value) => {
                let value = self.constant(&format!("{name}_bound"), tensor0(*value))?;
                let op = match bound {
                    Bound::Least => math::max(),
                    Bound::Most => math::min(),
                };
                self.wire(&name, op, &[inputs[0], value])
            }
            Kind::Elementwise(op) => self.wire(&name, op.clone(), inputs),
            Kind::Add => float_layers::add(&mut self.graph, &name, inputs[0], inputs[1]),
            Kind::Sigmoid => self.wire(&name, sigmoid(), inputs),
            Kind::Product => self.wire(&name, math::mul(), inputs),
            Kind::MaxPool(window) => {
                float_layers::max_pool(&mut self.graph, &name, *window, inputs[0])
            }
            Kind::AveragePool(window, divisor) => {
                let window = (*window, *divisor == Divisor::Window);
                float_layers::average_pool(&mut self.graph, &name, window, inputs[0])
            }
            Kind::GlobalAverage => float_layers::average(&mut self.graph, &name, inputs[0]),
            Kind::Pad(_) | Kind::Sum => bail!("{name}: {:?} was to be folded", layer.kind),
        }
    }

    fn constant(&mut self, name: &str, value: Tensor) -> TractResult<OutletId> {
        self.graph.add_const(name, value.broadcast_into_rank(4)?)
    }
}

/// # Errors
/// If tract refuses it.
pub fn conv(graph: &mut TypedModel, name: &str, conv: &Conv, x: OutletId) -> TractResult<OutletId> {
    let layer = Convolution {
        weights: Weights {
            weights: Tensor::from_shape(&conv.dims, &conv.weights)?.into_arc_tensor(),
            bias: conv.bias.clone(),
        },
        window: conv.window,
        groups: conv.groups,
    };
    float_layers::conv(graph, name, &layer, x)
}

/// A factor and a summand for each channel, as a convolution of each channel for itself.
fn depthwise(affine: &Affine) -> Conv {
    let channels = affine.factor.len();
    Conv {
        dims: [channels, 1, 1, 1],
        weights: affine.factor.clone(),
        bias: affine.summand.clone(),
        groups: channels,
        window: Window::ONE,
    }
}
