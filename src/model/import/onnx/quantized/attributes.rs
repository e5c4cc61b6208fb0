//! What the attributes of a node say, and what follows from them for shapes.

use tract_onnx::pb::{NodeProto, TensorProto};

use super::super::layers::{Shape, Window};
use crate::kernels::Padding;

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) fn plain_gemm(node: &NodeProto) -> Result<(), String> {
    let factor = |name| Ok::<f32, String>(node.get_attr_opt(name).map_err(text)?.unwrap_or(1.0));
    let transposed = node.get_attr_opt("transA").map_err(text)?.unwrap_or(false);
    if factor("alpha")? != 1.0 || factor("beta")? != 1.0 || transposed {
        return Err("only plain products (alpha 1, beta 1, transA 0) are read".into());
    }
    Ok(())
}

pub(super) fn dense_shape(dims: [usize; 4], input: Shape) -> Result<Shape, String> {
    if input != [dims[1], 1, 1] {
        return Err(format!(
            "weights for {} inputs do not fit a map of {input:?}",
            dims[1]
        ));
    }
    Ok([dims[0], 1, 1])
}

pub(super) fn kernel(node: &NodeProto) -> Result<(usize, usize), String> {
    match node
        .get_attr_opt_vec::<usize>("kernel_shape")
        .map_err(text)?
        .as_deref()
    {
        Some(&[rows, columns]) => Ok((rows, columns)),
        _ => Err("its window is not of rows and columns".into()),
    }
}

/// The window of a node over a map of `shape`.
pub(super) fn window(
    node: &NodeProto,
    kernel: (usize, usize),
    shape: Shape,
) -> Result<Window, String> {
    let list = |name: &str| node.get_attr_opt_vec::<usize>(name).map_err(text);
    let said =
        |name: &str| Ok::<_, String>(node.get_attr_opt::<isize>(name).map_err(text)?.unwrap_or(0));
    let stride = match list("strides")?.as_deref() {
        None => (1, 1),
        Some(&[a, b]) if a > 0 && b > 0 => (a, b),
        _ => return Err("its strides are not of rows and columns".into()),
    };
    if list("dilations")?.is_some_and(|d| d.iter().any(|d| *d != 1)) {
        return Err("dilated windows are not read".into());
    }
    let auto: Option<&str> = node.get_attr_opt("auto_pad").map_err(text)?;
    if !matches!(auto, None | Some("NOTSET" | "VALID")) {
        return Err("auto_pad is not read; write the padding out".into());
    }
    let pad = match list("pads")?.as_deref() {
        Some(&[top, left, bottom, right]) => Padding {
            top,
            left,
            bottom,
            right,
        },
        None => Padding::default(),
        _ => return Err("its padding is not of rows and columns".into()),
    };
    let window = Window {
        kernel,
        stride,
        pad,
    };
    let padded = |i: usize, before: usize, after: usize| {
        shape[i].saturating_add(before).saturating_add(after)
    };
    let beyond = |size: usize, kernel: usize, stride: usize| {
        !size.saturating_sub(kernel).is_multiple_of(stride)
    };
    let hangs = beyond(padded(1, pad.top, pad.bottom), kernel.0, stride.0)
        || beyond(padded(2, pad.left, pad.right), kernel.1, stride.1);
    if said("ceil_mode")? != 0 && hangs {
        return Err("its last window hangs over the edge; export without ceil_mode".into());
    }
    Ok(window)
}

pub(super) fn slid(window: Window, shape: Shape, channels: usize) -> Result<Shape, String> {
    const LARGEST: usize = 1 << 16;
    let size = window
        .output(shape[1], shape[2])
        .filter(|s| s.0 <= LARGEST && s.1 <= LARGEST);
    let (rows, columns) = size.ok_or("its window does not fit its input")?;
    Ok([channels, rows, columns])
}

pub(super) fn long_integers(tensor: &TensorProto) -> Vec<i64> {
    if tensor.raw_data.is_empty() {
        return tensor.int64_data.clone();
    }
    tensor
        .raw_data
        .as_chunks::<8>()
        .0
        .iter()
        .map(|c| i64::from_le_bytes(*c))
        .collect()
}
