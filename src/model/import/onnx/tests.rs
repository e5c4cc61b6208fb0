//! Whole files: what exporters write is read, and computes what tract computes of the file itself (each import
//! compares the two: `verify.rs`); what is broken or hostile is refused in one line.

use std::path::Path;

use prost::Message;
use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::binary::TypedBinOp;
use tract_nnef::tract_core::ops::cnn::{Conv, MaxPool, SumPool};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, StringStringEntryProto};

use super::made::{Attribute, Dim, Made, floats, integers, last, resnet};
use super::{Imported, open};
use crate::bundle::Manifest;
use crate::model::import::{self, Options};
use crate::spec::Activation;

fn import_sized(bytes: &[u8], size: usize) -> Result<Imported, String> {
    let file = open(Path::new("m.onnx"), bytes).map_err(|e| e.to_string())?;
    file.network(size).map_err(|e| e.to_string())
}

/// Imports what `made` holds so far, for pictures of 32.
fn import(made: Made) -> Result<Imported, String> {
    let output = last(&made);
    import_sized(&made.bytes(&output), 32)
}

fn imported(made: Made) -> Imported {
    import(made).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(made: Made) -> String {
    let error = import(made).map(|i| i.arch).unwrap_err();
    assert!(!error.contains('\n'), "{error}");
    error
}

/// [`resnet`] as a file.
fn whole() -> ModelProto {
    let made = resnet();
    let output = last(&made);
    made.model(&output)
}

fn count<O: Op>(found: &Imported) -> usize {
    found
        .graph
        .nodes()
        .iter()
        .filter(|n| n.op_is::<O>())
        .count()
}

/// A stem of eight channels, whose output is 16x16.
fn stem() -> (Made, String) {
    let mut made = Made::pictures(32);
    let x = made.unit("x", [8, 3, 3, 3], 2, 1);
    (made, x)
}

#[test]
fn a_resnet_becomes_convolutions_sums_and_an_average() {
    let found = imported(resnet());
    assert_eq!((found.classes, found.arch.as_str()), (5, "resnet-1-1"));
    assert_eq!(found.activation, None);
    assert!(found.normalization.is_none());
    // stem, two blocks of two, a shortcut, the dense layer; batch normalization is gone
    assert_eq!(count::<Conv>(&found), 7);
    assert_eq!(count::<MaxPool>(&found), 1);
    // five ReLU, two additions, the average's share
    assert_eq!(count::<TypedBinOp>(&found), 8);
    let layers = crate::model::lower::layers(&found.graph).unwrap();
    assert_eq!(layers.len(), 9);
}

/// Imports `made` as a user does.
fn bundle(made: Made, change: impl Fn(&mut Options)) -> Result<Manifest, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.bin");
    let output = last(&made);
    std::fs::write(&path, made.bytes(&output)).unwrap();
    let mut options = Options {
        name: "m".into(),
        ..Options::default()
    };
    change(&mut options);
    let bundle = import::import(&path, &options).map_err(|e| e.to_string())?;
    Ok(bundle.bundle.manifest)
}

fn says(made: &mut Made, key: &str, value: &str) {
    made.metadata.push(StringStringEntryProto {
        key: key.into(),
        value: value.into(),
    });
}

#[test]
fn a_bundle_has_the_files_labels_size_and_activation() {
    let labels = "{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e'}";
    let mut made = resnet();
    says(&mut made, "names", labels);
    says(&mut made, "mean", "[0.5, 0.5, 0.5]");
    let logits = last(&made);
    made.node("Sigmoid", &[&logits], &[]);
    let manifest = bundle(made, |_| {}).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(manifest.labels, ["a", "b", "c", "d", "e"]);
    assert_eq!(manifest.preprocessing.crop, 32);
    assert_eq!(manifest.preprocessing.mean, [0.5; 3]);
    assert_eq!(manifest.activation, Activation::Sigmoid);
    let error = bundle(resnet(), |_| {}).unwrap_err();
    assert!(error.contains("5 classes and 0 labels"), "{error}");
    let crop = |o: &mut Options| o.crop = Some(64);
    assert!(bundle(resnet(), crop).unwrap_err().contains("32x32"));
}

#[test]
fn a_normalization_in_the_graph_becomes_the_bundles() {
    let made = || {
        let mut made = Made::pictures(32);
        let scale = made.tensor(floats(&[], &[2.0]));
        let shift = made.tensor(floats(&[], &[-1.0]));
        let x = made.node("Mul", &["x", &scale], &[]);
        let x = made.node("Add", &[&x, &shift], &[]);
        let x = made.unit(&x, [8, 3, 3, 3], 2, 1);
        made.head(&x, 8);
        made
    };
    let labels =
        |o: &mut Options| o.labels = Some(["a", "b", "c", "d", "e"].map(String::from).to_vec());
    let error = bundle(made(), labels).unwrap_err();
    assert!(error.contains("--mean 0,0,0"), "{error}");
    let plain = |o: &mut Options| {
        labels(o);
        (o.mean, o.std) = (Some([0.0; 3]), Some([1.0; 3]));
    };
    let found = bundle(made(), plain)
        .unwrap_or_else(|e| panic!("{e}"))
        .preprocessing;
    assert_eq!((found.mean, found.std), ([0.5; 3], [0.5; 3]));
}

#[test]
fn every_way_to_write_a_classifier_is_read() {
    let heads: [fn(&mut Made, &str) -> String; 7] = [
        |m, x| m.head(x, 8),
        |m, x| {
            let x = m.node("GlobalAveragePool", &[x], &[]);
            let shape = m.tensor(integers(&[1, -1]));
            let x = m.node("Reshape", &[&x, &shape], &[]);
            m.dense(&x, 8)
        },
        |m, x| {
            let axes = [
                ("axes", Attribute::Ints(&[2, 3])),
                ("keepdims", Attribute::Int(0)),
            ];
            let x = m.node("ReduceMean", &[x], &axes);
            m.dense(&x, 8)
        },
        |m, x| {
            let axes = [
                ("axes", Attribute::Ints(&[-1, -2])),
                ("keepdims", Attribute::Int(1)),
            ];
            let x = m.node("ReduceMean", &[x], &axes);
            let axes = m.tensor(integers(&[2, 3]));
            let x = m.node("Squeeze", &[&x, &axes], &[]);
            let w = m.random(&[8, 5], |v| v);
            let b = m.random(&[5], |v| v);
            let x = m.node("MatMul", &[&x, &w], &[]);
            m.node("Add", &[&b, &x], &[])
        },
        |m, x| {
            let window = [("kernel_shape", Attribute::Ints(&[16, 16]))];
            let x = m.node("AveragePool", &[x], &window);
            let x = m.node("Flatten", &[&x], &[]);
            let x = m.node("Dropout", &[&x], &[]);
            let x = m.dense(&x, 8);
            m.node("Identity", &[&x], &[])
        },
        // torch's flatten with a dynamic batch: shapes computed in the graph
        |m, x| {
            let x = m.node("GlobalAveragePool", &[x], &[]);
            let shape = m.node("Shape", &[&x], &[]);
            let zero = m.tensor(integers(&[0]));
            let batch = m.node("Gather", &[&shape, &zero], &[]);
            let rest = m.tensor(integers(&[-1]));
            let shape = m.node("Concat", &[&batch, &rest], &[("axis", Attribute::Int(0))]);
            let x = m.node("Reshape", &[&x, &shape], &[]);
            m.dense(&x, 8)
        },
        // the dense layer as a convolution, flattened last
        |m, x| {
            let x = m.node("GlobalAveragePool", &[x], &[]);
            let x = m.conv(&x, [5, 8, 1, 1], 1, [0; 4], 1);
            m.node("Flatten", &[&x], &[])
        },
    ];
    for (i, head) in heads.into_iter().enumerate() {
        let (mut made, x) = stem();
        head(&mut made, &x);
        let found = import(made).unwrap_or_else(|e| panic!("head {i}: {e}"));
        assert_eq!((count::<Conv>(&found), found.classes), (2, 5), "head {i}");
        crate::model::lower::layers(&found.graph).unwrap_or_else(|e| panic!("head {i}: {e}"));
    }
}

#[test]
fn a_softmax_or_sigmoid_at_the_end_is_the_bundles_business() {
    for (op, activation) in [
        ("Softmax", Activation::Softmax),
        ("Sigmoid", Activation::Sigmoid),
    ] {
        for opset in [11, 13] {
            let mut made = resnet();
            made.opset = opset;
            let logits = last(&made);
            made.node(op, &[&logits], &[]);
            assert_eq!(imported(made).activation, Some(activation));
        }
    }
}

#[test]
fn keras_channels_last_with_pads_of_its_own_is_turned_round() {
    let mut made = Made::new(&[
        Dim::Named("N"),
        Dim::Fixed(32),
        Dim::Fixed(32),
        Dim::Fixed(3),
    ]);
    let perm = |p: &'static [i64]| [("perm", Attribute::Ints(p))];
    let x = made.node("Transpose", &["x"], &perm(&[0, 3, 1, 2]));
    let pads = made.tensor(integers(&[0, 0, 3, 3, 0, 0, 3, 3]));
    let x = made.node("Pad", &[&x, &pads], &[]);
    let x = made.conv(&x, [8, 3, 7, 7], 2, [0; 4], 1);
    // batch normalization as a product and a sum of constants, on channels last
    let x = made.node("Transpose", &[&x], &perm(&[0, 2, 3, 1]));
    let scale = made.random(&[8], |v| 1.0 + 0.1 * v);
    let shift = made.random(&[1, 1, 8], |v| 0.1 * v);
    let x = made.node("Mul", &[&x, &scale], &[]);
    let x = made.node("Add", &[&x, &shift], &[]);
    let x = made.relu(&x);
    let x = made.node("Transpose", &[&x], &perm(&[0, 3, 1, 2]));
    let pads = made.tensor(integers(&[0, 0, 1, 1, 0, 0, 1, 1]));
    let x = made.node("Pad", &[&x, &pads], &[]);
    let window = [
        ("kernel_shape", Attribute::Ints(&[3, 3])),
        ("strides", Attribute::Ints(&[2, 2])),
    ];
    let x = made.node("MaxPool", &[&x], &window);
    let x = made.block(&x, 8, 16);
    let x = made.node("Transpose", &[&x], &perm(&[0, 2, 3, 1]));
    let axes = [
        ("axes", Attribute::Ints(&[1, 2])),
        ("keepdims", Attribute::Int(0)),
    ];
    let x = made.node("ReduceMean", &[&x], &axes);
    let w = made.random(&[16, 5], |v| v);
    let b = made.random(&[5], |v| v);
    let x = made.node("MatMul", &[&x, &w], &[]);
    let x = made.node("Add", &[&x, &b], &[]);
    made.node("Softmax", &[&x], &[]);
    let found = imported(made);
    assert_eq!(count::<Conv>(&found), 5);
    assert_eq!(found.activation, Some(Activation::Softmax));
    assert_eq!(crate::model::lower::layers(&found.graph).unwrap().len(), 7);
}

#[test]
fn unequal_padding_and_same_padding_are_kept() {
    for auto in [None, Some("SAME_UPPER"), Some("SAME_LOWER"), Some("VALID")] {
        let mut made = Made::pictures(32);
        let x = made.conv("x", [8, 3, 3, 3], 2, [0, 1, 1, 0], 1);
        if let Some(auto) = auto {
            let conv = made.graph.node.last_mut().unwrap();
            conv.attribute.retain(|a| a.name != "pads");
            conv.attribute.push(AttributeProto {
                name: "auto_pad".into(),
                s: auto.into(),
                r#type: 3,
                ..AttributeProto::default()
            });
        }
        let x = made.relu(&x);
        made.head(&x, 8);
        imported(made);
    }
}

#[test]
fn a_resnet_d_with_groups_and_averaged_shortcuts_is_read() {
    let pools: [&[(&str, Attribute)]; 4] = [
        &[],
        &[
            ("ceil_mode", Attribute::Int(1)),
            ("count_include_pad", Attribute::Int(0)),
        ],
        &[
            ("pads", Attribute::Ints(&[1, 1, 1, 1])),
            ("count_include_pad", Attribute::Int(1)),
        ],
        &[
            ("pads", Attribute::Ints(&[1, 1, 1, 1])),
            ("count_include_pad", Attribute::Int(0)),
        ],
    ];
    for (i, more) in pools.into_iter().enumerate() {
        let mut made = Made::pictures(32);
        let mut x = made.unit("x", [4, 3, 3, 3], 2, 1);
        x = made.unit(&x, [4, 4, 3, 3], 1, 1);
        x = made.unit(&x, [8, 4, 3, 3], 1, 1);
        let y = made.unit(&x, [8, 8, 1, 1], 1, 0);
        let pad = i64::from(i > 1);
        let y = made.conv(&y, [8, 4, 3, 3], 2, [1 + pad; 4], 2);
        let y = made.batch_norm(&y, 8);
        let y = made.relu(&y);
        let y = made.conv(&y, [16, 8, 1, 1], 1, [0; 4], 1);
        let mut attributes = vec![
            ("kernel_shape", Attribute::Ints(&[2, 2])),
            ("strides", Attribute::Ints(&[2, 2])),
        ];
        for (name, value) in more {
            attributes.push((
                name,
                match value {
                    Attribute::Int(n) => Attribute::Int(*n),
                    Attribute::Ints(n) => Attribute::Ints(n),
                    _ => unreachable!(),
                },
            ));
        }
        let s = made.node("AveragePool", &[&x], &attributes);
        let s = made.conv(&s, [16, 8, 1, 1], 1, [0; 4], 1);
        let sum = made.node("Add", &[&s, &y], &[]);
        let x = made.relu(&sum);
        made.head(&x, 16);
        let found = import(made).unwrap_or_else(|e| panic!("pool {i}: {e}"));
        assert_eq!((count::<Conv>(&found), count::<SumPool>(&found)), (8, 1));
        assert_eq!(found.arch, "resnext-1");
    }
}

#[test]
fn an_average_that_hangs_over_an_odd_edge_counts_what_is_there() {
    let mut made = Made::pictures(31);
    let x = made.unit("x", [8, 3, 1, 1], 1, 0);
    let attributes = [
        ("kernel_shape", Attribute::Ints(&[2, 2])),
        ("strides", Attribute::Ints(&[2, 2])),
        ("ceil_mode", Attribute::Int(1)),
    ];
    let x = made.node("AveragePool", &[&x], &attributes);
    made.head(&x, 8);
    let output = last(&made);
    import_sized(&made.bytes(&output), 31).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_no_convolution_can_take_becomes_one_of_its_own() {
    let (mut made, x) = stem();
    // read twice: once before and once after normalization
    let y = made.batch_norm(&x, 8);
    let sum = made.node("Add", &[&x, &y], &[]);
    made.head(&sum, 8);
    let found = imported(made);
    assert_eq!(count::<Conv>(&found), 3);
}

#[test]
fn clipping_at_zero_is_relu_and_at_six_is_a_layer_more() {
    let clip = |high: Option<f32>| {
        let mut made = Made::pictures(32);
        let x = made.conv("x", [8, 3, 3, 3], 2, [1; 4], 1);
        let low = made.tensor(floats(&[], &[0.0]));
        let high = high.map(|high| made.tensor(floats(&[], &[high])));
        let x = made.node("Clip", &[&x, &low, &high.unwrap_or_default()], &[]);
        made.head(&x, 8);
        made
    };
    imported(clip(None));
    imported(clip(Some(f32::INFINITY)));
    imported(clip(Some(f32::MAX)));
    let (six, none) = (imported(clip(Some(6.0))), imported(clip(None)));
    assert_eq!(six.graph.nodes().len(), none.graph.nodes().len() + 2);
}

#[test]
fn a_normalization_in_the_graph_is_handed_out() {
    let mut made = Made::pictures(32);
    let mean = made.tensor(floats(&[1, 3, 1, 1], &[0.1, 0.2, 0.3]));
    let std = made.tensor(floats(&[3, 1, 1], &[0.5, 0.25, 2.0]));
    let x = made.node("Sub", &["x", &mean], &[]);
    let x = made.node("Div", &[&x, &std], &[]);
    let x = made.unit(&x, [8, 3, 3, 3], 2, 1);
    made.head(&x, 8);
    let found = imported(made).normalization.unwrap();
    let factors = found.map(|(factor, _)| factor);
    assert_eq!(factors, [2.0, 4.0, 0.5]);
    assert!((found[1].1 + 0.8).abs() < 1e-6);
}

#[test]
fn batch_and_size_may_be_open_and_a_fixed_size_holds() {
    let made = |dims: &[Dim]| {
        let mut made = Made::new(dims);
        let x = made.unit("x", [8, 3, 3, 3], 2, 1);
        made.head(&x, 8);
        let output = last(&made);
        made.bytes(&output)
    };
    let open = made(&[
        Dim::Named("batch"),
        Dim::Fixed(3),
        Dim::Named("h"),
        Dim::Named("w"),
    ]);
    for size in [32, 64] {
        let found = import_sized(&open, size).unwrap_or_else(|e| panic!("{e}"));
        let fact = found
            .graph
            .outlet_fact(found.graph.inputs[0])
            .unwrap()
            .clone();
        assert_eq!(fact.shape.as_concrete().unwrap(), [1, 3, size, size]);
    }
    let fixed = made(&[Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(32), Dim::Fixed(32)]);
    let error = import_sized(&fixed, 64).map(|i| i.arch).unwrap_err();
    assert!(
        error.contains("32x32") && error.contains("--crop"),
        "{error}"
    );
    for (dims, wanted) in [
        (&[1, 3, 32, 33][..], "32x33"),
        (&[1, 4, 32, 32], "3 channels"),
        (&[1, 3, 32], "3 dimensions"),
    ] {
        let dims: Vec<Dim> = dims.iter().map(|d| Dim::Fixed(*d)).collect();
        let error = import_sized(&made(&dims), 32).map(|i| i.arch).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn operators_that_no_resnet_has_are_named() {
    let with = |op: &str| {
        let (mut made, x) = stem();
        let x = made.node(op, &[&x], &[]);
        made.head(&x, 8);
        refused(made)
    };
    for op in ["Elu", "Softmax", "Softplus", "LSTM"] {
        let error = with(op);
        let node = format!("/{}_3/{op} (", op.to_lowercase());
        assert!(error.contains(&node), "{op}: {error}");
    }
    let (mut made, x) = stem();
    made.node("Flatten", &[&x], &[]);
    assert!(refused(made).contains("8x16x16"));
}

#[test]
fn broken_graphs_are_refused_by_name() {
    let change = |change: fn(&mut GraphProto)| {
        let mut model = whole();
        change(model.graph.as_mut().unwrap());
        let result = import_sized(&model.encode_to_vec(), 32);
        result.map(|i| i.arch).unwrap_err()
    };
    let cases: [(fn(&mut GraphProto), &str); 13] = [
        (|g| g.node.swap(0, 1), "not written before it is read"),
        (
            |g| g.node[0].input[0] = g.output[0].name.clone(),
            "/conv_0/Conv",
        ),
        (|g| g.node[1].output[0] = "conv_0".into(), "defined twice"),
        (
            |g| g.initializer[0].dims = vec![1 << 20, 1 << 20],
            "tensor tensor_0: shape [1048576, 1048576] needs",
        ),
        (
            |g| g.initializer[0].dims = vec![i64::MAX, i64::MAX],
            "no tensor's",
        ),
        (|g| g.initializer[0].dims = vec![-1], "no tensor's"),
        (|g| g.initializer[0].data_type = 10, "FLOAT16"),
        (|g| g.initializer[0].raw_data.truncate(7), "within a number"),
        (
            |g| g.node[2].op_type = "Loop".into(),
            "/relu_2/Relu (Loop): nested graphs",
        ),
        (|g| g.node[2].domain = "ai.acme".into(), "ai.acme"),
        (|g| g.output.push(g.output[0].clone()), "2 outputs"),
        (
            |g| g.output[0].name = "absent".into(),
            "no node writes its output",
        ),
        (
            |g| g.node[0].attribute[0].g = Some(GraphProto::default()),
            "/conv_0/Conv (Conv): its attribute kernel_shape is a nested graph",
        ),
    ];
    for (change_it, wanted) in cases {
        let error = change(change_it);
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn numbers_beyond_bounds_are_errors_and_not_panics() {
    for value in [0, -1, 1 << 20, i64::from(i32::MAX), i64::MAX, i64::MIN] {
        for name in ["kernel_shape", "strides", "pads", "group"] {
            let mut model = whole();
            let conv = &mut model.graph.as_mut().unwrap().node[0];
            let attribute = conv.attribute.iter_mut().find(|a| a.name == name).unwrap();
            attribute.i = value;
            attribute.ints.iter_mut().for_each(|i| *i = value);
            let legal = (name == "pads" && value == 0) || (name == "strides" && value > 0);
            let result = import_sized(&model.encode_to_vec(), 32).map(|i| i.arch);
            assert!(legal || result.is_err(), "{name} = {value}");
        }
    }
}

#[test]
fn constants_that_double_and_double_are_refused_before_they_are_made() {
    let mut made = Made::pictures(32);
    let mut x = made.random(&[1024], |v| v);
    for _ in 0..40 {
        x = made.node("Concat", &[&x, &x], &[("axis", Attribute::Int(0))]);
    }
    assert!(refused(made).contains("grows beyond"));
    let mut made = Made::pictures(32);
    let (a, b) = (
        made.random(&[1 << 15, 1], |v| v),
        made.random(&[1, 1 << 15], |v| v),
    );
    made.node("Add", &[&a, &b], &[]);
    assert!(refused(made).contains("grows beyond"));
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let bytes = whole().encode_to_vec();
    assert!(import_sized(&bytes, 32).is_ok());
    for end in (0..bytes.len()).step_by(97) {
        assert!(open(Path::new("m.onnx"), &bytes[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_file_with_changed_bytes_never_panics() {
    let bytes = whole().encode_to_vec();
    for at in (0..bytes.len()).step_by(131) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        if let Ok(file) = open(Path::new("m.onnx"), &changed) {
            let _ = file.network(32);
        }
    }
}

#[test]
fn an_opset_that_is_not_known_is_said() {
    let mut made = resnet();
    made.opset = 99;
    assert!(refused(made).contains("opset 99"));
    let empty = ModelProto {
        graph: Some(GraphProto::default()),
        ..ModelProto::default()
    };
    assert!(open(Path::new("m.onnx"), &empty.encode_to_vec()).is_err());
}
