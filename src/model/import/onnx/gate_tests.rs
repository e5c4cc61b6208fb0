//! Networks with what no int8 operator covers, gates as in squeeze-and-excitation and other activations than ReLU: int8 but
//! for that, which is named.

use super::made::{Made, floats, last};
use crate::bundle::Bundle;
use crate::cores::Threads;
use crate::infer::Engine;
use crate::label::Prediction;
use crate::model::import::{self, Imported, Options};
use crate::model::pictures::dead_leaves;
use crate::model::quantize;

/// A stem of eight channels, whose output is 16x16.
fn stem() -> (Made, String) {
    let mut made = Made::pictures(32);
    let x = made.unit("x", [8, 3, 3, 3], 2, 1);
    (made, x)
}

/// `x` times what its mean says of each channel.
fn gated(made: &mut Made, x: &str, turned: bool) -> String {
    let mean = made.node("GlobalAveragePool", &[x], &[]);
    let y = made.unit(&mean, [4, 8, 1, 1], 1, 0);
    let y = made.conv(&y, [8, 4, 1, 1], 1, [0; 4], 1);
    let gate = made.node("Sigmoid", &[&y], &[]);
    let factors = if turned { [&*gate, x] } else { [x, &*gate] };
    made.node("Mul", &factors, &[])
}

fn imported(made: Made) -> Result<Imported, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gated.onnx");
    let output = last(&made);
    std::fs::write(&path, made.bytes(&output)).unwrap();
    let options = Options {
        name: "m".into(),
        labels: Some(["a", "b", "c", "d", "e"].map(str::to_owned).into()),
        ..Options::default()
    };
    import::import(&path, &options).map_err(|e| e.to_string())
}

fn logits(bundle: &Bundle, picture: &[u8]) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.nnef.tar");
    bundle.write(&path).unwrap();
    let mut engine = Engine::load(&path, Threads::ONE).unwrap();
    engine.picture().unwrap().copy_from_slice(picture);
    let mut prediction = Prediction::default();
    engine.run(&mut prediction).unwrap();
    prediction.logits.clone()
}

/// What the int8 network of a float one says to pictures.
fn int8_is_near(float: &Bundle) {
    let pictures: Vec<Vec<u8>> = dead_leaves(32, 5).take(8).collect();
    let int8 = quantize::on_pictures(float, pictures.iter().cloned(), "leaves").unwrap();
    let (mut off, mut all) = (0.0, 0.0);
    for picture in &pictures {
        let pair = [float, &int8].map(|b| logits(b, picture));
        let squares = pair[0].iter().zip(&pair[1]).map(|(f, i)| (f - i).powi(2));
        off += squares.sum::<f32>();
        all += pair[0].iter().map(|f| f * f).sum::<f32>();
    }
    let error = (off / all).sqrt();
    assert!(error > 0.0 && error < 0.05, "{error}");
}

#[test]
fn other_activations_than_relu_run_in_float_and_are_named() {
    let (least, most) = (floats(&[], &[0.0]), floats(&[], &[0.5]));
    for op in ["Clip", "HardSwish", "LeakyRelu", "Tanh", "HardSigmoid"] {
        let (mut made, x) = stem();
        let y = made.conv(&x, [8, 8, 3, 3], 1, [1; 4], 1);
        let more = match op {
            "Clip" => vec![made.tensor(least.clone()), made.tensor(most.clone())],
            _ => Vec::new(),
        };
        let inputs: Vec<&str> = [&y].into_iter().chain(&more).map(String::as_str).collect();
        made.opset = 14;
        let x = made.node(op, &inputs, &[]);
        made.head(&x, 8);
        let found = imported(made).unwrap_or_else(|e| panic!("{op}: {e}"));
        let named: Vec<&str> = found.float_layers.iter().map(|l| &*l.name).collect();
        let whole = if op == "HardSigmoid" { 2 } else { 1 };
        assert_eq!(named.len(), whole, "{op}: {named:?}");
        int8_is_near(&found.bundle);
    }
}

#[test]
fn the_maximum_of_a_map_is_a_pooling_of_ours() {
    let (mut made, x) = stem();
    let x = made.node("GlobalMaxPool", &[&x], &[]);
    let x = made.node("Flatten", &[&x], &[]);
    made.dense(&x, 8);
    let found = imported(made).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.float_layers, []);
    int8_is_near(&found.bundle);
}

#[test]
fn squeeze_and_excitation_is_int8_but_for_its_gates() {
    for turned in [false, true] {
        let (mut made, x) = stem();
        let y = made.conv(&x, [8, 8, 3, 3], 1, [1; 4], 1);
        let y = gated(&mut made, &y, turned);
        let sum = made.node("Add", &[&y, &x], &[]);
        let x = made.relu(&sum);
        made.head(&x, 8);
        let found = imported(made).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(found.bundle.manifest.arch, "seresnet-1");
        let operators = found.float_layers.iter().map(|l| &*l.operator);
        assert_eq!(operators.collect::<Vec<_>>(), ["Sigmoid", "Mul"]);
        int8_is_near(&found.bundle);
    }
}

#[test]
fn a_map_times_itself_behind_a_sigmoid_is_read() {
    let (mut made, x) = stem();
    let gate = made.node("Sigmoid", &[&x], &[]);
    let x = made.node("Mul", &[&x, &gate], &[]);
    made.head(&x, 8);
    let found = imported(made).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.float_layers.len(), 2);
    assert!(found.float_layers.iter().all(|l| !l.reason.is_empty()));
}

#[test]
fn maps_of_different_sizes_are_not_multiplied() {
    let (mut made, x) = stem();
    let y = made.max_pool(&x);
    let y = made.conv(&y, [1, 8, 1, 1], 1, [0; 4], 1);
    let y = made.node("GlobalAveragePool", &[&y], &[]);
    let x = made.node("Mul", &[&x, &y], &[]);
    made.head(&x, 8);
    let error = imported(made).map(|i| i.bundle.manifest.arch).unwrap_err();
    assert!(error.contains("different shapes"), "{error}");
}
