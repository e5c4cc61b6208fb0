//! What must hold of an ONNX file before tract or we make anything of it: every name is defined before it is
//! used, every tensor has the data that its shape claims, every operator is one that image classifiers have, and
//! what can be computed beforehand stays small. Tensors in files of their own are fetched here (`external.rs`).

use std::collections::HashMap;
use std::path::Path;

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

use super::error::{OnnxError, shown};
use super::{external, settle, wire};

/// A model that has passed, its tensors all in memory.
pub struct Checked {
    pub model: ModelProto,
    pub graph: GraphProto,
    /// The name of the one input.
    pub input: String,
}

/// Float operators of classifiers, and what exporters compute shapes with.
const OPERATORS: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "Div",
    "Dropout",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "Max",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Operators on 8-bit integers: ONNX's own, then ONNX Runtime's.
const QUANTIZED: &[&str] = &[
    "DequantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
];
const RUNTIME: &[&str] = &[
    "DequantizeLinear",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearGlobalAveragePool",
    "QuantizeLinear",
];
const RUNTIME_DOMAIN: &str = "com.microsoft";

/// What may be computed beforehand, in elements: a ResNet152 has 60 million weights.
const MOST_CONSTANTS: usize = 1 << 28;
const MOST_RANK: usize = 8;

/// Checks the bytes of the file at `path`; tensors that lie beside it are read.
///
/// # Errors
/// If anything does not hold, with the node's or the tensor's name.
pub fn check(path: &Path, bytes: &[u8]) -> Result<Checked, OnnxError> {
    wire::scan(bytes).map_err(OnnxError::NotOnnx)?;
    let mut model =
        ModelProto::decode(bytes).map_err(|error| OnnxError::NotOnnx(error.to_string()))?;
    let mut graph = model.graph.take().unwrap_or_default();
    opset(&model)?;
    if !graph.sparse_initializer.is_empty() {
        return Err(OnnxError::Graph(
            "it has sparse tensors; store them as dense ones".into(),
        ));
    }
    external::fetch(path, &mut graph)?;
    settle::settle(&mut graph);
    let mut names = Names::default();
    for tensor in &graph.initializer {
        self::tensor(&tensor.name, tensor)?;
        names.define(
            &tensor.name,
            Some(elements(tensor).unwrap_or(0)),
            "an initializer",
        )?;
    }
    let input = input(&graph, &mut names)?;
    for node in &graph.node {
        self::node(node, &mut names)?;
    }
    output(&graph, &names)?;
    // what the exporter thought of shapes in between: tract finds them itself
    graph.value_info.clear();
    graph.quantization_annotation.clear();
    graph
        .output
        .iter_mut()
        .for_each(|output| output.r#type = None);
    Ok(Checked {
        model,
        graph,
        input,
    })
}

fn opset(model: &ModelProto) -> Result<(), OnnxError> {
    let own = model
        .opset_import
        .iter()
        .find(|set| ["", "ai.onnx"].contains(&set.domain.as_str()));
    match own.map_or(1, |set| set.version) {
        9..=23 => Ok(()),
        other => Err(OnnxError::Opset(other)),
    }
}

/// The names that are defined so far; with the number of elements where the value does not depend on the picture.
#[derive(Default)]
struct Names<'a> {
    defined: HashMap<&'a str, Option<usize>>,
    constants: usize,
}

impl<'a> Names<'a> {
    fn define(
        &mut self,
        name: &'a str,
        constant: Option<usize>,
        what: &str,
    ) -> Result<(), OnnxError> {
        self.constants = self.constants.saturating_add(constant.unwrap_or(0));
        if self.constants > MOST_CONSTANTS {
            return Err(OnnxError::Graph(format!(
                "{what}, {}: what does not depend on the picture grows beyond {MOST_CONSTANTS} numbers",
                shown(name)
            )));
        }
        if self.defined.insert(name, constant).is_some() {
            return Err(OnnxError::Graph(format!(
                "{what}, {}, is defined twice",
                shown(name)
            )));
        }
        Ok(())
    }
}

/// The one input that is no initializer.
fn input<'a>(graph: &'a GraphProto, names: &mut Names<'a>) -> Result<String, OnnxError> {
    let inputs = graph
        .input
        .iter()
        .filter(|input| !names.defined.contains_key(input.name.as_str()));
    let inputs: Vec<_> = inputs.collect();
    let &[input] = &inputs[..] else {
        return Err(OnnxError::Graph(format!(
            "it has {} inputs ({}); a classifier has one, the picture",
            inputs.len(),
            list(inputs.iter().map(|i| i.name.as_str()))
        )));
    };
    names.define(&input.name, None, "the input")?;
    Ok(input.name.clone())
}

fn output(graph: &GraphProto, names: &Names<'_>) -> Result<(), OnnxError> {
    let [output] = &graph.output[..] else {
        return Err(OnnxError::Graph(format!(
            "it has {} outputs ({}); export the logits only",
            graph.output.len(),
            list(graph.output.iter().map(|o| o.name.as_str()))
        )));
    };
    match names.defined.get(output.name.as_str()) {
        Some(None) => Ok(()),
        Some(Some(_)) => Err(OnnxError::Graph(
            "its output does not depend on the picture".into(),
        )),
        None => Err(OnnxError::Graph(format!(
            "no node writes its output {}",
            shown(&output.name)
        ))),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(5).map(shown).collect::<Vec<_>>().join(", ")
}

/// A node is called what its file calls it, else after its first output.
#[must_use]
pub fn name(node: &NodeProto) -> &str {
    let outputs = node.output.iter().map(String::as_str);
    let mut names = std::iter::once(node.name.as_str()).chain(outputs);
    names.find(|name| !name.is_empty()).unwrap_or("(no name)")
}

/// True for operators on 8-bit integers.
#[must_use]
pub fn is_quantized(node: &NodeProto) -> bool {
    let op = node.op_type.as_str();
    QUANTIZED.contains(&op) || RUNTIME.contains(&op)
}

fn node<'a>(node: &'a NodeProto, names: &mut Names<'a>) -> Result<(), OnnxError> {
    let bad = |reason: String| OnnxError::node(name(node), &node.op_type, reason);
    operator(node).map_err(bad)?;
    attributes(node)?;
    let used = node.input.iter().filter(|input| !input.is_empty());
    let mut inputs = Vec::new();
    for input in used {
        let known = names.defined.get(input.as_str()).copied();
        inputs.push(known.ok_or_else(|| {
            bad(format!(
                "its input {} is not written before it is read; nodes must be sorted and without cycles",
                shown(input)
            ))
        })?);
    }
    let constant = constant(node, &inputs).map_err(bad)?;
    if node.output.first().is_none_or(String::is_empty) {
        return Err(bad("it has no output".into()));
    }
    for (i, output) in node.output.iter().filter(|o| !o.is_empty()).enumerate() {
        names.define(
            output,
            if i == 0 {
                constant
            } else {
                constant.map(|_| 0)
            },
            "an output",
        )?;
    }
    Ok(())
}

fn operator(node: &NodeProto) -> Result<(), String> {
    let op = node.op_type.as_str();
    if ["If", "Loop", "Scan"].contains(&op) {
        return Err("nested graphs are not read; export a plain graph, for one picture and without control flow".into());
    }
    match node.domain.as_str() {
        "" | "ai.onnx" if OPERATORS.contains(&op) || QUANTIZED.contains(&op) => Ok(()),
        RUNTIME_DOMAIN if RUNTIME.contains(&op) => Ok(()),
        "" | "ai.onnx" => Err("a ResNet has no such operator".into()),
        other => Err(format!(
            "operators of {} are not read; export with ONNX's own",
            shown(other)
        )),
    }
}

fn attributes(node: &NodeProto) -> Result<(), OnnxError> {
    let bad = |reason: String| OnnxError::node(name(node), &node.op_type, reason);
    // slices say "to the end" by the largest number; constants hold what they like
    let free = ["Slice", "Constant"].contains(&node.op_type.as_str());
    let most = i64::from(i32::MAX);
    for attribute in &node.attribute {
        let of = shown(&attribute.name);
        if attribute.g.is_some() || !attribute.graphs.is_empty() {
            return Err(bad(format!(
                "its attribute {of} is a nested graph, which is not read"
            )));
        }
        let mut integers = attribute.ints.iter().chain([&attribute.i]);
        if !free && integers.any(|i| i.unsigned_abs() > most.unsigned_abs()) {
            return Err(bad(format!("its attribute {of} is out of all bounds")));
        }
        if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
            return Err(bad(format!("its attribute {of} is a sparse tensor")));
        }
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            self::tensor(name(node), tensor)?;
        }
    }
    Ok(())
}

/// At most how many elements the output has if it does not depend on the picture.
fn constant(node: &NodeProto, inputs: &[Option<usize>]) -> Result<Option<usize>, String> {
    let op = node.op_type.as_str();
    if op == "Constant" {
        let mut tensors = node.attribute.iter().filter_map(|a| a.t.as_ref());
        let lists = node.attribute.iter().map(|a| a.ints.len() + a.floats.len());
        return Ok(Some(
            tensors.next().and_then(elements).unwrap_or(0) + lists.sum::<usize>() + 1,
        ));
    }
    if op == "Shape" {
        return Ok(Some(MOST_RANK));
    }
    let Some(sizes) = inputs.iter().copied().collect::<Option<Vec<usize>>>() else {
        return Ok(None);
    };
    let first = sizes.first().copied().unwrap_or(0);
    Ok(Some(match op {
        "Pad" | "Conv" | "AveragePool" | "MaxPool" | "QLinearConv" | "GlobalAveragePool"
        | "GlobalMaxPool" => {
            return Err("it does not depend on the picture".into());
        }
        "Concat" => sizes.iter().fold(0, |sum, n| sum.saturating_add(*n)),
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Sum" | "MatMul" | "Gemm" | "Gather"
        | "QLinearAdd" | "QLinearMatMul" | "QGemm" => sizes
            .iter()
            .filter(|n| **n > 0)
            .fold(1, |product: usize, n| product.saturating_mul(*n)),
        _ => first,
    }))
}

/// The elements that a tensor's shape claims; nothing if that is no number.
pub(super) fn elements(tensor: &TensorProto) -> Option<usize> {
    tensor.dims.iter().try_fold(1usize, |product, &dim| {
        product.checked_mul(usize::try_from(dim).ok()?)
    })
}

fn tensor(name: &str, tensor: &TensorProto) -> Result<(), OnnxError> {
    let bad = |reason: String| OnnxError::tensor(name, reason);
    let shape = || {
        format!(
            "shape {:?}",
            &tensor.dims[..tensor.dims.len().min(MOST_RANK)]
        )
    };
    let elements = elements(tensor).filter(|_| tensor.dims.len() <= MOST_RANK);
    let elements = elements.ok_or_else(|| bad(format!("{} is no tensor's", shape())))?;
    if tensor.segment.is_some() {
        return Err(bad("tensors in segments are not read".into()));
    }
    let dtype = DataType::try_from(tensor.data_type).unwrap_or_default();
    let (size, listed) = match dtype {
        DataType::Float => (4, tensor.float_data.len()),
        DataType::Double => (8, tensor.double_data.len()),
        DataType::Int64 => (8, tensor.int64_data.len()),
        DataType::Int32 => (4, tensor.int32_data.len()),
        DataType::Int8 | DataType::Uint8 | DataType::Bool => (1, tensor.int32_data.len()),
        other => {
            return Err(bad(format!(
                "{} is not read; export in 32-bit floats",
                other.as_str_name()
            )));
        }
    };
    let held = if tensor.raw_data.is_empty() {
        listed
    } else if tensor.raw_data.len().is_multiple_of(size) {
        tensor.raw_data.len() / size
    } else {
        return Err(bad("its data ends within a number".into()));
    };
    if held == elements {
        return Ok(());
    }
    Err(bad(format!(
        "{} needs {elements} values and it holds {held}",
        shape()
    )))
}
