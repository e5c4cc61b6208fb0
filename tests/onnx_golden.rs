//! Tiny ONNX files as PyTorch and ONNX Runtime write them, imported and run, against what those two say to the same
//! pictures. `tests/golden/make_quantized.py` made files and numbers; whole networks are compared in `tests/peers/`.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use resnetd::cores::Threads;
use resnetd::infer::Engine;
use resnetd::label::Prediction;
use resnetd::model::import::{Options, import};
use serde::Deserialize;

const SIZE: usize = 32;

#[derive(Deserialize)]
struct Golden {
    float: Vec<Vec<f32>>,
    int8: Int8,
}

#[derive(Deserialize)]
struct Int8 {
    /// Of the logits.
    step: f32,
    logits: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(common::golden("tiny_onnx.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The first rows and columns of a picture of the golden formula.
fn picture(k: usize) -> Vec<u8> {
    let whole = common::picture(k);
    let rows = whole.chunks_exact(224 * 3).take(SIZE);
    rows.flat_map(|row| row[..SIZE * 3].to_vec()).collect()
}

/// What a file's network says to so many pictures, and whether it came quantized.
fn logits(file: &str, pictures: usize, as_float: bool) -> (Vec<Vec<f32>>, bool) {
    let options = Options {
        name: "tiny".into(),
        labels: Some((0..5).map(|i| format!("class {i}")).collect()),
        resize: Some(32),
        as_float,
        ..Options::default()
    };
    let bundle = import(&common::golden(file), &options).unwrap().bundle;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.nnef.tar");
    bundle.write(&path).unwrap();
    let mut engine = Engine::load(&path, Threads::ONE).unwrap();
    let said = (0..pictures).map(|k| {
        engine.picture().unwrap().copy_from_slice(&picture(k));
        let mut prediction = Prediction::default();
        engine.run(&mut prediction).unwrap();
        prediction.logits
    });
    (said.collect(), bundle.manifest.quantization.is_some())
}

/// The largest difference.
fn apart(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let each = got.iter().zip(want).map(|(g, w)| (g - w).abs());
    each.fold(0.0, f32::max)
}

#[test]
fn both_exporters_files_say_what_pytorch_says() {
    let want = golden().float;
    for file in ["tiny_script.onnx", "tiny_dynamo.onnx"] {
        let (got, quantized) = logits(file, want.len(), false);
        assert!(!quantized, "{file}");
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            let largest = want.iter().fold(0f32, |a, b| a.max(b.abs()));
            let error = apart(got, want) / largest;
            assert!(error < 1e-3, "{file}, picture {k}: relative error {error}");
        }
    }
}

#[test]
fn both_spellings_of_a_quantized_network_say_what_onnx_runtime_says() {
    let Int8 { step, logits: want } = golden().int8;
    for file in ["tiny_qdq.onnx", "tiny_qoperator.onnx"] {
        let (got, quantized) = logits(file, want.len(), false);
        assert!(quantized, "{file}");
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            let steps = (apart(got, want) / step).round();
            assert!(steps <= 1.0, "{file}, picture {k}: {steps} steps");
        }
    }
}

#[test]
fn the_float_network_of_a_quantized_file_differs_by_the_rounding_of_its_weights() {
    let want = golden().float;
    let (got, quantized) = logits("tiny_qdq.onnx", want.len(), true);
    assert!(!quantized);
    for (k, (got, want)) in got.iter().zip(&want).enumerate() {
        let largest = want.iter().fold(0f32, |a, b| a.max(b.abs()));
        let error = apart(got, want) / largest;
        assert!(
            (1e-5..0.02).contains(&error),
            "picture {k}: relative error {error}"
        );
    }
}

#[test]
fn timms_configuration_beside_a_graph_says_how_pictures_were_prepared() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["tiny_script.onnx", "tiny_qdq.onnx"] {
        let path = folder.path().join(file);
        std::fs::copy(common::golden(file), &path).unwrap();
        let config = r#"{"architecture": "resnet18", "input_size": [3, 32, 32], "crop_pct": 0.8,
            "interpolation": "bicubic",
            "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.25, 0.25], "label_names": ["a", "b", "c", "d", "e"]}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let options = Options {
            name: "tiny".into(),
            ..Options::default()
        };
        let found = import(&path, &options).unwrap();
        let manifest = found.bundle.manifest;
        let prepared = manifest.preprocessing;
        assert_eq!(
            (prepared.resize, prepared.mean),
            (40, [0.5, 0.4, 0.3]),
            "{file}"
        );
        assert_eq!(manifest.labels, ["a", "b", "c", "d", "e"], "{file}");
        assert_eq!(found.assumed, [""; 0], "{file}");
    }
}
