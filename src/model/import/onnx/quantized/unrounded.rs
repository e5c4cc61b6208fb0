//! A QDQ file without its roundings: the float network that its weights stand for. For files that round what no
//! operator of ours does, such as those of trainers that leave shortcuts in float; `quantize` measures ranges anew.
//! What a rounding cuts off below zero is a ReLU; what it cuts off above is let through.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::check::{self, is_quantized};
use super::super::error::OnnxError;
use super::super::settle::constant;
use super::constants::{Constants, Integers, undone};

/// Operators that move integers and change none.
const MOVES: [&str; 8] = [
    "Dropout",
    "Flatten",
    "Identity",
    "MaxPool",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];
/// Operators whose ReLU exporters leave to the rounding behind them.
const SIGNED: [&str; 5] = ["Add", "BatchNormalization", "Conv", "Gemm", "MatMul"];

/// Scales and zero points.
type Rounding = (Vec<f32>, Vec<i32>);

struct Walk<'a> {
    constants: Constants<'a>,
    /// The operator that each name comes of.
    writers: HashMap<&'a str, &'a str>,
    /// How integers were made.
    integers: HashMap<&'a str, Rounding>,
}

/// Puts what stands for it in the place of each `QuantizeLinear` and `DequantizeLinear`: weights as floats, a ReLU, or
/// nothing.
///
/// # Errors
/// If another operator works on integers, or scales and zero points do not fit.
pub fn unround(graph: &mut GraphProto) -> Result<(), OnnxError> {
    let mut walk = Walk {
        constants: Constants::new(graph),
        writers: HashMap::new(),
        integers: HashMap::new(),
    };
    let mut changed = Vec::new();
    for (at, node) in graph.node.iter().enumerate() {
        let bad = |reason| OnnxError::node(check::name(node), &node.op_type, reason);
        if let Some(float) = walk.node(node).map_err(bad)? {
            changed.push((at, float));
        }
        let outputs = node.output.iter();
        walk.writers
            .extend(outputs.map(|name| (name.as_str(), node.op_type.as_str())));
    }
    for (at, node) in changed {
        graph.node[at] = node;
    }
    Ok(())
}

impl<'a> Walk<'a> {
    /// What is to stand in the place of `node`, if it is not to stay.
    fn node(&mut self, node: &'a NodeProto) -> Result<Option<NodeProto>, String> {
        let read = |name: &String| self.integers.get(name.as_str()).cloned();
        let integers = node.input.iter().find_map(read);
        match (node.op_type.as_str(), integers) {
            ("QuantizeLinear", None) => {
                self.integers.insert(&node.output[0], self.rounding(node)?);
                let op = if self.is_relu(node) {
                    "Relu"
                } else {
                    "Identity"
                };
                Ok(Some(plain(node, op)))
            }
            ("DequantizeLinear", None) => Ok(Some(floats(node, &self.constants.weights(node)?))),
            ("DequantizeLinear", Some((scales, zeros))) => {
                let own = self.rounding(node)?;
                undone((&scales, &zeros), (&own.0, &own.1))?;
                Ok(Some(plain(node, "Identity")))
            }
            // PyTorch's: a cast to the type that they have, a cut to 7 bits
            ("Cast" | "Clip", Some(rounding)) => {
                self.integers.insert(&node.output[0], rounding);
                Ok(Some(plain(node, "Identity")))
            }
            (op, Some(rounding)) if MOVES.contains(&op) => {
                self.integers.insert(&node.output[0], rounding);
                Ok(None)
            }
            (_, integers) if integers.is_some() || is_quantized(node) => {
                Err("it works on integers, which have no float network behind them".into())
            }
            _ => Ok(None),
        }
    }

    fn rounding(&self, node: &NodeProto) -> Result<Rounding, String> {
        Ok((
            self.constants.scales(node, 1)?,
            self.constants.zeros(node, 2)?,
        ))
    }

    /// Whether a rounding cuts off what is below zero.
    fn is_relu(&self, node: &NodeProto) -> bool {
        let writer = node
            .input
            .first()
            .and_then(|name| self.writers.get(name.as_str()));
        let signed = writer.is_some_and(|op| SIGNED.contains(op));
        signed && self.constants.quant(node, 1).is_ok_and(|q| q.zero.0 == 0)
    }
}

/// The node, as one of another operator that has one input.
fn plain(node: &NodeProto, op: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        domain: String::new(),
        input: node.input.iter().take(1).cloned().collect(),
        attribute: Vec::new(),
        ..node.clone()
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // to the precision of a float; extents came of i64
fn floats(node: &NodeProto, integers: &Integers) -> NodeProto {
    let values = integers.reals().map(|v| v as f32);
    let tensor = TensorProto {
        dims: integers.dims.iter().map(|&d| d as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.flat_map(f32::to_le_bytes).collect(),
        ..TensorProto::default()
    };
    constant(node, tensor)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tract_onnx::prelude::*;

    use super::super::super::made::{Attribute, floats as tensor, raw};
    use super::super::super::{File, open};
    use super::super::tests::{Maker, Of, SIZE, picture, refused, tract};
    use super::super::weights_tests::integers;
    use super::*;
    use crate::spec::Activation;

    fn unrounded(bytes: &[u8]) -> Result<File, String> {
        let mut file = open(Path::new("m.onnx"), bytes).map_err(|e| e.to_string())?;
        file.unround().map_err(|e| e.to_string())?;
        Ok(file)
    }

    /// What the float network of a file gives for `picture`.
    fn scores(bytes: &[u8]) -> Vec<f32> {
        let file = unrounded(bytes).unwrap_or_else(|e| panic!("{e}"));
        assert!(!file.is_quantized());
        let network = file.network(SIZE).unwrap_or_else(|e| panic!("{e}"));
        let plan = network.graph.into_runnable().unwrap();
        let picture = Tensor::from_shape(&[1, 3, SIZE, SIZE], &picture()).unwrap();
        let output = plan.run(tvec!(picture.into_tvalue())).unwrap();
        let output = output[0].try_as_plain_ram().unwrap();
        output.as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn weights_are_the_floats_that_they_stand_for_and_what_cuts_off_below_zero_is_a_relu() {
        let picture = picture();
        let pixels = SIZE * SIZE;
        let value =
            |i: usize| picture[i] - 0.03 * picture[pixels + i] + 0.5 * picture[2 * pixels + i];
        #[allow(clippy::cast_precision_loss)]
        let meant = (0..pixels).map(|i| value(i).max(0.0)).sum::<f32>() / pixels as f32;
        for (dtype, values, zero) in [
            (DataType::Int8, [100, 253, 50], 0),
            (DataType::Uint8, [220, 117, 170], 120),
        ] {
            let found = scores(&integers(dtype, &values, zero));
            assert!((found[0] - meant).abs() < 1e-5, "{found:?} {meant}");
        }
    }

    /// A convolution whose float weights the file rounds for each of its outputs.
    fn fake_conv(m: &mut Maker, x: &str, dims: [i64; 4]) -> String {
        let outputs = usize::try_from(dims[0]).unwrap();
        let w = m.made.random(&dims, |v| 0.2 * v);
        #[allow(clippy::cast_precision_loss)]
        let scales: Vec<f32> = (0..outputs).map(|o| 0.007 + 0.0002 * o as f32).collect();
        let scales = m.made.tensor(tensor(&dims[..1], &scales));
        let zeros = m
            .made
            .tensor(raw(DataType::Int8, &dims[..1], vec![0; outputs]));
        let axis = || [("axis", Attribute::Int(0))];
        let w = m
            .made
            .node("QuantizeLinear", &[&w, &scales, &zeros], &axis());
        let w = m
            .made
            .node("DequantizeLinear", &[&w, &scales, &zeros], &axis());
        let pads = [("pads", Attribute::Ints(&[1, 1, 1, 1]))];
        m.made.node("Conv", &[x, &w], &pads)
    }

    /// As quantization-aware trainers for TensorRT write them: what convolutions read is rounded, shortcuts are not, and
    /// batch normalization is by itself.
    fn rounded_in_front_of_convolutions() -> Vec<u8> {
        let mut m = Maker::new(Of::I8);
        let x = m.round("x", 0.03, 128);
        let x = fake_conv(&mut m, &x, [6, 3, 3, 3]);
        let x = m.made.batch_norm(&x, 6);
        let x = m.made.relu(&x);
        let y = m.round(&x, 0.05, 128);
        let y = fake_conv(&mut m, &y, [6, 6, 3, 3]);
        let y = m.made.batch_norm(&y, 6);
        let x = m.made.node("Add", &[&y, &x], &[]);
        let x = m.made.relu(&x);
        m.made.node("GlobalAveragePool", &[&x], &[]);
        m.finish()
    }

    #[test]
    fn a_file_that_leaves_shortcuts_in_float_is_read_without_its_roundings() {
        let bytes = rounded_in_front_of_convolutions();
        let error = refused(&bytes);
        assert!(error.contains("BatchNormalization"), "{error}");
        let (ours, theirs) = (scores(&bytes), tract(&bytes));
        assert!(theirs.iter().any(|v| v.abs() > 0.2), "{theirs:?}");
        for (a, b) in ours.iter().zip(&theirs) {
            let near = 0.05 * b.abs().max(0.2);
            assert!((a - b).abs() < near, "{ours:?} {theirs:?}");
        }
    }

    /// A file with a convolution of what `rounded` makes of the picture, whose classes `end` takes.
    fn whole(
        rounded: impl FnOnce(&mut Maker) -> String,
        end: impl FnOnce(&mut Maker, &str),
    ) -> Vec<u8> {
        let mut m = Maker::new(Of::U8);
        let x = rounded(&mut m);
        let x = m.conv(&x, [6, 3, 3, 3], 2, 0.02);
        let x = m.round(&x, 0.03, 0);
        let x = m.made.head(&x, 6);
        end(&mut m, &x);
        m.finish()
    }

    #[test]
    fn probabilities_that_are_rounded_stay_the_networks_end() {
        for (op, activation) in [
            ("Sigmoid", Activation::Sigmoid),
            ("Softmax", Activation::Softmax),
        ] {
            let bytes = whole(
                |m| m.round("x", 0.02, 128),
                |m, x| {
                    let x = m.made.node(op, &[x], &[]);
                    m.round(&x, 1.0 / 255.0, 0);
                },
            );
            let network = unrounded(&bytes).unwrap().network(SIZE);
            let network = network.unwrap_or_else(|e| panic!("{op}: {e}"));
            assert_eq!(network.activation, Some(activation));
        }
    }

    #[test]
    fn a_picture_that_is_rounded_from_zero_up_is_not_cut_off() {
        let from = |zero| whole(move |m| m.round("x", 0.02, zero), |_, _| {});
        assert_eq!(scores(&from(0)), scores(&from(128)));
    }

    #[test]
    fn pytorchs_cut_to_seven_bits_is_left_out() {
        let cut = |m: &mut Maker| {
            let [scale, zero] = m.scale(0.02, 128);
            let most = m.made.tensor(raw(DataType::Uint8, &[], vec![127]));
            let x = m.made.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            let x = m.made.node("Clip", &[&x, "", &most], &[]);
            m.made.node("DequantizeLinear", &[&x, &scale, &zero], &[])
        };
        let uncut = whole(|m| m.round("x", 0.02, 128), |_, _| {});
        assert_eq!(scores(&whole(cut, |_, _| {})), scores(&uncut));
    }

    #[test]
    fn floats_that_are_not_what_was_rounded_are_refused() {
        let other = |m: &mut Maker| {
            let [scale, zero] = m.scale(0.02, 128);
            let twice = m.made.tensor(tensor(&[], &[0.04]));
            let x = m.made.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            m.made.node("DequantizeLinear", &[&x, &twice, &zero], &[])
        };
        let error = unrounded(&whole(other, |_, _| {})).err().unwrap();
        assert!(error.contains("its scale is not the one"), "{error}");
    }

    #[test]
    fn operators_on_integers_are_refused_by_name() {
        for op in ["QLinearMatMul", "Add"] {
            let mut m = Maker::new(Of::U8);
            let [scale, zero] = m.scale(0.02, 128);
            let x = m.made.node("QuantizeLinear", &["x", &scale, &zero], &[]);
            m.made.node(op, &[&x, &x], &[]);
            let error = unrounded(&m.finish()).err().unwrap();
            let meant = format!("({op}): it works on integers");
            assert!(error.contains(&meant), "{error}");
        }
    }
}
