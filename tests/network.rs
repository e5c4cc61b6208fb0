//! The network as a whole: against PyTorch in float, against itself in int8, and counted.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::path::Path;

use resnetd::bundle::Bundle;
use resnetd::cores::Threads;
use resnetd::infer::Engine;
use resnetd::infer::inspect;
use resnetd::infer::registry::OPERATORS;
use resnetd::label::Prediction;
use resnetd::model::{quantize, synth};

fn logits(bundle: &Bundle, k: usize) -> Vec<f32> {
    engine(bundle, k, Threads::ONE).1.logits
}

/// A bundle's engine on so many threads after it has seen a picture, and what it said.
fn engine(bundle: &Bundle, k: usize, threads: Threads) -> (Engine, Prediction) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.nnef.tar");
    bundle.write(&path).unwrap();
    let mut engine = Engine::load(&path, threads).unwrap();
    engine
        .picture()
        .unwrap()
        .copy_from_slice(&common::picture(k));
    let mut prediction = Prediction::default();
    engine.run(&mut prediction).unwrap();
    (engine, prediction)
}

fn golden_logits() -> Vec<Vec<f32>> {
    let text = std::fs::read_to_string(common::golden("float_logits.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sums: Vec<u64> = serde_json::from_value(golden["value_sums"].clone()).unwrap();
    for (k, want) in sums.into_iter().enumerate() {
        let sum: u64 = common::picture(k).iter().map(|&b| u64::from(b)).sum();
        assert_eq!(sum, want, "picture {k} is not the one that PyTorch saw");
    }
    serde_json::from_value(golden["logits"].clone()).unwrap()
}

/// The largest difference over the largest logit.
fn relative_error(got: &[f32], want: &[f32]) -> f32 {
    let largest = want.iter().fold(0f32, |a, b| a.max(b.abs()));
    got.iter()
        .zip(want)
        .fold(0f32, |a, (g, w)| a.max((g - w).abs()))
        / largest
}

fn top(logits: &[f32]) -> usize {
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap()
}

#[test]
fn the_float_network_agrees_with_pytorch() {
    let bundle = common::tiny_float();
    for (k, want) in golden_logits().iter().enumerate() {
        let error = relative_error(&logits(&bundle, k), want);
        assert!(error < 1e-3, "picture {k}: relative error {error}");
    }
}

#[test]
fn the_int8_network_stays_near_the_float_one() {
    let float = common::tiny_float();
    // ranges measured on the very kind of picture that is classified, as a user's are
    let bundle = quantize::on_pictures(
        &float,
        [0, 1, 2, 3].map(common::picture).into_iter(),
        "four",
    )
    .unwrap();
    for (k, want) in golden_logits().iter().enumerate() {
        let got = logits(&bundle, k);
        let error = relative_error(&got, want);
        assert!(error < 0.1, "picture {k}: relative error {error}");
        let mut sorted = want.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        // a label may only differ where float itself hardly knew
        assert!(
            top(&got) == top(want) || sorted[0] - sorted[1] < 0.3,
            "picture {k}: {got:?}"
        );
    }
}

#[test]
fn every_number_of_threads_gives_the_same_bits_at_the_end_and_before() {
    let bundle = common::tiny_int8();
    let (one, want) = engine(&bundle, 1, Threads::ONE);
    for threads in [2, 4] {
        let (some, got) = engine(&bundle, 1, threads.try_into().unwrap());
        assert_eq!(some.threads(), usize::try_from(threads).unwrap());
        assert_eq!(got.logits, want.logits, "{threads} threads");
        assert_eq!(some.features(), one.features(), "{threads} threads");
    }
}

#[test]
fn features_have_the_sizes_of_the_network_and_their_average() {
    let (engine, _) = engine(&common::tiny_int8(), 2, Threads::ONE);
    let features = engine.features().unwrap();
    let (last, pooled) = (features.last, features.pooled);
    assert_eq!((last.rows, last.columns), (7, 7));
    assert_eq!(
        (pooled.rows, pooled.columns, pooled.channels),
        (1, 1, last.channels)
    );
    assert_eq!(last.stored.len(), 49 * last.channels);
    assert!(pooled.values().any(|v| v != pooled.quant.zero.0));
    for (c, average) in pooled.values().enumerate() {
        let real = |q: u8, quant: resnetd::kernels::Quant| {
            (f32::from(q) - f32::from(quant.zero.0)) * quant.scale.get()
        };
        let of_channel = last.values().skip(c).step_by(last.channels);
        let mean = of_channel.map(|q| real(q, last.quant)).sum::<f32>() / 49.0;
        let top = real(255, pooled.quant);
        let error = (real(average, pooled.quant) - mean.min(top)).abs();
        assert!(
            error <= pooled.quant.scale.get() * 0.51,
            "channel {c}: {error}"
        );
    }
}

#[test]
fn a_map_says_what_each_place_adds_to_a_score() {
    let bundle = common::tiny_int8();
    let runs = [0, 1, 2].map(|k| engine(&bundle, k, Threads::ONE));
    for class in 0..runs[0].1.logits.len() {
        // what the mean of a map lacks of the logit is the class's bias, the same for every picture
        let biases = runs.each_ref().map(|(engine, prediction)| {
            let map = engine.map(&[class]).unwrap();
            assert_eq!((map.rows, map.columns, map.values.len()), (7, 7, 49));
            prediction.logits[class] - map.values.iter().sum::<f32>() / 49.0
        });
        let off = biases.map(|bias| (bias - biases[0]).abs());
        let size = runs[0]
            .1
            .logits
            .iter()
            .fold(0.0, |a: f32, b| a.max(b.abs()));
        assert!(
            off.iter().all(|off| *off < 0.02 * size),
            "{class}: {biases:?}"
        );
    }
    let engine = &runs[0].0;
    let sum = |classes: &[usize]| engine.map(classes).unwrap().values[17];
    assert!((sum(&[0, 1]) - sum(&[0]) - sum(&[1])).abs() < 1e-3);
    assert_eq!(engine.map(&[1000]), None);
}

#[test]
fn a_float_network_has_no_features_and_names_its_nodes() {
    let (mut engine, _) = engine(&common::tiny_float(), 0, Threads::ONE);
    assert_eq!(engine.features(), None);
    assert_eq!(engine.map(&[0]), None);
    let mut nodes = 0;
    let mut out = Prediction::default();
    engine.run_timed(&mut out, |_, _| nodes += 1).unwrap();
    assert!(nodes > 10, "{nodes}");
}

#[test]
fn times_are_told_for_every_layer_under_its_published_name() {
    let bundle = common::tiny_int8();
    let backend = resnetd::kernels::Backend::selected().unwrap();
    let model = resnetd::infer::engine::read_graph(&bundle, backend).unwrap();
    let (mut engine, want) = engine(&bundle, 0, Threads::ONE);
    let (mut names, mut total) = (Vec::new(), std::time::Duration::ZERO);
    let mut out = Prediction::default();
    let mut seen = |name: &str, time| {
        names.push(name.to_owned());
        total += time;
    };
    engine.run_timed(&mut out, &mut seen).unwrap();
    let layers: Vec<String> = inspect::layers(&model)
        .unwrap()
        .into_iter()
        .map(|layer| layer.name)
        .collect();
    assert_eq!(names[1..], layers, "the first is the input");
    assert!(!total.is_zero());
    assert_eq!(out.logits, want.logits);
}

#[test]
fn making_a_bundle_twice_gives_the_same_bytes() {
    assert_eq!(common::tiny_float().bytes(), common::tiny_float().bytes());
    assert_eq!(common::tiny_int8().bytes(), common::tiny_int8().bytes());
}

#[test]
fn a_bundle_written_by_eval_keeps_its_network() {
    let bundle = common::tiny_int8();
    let mut manifest = bundle.manifest.clone();
    manifest.name = "renamed".into();
    let renamed = bundle.with_manifest(manifest, OPERATORS).unwrap();
    assert_eq!(renamed.manifest.name, "renamed");
    assert_eq!(logits(&renamed, 0), logits(&bundle, 0));
}

#[test]
fn published_networks_have_the_published_size() {
    for (arch, params, giga_macs) in [
        ("resnet50", 25_557_032, 4.09),
        ("resnet101", 44_549_160, 7.80),
    ] {
        let graph = synth::network(arch, 1000, 1)
            .unwrap()
            .to_graph(224)
            .unwrap();
        let layers = inspect::layers(&graph).unwrap();
        assert_eq!(
            layers.iter().map(|l| l.params).sum::<u64>(),
            params,
            "{arch}"
        );
        #[allow(clippy::cast_precision_loss)]
        let macs = layers.iter().map(|l| l.macs).sum::<u64>() as f64 / 1e9;
        assert!((macs - giga_macs).abs() < 0.005, "{arch}: {macs} G");
    }
}

#[test]
fn an_int8_bundle_counts_like_its_float_one() {
    let count = |bundle: &Bundle| {
        let backend = resnetd::kernels::Backend::selected().unwrap();
        let model = resnetd::infer::engine::read_graph(bundle, backend).unwrap();
        let layers = inspect::layers(&model).unwrap();
        let weighted = layers.iter().filter(|l| l.params > 0);
        weighted.fold((0, 0, 0), |(n, p, m), l| (n + 1, p + l.params, m + l.macs))
    };
    assert_eq!(count(&common::tiny_int8()), count(&common::tiny_float()));
}

#[test]
fn weights_that_are_no_resnet_are_refused_by_the_name_of_the_tensor() {
    let missing = resnetd::model::import::import(
        Path::new(&common::golden("float_logits.json")),
        &resnetd::model::import::Options::default(),
    );
    let message = missing.unwrap_err().to_string();
    assert!(message.contains("neither a safetensors"), "{message}");
}
