//! Float operators between rounded tensors: each waits, as a layer whose output has no scale yet.

use tract_onnx::pb::{NodeProto, TensorProto};

use super::super::check;
use super::super::layers::{Conv, Divisor, Place, Shape, Window};
use super::attributes::{dense_shape, kernel, long_integers, plain_gemm, slid, text, window};
use super::constants::{dims, floats, set_bias};
use super::walk::{Pool, Value, Waiting, Walk};
use super::{Kind, QuantizedLayer, Weights};
use crate::kernels::Padding;

/// Groups, window and output of a convolution by weights of `dims` over a map of `shape`.
fn slides(
    node: &NodeProto,
    dims: [usize; 4],
    shape: Shape,
) -> Result<(usize, Window, Shape), String> {
    let groups: usize = node.get_attr_opt("group").map_err(text)?.unwrap_or(1);
    let outputs = dims[0];
    if groups == 0
        || !outputs.is_multiple_of(groups)
        || dims[1].checked_mul(groups) != Some(shape[0])
    {
        return Err(format!(
            "weights of {dims:?} do not fit {} channels",
            shape[0]
        ));
    }
    let window = window(node, (dims[2], dims[3]), shape)?;
    Ok((groups, window, slid(window, shape, outputs)?))
}

impl<'a> Walk<'a> {
    pub(super) fn conv(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        if let Some(tensor) = self.constants.get(node, 1) {
            return self.float_conv(node, tensor);
        }
        let input = self.floats(node, 0)?;
        let Value::Weights(weights) = self.value(node, 1)? else {
            return Err("its weights are computed".into());
        };
        let mut weights = weights.convolution()?;
        if let Some(bias) = self.bias(node)? {
            set_bias(&mut weights, self.quant(input)?, &bias)?;
        }
        let (kind, shape) = self.convolution(node, weights, input)?;
        Ok(self.waiting(node, kind, vec![input], shape))
    }

    /// A convolution of `input`, and the shape of what it gives.
    pub(super) fn convolution(
        &self,
        node: &NodeProto,
        weights: Weights,
        input: Place,
    ) -> Result<(Kind, Shape), String> {
        let (groups, window, shape) = slides(node, weights.dims, self.shape(input))?;
        let kind = Kind::Conv {
            weights,
            groups,
            window,
        };
        Ok((kind, shape))
    }

    /// The bias of a convolution or dense layer, in the values that it stands for.
    fn bias(&self, node: &NodeProto) -> Result<Option<Vec<f64>>, String> {
        if node.input.get(2).is_none_or(String::is_empty) {
            return Ok(None);
        }
        self.vector(node, 2).map(Some)
    }

    fn vector(&self, node: &NodeProto, slot: usize) -> Result<Vec<f64>, String> {
        if let Some(tensor) = self.constants.get(node, slot) {
            return Ok(floats(tensor)?.into_iter().map(f64::from).collect());
        }
        let Value::Weights(bias) = self.value(node, slot)? else {
            return Err("its bias is computed".into());
        };
        if bias.scales.len() != 1 && bias.scales.len() != bias.values.len() {
            return Err("its bias has scales for other values".into());
        }
        Ok(bias.reals().collect())
    }

    pub(super) fn dense(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        if let Some(tensor) = self.constants.get(node, 1) {
            return self.float_dense(node, tensor);
        }
        let input = self.floats(node, 0)?;
        let Value::Weights(weights) = self.value(node, 1)? else {
            return Err("its weights are computed".into());
        };
        let outputs_first = node.get_attr_opt("transB").map_err(text)?.unwrap_or(false);
        let mut weights = weights.dense(!outputs_first)?;
        plain_gemm(node)?;
        if let Some(bias) = self.bias(node)? {
            set_bias(&mut weights, self.quant(input)?, &bias)?;
        }
        let shape = dense_shape(weights.dims, self.shape(input))?;
        Ok(self.waiting(node, Kind::Dense(weights), vec![input], shape))
    }

    /// A convolution of what is a float, whose weights are floats too.
    fn float_conv(&mut self, node: &'a NodeProto, tensor: &TensorProto) -> Result<Value, String> {
        let input = self.unrounded(node)?;
        let dims = dims(tensor)?;
        let dims: [usize; 4] = dims[..]
            .try_into()
            .map_err(|_| "its weights are not of rows and columns")?;
        let (groups, window, shape) = slides(node, dims, self.shape(input))?;
        let conv = self.in_float(node, (dims, floats(tensor)?), (groups, window))?;
        Ok(self.waiting(node, Kind::Float(conv), vec![input], shape))
    }

    fn float_dense(&mut self, node: &'a NodeProto, tensor: &TensorProto) -> Result<Value, String> {
        let input = self.unrounded(node)?;
        plain_gemm(node)?;
        let outputs_first = node.get_attr_opt("transB").map_err(text)?.unwrap_or(false);
        let &[a, b] = &dims(tensor)?[..] else {
            return Err("its weights are no matrix".into());
        };
        let mut values = floats(tensor)?;
        if !outputs_first {
            let turned = (0..b).flat_map(|o| (0..a).map(move |i| i * b + o));
            values = turned.map(|at| values[at]).collect();
        }
        let (outputs, inputs) = if outputs_first { (a, b) } else { (b, a) };
        let dims = [outputs, inputs, 1, 1];
        let shape = dense_shape(dims, self.shape(input))?;
        let conv = self.in_float(node, (dims, values), (1, Window::ONE))?;
        Ok(self.waiting(node, Kind::Float(conv), vec![input], shape))
    }

    fn in_float(
        &self,
        node: &NodeProto,
        (dims, weights): ([usize; 4], Vec<f32>),
        (groups, window): (usize, Window),
    ) -> Result<Conv, String> {
        #[allow(clippy::cast_possible_truncation)] // they were floats
        let bias = self
            .bias(node)?
            .map(|bias| bias.into_iter().map(|b| b as f32).collect());
        let bias: Vec<f32> = bias.unwrap_or_else(|| vec![0.0; dims[0]]);
        if bias.len() != dims[0] {
            return Err(format!(
                "{} values of bias for {} outputs",
                bias.len(),
                dims[0]
            ));
        }
        if !weights.iter().chain(&bias).all(|v| v.is_finite()) {
            return Err("a weight is not finite".into());
        }
        Ok(Conv {
            dims,
            weights,
            bias,
            groups,
            window,
        })
    }

    /// The layer that a float layer reads: a quantized one, another in float, or the picture before anything was rounded.
    fn unrounded(&mut self, node: &'a NodeProto) -> Result<Place, String> {
        let place = match self.value(node, 0)? {
            Value::Unrounded(place) => return Ok(place),
            Value::Waiting(waiting) if waiting.pool.is_none() && waiting.may_be_float() => {
                self.rounded(*waiting, None)
            }
            Value::Picture if self.layers.is_empty() => self.push(QuantizedLayer {
                name: "normalized".into(),
                kind: Kind::Normalized,
                inputs: Vec::new(),
                relu: false,
                shape: self.picture,
                output: None,
            }),
            Value::Picture => {
                return Err("it reads the picture, which another layer read already".into());
            }
            _ => return self.floats(node, 0),
        };
        self.values.insert(&node.input[0], Value::Unrounded(place));
        Ok(place)
    }

    pub(super) fn add(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        for (slot, other) in [(0, 1), (1, 0)] {
            let constant = self.constants.get(node, other).is_some();
            let waiting = match node
                .input
                .get(slot)
                .and_then(|n| self.values.get(n.as_str()))
            {
                Some(Value::Waiting(waiting)) => (**waiting).clone(),
                _ => continue,
            };
            let weights = constant || matches!(self.value(node, other), Ok(Value::Weights(_)));
            return if weights {
                self.with_bias(waiting, &self.vector(node, other)?)
            } else {
                self.with_residual(waiting, self.floats(node, other)?)
            };
        }
        let (a, b) = (self.floats(node, 0)?, self.floats(node, 1)?);
        if self.shape(a) != self.shape(b) {
            return Err("it adds feature maps of different shapes".into());
        }
        Ok(self.waiting(node, Kind::Add, vec![a, b], self.shape(a)))
    }

    /// A matrix product's bias, added by a node of its own.
    fn with_bias(&self, mut waiting: Waiting, bias: &[f64]) -> Result<Value, String> {
        let input = self.quant(waiting.inputs[0]);
        match &mut waiting.kind {
            Kind::Dense(weights) if !waiting.relu && weights.bias.iter().all(|b| *b == 0) => {
                set_bias(weights, input?, bias)?;
                Ok(Value::Waiting(Box::new(waiting)))
            }
            Kind::Float(conv)
                if !waiting.relu
                    && conv.bias.iter().all(|b| *b == 0.0)
                    && waiting.shape[1..] == [1, 1]
                    && conv.bias.len() == bias.len() =>
            {
                #[allow(clippy::cast_possible_truncation)] // they were floats
                conv.bias
                    .iter_mut()
                    .zip(bias)
                    .for_each(|(to, b)| *to = *b as f32);
                Ok(Value::Waiting(Box::new(waiting)))
            }
            _ => Err("it adds a constant to what is no dense layer".into()),
        }
    }

    /// A shortcut that is added before the convolution's result is rounded.
    fn with_residual(&self, mut waiting: Waiting, residual: Place) -> Result<Value, String> {
        let alone = !waiting.relu && waiting.inputs.len() == 1 && waiting.pool.is_none();
        let plain = matches!(waiting.kind, Kind::Conv { .. }) && alone;
        if !plain || self.shape(residual) != waiting.shape {
            return Err(
                "it adds what is no convolution's result and a quantized tensor of its shape"
                    .into(),
            );
        }
        waiting.inputs.push(residual);
        Ok(Value::Waiting(Box::new(waiting)))
    }

    pub(super) fn relu(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        if matches!(self.value(node, 0)?, Value::Integers(_)) {
            return Err("it cuts integers off, which no operator here does".into());
        }
        if node.op_type == "Clip" {
            let bound = |slot| {
                let bound = self.constants.optional(node, slot)?;
                bound.map(floats).transpose()
            };
            let low = bound(1)?.is_some_and(|v| v == [0.0]);
            let high = bound(2)?.is_none_or(|v| matches!(v[..], [v] if v >= f32::MAX));
            if !low || !high {
                return Err("only ReLU, which cuts off below zero, is read".into());
            }
        }
        let mut waiting = match self.value(node, 0)? {
            Value::Waiting(waiting) => *waiting,
            Value::Floats(place) => self.rescaled(node, place),
            _ => return Err("its input is not quantized".into()),
        };
        waiting.relu = true;
        Ok(Value::Waiting(Box::new(waiting)))
    }

    /// A maximum moves no value: it is the same on integers and on the floats that they stand for.
    pub(super) fn max_pool(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let value = self.value(node, 0)?;
        let input = match &value {
            Value::Integers(input) | Value::Floats(input) => *input,
            Value::Waiting(waiting) if waiting.pool.is_none() => {
                return self.pooled(node, (**waiting).clone());
            }
            _ => return Err("its input is not quantized".into()),
        };
        let shape = self.shape(input);
        let window = window(node, kernel(node)?, shape)?;
        let place = self.push(QuantizedLayer {
            name: check::name(node).to_owned(),
            kind: Kind::MaxPool(window),
            inputs: vec![input],
            relu: false,
            shape: slid(window, shape, shape[0])?,
            output: Some(self.quant(input)?),
        });
        Ok(match value {
            Value::Integers(_) => Value::Integers(place),
            _ => Value::Floats(place),
        })
    }

    /// Maxima of what is not rounded yet.
    fn pooled(&self, node: &NodeProto, mut waiting: Waiting) -> Result<Value, String> {
        let window = window(node, kernel(node)?, waiting.shape)?;
        waiting.pool = Some(Pool {
            name: check::name(node).to_owned(),
            window,
            shape: slid(window, waiting.shape, waiting.shape[0])?,
        });
        Ok(Value::Waiting(Box::new(waiting)))
    }

    pub(super) fn average(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let input = self.floats(node, 0)?;
        let (kind, shape) = self.averaged(node, input)?;
        Ok(self.waiting(node, kind, vec![input], shape))
    }

    /// What an averaging node makes of `input`, and its shape.
    pub(super) fn averaged(&self, node: &NodeProto, input: Place) -> Result<(Kind, Shape), String> {
        let shape = self.shape(input);
        if node.op_type.ends_with("GlobalAveragePool") {
            return Ok((Kind::GlobalAverage, [shape[0], 1, 1]));
        }
        if node.op_type == "ReduceMean" {
            let mut axes: Vec<i64> = node
                .get_attr_opt_vec("axes")
                .map_err(text)?
                .unwrap_or_default();
            if let Some(tensor) = self.constants.get(node, 1) {
                axes = long_integers(tensor);
            }
            axes.iter_mut().for_each(|a| *a = a.rem_euclid(4));
            axes.sort_unstable();
            return match axes[..] {
                [2, 3] => Ok((Kind::GlobalAverage, [shape[0], 1, 1])),
                _ => Err("only averages over rows and columns are read".into()),
            };
        }
        let window = window(node, kernel(node)?, shape)?;
        let out = slid(window, shape, shape[0])?;
        let include = node
            .get_attr_opt("count_include_pad")
            .map_err(text)?
            .unwrap_or(false);
        let bare = window.pad == Padding::default();
        if bare && window.kernel == (shape[1], shape[2]) {
            return Ok((Kind::GlobalAverage, out));
        }
        let divisor = if include || bare {
            Divisor::Window
        } else {
            Divisor::Pixels
        };
        Ok((Kind::AveragePool(window, divisor), out))
    }
}
