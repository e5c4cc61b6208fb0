//! The int8 graph of a quantized file against tract's own run of the file.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;

use super::super::made::Attribute;
use super::tests::{Maker, Of, SIZE, qdq, read, refused};
use super::{Kind, QuantizedLayer};
use crate::cores::Threads;
use crate::infer::Engine;
use crate::infer::engine::{normalization, normalize};
use crate::kernels::Backend;
use crate::kernels::dispatch::available;
use crate::model::import::{IMAGENET, Options, import};
use crate::random::Random;
use crate::spec::Preprocessing;

fn preprocessing() -> Preprocessing {
    let size = u32::try_from(SIZE).unwrap();
    Preprocessing {
        crop: size,
        resize: size,
        ..IMAGENET
    }
}

/// The operators of ours, on a picture of bytes, give what tract gives for the file on the normalized picture.
fn engine_agrees(bytes: &[u8], step: f32) {
    let mut random = Random::new(4);
    let picture: Vec<u8> = (0..3 * SIZE * SIZE).map(|_| random.byte()).collect();
    let table = normalization(IMAGENET.mean, IMAGENET.std);
    let normalized = normalize(&picture, &table, SIZE).unwrap();
    let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).unwrap();
    let plan = model.into_typed().unwrap().into_runnable().unwrap();
    let scores = |output: TVec<TValue>| -> Vec<f32> {
        output[0]
            .try_as_plain_ram()
            .unwrap()
            .as_slice::<f32>()
            .unwrap()
            .to_vec()
    };
    let want = scores(plan.run(tvec!(normalized.into_tvalue())).unwrap());
    let network = read(bytes);
    for isa in available() {
        let graph = network
            .graph(&preprocessing(), Backend::new(isa).unwrap())
            .unwrap();
        let picture = Tensor::from_shape(&[1, SIZE, SIZE, 3], &picture).unwrap();
        let got = scores(
            graph
                .into_runnable()
                .unwrap()
                .run(tvec!(picture.into_tvalue()))
                .unwrap(),
        );
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() < 1.01 * step, "{isa}: {got:?} {want:?}");
        }
    }
}

/// A sum that is rounded, `cast` to the type that it has (which tract's own run does not take), and only then rectified.
fn as_pytorch_writes_it(cast: bool) -> Vec<u8> {
    let mut m = Maker::new(Of::U8);
    let x = m.round("x", 0.02, 128);
    let x = m.conv(&x, [6, 3, 3, 3], 2, 0.02);
    let x = m.made.relu(&x);
    let x = m.round(&x, 0.03, 0);
    let y = m.conv(&x, [6, 6, 3, 3], 1, 0.03);
    let y = m.round(&y, 0.05, 120);
    let sum = m.made.node("Add", &[&y, &x], &[]);
    let [scale, zero] = m.scale(0.04, 90);
    let quantize = |m: &mut Maker, x: &str| {
        let mut x = m.made.node("QuantizeLinear", &[x, &scale, &zero], &[]);
        if cast {
            let to = [("to", Attribute::Int(DataType::Uint8 as i64))];
            x = m.made.node("Cast", &[&x], &to);
        }
        m.made.node("DequantizeLinear", &[&x, &scale, &zero], &[])
    };
    let x = quantize(&mut m, &sum);
    let x = m.made.relu(&x);
    let x = quantize(&mut m, &x);
    m.made.head(&x, 6);
    m.finish()
}

#[test]
fn a_relu_behind_a_rounding_is_the_sums_own() {
    for cast in [false, true] {
        let network = read(&as_pytorch_writes_it(cast));
        let rectified = |l: &&QuantizedLayer| matches!(l.kind, Kind::Add) && l.relu;
        assert_eq!(network.layers.iter().filter(rectified).count(), 1);
        assert!(
            !network
                .layers
                .iter()
                .any(|l| matches!(l.kind, Kind::Rescale))
        );
    }
    engine_agrees(&as_pytorch_writes_it(false), 0.01);
}

#[test]
fn a_network_that_ends_without_a_classifier_is_refused() {
    let mut m = Maker::new(Of::U8);
    let x = m.round("x", 0.02, 128);
    let x = m.conv(&x, [6, 3, 3, 3], 2, 0.02);
    let x = m.round(&x, 0.03, 0);
    let x = m.made.node("GlobalAveragePool", &[&x], &[]);
    m.round(&x, 0.01, 0);
    let graph = read(&m.finish()).graph(&preprocessing(), Backend::selected().unwrap());
    let (_, reason) = graph.err().unwrap();
    assert!(reason.contains("export with the classifier"), "{reason}");
}

#[test]
fn a_cast_of_integers_to_another_type_is_refused() {
    let mut m = Maker::new(Of::U8);
    let [scale, zero] = m.scale(0.02, 128);
    let x = m.made.node("QuantizeLinear", &["x", &scale, &zero], &[]);
    let to = [("to", Attribute::Int(DataType::Int8 as i64))];
    let x = m.made.node("Cast", &[&x], &to);
    m.made.node("DequantizeLinear", &[&x, &scale, &zero], &[]);
    let error = refused(&m.finish());
    assert!(
        error.contains("(Cast): it casts integers to another type"),
        "{error}"
    );
}

#[test]
fn every_backend_computes_what_tract_computes_of_the_file() {
    engine_agrees(&qdq(Of::U8), 0.01);
    engine_agrees(&qdq(Of::I8), 0.01);
}

/// First and last layer in float, and where the average is not rounded that too, as those leave them who do not trust int8 with them.
fn partly(average: bool) -> Vec<u8> {
    let mut m = Maker::new(Of::U8);
    let x = m.made.conv("x", [6, 3, 3, 3], 2, [1; 4], 1);
    let x = m.made.relu(&x);
    let x = m.made.max_pool(&x);
    let x = m.round(&x, 0.03, 0);
    let x = m.conv(&x, [6, 6, 3, 3], 1, 0.03);
    let x = m.round(&x, 0.05, 120);
    let x = m.made.node("GlobalAveragePool", &[&x], &[]);
    let x = if average { m.round(&x, 0.01, 60) } else { x };
    let x = m.made.node("Flatten", &[&x], &[]);
    m.made.dense(&x, 6);
    m.finish()
}

#[test]
fn layers_that_the_file_leaves_in_float_stay_so() {
    engine_agrees(&partly(true), 0.02);
    engine_agrees(&partly(false), 0.01);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("partly.onnx");
    std::fs::write(&path, partly(false)).unwrap();
    let options = Options {
        name: "partly".into(),
        labels: Some(["a", "b", "c", "d", "e"].map(str::to_owned).into()),
        ..Options::default()
    };
    let found = import(&path, &options).unwrap();
    let operators = found.float_layers.iter().map(|l| &*l.operator);
    assert_eq!(
        operators.collect::<Vec<_>>(),
        ["Conv", "GlobalAveragePool", "Gemm"]
    );
    // it can be loaded again
    let bundle = folder.path().join("partly.nnef.tar");
    found.bundle.write(&bundle).unwrap();
    Engine::load(&bundle, Threads::ONE).unwrap();
}
