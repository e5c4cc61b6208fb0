//! A QDQ file without its roundings: the float network that its weights stand for. For files that round what no
//! operator of ours does, such as those of trainers that leave shortcuts in float; `quantize` measures ranges anew.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::super::check::{self, is_quantized};
use super::super::error::OnnxError;
use super::attributes::text;
use super::constants::{Constants, Integers};

/// Puts what stands for it in the place of each `QuantizeLinear` and `DequantizeLinear`: weights as floats, a ReLU, or
/// nothing.
///
/// # Errors
/// If another operator works on integers, or weights and scales do not fit.
pub fn unround(graph: &mut GraphProto) -> Result<(), OnnxError> {
    let constants = Constants::new(graph);
    let rounding = graph.node.iter().enumerate();
    let floats = rounding
        .filter(|(_, node)| is_quantized(node))
        .map(|(at, node)| {
            let bad = |reason| OnnxError::node(check::name(node), &node.op_type, reason);
            Ok((at, float(&constants, node).map_err(bad)?))
        });
    for (at, node) in floats.collect::<Result<Vec<_>, OnnxError>>()? {
        graph.node[at] = node;
    }
    Ok(())
}

fn float(constants: &Constants<'_>, node: &NodeProto) -> Result<NodeProto, String> {
    let constant = constants.get(node, 0);
    let op = match (node.op_type.as_str(), constant) {
        ("DequantizeLinear", Some(tensor)) if tensor.data_type != DataType::Float as i32 => {
            let axis = node.get_attr_opt("axis").map_err(text)?.unwrap_or(1);
            return Ok(weights(node, &constants.integers(node, 0, (1, axis))?));
        }
        // exporters leave a ReLU to the rounding that cuts off below zero
        ("QuantizeLinear", None) if constants.quant(node, 1)?.zero.0 == 0 => "Relu",
        ("QuantizeLinear" | "DequantizeLinear", _) => "Identity",
        _ => return Err(ONLY_INTEGERS.into()),
    };
    Ok(NodeProto {
        op_type: op.into(),
        input: node.input.iter().take(1).cloned().collect(),
        attribute: Vec::new(),
        ..node.clone()
    })
}

const ONLY_INTEGERS: &str =
    "it keeps no floats; only QuantizeLinear and DequantizeLinear can be left out";

fn weights(node: &NodeProto, integers: &Integers) -> NodeProto {
    let values = integers.floats().into_iter();
    let tensor = TensorProto {
        #[allow(clippy::cast_possible_wrap)] // they came of i64
        dims: integers.dims.iter().map(|&d| d as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.flat_map(f32::to_le_bytes).collect(),
        ..TensorProto::default()
    };
    let value = AttributeProto {
        name: "value".into(),
        r#type: AttributeType::Tensor as i32,
        t: Some(tensor),
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: "Constant".into(),
        domain: String::new(),
        input: Vec::new(),
        attribute: vec![value],
        ..node.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tract_onnx::prelude::*;

    use super::super::super::made::{Attribute, floats};
    use super::super::super::open;
    use super::super::tests::{Maker, Of, SIZE, picture, refused};
    use super::super::weights_tests::integers;
    use super::*;

    /// What the float network of a file gives for `picture`.
    fn scores(bytes: &[u8]) -> Vec<f32> {
        let mut file = open(Path::new("m.onnx"), bytes).unwrap_or_else(|e| panic!("{e}"));
        file.unround().unwrap_or_else(|e| panic!("{e}"));
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

    /// As quantization-aware trainers for TensorRT write them: what convolutions read is rounded, shortcuts are not,
    /// batch normalization is by itself.
    fn rounded_in_front_of_convolutions() -> Vec<u8> {
        let mut m = Maker::new(Of::I8);
        let x = m.round("x", 0.03, 128);
        let x = m.conv(&x, [6, 3, 3, 3], 2, 0.03);
        let x = m.made.batch_norm(&x, 6);
        let x = m.made.relu(&x);
        let y = m.round(&x, 0.05, 128);
        let y = m.conv(&y, [6, 6, 3, 3], 1, 0.05);
        let y = m.made.batch_norm(&y, 6);
        let x = m.made.node("Add", &[&y, &x], &[]);
        let x = m.made.relu(&x);
        let x = m.made.node("GlobalAveragePool", &[&x], &[]);
        m.made
            .node("Flatten", &[&x], &[("axis", Attribute::Int(1))]);
        m.finish()
    }

    #[test]
    fn a_file_that_leaves_shortcuts_in_float_is_read_without_its_roundings() {
        let bytes = rounded_in_front_of_convolutions();
        let error = refused(&bytes);
        assert!(error.contains("BatchNormalization"), "{error}");
        let (ours, theirs) = (scores(&bytes), super::super::tests::tract(&bytes));
        assert!(theirs.iter().any(|v| v.abs() > 0.2), "{theirs:?}");
        for (a, b) in ours.iter().zip(&theirs) {
            assert!(
                (a - b).abs() < 0.05 * b.abs().max(0.2),
                "{ours:?} {theirs:?}"
            );
        }
    }

    #[test]
    fn operators_on_integers_alone_are_refused_by_name() {
        let mut m = Maker::new(Of::U8);
        let x = m.round("x", 0.02, 128);
        let scale = m.made.tensor(floats(&[], &[0.1]));
        m.made.node("QLinearMatMul", &[&x, &scale], &[]);
        let mut file = open(Path::new("m.onnx"), &m.finish()).unwrap_or_else(|e| panic!("{e}"));
        let error = file.unround().unwrap_err().to_string();
        assert!(
            error.contains("(QLinearMatMul): it keeps no floats"),
            "{error}"
        );
    }
}
