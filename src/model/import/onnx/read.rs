//! From tract's graph to a list of layers. Each tensor is followed as a feature map and a view of it (`view.rs`);
//! what is no part of a ResNet is refused with its node's name.

use std::collections::HashMap;

use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Pad;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::{Reduce, Sigmoid, Softmax};

use super::error::{OnnxError, shown};
use super::layers::{Kind, Layer, Place, Shape};
use super::view::View;
use crate::spec::Activation;

/// The layers, the last of which gives the logits.
pub struct Network {
    pub layers: Vec<Layer>,
    /// What the graph does with its logits, where it says so.
    pub activation: Option<Activation>,
    /// Where the logits are in tract's graph.
    pub logits: OutletId,
}

/// A tensor, as a view of what a layer gives.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub place: Place,
    pub view: View,
}

/// A node that makes probabilities of logits, and the logits' outlet.
struct Ending {
    activation: Activation,
    name: String,
    op: String,
    logits: OutletId,
}

pub(super) struct Reading<'a> {
    pub model: &'a TypedModel,
    pub layers: Vec<Layer>,
    values: HashMap<OutletId, Value>,
    ending: Option<Ending>,
}

/// Largest extent of a feature map: far above what a ResNet sees.
const LARGEST: usize = 1 << 16;

/// # Errors
/// If a node is not one of a ResNet's.
pub fn network(model: &TypedModel, channels_last: bool) -> Result<Network, OnnxError> {
    let mut reading = Reading {
        model,
        layers: Vec::new(),
        values: HashMap::new(),
        ending: None,
    };
    reading.image(channels_last)?;
    let order = model
        .eval_order()
        .map_err(|e| OnnxError::Tract(e.to_string()))?;
    for id in order {
        let node = model.node(id);
        let node_error = |r| OnnxError::node(&node.name, &node.op.name(), r);
        reading.node(node).map_err(node_error)?;
    }
    reading.finish()
}

impl<'a> Reading<'a> {
    fn image(&mut self, channels_last: bool) -> Result<(), OnnxError> {
        let bad = || OnnxError::Graph("its input is no picture".into());
        let &[source] = &self.model.inputs[..] else {
            return Err(bad());
        };
        let dims = self.dims(source).map_err(|_| bad())?;
        let shape = match dims[..] {
            [1, rows, columns, 3] if channels_last => [3, rows, columns],
            [1, 3, rows, columns] => [3, rows, columns],
            _ => return Err(bad()),
        };
        let view = if channels_last {
            View::channels_last(shape)
        } else {
            View::channels_first(shape)
        };
        self.layers.push(Layer {
            name: "image".into(),
            op: "Source".into(),
            kind: Kind::Image,
            inputs: Vec::new(),
            shape,
        });
        self.values.insert(source, Value { place: 0, view });
        Ok(())
    }

    fn node(&mut self, node: &'a TypedNode) -> Result<(), String> {
        let constant = node.outputs.iter().all(|o| o.fact.konst.is_some());
        if constant || self.model.inputs.contains(&OutletId::new(node.id, 0)) {
            return Ok(());
        }
        if let Some(op) = node.op_as::<AxisOp>() {
            return self.alias(node, |view, shape| view.moved(op, shape));
        }
        let same = |o: &OutletId| Some(self.model.outlet_fact(*o).ok()?.datum_type);
        if node.op_is::<Identity>()
            || node.op_is::<Cast>() && node.inputs.first().and_then(same) == Some(f32::datum_type())
        {
            return self.alias(node, |view, _| Ok(view.clone()));
        }
        if let Some(op) = node.op_as::<Softmax>() {
            return self.softmax(node, &op.axes);
        }
        if let Some(op) = node.op_as::<ElementWiseOp>() {
            if !op.0.is::<Sigmoid>() {
                return self.elementwise(node, op);
            }
            if self.is_end(OutletId::new(node.id, 0)) {
                return self.end(node, Activation::Sigmoid);
            }
            let value = self.value(node, 0)?;
            let out = (self.shape(&value), value.view);
            return self.push(node, Kind::Sigmoid, vec![value.place], out);
        }
        if let Some(op) = node.op_as::<Conv>() {
            self.conv(node, op)
        } else if let Some(op) = node.op_as::<EinSum>() {
            self.product(node, op)
        } else if let Some(op) = node.op_as::<TypedBinOp>() {
            self.binary(node, &*op.0)
        } else if let Some(op) = node.op_as::<MaxPool>() {
            self.max_pool(node, op)
        } else if let Some(op) = node.op_as::<SumPool>() {
            self.average_pool(node, op)
        } else if let Some(op) = node.op_as::<Reduce>() {
            self.reduce(node, op)
        } else if let Some(op) = node.op_as::<Pad>() {
            self.pad(node, op)
        } else {
            Err(NOT_OF_A_RESNET.into())
        }
    }

    /// An activation that is none of ours.
    fn elementwise(&mut self, node: &TypedNode, op: &ElementWiseOp) -> Result<(), String> {
        if self.is_end(OutletId::new(node.id, 0)) {
            return Err("the network's end may be a softmax or a sigmoid".into());
        }
        let value = self.value(node, 0)?;
        let out = (self.shape(&value), value.view);
        self.push(node, Kind::Elementwise(op.clone()), vec![value.place], out)
    }

    /// The extents of a tensor, all known and within bounds.
    pub fn dims(&self, outlet: OutletId) -> Result<Vec<usize>, String> {
        let fact = self.model.outlet_fact(outlet).map_err(|e| e.to_string())?;
        if fact.datum_type != f32::datum_type() {
            return Err(format!("it works on {:?}, not on floats", fact.datum_type));
        }
        let dims = fact.shape.as_concrete().map(<[usize]>::to_vec);
        dims.filter(|dims| dims.iter().all(|d| (1..=LARGEST).contains(d)))
            .ok_or_else(|| "the shape of its result is not known or beyond bounds".into())
    }

    /// The feature map that a node reads at `slot`.
    pub fn value(&self, node: &TypedNode, slot: usize) -> Result<Value, String> {
        if let Some(ending) = &self.ending {
            let (name, op) = (shown(&ending.name), &ending.op);
            return Err(format!(
                "it reads what {name} ({op}) made; only the network's end may be a {op}"
            ));
        }
        let outlet = node.inputs.get(slot).ok_or("it has too few inputs")?;
        let found = self.values.get(outlet).cloned();
        found.ok_or_else(|| "it reads what is no feature map of the picture".into())
    }

    /// The constant that a node reads at `slot`.
    pub fn constant(&self, node: &TypedNode, slot: usize) -> Option<Arc<Tensor>> {
        let outlet = node.inputs.get(slot)?;
        self.model.outlet_fact(*outlet).ok()?.konst.clone()
    }

    pub fn shape(&self, value: &Value) -> Shape {
        self.layers[value.place].shape
    }

    /// Adds a layer whose output lies as `view` says; tract's own shape of it must agree.
    pub fn push(
        &mut self,
        node: &TypedNode,
        kind: Kind,
        inputs: Vec<Place>,
        (shape, view): (Shape, View),
    ) -> Result<(), String> {
        let output = OutletId::new(node.id, 0);
        let dims = self.dims(output)?;
        let seen = dims.iter().map(|&d| (d > 1).then_some(d)).collect_vec();
        let meant = view
            .0
            .iter()
            .map(|a| a.map(|a| super::view::extent(shape, a)));
        if seen != meant.collect_vec() {
            return Err(format!("a result of {dims:?} was not expected"));
        }
        let place = self.layers.len();
        self.layers.push(Layer {
            name: node.name.clone(),
            op: node.op.name().into_owned(),
            kind,
            inputs,
            shape,
        });
        self.values.insert(output, Value { place, view });
        Ok(())
    }

    /// Another view of the node's first input.
    pub fn alias(
        &mut self,
        node: &TypedNode,
        view: impl Fn(&View, Shape) -> Result<View, String>,
    ) -> Result<(), String> {
        let source = node.inputs.first().ok_or("it has no input")?;
        let found = self.values.get(source).cloned();
        let mut value = found.ok_or("it reads what is no feature map of the picture")?;
        value.view = view(&value.view, self.shape(&value))?;
        self.values.insert(OutletId::new(node.id, 0), value);
        Ok(())
    }

    fn softmax(&mut self, node: &TypedNode, axes: &[usize]) -> Result<(), String> {
        let value = self.value(node, 0)?;
        let over =
            |(at, axis): (usize, &Option<super::view::Axis>)| axis.is_none() || axes.contains(&at);
        if !value.view.0.iter().enumerate().all(over) {
            return Err("only a softmax over the classes, at the end, is read".into());
        }
        self.end(node, Activation::Softmax)
    }

    /// Whether nothing more is computed of `outlet`.
    fn is_end(&self, outlet: OutletId) -> bool {
        // not by recursion: a file may have as many nodes in a row as it likes
        let mut open = vec![outlet];
        while let Some(outlet) = open.pop() {
            for reader in &self.model.node(outlet.node).outputs[outlet.slot].successors {
                let node = self.model.node(reader.node);
                if !node.op_is::<AxisOp>() && !node.op_is::<Identity>() {
                    return false;
                }
                open.push(OutletId::new(node.id, 0));
            }
        }
        true
    }

    fn end(&mut self, node: &TypedNode, activation: Activation) -> Result<(), String> {
        let value = self.value(node, 0)?;
        if self.shape(&value)[1..] != [1, 1] {
            return Err(NOT_OF_A_RESNET.into());
        }
        self.ending = Some(Ending {
            activation,
            name: node.name.clone(),
            op: node.op.name().into_owned(),
            logits: node.inputs[0],
        });
        self.values.insert(OutletId::new(node.id, 0), value);
        Ok(())
    }

    fn finish(mut self) -> Result<Network, OnnxError> {
        let output = self.model.outputs.first().copied();
        let value = output.and_then(|o| self.values.get(&o));
        let (Some(output), Some(value)) = (output, value) else {
            return Err(OnnxError::Graph("its output is no layer's".into()));
        };
        let last = &self.layers[value.place];
        if last.shape[1..] != [1, 1] {
            return Err(OnnxError::node(
                &last.name,
                &last.op,
                "a feature map leaves the network, not one value for each class; export with the classifier",
            ));
        }
        self.layers.truncate(value.place + 1);
        let ending = self.ending;
        Ok(Network {
            layers: self.layers,
            activation: ending.as_ref().map(|e| e.activation),
            logits: ending.map_or(output, |e| e.logits),
        })
    }
}

pub(super) const NOT_OF_A_RESNET: &str = "no part of a ResNet";
