//! Layers as nodes of a float graph, in the form that `lower` reads: NCHW, weights in OIHW order, ReLU as a maximum
//! with zero.

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::cnn::{
    Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool,
};
use tract_nnef::tract_core::ops::math;
use tract_nnef::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use super::layers::{Convolution, Window};

/// Adds a convolution that reads `x`.
///
/// # Errors
/// As [`TypedModel::wire_node`].
pub fn conv(
    model: &mut TypedModel,
    name: &str,
    conv: &Convolution,
    x: OutletId,
) -> TractResult<OutletId> {
    let weights = &conv.weights.weights;
    let &[outputs, per_group, ..] = weights.shape() else {
        bail!("{name}: weights of shape {:?}", weights.shape());
    };
    let pool_spec = pool_spec(conv.window, (per_group * conv.groups, outputs));
    let bias = tensor1(&conv.weights.bias);
    let op = Conv {
        pool_spec,
        kernel_fmt: KernelFormat::OIHW,
        group: conv.groups,
        q_params: None,
    };
    let weights = model.add_const(format!("{name}_weight"), weights.clone())?;
    let bias = model.add_const(format!("{name}_bias"), bias)?;
    wire(model, name, op, &[x, weights, bias])
}

/// # Errors
/// As [`TypedModel::wire_node`].
pub fn relu(model: &mut TypedModel, name: &str, x: OutletId) -> TractResult<OutletId> {
    let zero = tensor0(0f32).broadcast_into_rank(4)?;
    let zero = model.add_const(format!("{name}_zero"), zero)?;
    wire(model, name, math::max(), &[x, zero])
}

/// # Errors
/// As [`TypedModel::wire_node`].
pub fn add(model: &mut TypedModel, name: &str, x: OutletId, y: OutletId) -> TractResult<OutletId> {
    wire(model, name, math::add(), &[x, y])
}

/// # Errors
/// As [`TypedModel::wire_node`].
pub fn max_pool(
    model: &mut TypedModel,
    name: &str,
    window: Window,
    x: OutletId,
) -> TractResult<OutletId> {
    let channels = model.outlet_fact(x)?.shape[1].to_usize()?;
    let op = MaxPool {
        pool_spec: pool_spec(window, (channels, channels)),
        with_index_outputs: None,
    };
    wire(model, name, op, &[x])
}

/// # Errors
/// As [`TypedModel::wire_node`].
pub fn average_pool(
    model: &mut TypedModel,
    name: &str,
    (window, count_padding): (Window, bool),
    x: OutletId,
) -> TractResult<OutletId> {
    let channels = model.outlet_fact(x)?.shape[1].to_usize()?;
    let op = SumPool {
        pool_spec: pool_spec(window, (channels, channels)),
        count_include_pad: count_padding,
        normalize: true,
    };
    wire(model, name, op, &[x])
}

/// Over the whole picture.
///
/// # Errors
/// As [`TypedModel::wire_node`].
pub fn average(model: &mut TypedModel, name: &str, x: OutletId) -> TractResult<OutletId> {
    let shape = model.outlet_fact(x)?.shape.clone();
    let pixels = shape[2].to_usize()? * shape[3].to_usize()?;
    let sum = Reduce {
        axes: tvec!(2, 3),
        reducer: Reducer::Sum,
    };
    let sum = wire(model, &format!("{name}_sum"), sum, &[x])?;
    #[allow(clippy::cast_precision_loss)] // a few dozen pixels
    let share = tensor0(1.0 / pixels as f32).broadcast_into_rank(4)?;
    let share = model.add_const(format!("{name}_share"), share)?;
    wire(model, name, math::mul(), &[sum, share])
}

/// From `[1, classes, 1, 1]` to `[1, classes]`.
///
/// # Errors
/// As [`TypedModel::wire_node`].
pub fn scores(model: &mut TypedModel, name: &str, x: OutletId) -> TractResult<OutletId> {
    let row = wire(model, &format!("{name}_row"), AxisOp::Rm(3), &[x])?;
    wire(model, name, AxisOp::Rm(2), &[row])
}

fn wire(
    model: &mut TypedModel,
    name: &str,
    op: impl Into<Box<dyn TypedOp>>,
    inputs: &[OutletId],
) -> TractResult<OutletId> {
    Ok(model.wire_node(name, op, inputs)?[0])
}

fn pool_spec(window: Window, (inputs, outputs): (usize, usize)) -> PoolSpec {
    let pad = window.pad;
    PoolSpec::new(
        DataFormat::NCHW,
        tvec!(window.kernel.0, window.kernel.1),
        PaddingSpec::Explicit(tvec!(pad.top, pad.left), tvec!(pad.bottom, pad.right)),
        None,
        Some(tvec!(window.stride.0, window.stride.1)),
        inputs,
        outputs,
    )
}
