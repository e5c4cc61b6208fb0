//! Works out what exporters leave as nodes around small constants: PyTorch fills its zero points with zeros, casts
//! them in the graph, and writes equal ones as the same. Done before anything is checked, so that `check.rs` sees constants only.

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// More values than a layer has channels.
const MOST: usize = 1 << 16;

/// Numbers, their type, and the extents that they are laid out in.
#[derive(Clone)]
struct Small {
    dtype: i32,
    dims: Vec<i64>,
    values: Vec<f64>,
}

/// Puts constants in the place of what fills and casts them; what is not small or not sound is left as it is.
pub fn settle(graph: &mut GraphProto) {
    let initializers = graph.initializer.iter();
    let mut known: HashMap<String, Small> = initializers
        .filter_map(|t| Some((t.name.clone(), small(t)?)))
        .collect();
    for node in &mut graph.node {
        let input = node.input.first().and_then(|name| known.get(name));
        let value = node.attribute.iter().find_map(|a| a.t.as_ref());
        let made = match (node.op_type.as_str(), input) {
            ("Constant", _) => value.and_then(small),
            ("ConstantOfShape", Some(shape)) => filled(shape, value),
            ("Cast", Some(input)) => cast(input, node),
            ("Identity", Some(input)) => Some(input.clone()),
            _ => None,
        };
        let (Some(made), Some(name)) = (made, node.output.first().cloned()) else {
            continue;
        };
        if node.op_type != "Constant" {
            let Some(tensor) = stored(&made) else {
                continue;
            };
            *node = constant(node, tensor);
        }
        known.insert(name, made);
    }
}

/// The node, as one that gives `tensor`.
pub fn constant(node: &NodeProto, tensor: TensorProto) -> NodeProto {
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
        name: node.name.clone(),
        output: node.output.clone(),
        ..NodeProto::default()
    }
}

/// A vector as long as `shape` says, of one value.
fn filled(shape: &Small, value: Option<&TensorProto>) -> Option<Small> {
    let (dtype, value) = match value {
        Some(value) => (value.data_type, *small(value)?.values.first()?),
        None => (DataType::Float as i32, 0.0),
    };
    #[allow(clippy::cast_possible_truncation)] // small
    let count = match shape.values[..] {
        [count] if count >= 1.0 && count <= MOST as f64 => count as i64,
        _ => return None,
    };
    Some(Small {
        dtype,
        dims: vec![count],
        values: vec![value; usize::try_from(count).ok()?],
    })
}

fn cast(input: &Small, node: &NodeProto) -> Option<Small> {
    let to = node.attribute.iter().find(|a| a.name == "to")?;
    Some(Small {
        dtype: i32::try_from(to.i).ok()?,
        ..input.clone()
    })
}

/// What a small tensor says, if it holds what it claims.
#[allow(clippy::cast_precision_loss)] // extents, scales and zero points
fn small(tensor: &TensorProto) -> Option<Small> {
    let count = super::check::elements(tensor).filter(|n| (1..=MOST).contains(n))?;
    let raw = &tensor.raw_data[..];
    let ints = || tensor.int32_data.iter().map(|&v| f64::from(v)).collect();
    let values: Vec<f64> = match (DataType::try_from(tensor.data_type).ok()?, raw.is_empty()) {
        (DataType::Int8 | DataType::Uint8 | DataType::Int32, true) => ints(),
        (DataType::Int64, true) => tensor.int64_data.iter().map(|&v| v as f64).collect(),
        (DataType::Float, true) => tensor.float_data.iter().map(|&v| f64::from(v)).collect(),
        (DataType::Int8, _) => raw.iter().map(|b| f64::from(b.cast_signed())).collect(),
        (DataType::Uint8, _) => raw.iter().map(|b| f64::from(*b)).collect(),
        (DataType::Int32, _) => words(raw, |w| f64::from(i32::from_le_bytes(w))),
        (DataType::Int64, _) => words(raw, |w| i64::from_le_bytes(w) as f64),
        (DataType::Float, _) => words(raw, |w| f64::from(f32::from_le_bytes(w))),
        _ => return None,
    };
    // beyond these a double is no integer's own
    let exact = values.iter().all(|v| v.abs() < 9e15 || v.is_nan());
    (exact && values.len() == count).then(|| Small {
        dtype: tensor.data_type,
        dims: tensor.dims.clone(),
        values,
    })
}

fn words<const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    raw.as_chunks::<N>().0.iter().map(|w| read(*w)).collect()
}

/// As a tensor, if its type has all of the values.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)] // what changes is seen below
fn stored(small: &Small) -> Option<TensorProto> {
    let mut raw_data = Vec::new();
    for &value in &small.values {
        let kept = match DataType::try_from(small.dtype).ok()? {
            DataType::Float => {
                raw_data.extend((value as f32).to_le_bytes());
                f64::from(value as f32)
            }
            DataType::Int64 => {
                raw_data.extend((value as i64).to_le_bytes());
                value as i64 as f64
            }
            DataType::Int32 => {
                raw_data.extend((value as i32).to_le_bytes());
                f64::from(value as i32)
            }
            DataType::Int8 => {
                raw_data.extend((value as i8).to_le_bytes());
                f64::from(value as i8)
            }
            DataType::Uint8 => {
                raw_data.push(value as u8);
                f64::from(value as u8)
            }
            _ => return None,
        };
        if kept != value {
            return None;
        }
    }
    Some(TensorProto {
        dims: small.dims.clone(),
        data_type: small.dtype,
        raw_data,
        ..TensorProto::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::made::{Attribute, Made, floats, integers, last, raw};
    use super::*;

    /// The last constant after settling: its type, extents and bytes; nothing if the last node is none.
    fn settled(made: Made) -> Option<(i32, Vec<i64>, Vec<u8>)> {
        let name = last(&made);
        let mut graph = made.model(&name).graph.unwrap();
        settle(&mut graph);
        let node = graph.node.pop().unwrap();
        let tensor = node.attribute.into_iter().find_map(|a| a.t)?;
        (node.op_type == "Constant").then_some((tensor.data_type, tensor.dims, tensor.raw_data))
    }

    fn zeros(shape: TensorProto) -> Made {
        let mut made = Made::pictures(8);
        let shape = made.tensor(shape);
        let filled = made.node("ConstantOfShape", &[&shape], &[]);
        let to = [("to", Attribute::Int(DataType::Int32 as i64))];
        made.node("Cast", &[&filled], &to);
        made
    }

    #[test]
    fn zero_points_that_are_filled_and_cast_are_constants() {
        let made = settled(zeros(integers(&[3])));
        assert_eq!(made, Some((DataType::Int32 as i32, vec![3], vec![0; 12])));
    }

    #[test]
    fn a_constant_that_is_written_as_another_is_one_itself() {
        let mut made = Made::pictures(8);
        let zero = made.tensor(raw(DataType::Uint8, &[], vec![128]));
        made.node("Identity", &[&zero], &[]);
        let found = settled(made);
        assert_eq!(found, Some((DataType::Uint8 as i32, vec![], vec![128])));
    }

    #[test]
    fn what_is_not_small_or_not_sound_is_left_as_it_is() {
        for shape in [
            integers(&[1 << 40]),
            integers(&[-1]),
            integers(&[0]),
            integers(&[2, 3]),
            floats(&[2], &[1.0]),
        ] {
            assert_eq!(settled(zeros(shape)), None);
        }
    }

    #[test]
    fn the_largest_integer_is_not_rounded() {
        let mut made = Made::pictures(8);
        let x = made.tensor(integers(&[i64::MAX]));
        let to = [("to", Attribute::Int(DataType::Int64 as i64))];
        made.node("Cast", &[&x], &to);
        assert_eq!(settled(made), None);
    }

    #[test]
    fn a_cast_that_would_change_a_value_is_left_to_itself() {
        let cast = |value, to: DataType| {
            let mut made = Made::pictures(8);
            let x = made.tensor(floats(&[1], &[value]));
            made.node("Cast", &[&x], &[("to", Attribute::Int(to as i64))]);
            settled(made).map(|found| found.2)
        };
        assert_eq!(cast(-3.0, DataType::Int8), Some(vec![253]));
        for (value, to) in [
            (0.5, DataType::Int8),
            (128.0, DataType::Int8),
            (-1.0, DataType::Uint8),
            (f32::NAN, DataType::Float),
        ] {
            assert_eq!(cast(value, to), None, "{value}");
        }
    }
}
