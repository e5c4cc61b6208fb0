//! What a network consists of, read from its graph and never from its name.

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::cnn::Conv;

use super::qconv::QConv;
use super::qdense::QDense;
use super::qgroup::QGroupConv;
use super::qpool::{QAverage, QGlobalAverage, QMaxPool};
use crate::kernels::Geometry;

/// One layer as published: a convolution, pooling or the dense layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    pub name: String,
    /// `conv 3x3/2`, `dense`, ...
    pub kind: String,
    /// Rows, columns, channels.
    pub input: [usize; 3],
    pub output: [usize; 3],
    /// Multiply-adds for one picture.
    pub macs: u64,
    /// Parameters as published: weights, plus for a convolution two per output channel for the batch
    /// normalization that was folded into it, for the dense layer its biases.
    pub params: u64,
}

/// The layers of a graph in the order in which they run; what only moves or adds values is left out.
///
/// # Errors
/// If a shape is not known.
pub fn layers(model: &TypedModel) -> TractResult<Vec<LayerInfo>> {
    let mut found = Vec::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        let Some((kind, shape)) = parts(model, node)? else {
            continue;
        };
        let input = model.outlet_fact(node.inputs[0])?;
        let output = &node.outputs[0].fact;
        found.push(layer(
            kind,
            node.name.clone(),
            shape,
            (hwc(input)?, hwc(output)?),
        ));
    }
    // a float graph's dense layer is a 1x1 convolution of the averaged picture
    if let Some(last) = found
        .last_mut()
        .filter(|l| l.kind == "conv 1x1" && l.input[..2] == [1, 1])
    {
        let outputs = last.output[2] as u64;
        last.kind = "dense".into();
        last.params -= outputs;
    }
    Ok(found)
}

/// A layer's kind, and its weights' shape `[out, rows, columns, in]` where it has any.
fn parts(
    model: &TypedModel,
    node: &TypedNode,
) -> TractResult<Option<(String, Option<[usize; 4]>)>> {
    let window = |rows: usize, columns: usize, stride: usize| {
        let stride = if stride > 1 {
            format!("/{stride}")
        } else {
            String::new()
        };
        format!("{rows}x{columns}{stride}")
    };
    if let Some(op) = node.op_as::<QConv>() {
        let s = op.weights.shape;
        let add = if op.params.residual.is_some() {
            " + add"
        } else {
            ""
        };
        let kind = format!("conv {}{add}", window(s[1], s[2], op.params.stride.0));
        return Ok(Some((kind, Some(s))));
    }
    if let Some(op) = node.op_as::<QDense>() {
        return Ok(Some(("dense".into(), Some(op.weights.shape))));
    }
    if let Some(op) = node.op_as::<QGroupConv>() {
        let g = op.geometry();
        let window = window(g.kernel_h, g.kernel_w, g.stride_h);
        let shape = [g.out_c, g.kernel_h, g.kernel_w, g.in_c / op.groups];
        let kind = format!("conv {window} in {}", op.groups);
        return Ok(Some((kind, Some(shape))));
    }
    let pool = |kind: &str, g: &Geometry| {
        let window = window(g.kernel_h, g.kernel_w, g.stride_h);
        Ok(Some((format!("{kind} {window}"), None)))
    };
    if let Some(op) = node.op_as::<QMaxPool>() {
        return pool("max", &op.geometry);
    }
    if let Some(op) = node.op_as::<QAverage>() {
        return pool("average", &op.geometry);
    }
    if node.op_is::<QGlobalAverage>() {
        return Ok(Some(("average".into(), None)));
    }
    if let Some(op) = node.op_as::<Conv>() {
        let weights = model.outlet_fact(node.inputs[1])?;
        let Some(&[o, i, rows, columns]) = weights.shape.as_concrete() else {
            bail!("{}: weights of unknown shape", node.name)
        };
        let window = window(rows, columns, op.pool_spec.stride(0));
        let kind = match op.group {
            1 => format!("conv {window}"),
            groups => format!("conv {window} in {groups}"),
        };
        return Ok(Some((kind, Some([o, rows, columns, i]))));
    }
    Ok(None)
}

fn layer(
    kind: String,
    name: String,
    shape: Option<[usize; 4]>,
    (input, output): ([usize; 3], [usize; 3]),
) -> LayerInfo {
    let weights = shape.map_or(0, |s| s.iter().product::<usize>() as u64);
    let outputs = shape.map_or(0, |s| s[0] as u64);
    let per_output = if kind == "dense" { 1 } else { 2 };
    LayerInfo {
        macs: weights * (output[0] * output[1]) as u64,
        params: weights + per_output * outputs,
        name,
        kind,
        input,
        output,
    }
}

/// Rows, columns and channels of a tensor in either order of axes.
fn hwc(fact: &TypedFact) -> TractResult<[usize; 3]> {
    match fact.shape.as_concrete() {
        Some(&[1, h, w, c]) if fact.datum_type == u8::datum_type() => Ok([h, w, c]),
        Some(&[1, c, h, w]) => Ok([h, w, c]),
        Some(&[1, c]) => Ok([1, 1, c]),
        _ => bail!("activations of shape {:?}", fact.shape),
    }
}
