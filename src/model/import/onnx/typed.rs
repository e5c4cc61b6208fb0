//! Has tract read a checked file: for one picture, of a size that is known. tract resolves the arithmetic on
//! shapes that exporters write; its own simplifications are left out, because `read.rs` wants the operators as
//! they were written. A panic of tract's on a file is an error here.

use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value};
use tract_onnx::pb::{TensorShapeProto, tensor_proto::DataType, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::bail;

use super::check::Checked;
use super::error::{OnnxError, shown};
use crate::infer::quiet;

/// What the file says of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Batch, rows, columns, channels and not ONNX's own order.
    pub channels_last: bool,
    /// Rows and columns, where they are fixed.
    pub size: Option<usize>,
}

/// Reads the input's shape.
///
/// # Errors
/// If it is no picture of three channels.
pub fn picture(checked: &Checked) -> Result<Picture, OnnxError> {
    let bad =
        |reason: String| OnnxError::Graph(format!("its input {}: {reason}", shown(&checked.input)));
    let input = checked.graph.input.iter().find(|i| i.name == checked.input);
    let r#type = input.and_then(|i| i.r#type.as_ref()?.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = r#type else {
        return Err(bad("it is no tensor".into()));
    };
    if tensor.elem_type != DataType::Float as i32 {
        return Err(bad(
            "it is not of 32-bit floats; export the network in float32, without the conversion of bytes".into(),
        ));
    }
    let dims = tensor
        .shape
        .as_ref()
        .map(|s| &s.dim[..])
        .unwrap_or_default();
    let fixed = |d: &Dimension| match d.value {
        Some(Value::DimValue(v)) if v > 0 => usize::try_from(v).ok(),
        _ => None,
    };
    let &[_, first, second, third] = &dims.iter().map(fixed).collect::<Vec<_>>()[..] else {
        return Err(bad(format!("it has {} dimensions, not 4", dims.len())));
    };
    let (channels_last, rows, columns) = match (first, third) {
        (Some(3), _) | (None, None) => (false, second, third),
        (_, Some(3)) => (true, first, second),
        _ => return Err(bad("it has no axis of 3 channels".into())),
    };
    match (rows, columns) {
        (Some(r), Some(c)) if r != c => Err(bad(format!(
            "pictures of {r}x{c}; only square ones are read"
        ))),
        (r, c) => Ok(Picture {
            channels_last,
            size: r.or(c),
        }),
    }
}

/// tract's graph for one picture of `size`.
///
/// # Errors
/// If tract refuses it.
pub fn typed(mut checked: Checked, picture: Picture, size: usize) -> Result<TypedModel, OnnxError> {
    fix_shape(&mut checked, picture, size);
    without_dropout(&mut checked);
    checked.model.graph = Some(checked.graph);
    let read = || -> TractResult<TypedModel> {
        let onnx = tract_onnx::onnx().with_ignore_value_info(true);
        let parsed = onnx.parse(&checked.model, None)?;
        drop(checked.model);
        if let Some(name) = parsed.unresolved_inputs.first() {
            bail!("nothing writes {}", shown(name));
        }
        let mut model = parsed.model.into_typed()?;
        model.prop_consts()?;
        Ok(model)
    };
    match quiet::catch(read) {
        Ok(Ok(model)) => Ok(model),
        Ok(Err(error)) => Err(refused_by_tract(&error)),
        Err(_) => Err(OnnxError::Tract(
            "it gave up on a node; export with another opset, or simplify the file".into(),
        )),
    }
}

/// On one line and not at any length: tract prints whole nodes.
#[must_use]
pub fn refused_by_tract(error: &TractError) -> OnnxError {
    const LONGEST: usize = 300;
    let text = format!("{error:#}");
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    OnnxError::Tract(line.take(LONGEST).collect())
}

/// Outside training it changes nothing, and what it left out nobody may read.
fn without_dropout(checked: &mut Checked) {
    for node in &mut checked.graph.node {
        if node.op_type == "Dropout" {
            node.op_type = "Identity".into();
            node.input.truncate(1);
            node.output.truncate(1);
            node.attribute.clear();
        }
    }
}

fn fix_shape(checked: &mut Checked, picture: Picture, size: usize) {
    let input = checked
        .graph
        .input
        .iter_mut()
        .find(|i| i.name == checked.input);
    let r#type = input.and_then(|i| i.r#type.as_mut()?.value.as_mut());
    if let Some(type_proto::Value::TensorType(tensor)) = r#type {
        let dims = if picture.channels_last {
            [1, size, size, 3]
        } else {
            [1, 3, size, size]
        };
        let dim = |v: usize| Dimension {
            denotation: String::new(),
            value: i64::try_from(v).ok().map(Value::DimValue),
        };
        tensor.shape = Some(TensorShapeProto {
            dim: dims.map(dim).to_vec(),
        });
    }
}
