//! Goes over the nodes of a checked graph in their order. A float operator between `DequantizeLinear` and
//! `QuantizeLinear` waits until it is known how its result is rounded; then it is a layer.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;

use super::super::check::{self, Checked};
use super::super::error::OnnxError;
use super::super::layers::{Place, Shape, Window};
use super::attributes::text;
use super::constants::{Constants, Integers, undone};
use super::joined::joined;
use super::{Kind, QuantizedLayer, QuantizedNetwork};
use crate::kernels::Quant;
use crate::spec::Activation;

/// What a name of the graph stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// The float picture.
    Picture,
    /// The 8-bit integers that a layer gives.
    Integers(Place),
    /// The same, as floats.
    Floats(Place),
    /// What a float operator makes, not rounded yet.
    Waiting(Box<Waiting>),
    /// The same of a layer that is left in float, because another float layer reads it.
    Unrounded(Place),
    /// Constant weights or a bias.
    Weights(Integers),
    /// A shape, computed to flatten with.
    Sizes,
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub name: String,
    pub kind: Kind,
    pub inputs: Vec<Place>,
    pub relu: bool,
    /// What it gives before it is pooled.
    pub shape: Shape,
    /// Maxima of the result: whether a tensor is rounded before or after, they are the same.
    pub pool: Option<Pool>,
}

#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub name: String,
    pub window: Window,
    pub shape: Shape,
}

impl Waiting {
    /// Whether it can be computed in float.
    pub fn may_be_float(&self) -> bool {
        matches!(self.kind, Kind::Float(_) | Kind::GlobalAverage)
    }

    /// The shape of what it gives.
    pub fn shape(&self) -> Shape {
        self.pool.as_ref().map_or(self.shape, |pool| pool.shape)
    }
}

pub(super) struct Walk<'a> {
    pub constants: Constants<'a>,
    pub layers: Vec<QuantizedLayer>,
    pub values: HashMap<&'a str, Value>,
    pub picture: Shape,
    /// The type of what a `QuantizeLinear` gives.
    types: HashMap<&'a str, i64>,
    activation: Option<Activation>,
}

/// The layers of a quantized graph that takes pictures of `size`, channels first.
///
/// # Errors
/// If a node is not one of a quantized ResNet's, or its integers are not ours.
pub fn read(checked: &Checked, size: usize) -> Result<QuantizedNetwork, OnnxError> {
    let graph = &checked.graph;
    let mut walk = Walk {
        constants: Constants::new(graph),
        layers: Vec::new(),
        values: HashMap::from([(checked.input.as_str(), Value::Picture)]),
        picture: [3, size, size],
        types: HashMap::new(),
        activation: None,
    };
    for node in &graph.node {
        let bad = |reason: String| OnnxError::node(check::name(node), &node.op_type, reason);
        walk.node(node).map_err(bad)?;
    }
    let output = graph
        .output
        .first()
        .and_then(|o| walk.values.get(o.name.as_str()).cloned());
    walk.finish(output).map_err(OnnxError::Graph)
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Result<(), String> {
        let value = match node.op_type.as_str() {
            "Constant" => return Ok(()),
            _ if self.activation.is_some() => {
                return Err("only the network's end may make probabilities".into());
            }
            "QuantizeLinear" => self.quantize(node)?,
            "DequantizeLinear" => self.dequantize(node)?,
            "Conv" => self.conv(node)?,
            "Gemm" | "MatMul" => self.dense(node)?,
            "Add" => self.add(node)?,
            "Relu" | "Clip" => self.relu(node)?,
            "MaxPool" => self.max_pool(node)?,
            "AveragePool" | "GlobalAveragePool" | "ReduceMean" => self.average(node)?,
            "Softmax" | "Sigmoid" => self.end(node)?,
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity"
            | "Dropout" => self.alias(node)?,
            "Shape" => Value::Sizes,
            "Cast" if matches!(self.value(node, 0), Ok(Value::Integers(_))) => self.cast(node)?,
            "Gather" | "Concat" | "Cast" | "Slice" => self.sizes(node)?,
            _ => self.fused(node)?,
        };
        self.values.insert(&node.output[0], value);
        Ok(())
    }

    /// The value that a node reads at `slot`.
    pub fn value(&self, node: &NodeProto, slot: usize) -> Result<Value, String> {
        let found = node
            .input
            .get(slot)
            .and_then(|name| self.values.get(name.as_str()));
        found
            .cloned()
            .ok_or_else(|| "it reads what does not come of the picture".into())
    }

    /// The layer whose integers, as floats, a node reads at `slot`.
    pub fn floats(&self, node: &NodeProto, slot: usize) -> Result<Place, String> {
        match self.value(node, slot)? {
            Value::Floats(place) if self.layers[place].output.is_some() => Ok(place),
            _ => Err("its input is not quantized, and only convolutions and dense layers are run in float".into()),
        }
    }

    pub fn quant(&self, place: Place) -> Result<Quant, String> {
        self.layers[place]
            .output
            .ok_or_else(|| "its input is not rounded".into())
    }

    pub fn shape(&self, place: Place) -> Shape {
        self.layers[place].shape
    }

    pub fn push(&mut self, layer: QuantizedLayer) -> Place {
        self.layers.push(layer);
        self.layers.len() - 1
    }

    pub fn rounded(&mut self, waiting: Waiting, output: Option<Quant>) -> Place {
        let place = self.push(QuantizedLayer {
            name: waiting.name,
            kind: waiting.kind,
            inputs: waiting.inputs,
            relu: waiting.relu,
            shape: waiting.shape,
            output,
        });
        let Some(pool) = waiting.pool else {
            return place;
        };
        self.push(QuantizedLayer {
            name: pool.name,
            kind: Kind::MaxPool(pool.window),
            inputs: vec![place],
            relu: false,
            shape: pool.shape,
            output,
        })
    }

    pub fn waiting(&self, node: &NodeProto, kind: Kind, inputs: Vec<Place>, shape: Shape) -> Value {
        Value::Waiting(Box::new(Waiting {
            name: check::name(node).to_owned(),
            kind,
            inputs,
            relu: false,
            shape,
            pool: None,
        }))
    }

    fn quantize(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        if self.constants.get(node, 0).is_some() {
            return Ok(Value::Weights(self.constants.weights(node)?));
        }
        let quant = self.constants.quant(node, 1)?;
        self.types
            .insert(&node.output[0], self.constants.integer_type(node, 2));
        let value = match self.value(node, 0)? {
            Value::Waiting(waiting) => *waiting,
            Value::Floats(place) | Value::Integers(place) if self.quant(place)? == quant => {
                return Ok(Value::Integers(place));
            }
            Value::Floats(place) => self.rescaled(node, place),
            Value::Picture if self.layers.is_empty() => Waiting {
                name: check::name(node).to_owned(),
                kind: Kind::Picture,
                inputs: Vec::new(),
                relu: false,
                shape: self.picture,
                pool: None,
            },
            _ => return Err("it quantizes what is no float tensor, or the picture twice".into()),
        };
        Ok(Value::Integers(self.rounded(value, Some(quant))))
    }

    pub fn rescaled(&self, node: &NodeProto, place: Place) -> Waiting {
        Waiting {
            name: check::name(node).to_owned(),
            kind: Kind::Rescale,
            inputs: vec![place],
            relu: false,
            shape: self.shape(place),
            pool: None,
        }
    }

    fn dequantize(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        if self.constants.get(node, 0).is_some() {
            return Ok(Value::Weights(self.constants.weights(node)?));
        }
        let place = match self.value(node, 0)? {
            Value::Integers(place) => place,
            Value::Weights(weights) => {
                let scales = self.constants.scales(node, 1)?;
                let zeros = self.constants.zeros(node, 2)?;
                undone((&weights.scales, &weights.zeros), (&scales, &zeros))?;
                return Ok(Value::Weights(weights));
            }
            _ => return Err("it reads what is not quantized".into()),
        };
        if self.constants.quant(node, 1)? != self.quant(place)? {
            return Err("its scale is not the one that its input was rounded with".into());
        }
        Ok(Value::Floats(place))
    }

    /// PyTorch casts what it has rounded to the type that it has.
    fn cast(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let had = self.types.get(node.input[0].as_str()).copied();
        let to: Option<i64> = node.get_attr_opt("to").map_err(text)?;
        match had.zip(to) {
            Some((had, to)) if had == to => self.value(node, 0),
            _ => Err("it casts integers to another type".into()),
        }
    }

    /// Arithmetic on shapes.
    fn sizes(&self, node: &NodeProto) -> Result<Value, String> {
        let of_sizes = |name: &String| matches!(self.values.get(name.as_str()), Some(Value::Sizes));
        if node.input.iter().any(of_sizes) {
            Ok(Value::Sizes)
        } else {
            Err("no part of a ResNet".into())
        }
    }

    /// What moves no value of a pooled map.
    fn alias(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let value = self.value(node, 0)?;
        let shape = match &value {
            Value::Integers(place) | Value::Floats(place) | Value::Unrounded(place) => {
                self.shape(*place)
            }
            Value::Waiting(waiting) => waiting.shape(),
            Value::Sizes => return Ok(value),
            Value::Picture | Value::Weights(_) => self.picture,
        };
        let idle = ["Identity", "Dropout"].contains(&node.op_type.as_str());
        if let Value::Weights(weights) = &value
            && node.op_type == "Transpose"
            && weights.dims.len() == 2
        {
            return Ok(Value::Weights(transposed(weights)));
        }
        if idle || shape[1..] == [1, 1] {
            return Ok(value);
        }
        Err("only a pooled map, 1x1, can be reshaped".into())
    }

    fn end(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let value = self.value(node, 0)?;
        self.activation = Some(match node.op_type.as_str() {
            "Softmax" => Activation::Softmax,
            _ => Activation::Sigmoid,
        });
        Ok(value)
    }

    fn finish(mut self, output: Option<Value>) -> Result<QuantizedNetwork, String> {
        let place = match output {
            Some(Value::Integers(place) | Value::Floats(place)) => place,
            Some(Value::Waiting(waiting)) if waiting.pool.is_none() => self.rounded(*waiting, None),
            _ => return Err("its output is no layer's".into()),
        };
        if self.shape(place)[1..] != [1, 1] {
            return Err("a feature map leaves the network; export with the classifier".into());
        }
        if place + 1 != self.layers.len() {
            return Err("a layer comes after its output".into());
        }
        Ok(QuantizedNetwork {
            layers: joined(self.layers),
            activation: self.activation,
        })
    }
}

fn transposed(weights: &Integers) -> Integers {
    let (rows, columns) = (weights.dims[0], weights.dims[1]);
    let pick = |(c, r): (usize, usize)| weights.values[r * columns + c];
    let places = (0..columns).flat_map(|c| (0..rows).map(move |r| (c, r)));
    Integers {
        dims: vec![columns, rows],
        values: places.map(pick).collect(),
        scales: weights.scales.clone(),
        axis: 1 - weights.axis.min(1),
        zeros: weights.zeros.clone(),
    }
}
