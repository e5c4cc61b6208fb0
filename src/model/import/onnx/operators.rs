//! How each of tract's operators becomes a layer.

use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};
use tract_onnx::tract_core::ops::binary::BinMiniOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use super::layers::{self, Affine, Bound, Divisor, Kind, Shape, Window};
use super::read::{NOT_OF_A_RESNET, Reading, Value};
use super::view::{Axis, View};
use crate::kernels::Padding;

/// Larger windows than any layer has.
const LARGEST_WINDOW: usize = 1 << 12;

impl Reading<'_> {
    pub(super) fn conv(&mut self, node: &TypedNode, op: &Conv) -> Result<(), String> {
        if op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
            return Err(NOT_OF_A_RESNET.into());
        }
        let value = self.value(node, 0)?;
        let weights = self.constant(node, 1).ok_or("its weights are computed")?;
        let bias = self.constant(node, 2).ok_or("its bias is computed")?;
        let dims: [usize; 4] = weights
            .shape()
            .try_into()
            .map_err(|_| "only windows of rows and columns are read")?;
        let window = self.window(&op.pool_spec, &value)?;
        let (outputs, groups) = (dims[0], op.group);
        if groups == 0
            || !outputs.is_multiple_of(groups)
            || dims[1].checked_mul(groups) != Some(self.shape(&value)[0])
        {
            return Err(format!(
                "weights of {dims:?} in {groups} groups do not fit its input"
            ));
        }
        let mut bias = floats(&bias)?;
        if bias.len() == 1 {
            bias.resize(outputs, bias[0]);
        }
        if bias.len() != outputs {
            return Err(format!(
                "{} values of bias for {outputs} channels",
                bias.len()
            ));
        }
        let conv = layers::Conv {
            dims,
            weights: floats(&weights)?,
            bias,
            groups,
            window,
        };
        let out = self.slid(&value, window, outputs)?;
        self.push(node, Kind::Conv(conv), vec![value.place], out)
    }

    /// A matrix product with constants: a dense layer, or a 1x1 convolution.
    pub(super) fn product(&mut self, node: &TypedNode, op: &EinSum) -> Result<(), String> {
        let (slot, weights) = match (self.constant(node, 0), self.constant(node, 1)) {
            (None, Some(weights)) if node.inputs.len() == 2 => (0, weights),
            (Some(weights), None) if node.inputs.len() == 2 => (1, weights),
            _ => return Err("only products with constant weights are read".into()),
        };
        let value = self.value(node, slot)?;
        let shape = self.shape(&value);
        let (weights_shape, values) = (weights.shape().to_vec(), floats(&weights)?);
        let mut view = View(vec![None; op.axes.rank(InOut::Out(0))]);
        let (mut outputs, mut inputs) = (Along::single(), Along::single());
        for axis in op.axes.iter_all_axes() {
            let (of_value, of_weights) = (&axis.inputs[slot][..], &axis.inputs[1 - slot][..]);
            let counted = of_value.first().and_then(|&at| value.view.0[at]);
            let size = of_weights.first().map_or(1, |&at| weights_shape[at]);
            match (counted, of_weights, &axis.outputs[0][..]) {
                (Some(Axis::Channel), &[at], []) if size == shape[0] => {
                    inputs = Along::new(&weights_shape, at);
                }
                (None, _, _) if size == 1 => {}
                (Some(counted), _, &[to]) if size == 1 => view.0[to] = Some(counted),
                (None, &[at], &[to]) if of_value.is_empty() => {
                    view.0[to] = Some(Axis::Channel);
                    outputs = Along::new(&weights_shape, at);
                }
                _ => return Err("it is no dense layer: it mixes more than the channels".into()),
            }
        }
        if inputs.size != shape[0] || inputs.size * outputs.size != values.len() {
            return Err("its weights do not fit its input".into());
        }
        let pick = |(o, i)| values[o * outputs.stride + i * inputs.stride];
        let conv = layers::Conv {
            dims: [outputs.size, inputs.size, 1, 1],
            weights: (0..outputs.size)
                .cartesian_product(0..inputs.size)
                .map(pick)
                .collect(),
            bias: vec![0.0; outputs.size],
            groups: 1,
            window: Window::ONE,
        };
        let shape = [outputs.size, shape[1], shape[2]];
        self.push(node, Kind::Conv(conv), vec![value.place], (shape, view))
    }

    pub(super) fn max_pool(&mut self, node: &TypedNode, op: &MaxPool) -> Result<(), String> {
        if node
            .outputs
            .iter()
            .skip(1)
            .any(|o| !o.successors.is_empty())
        {
            return Err("the places of maxima are no part of a ResNet".into());
        }
        let value = self.value(node, 0)?;
        let window = self.window(&op.pool_spec, &value)?;
        let out = self.slid(&value, window, self.shape(&value)[0])?;
        self.push(node, Kind::MaxPool(window), vec![value.place], out)
    }

    pub(super) fn average_pool(&mut self, node: &TypedNode, op: &SumPool) -> Result<(), String> {
        if !op.normalize {
            return Err(NOT_OF_A_RESNET.into());
        }
        let value = self.value(node, 0)?;
        let window = self.window(&op.pool_spec, &value)?;
        // a last window that hangs over the edge because sizes were rounded up does not count what is not there
        let pad = window.pad;
        let said = said_padding(&op.pool_spec);
        let divisor = match said {
            Some(said) if said == pad && op.count_include_pad => Divisor::Window,
            None if op.count_include_pad => Divisor::Window,
            Some(said) if said != Padding::default() && op.count_include_pad => {
                return Err("its padding counts, and its last window hangs over it; export without ceil_mode".into());
            }
            _ => Divisor::Pixels,
        };
        let out = self.slid(&value, window, self.shape(&value)[0])?;
        self.push(
            node,
            Kind::AveragePool(window, divisor),
            vec![value.place],
            out,
        )
    }

    pub(super) fn reduce(&mut self, node: &TypedNode, op: &Reduce) -> Result<(), String> {
        let value = self.value(node, 0)?;
        let shape = self.shape(&value);
        let summed = |axis: Axis| {
            let at = value.view.0.iter().position(|a| *a == Some(axis));
            at.is_none_or(|at| op.axes.contains(&at))
        };
        let channels = value.view.0.iter().position(|a| *a == Some(Axis::Channel));
        let mixes = channels.is_some_and(|at| op.axes.contains(&at));
        if mixes || !summed(Axis::Row) || !summed(Axis::Column) {
            return Err("only sums and maxima over all rows and columns are read".into());
        }
        let kind = match op.reducer {
            Reducer::Sum => Kind::Sum,
            Reducer::Max => Kind::MaxPool(Window {
                kernel: (shape[1], shape[2]),
                stride: (1, 1),
                pad: Padding::default(),
            }),
            _ => return Err("only sums and maxima over all rows and columns are read".into()),
        };
        let shape = [shape[0], 1, 1];
        let view = value.view.reduced(shape);
        self.push(node, kind, vec![value.place], (shape, view))
    }

    pub(super) fn pad(&mut self, node: &TypedNode, op: &Pad) -> Result<(), String> {
        let zero = match &op.mode {
            PadMode::Constant(value) => value.cast_to_scalar::<f32>().is_ok_and(|v| v == 0.0),
            _ => false,
        };
        if !zero {
            return Err("only padding with zeros is read".into());
        }
        let value = self.value(node, 0)?;
        let [channels, rows, columns] = self.shape(&value);
        let mut pad = Padding::default();
        for (&(before, after), axis) in op.pads.iter().zip(&value.view.0) {
            if before > LARGEST_WINDOW || after > LARGEST_WINDOW {
                return Err("it pads beyond all bounds".into());
            }
            match axis {
                Some(Axis::Row) => (pad.top, pad.bottom) = (before, after),
                Some(Axis::Column) => (pad.left, pad.right) = (before, after),
                _ if (before, after) == (0, 0) => {}
                _ => return Err("only padding of rows and columns is read".into()),
            }
        }
        let shape = [
            channels,
            rows + pad.top + pad.bottom,
            columns + pad.left + pad.right,
        ];
        self.push(node, Kind::Pad(pad), vec![value.place], (shape, value.view))
    }

    pub(super) fn binary(&mut self, node: &TypedNode, op: &dyn BinMiniOp) -> Result<(), String> {
        let constants = (self.constant(node, 0), self.constant(node, 1));
        let (slot, constant) = match constants {
            (None, Some(constant)) => (0, constant),
            (Some(constant), None) => (1, constant),
            _ if op.is::<math::Add>() => return self.add(node),
            _ if op.is::<math::Mul>() => return self.multiply(node),
            _ => return Err("two feature maps are only ever added or multiplied".into()),
        };
        let value = self.value(node, slot)?;
        let constant = self.per_channel(&value, &constant)?;
        if op.is::<math::Max>() || op.is::<math::Min>() {
            return self.bound(node, value, op.is::<math::Max>(), &constant);
        }
        let all = |v: f32| vec![v; constant.len()];
        let map = |f: fn(f32) -> f32| constant.iter().copied().map(f).collect_vec();
        let (factor, summand) = if op.is::<math::Add>() {
            (all(1.0), constant)
        } else if op.is::<math::Sub>() && slot == 0 {
            (all(1.0), map(|c| -c))
        } else if op.is::<math::Sub>() {
            (all(-1.0), constant)
        } else if op.is::<math::Mul>() {
            (constant.clone(), all(0.0))
        } else if op.is::<math::Div>() && slot == 0 {
            (map(|c| 1.0 / c), all(0.0))
        } else {
            return Err(NOT_OF_A_RESNET.into());
        };
        let out = (self.shape(&value), value.view);
        self.push(
            node,
            Kind::Affine(Affine { factor, summand }),
            vec![value.place],
            out,
        )
    }

    /// A ReLU is a maximum with zero; a minimum with what no float exceeds is nothing; any other bound is a layer.
    fn bound(
        &mut self,
        node: &TypedNode,
        value: Value,
        below: bool,
        bounds: &[f32],
    ) -> Result<(), String> {
        if below && bounds.iter().all(|b| *b == 0.0) {
            let out = (self.shape(&value), value.view);
            return self.push(node, Kind::Relu, vec![value.place], out);
        }
        let none = |b: &f32| {
            if below {
                *b <= f32::MIN
            } else {
                *b >= f32::MAX
            }
        };
        if bounds.iter().all(none) {
            return self.alias(node, |view, _| Ok(view.clone()));
        }
        let bound = bounds.first().copied().unwrap_or_default();
        if !bound.is_finite() || bounds.iter().any(|b| *b != bound) {
            return Err("it cuts each channel off at a value of its own".into());
        }
        let kind = if below { Bound::Least } else { Bound::Most };
        let out = (self.shape(&value), value.view);
        self.push(node, Kind::Bound(kind, bound), vec![value.place], out)
    }

    fn add(&mut self, node: &TypedNode) -> Result<(), String> {
        let (a, b) = (self.value(node, 0)?, self.value(node, 1)?);
        if self.shape(&a) != self.shape(&b) || a.view != b.view {
            return Err("it adds feature maps of different shapes".into());
        }
        let out = (self.shape(&a), a.view);
        self.push(node, Kind::Add, vec![a.place, b.place], out)
    }

    /// A map times its gate: another map, or one value for each channel.
    fn multiply(&mut self, node: &TypedNode) -> Result<(), String> {
        let (a, b) = (self.value(node, 0)?, self.value(node, 1)?);
        let pixels = |value: &Value| self.shape(value)[1] * self.shape(value)[2];
        let (map, gate) = if pixels(&a) >= pixels(&b) {
            (a, b)
        } else {
            (b, a)
        };
        let [channels, rows, columns] = self.shape(&map);
        let gate_shape = self.shape(&gate);
        let whole = gate_shape == [channels, rows, columns];
        let by_channel = gate_shape == [channels, 1, 1];
        if !(whole || by_channel) || map.view.reduced(gate_shape) != gate.view {
            return Err("it multiplies feature maps of different shapes".into());
        }
        let out = ([channels, rows, columns], map.view);
        self.push(node, Kind::Product, vec![map.place, gate.place], out)
    }

    /// One value of a constant for each channel of `value`.
    fn per_channel(&self, value: &Value, constant: &Tensor) -> Result<Vec<f32>, String> {
        let channels = self.shape(value)[0];
        let values = floats(constant)?;
        if let [single] = values[..] {
            return Ok(vec![single; channels]);
        }
        let along =
            |(&size, axis): (&usize, &Option<Axis>)| size == 1 || *axis == Some(Axis::Channel);
        let fits = constant.rank() == value.view.0.len()
            && constant.shape().iter().zip(&value.view.0).all(along);
        if fits && values.len() == channels {
            Ok(values)
        } else {
            Err("only one constant for each channel is read".into())
        }
    }

    /// The window of a convolution or pooling over `value`.
    fn window(&self, spec: &PoolSpec, value: &Value) -> Result<Window, String> {
        let [channels, rows, columns] = self.shape(value);
        let counts = |at, axis| value.view.counts(at, axis, [channels, rows, columns]);
        if spec.data_format != DataFormat::NCHW
            || spec.rank() != 2
            || !counts(1, Axis::Channel)
            || !counts(2, Axis::Row)
            || !counts(3, Axis::Column)
        {
            return Err("its input's axes are not batch, channels, rows, columns".into());
        }
        let pair = |v: &[usize]| (v[0], v[1]);
        if (0..2).any(|i| spec.dilation(i) != 1 && spec.kernel_shape[i] != 1) {
            return Err("dilated windows are not read".into());
        }
        let size = [rows, columns];
        let padded = spec.computed_padding(&size);
        // where the number of windows is rounded up, the last one hangs over the end
        let after = |i: usize| {
            let windows = padded[i].convoluted.saturating_sub(1);
            let end = windows
                .saturating_mul(spec.stride(i))
                .saturating_add(spec.kernel_shape[i]);
            padded[i]
                .pad_after
                .max(end.saturating_sub(size[i] + padded[i].pad_before))
        };
        let window = Window {
            kernel: pair(&spec.kernel_shape),
            stride: pair(&spec.strides()),
            pad: Padding {
                top: padded[0].pad_before,
                bottom: after(0),
                left: padded[1].pad_before,
                right: after(1),
            },
        };
        let p = window.pad;
        let numbers = [
            p.top,
            p.bottom,
            p.left,
            p.right,
            window.kernel.0,
            window.kernel.1,
        ];
        if numbers.into_iter().any(|n| n > LARGEST_WINDOW) {
            return Err("its window is beyond all bounds".into());
        }
        Ok(window)
    }

    /// Shape and view of the result of moving a window over `value`.
    fn slid(
        &self,
        value: &Value,
        window: Window,
        channels: usize,
    ) -> Result<(Shape, View), String> {
        let [_, rows, columns] = self.shape(value);
        let size = window.output(rows, columns);
        let (rows, columns) = size.ok_or("its window is larger than its input")?;
        let shape = [channels, rows, columns];
        Ok((shape, View::channels_first(shape)))
    }
}

/// The padding that a pooling names, where it names one.
fn said_padding(spec: &PoolSpec) -> Option<Padding> {
    use tract_onnx::tract_core::ops::cnn::PaddingSpec::{Explicit, ExplicitOnnxPool};
    match &spec.padding {
        Explicit(before, after) | ExplicitOnnxPool(before, after, _) if before.len() == 2 => {
            Some(Padding {
                top: before[0],
                left: before[1],
                bottom: after[0],
                right: after[1],
            })
        }
        _ => None,
    }
}

/// An axis of a constant: its extent, and how far apart its values lie.
struct Along {
    size: usize,
    stride: usize,
}

impl Along {
    fn single() -> Self {
        Self { size: 1, stride: 0 }
    }

    fn new(shape: &[usize], at: usize) -> Self {
        Self {
            size: shape[at],
            stride: shape[at + 1..].iter().product(),
        }
    }
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>, String> {
    let tensor = tensor.cast_to::<f32>().map_err(|e| e.to_string())?;
    let view = tensor.try_as_plain_ram().map_err(|e| e.to_string())?;
    let values = view.as_slice::<f32>().map_err(|e| e.to_string())?;
    if values.iter().all(|v| v.is_finite()) || values.len() == 1 {
        Ok(values.to_vec())
    } else {
        Err("a constant of it is not finite".into())
    }
}
