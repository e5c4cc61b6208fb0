//! Constants of a quantized graph: scales, zero points, weights and biases.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::error::shown;
use super::Weights;
use super::attributes::text;
use crate::kernels::Quant;

/// The graph's constants by name. They have passed `check.rs`: each has the values that its shape claims.
#[derive(Default)]
pub struct Constants<'a>(HashMap<&'a str, &'a TensorProto>);

/// Integers that stand for floats.
#[derive(Debug, Clone)]
pub struct Integers {
    pub dims: Vec<usize>,
    /// Less their zero point.
    pub values: Vec<i32>,
    /// One, or one for each index of `axis`.
    pub scales: Vec<f32>,
    pub axis: usize,
    /// Taken off already.
    pub zeros: Vec<i32>,
}

impl<'a> Constants<'a> {
    pub fn new(graph: &'a GraphProto) -> Self {
        let stored = graph.initializer.iter().map(|t| (t.name.as_str(), t));
        let made = graph
            .node
            .iter()
            .filter(|n| n.op_type == "Constant")
            .filter_map(|n| {
                let tensor = n.attribute.iter().find_map(|a| a.t.as_ref())?;
                Some((n.output.first()?.as_str(), tensor))
            });
        Self(stored.chain(made).collect())
    }

    pub fn get(&self, node: &NodeProto, slot: usize) -> Option<&'a TensorProto> {
        self.0.get(node.input.get(slot)?.as_str()).copied()
    }

    /// As [`Self::get`]; an input that is there must be a constant.
    pub fn optional(
        &self,
        node: &NodeProto,
        slot: usize,
    ) -> Result<Option<&'a TensorProto>, String> {
        match node.input.get(slot).filter(|name| !name.is_empty()) {
            Some(name) => match self.0.get(name.as_str()) {
                Some(tensor) => Ok(Some(tensor)),
                None => Err(format!("its input {} is no constant", shown(name))),
            },
            None => Ok(None),
        }
    }

    fn needed(&self, node: &NodeProto, slot: usize, what: &str) -> Result<&'a TensorProto, String> {
        self.get(node, slot)
            .ok_or_else(|| format!("its {what} is no constant"))
    }

    /// A scale and zero point for a whole tensor, its integers moved to u8.
    pub fn quant(&self, node: &NodeProto, slot: usize) -> Result<Quant, String> {
        let [scale] = floats(self.needed(node, slot, "scale")?)?[..] else {
            return Err("activations have one scale; quantize them per tensor".into());
        };
        // without a zero point the integers are u8 and begin at 0
        let zero = match self.optional(node, slot + 1)? {
            None if node
                .attribute
                .iter()
                .any(|a| a.name == "output_dtype" && a.i > 2) =>
            {
                return Err("its type is said by output_dtype alone; give it a zero point".into());
            }
            None => 0,
            Some(tensor) => {
                let moved = match DataType::try_from(tensor.data_type) {
                    Ok(DataType::Uint8) => 0,
                    Ok(DataType::Int8) => 128,
                    _ => {
                        return Err(
                            "activations must be 8-bit integers; quantize to QUInt8 or QInt8"
                                .into(),
                        );
                    }
                };
                let zeros = integers(tensor)?;
                let &[zero] = &zeros[..] else {
                    return Err("activations have one zero point; quantize them per tensor".into());
                };
                i64::from(zero) + moved
            }
        };
        Quant::new(scale, zero).map_err(|e| e.to_string())
    }

    /// The constant that a node rounds, or takes back to floats, as integers (fake quantization keeps floats, which are
    /// rounded).
    pub fn weights(&self, node: &NodeProto) -> Result<Integers, String> {
        let axis = node.get_attr_opt("axis").map_err(text)?.unwrap_or(1);
        self.integers(node, 0, (1, axis))
    }

    /// The type of integers whose zero point is at `slot`; that of bytes where there is none.
    pub fn integer_type(&self, node: &NodeProto, slot: usize) -> i64 {
        let zero = self.get(node, slot);
        i64::from(zero.map_or(DataType::Uint8 as i32, |t| t.data_type))
    }

    /// Positive scales, one or several.
    pub fn scales(&self, node: &NodeProto, slot: usize) -> Result<Vec<f32>, String> {
        let scales = floats(self.needed(node, slot, "scale")?)?;
        if !scales.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err("its scales must be positive".into());
        }
        Ok(scales)
    }

    /// The integers at `slot` with the scale and zero point of `scale` and `scale + 1`, as `DequantizeLinear` reads
    /// them; floats there are rounded as `QuantizeLinear` does.
    pub fn integers(
        &self,
        node: &NodeProto,
        slot: usize,
        (scale, axis): (usize, i64),
    ) -> Result<Integers, String> {
        let tensor = self.needed(node, slot, "weights")?;
        if node
            .attribute
            .iter()
            .any(|a| a.name == "block_size" && a.i != 0)
        {
            return Err("it has scales for blocks; quantize per output channel".into());
        }
        let scales = self.scales(node, scale)?;
        let dims = dims(tensor)?;
        let rank = i64::try_from(dims.len()).unwrap_or(0);
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(0);
        if scales.len() != 1 && dims.get(axis) != Some(&scales.len()) {
            return Err(format!(
                "{} scales do not fit weights of {dims:?}",
                scales.len()
            ));
        }
        let zeros = self.zeros(node, scale + 1)?;
        let of = |list_len: usize, i: usize| {
            if list_len == 1 {
                0
            } else {
                index(&dims, axis, i).min(list_len - 1)
            }
        };
        if zeros.is_empty() || zeros.len() != 1 && zeros.len() != scales.len() {
            return Err("its zero points do not fit its scales".into());
        }
        let stored = if tensor.data_type == DataType::Float as i32 {
            if self.get(node, scale + 1).is_none() {
                return Err("floats are rounded to what its zero point is, and it has none".into());
            }
            let signed = self
                .get(node, scale + 1)
                .is_some_and(|z| z.data_type == DataType::Int8 as i32);
            let (least, most) = if signed { (-128, 127) } else { (0, 255) };
            let round = |(i, v): (usize, f32)| {
                let units = (v / scales[of(scales.len(), i)]).round_ties_even();
                #[allow(clippy::cast_possible_truncation)] // a cast holds to i32's range
                let units = units as i32;
                units
                    .saturating_add(zeros[of(zeros.len(), i)])
                    .clamp(least, most)
            };
            let values = floats(tensor)?;
            if !values.iter().all(|v| v.is_finite()) {
                return Err("a weight is not finite".into());
            }
            values.into_iter().enumerate().map(round).collect()
        } else {
            integers(tensor)?
        };
        let values = stored.into_iter().enumerate();
        let values = values
            .map(|(i, v)| v.saturating_sub(zeros[of(zeros.len(), i)]))
            .collect();
        Ok(Integers {
            dims,
            values,
            scales,
            axis,
            zeros,
        })
    }

    /// Zero points, one or several.
    pub fn zeros(&self, node: &NodeProto, slot: usize) -> Result<Vec<i32>, String> {
        let tensor = self.optional(node, slot)?;
        tensor.map_or_else(|| Ok(vec![0]), integers)
    }
}

/// Whether a `DequantizeLinear` undoes a rounding: both are scales and zero points.
///
/// # Errors
/// Which of them is another one.
pub fn undone(rounding: (&[f32], &[i32]), (scales, zeros): (&[f32], &[i32])) -> Result<(), String> {
    let what = if !agree(rounding.0, scales) {
        "scale"
    } else if !agree(rounding.1, zeros) {
        "zero point"
    } else {
        return Ok(());
    };
    Err(format!(
        "its {what} is not the one that its input was rounded with"
    ))
}

/// One value stands for as many as there are.
fn agree<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    match (a, b) {
        ([one], list) | (list, [one]) => list.iter().all(|v| v == one),
        _ => a == b,
    }
}

/// Where element `i` is along `axis`.
fn index(dims: &[usize], axis: usize, i: usize) -> usize {
    let inner: usize = dims[axis + 1..].iter().product();
    i / inner.max(1) % dims[axis].max(1)
}

impl Integers {
    /// What they stand for.
    pub fn reals(&self) -> impl Iterator<Item = f64> + '_ {
        let scale = |i| match self.scales[..] {
            [scale] => scale,
            _ => self.scales[index(&self.dims, self.axis, i)],
        };
        let values = self.values.iter().enumerate();
        values.map(move |(i, v)| f64::from(*v) * f64::from(scale(i)))
    }

    /// Weights of a convolution, `[out, in, rows, columns]`.
    pub fn convolution(self) -> Result<Weights, String> {
        let dims: [usize; 4] = self.dims[..]
            .try_into()
            .map_err(|_| "its weights are not of rows and columns")?;
        self.weights(dims)
    }

    /// Weights of a dense layer, `[out, in]` or, where `inputs_first`, `[in, out]`.
    pub fn dense(mut self, inputs_first: bool) -> Result<Weights, String> {
        let &[a, b] = &self.dims[..] else {
            return Err("its weights are no matrix".into());
        };
        if inputs_first {
            let pick = |(o, i): (usize, usize)| self.values[i * b + o];
            self.values = (0..b)
                .flat_map(|o| (0..a).map(move |i| (o, i)))
                .map(pick)
                .collect();
            self.axis = 1 - self.axis.min(1);
        }
        let (outputs, inputs) = if inputs_first { (b, a) } else { (a, b) };
        self.weights([outputs, inputs, 1, 1])
    }

    fn weights(self, dims: [usize; 4]) -> Result<Weights, String> {
        if self.scales.len() > 1 && self.axis != 0 {
            return Err(
                "its weights have scales for their inputs; quantize per output channel".into(),
            );
        }
        // PyTorch's scales make the largest weight 127.5, which becomes -128 where it is negative
        let clipped = self.values.iter().filter(|v| **v == -128).count();
        let small = |v: &i32| i8::try_from((*v).max(-127)).ok().filter(|_| *v >= -128);
        let values: Option<Vec<i8>> = self.values.iter().map(small).collect();
        let values = values.ok_or_else(|| {
            let far = self.values.iter().copied().max_by_key(|v| v.unsigned_abs()).unwrap_or(0);
            format!(
                "a weight is {far} from its zero point, which 8 bits do not hold; quantize weights to QInt8 symmetrically"
            )
        })?;
        let mut scales = self.scales;
        if let [scale] = scales[..] {
            scales = vec![scale; dims[0]];
        }
        let bias = vec![0; dims[0]];
        Ok(Weights {
            dims,
            values,
            scales,
            bias,
            clipped,
        })
    }
}

/// Sets the bias: integers in the unit that they are summed in, or floats, which are rounded to it.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // held to i32's range
pub fn set_bias(weights: &mut Weights, input: Quant, bias: &[f64]) -> Result<(), String> {
    if bias.len() != weights.bias.len() {
        return Err(format!(
            "{} values of bias for {} outputs",
            bias.len(),
            weights.bias.len()
        ));
    }
    for ((to, value), scale) in weights.bias.iter_mut().zip(bias).zip(&weights.scales) {
        let units = (value / f64::from(input.scale.get() * scale)).round_ties_even();
        if !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&units) {
            return Err("a bias does not fit 32 bits in its weights' scale".into());
        }
        *to = units as i32;
    }
    Ok(())
}

/// The extents of a tensor.
///
/// # Errors
/// If one of them is nothing: such a tensor may claim any size along the others.
pub fn dims(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    let positive = |d: &i64| usize::try_from(*d).ok().filter(|d| *d > 0);
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(positive).collect();
    dims.ok_or_else(|| "an extent of its weights is nothing".into())
}

/// Numbers of a tensor of floats.
pub fn floats(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    if tensor.data_type != DataType::Float as i32 {
        return Err("a scale or a bias is not of 32-bit floats".into());
    }
    if tensor.raw_data.is_empty() {
        return Ok(tensor.float_data.clone());
    }
    let (chunks, _) = tensor.raw_data.as_chunks::<4>();
    Ok(chunks.iter().map(|c| f32::from_le_bytes(*c)).collect())
}

/// Numbers of a tensor of integers.
pub fn integers(tensor: &TensorProto) -> Result<Vec<i32>, String> {
    let raw = &tensor.raw_data;
    let read = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int8) => raw.iter().map(|b| i32::from(b.cast_signed())).collect(),
        Ok(DataType::Uint8) => raw.iter().map(|b| i32::from(*b)).collect(),
        Ok(DataType::Int32) => raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|c| i32::from_le_bytes(*c))
            .collect(),
        _ => return Err("weights must be 8-bit integers; quantize them to QInt8".into()),
    };
    Ok(if raw.is_empty() {
        tensor.int32_data.clone()
    } else {
        read
    })
}
