//! `resnetd-model diff`: a bundle against itself, against its float original, and against one with a damaged channel.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use resnetd::bundle::{self, Bundle};
use resnetd::infer::registry::OPERATORS;
use resnetd::model::dataset::Dataset;
use resnetd::model::effort::Effort;
use resnetd::model::quantize::Calibrated;
use resnetd::model::recipe::Recipe;
use serde_json::Value;
use tempfile::TempDir;

/// A tensor's values in its file begin behind this.
const HEADER: usize = 128;
const DAMAGED: &str = "layer2_0_conv2";
const CHANNEL: usize = 5;

/// A folder with bundles and pictures.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        common::tiny_int8()
            .write(&bench.at("int8.nnef.tar"))
            .unwrap();
        for k in 0..3 {
            common::write_png(&bench.at(&format!("{k}.png")), k);
        }
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn diff(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_resnetd-model"))
            .current_dir(self.0.path())
            .arg("diff")
            .args(arguments)
            .output()
            .unwrap()
    }

    fn json(&self, a: &str, b: &str) -> Value {
        let output = self.diff(&[a, b, ".", "--json"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The bundle with the weights of one channel halved.
fn damaged(sound: &Bundle) -> Bundle {
    let mut contents = bundle::unpack(Path::new("sound"), sound.bytes()).unwrap();
    let channels = {
        let scales = format!("{DAMAGED}_scales.dat");
        let (_, bytes) = contents.iter().find(|(name, _)| *name == scales).unwrap();
        (bytes.len() - HEADER) / 4
    };
    let weights = format!("{DAMAGED}_weights.dat");
    let entry = contents.iter_mut().find(|(name, _)| *name == weights);
    let values = &mut entry.unwrap().1[HEADER..];
    let size = values.len() / channels;
    for weight in &mut values[CHANNEL * size..(CHANNEL + 1) * size] {
        *weight = (weight.cast_signed() / 2).cast_unsigned();
    }
    Bundle::build(
        Path::new("damaged"),
        sound.manifest.clone(),
        contents,
        OPERATORS,
    )
    .unwrap()
}

#[test]
fn a_bundle_does_not_differ_from_itself() {
    let bench = Bench::new();
    let found = bench.json("int8.nnef.tar", "int8.nnef.tar");
    let layers = found["layers"].as_array().unwrap();
    assert!(layers.len() > 10, "{found}");
    for layer in layers {
        assert!(layer["signal_to_noise_db"].is_null(), "{layer}");
        assert_eq!(layer["largest"], 0.0);
    }
    assert_eq!(
        (&found["images"], &found["agreement"]),
        (&3.into(), &1.0.into())
    );
    assert_eq!(
        (&found["logit_error"], &found["worst"]),
        (&0.0.into(), &Value::Null)
    );
    assert_eq!(found["not_compared"], serde_json::json!([]));
}

#[test]
fn a_damaged_channel_is_named() {
    let bench = Bench::new();
    damaged(&common::tiny_int8())
        .write(&bench.at("hurt.nnef.tar"))
        .unwrap();
    let found = bench.json("int8.nnef.tar", "hurt.nnef.tar");
    let layers = found["layers"].as_array().unwrap();
    let first = layers
        .iter()
        .position(|l| !l["signal_to_noise_db"].is_null());
    let first = &layers[first.unwrap()];
    assert_eq!(first["name"], DAMAGED);
    assert_eq!(
        (&first["channel"], &first["channel_share"]),
        (&CHANNEL.into(), &1.0.into())
    );
    assert_eq!(found["steepest"], DAMAGED);
    let output = bench.diff(&["int8.nnef.tar", "hurt.nnef.tar", "0.png"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|l| l.starts_with(DAMAGED)).unwrap();
    assert!(line.contains("largest fall"), "{text}");
    assert!(text.contains("1 pictures, 0 skipped"), "{text}");
}

#[test]
fn every_layer_of_an_int8_bundle_is_found_in_its_float_original() {
    let bench = Bench::new();
    common::tiny_float()
        .write(&bench.at("float.nnef.tar"))
        .unwrap();
    let found = bench.json("float.nnef.tar", "int8.nnef.tar");
    assert_eq!(
        found["not_compared"].as_array().unwrap().len(),
        1,
        "the maximum: {found}"
    );
    for layer in found["layers"].as_array().unwrap() {
        let decibels = layer["signal_to_noise_db"].as_f64().unwrap();
        assert!((10.0..70.0).contains(&decibels), "{layer}");
    }
    let error = found["logit_error"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.3, "{error}");
}

#[test]
fn channels_that_quantizing_divided_are_compared_up_to_their_factors() {
    let bench = Bench::new();
    let path = bench.at("float.nnef.tar");
    common::tiny_float().write(&path).unwrap();
    let set = Dataset::open_loose(bench.0.path()).unwrap();
    let measured = Calibrated::measure(&path, &set, Effort::WHOLE).unwrap();
    let layers = |equalize: bool, out: &str| {
        let recipe = Recipe {
            equalize,
            ..Recipe::PLAIN
        };
        let bundle = measured.bundle(recipe, "x".into()).unwrap();
        bundle.write(&bench.at(out)).unwrap();
        bench.json("float.nnef.tar", out)["layers"].clone()
    };
    let (plain, equalized) = (layers(false, "plain.tar"), layers(true, "equalized.tar"));
    let pairs = plain
        .as_array()
        .unwrap()
        .iter()
        .zip(equalized.as_array().unwrap());
    let mut divided = 0;
    for (a, b) in pairs {
        let decibels = |layer: &Value| layer["signal_to_noise_db"].as_f64().unwrap();
        assert!(decibels(b) > decibels(a) - 6.0, "{a} {b}");
        assert!(!a["largest"].is_null());
        divided += usize::from(b["largest"].is_null());
    }
    assert!(divided >= 4, "{equalized}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let bench = Bench::new();
    let mut manifest = common::tiny_int8().manifest.clone();
    manifest.arch = "resnet101".into();
    let other = common::tiny_int8()
        .with_manifest(manifest, OPERATORS)
        .unwrap();
    other.write(&bench.at("other.nnef.tar")).unwrap();
    let output = bench.diff(&["int8.nnef.tar", "other.nnef.tar", "."]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(
        error.contains("resnet101") && error.contains("int8.nnef.tar"),
        "{error}"
    );
}
