//! Which constants of quantized files are read as weights, and as which.

use tract_onnx::pb::tensor_proto::DataType;

use super::super::made::{Attribute, floats, raw};
use super::tests::{Maker, Of, read, refused};
use super::{Kind, Weights};

/// What rounds and what stands behind a constant in a file: its scale, and its zero point.
struct Scale {
    scale: f32,
    dtype: DataType,
    zero: u8,
}

/// A convolution of one output, whose weights `nodes` makes of the names of a scale and a zero point.
fn network(scale: &Scale, nodes: impl FnOnce(&mut Maker, [&str; 2]) -> String) -> Vec<u8> {
    let mut m = Maker::new(Of::U8);
    let x = m.round("x", 0.02, 128);
    let names = [
        m.made.tensor(floats(&[], &[scale.scale])),
        m.made.tensor(raw(scale.dtype, &[], vec![scale.zero])),
    ];
    let w = nodes(&mut m, [&names[0], &names[1]]);
    let x = m.made.node("Conv", &[&x, &w], &[]);
    let x = m.round(&x, 0.1, 0);
    let x = m.made.node("GlobalAveragePool", &[&x], &[]);
    m.round(&x, 0.1, 0);
    m.finish()
}

/// Weights that are integers in the file.
pub(super) fn integers(dtype: DataType, values: &[u8], zero: u8) -> Vec<u8> {
    let scale = Scale {
        scale: 0.01,
        dtype,
        zero,
    };
    network(&scale, |m, [scale, zero]| {
        let w = m.made.tensor(raw(dtype, &[1, 3, 1, 1], values.to_vec()));
        m.made.node("DequantizeLinear", &[&w, scale, zero], &[])
    })
}

/// Weights that are floats in the file, which rounds them itself; what comes back has `scale_behind`.
fn fake(values: [f32; 3], of: &Scale, scale_behind: f32) -> Vec<u8> {
    network(of, |m, [scale, zero]| {
        let w = m.made.tensor(floats(&[1, 3, 1, 1], &values));
        let axis = || [("axis", Attribute::Int(0))];
        let w = m.made.node("QuantizeLinear", &[&w, scale, zero], &axis());
        let behind = m.made.tensor(floats(&[], &[scale_behind]));
        m.made
            .node("DequantizeLinear", &[&w, &behind, zero], &axis())
    })
}

fn weights(bytes: &[u8]) -> Weights {
    let network = read(bytes);
    let found = network.layers.iter().find_map(|l| match &l.kind {
        Kind::Conv { weights, .. } => Some(weights.clone()),
        _ => None,
    });
    let found = found.unwrap();
    assert_eq!(found.clipped, network.clipped());
    found
}

#[test]
fn weights_around_another_zero_are_moved_where_that_is_exact() {
    assert_eq!(
        weights(&integers(DataType::Uint8, &[1, 128, 255], 128)).values,
        [-127, 0, 127]
    );
    assert_eq!(
        weights(&integers(DataType::Int8, &[0x81, 0, 127], 0)).values,
        [-127, 0, 127]
    );
    for (dtype, list, zero) in [
        (DataType::Int8, [0x81, 0, 127], 5),
        (DataType::Uint8, [0, 128, 255], 0),
    ] {
        let error = refused(&integers(dtype, &list, zero));
        assert!(
            error.contains("(Conv)") && error.contains("symmetrically"),
            "{error}"
        );
    }
}

#[test]
fn a_weight_of_128_below_zero_is_clipped_and_counted() {
    for file in [
        integers(DataType::Uint8, &[0, 128, 255], 128),
        integers(DataType::Int8, &[0x80, 0, 127], 0),
    ] {
        let found = weights(&file);
        assert_eq!((found.values, found.clipped), (vec![-127, 0, 127], 1));
    }
    assert_eq!(
        weights(&integers(DataType::Int8, &[0x81, 0, 127], 0)).clipped,
        0
    );
}

#[test]
fn floats_that_the_file_rounds_are_the_integers_that_it_makes_of_them() {
    let signed = Scale {
        scale: 0.5,
        dtype: DataType::Int8,
        zero: 0,
    };
    // halves to even; what is too large is held
    let found = weights(&fake([1.25, -0.74, 90.0], &signed, 0.5));
    assert_eq!((found.values, found.scales), (vec![2, -1, 127], vec![0.5]));
    let unsigned = Scale {
        scale: 0.5,
        dtype: DataType::Uint8,
        zero: 128,
    };
    assert_eq!(
        weights(&fake([1.25, -0.74, 90.0], &unsigned, 0.5)).values,
        [2, -1, 127]
    );
    let error = refused(&fake([1.0, 2.0, 3.0], &signed, 0.25));
    assert!(
        error.contains("not the one that its input was rounded with"),
        "{error}"
    );
    let moved = network(&signed, |m, [scale, zero]| {
        let w = m.made.tensor(floats(&[1, 3, 1, 1], &[1.0, 2.0, 3.0]));
        let w = m.made.node("QuantizeLinear", &[&w, scale, zero], &[]);
        let other = m.made.tensor(raw(DataType::Int8, &[], vec![1]));
        m.made.node("DequantizeLinear", &[&w, scale, &other], &[])
    });
    let unsaid = network(&signed, |m, [scale, zero]| {
        let w = m.made.tensor(floats(&[1, 3, 1, 1], &[1.0, 2.0, 3.0]));
        let w = m.made.node("QuantizeLinear", &[&w, scale, zero], &[]);
        m.made.node("DequantizeLinear", &[&w, scale], &[])
    });
    assert_eq!(weights(&unsaid).values, [2, 4, 6]);
    let error = refused(&moved);
    assert!(error.contains("its zero point is not the one"), "{error}");
    let error = refused(&fake([1.0, f32::NAN, 3.0], &signed, 0.5));
    assert!(error.contains("not finite"), "{error}");
}

#[test]
fn weights_without_extent_are_refused_whatever_they_claim_otherwise() {
    for dims in [[8, 3, 0, 0], [1 << 40, 0, 1, 1]] {
        let mut m = Maker::new(Of::U8);
        let x = m.round("x", 0.02, 128);
        let w = m.made.tensor(raw(DataType::Int8, &dims, Vec::new()));
        let scale = m.made.tensor(floats(&[], &[0.01]));
        let w = m.made.node("DequantizeLinear", &[&w, &scale], &[]);
        let x = m.made.node("Conv", &[&x, &w], &[]);
        m.round(&x, 0.1, 0);
        let error = refused(&m.finish());
        assert!(error.contains("is nothing"), "{error}");
        let mut m = Maker::new(Of::U8);
        let x = m.round("x", 0.02, 128);
        let w = m.made.tensor(floats(&dims, &[]));
        let x = m.made.node("Conv", &[&x, &w], &[]);
        m.round(&x, 0.1, 0);
        let error = refused(&m.finish());
        assert!(error.contains("is nothing"), "{error}");
    }
}
