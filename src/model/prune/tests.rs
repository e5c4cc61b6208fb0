//! A small network of bottlenecks, made up, and coloured noise to measure it on.

use tempfile::TempDir;

use super::*;
use crate::bundle::{FORMAT, Provenance};
use crate::cores::Threads;
use crate::infer::Engine;
use crate::label::Prediction;
use crate::model::arch::Resnet;
use crate::model::import::tensors::Tensors;
use crate::model::import::{IMAGENET, Options, import};
use crate::model::layers::Kind;
use crate::model::{export, quantize};
use crate::random::Random;
use crate::spec::Activation;

const SIDE: usize = 64;
const CLASSES: usize = 3;
/// Channels within the blocks of each stage, and of its residual stream.
const STAGES: [(usize, usize); 2] = [(48, 64), (64, 96)];

struct Maker {
    tensors: Tensors,
    random: Random,
    /// Channels from this on give nothing, in the first block.
    silent_from: usize,
}

impl Maker {
    fn conv(&mut self, (conv, bn): (&str, &str), shape: [usize; 4], gain: f32) {
        let fan: usize = shape[1..].iter().product();
        let spread = (2.0 / fan as f32).sqrt();
        let values = (0..shape[0] * fan).map(|_| self.random.normal() * spread);
        self.tensors
            .insert(format!("{conv}.weight"), shape.to_vec(), values.collect());
        let inner = conv.starts_with("layer1.0.conv") && !conv.ends_with('3');
        let loud = |c: usize| !inner || c < self.silent_from;
        let gains = (0..shape[0]).map(|c| if loud(c) { gain } else { 0.0 });
        let gains: Vec<f32> = gains.collect();
        let biases = gains.iter().map(|g| g * 0.2 * self.random.normal());
        let biases: Vec<f32> = biases.collect();
        let mut vector = |what: &str, values: Vec<f32>| {
            self.tensors
                .insert(format!("{bn}.{what}"), vec![shape[0]], values);
        };
        vector("weight", gains);
        vector("bias", biases);
        vector("running_mean", vec![0.0; shape[0]]);
        vector("running_var", vec![1.0; shape[0]]);
    }

    fn network(silent_from: usize) -> Resnet {
        let mut made = Self {
            tensors: Tensors::default(),
            random: Random::new(11),
            silent_from,
        };
        made.conv(("conv1", "bn1"), [32, 3, 7, 7], 1.0);
        let mut inputs = 32;
        for (stage, (width, outputs)) in STAGES.into_iter().enumerate() {
            for block in 0..2 {
                let prefix = format!("layer{}.{block}", stage + 1);
                let shapes = [
                    [width, inputs, 1, 1],
                    [width, width, 3, 3],
                    [outputs, width, 1, 1],
                ];
                for (i, shape) in shapes.into_iter().enumerate() {
                    let names = [
                        format!("{prefix}.conv{}", i + 1),
                        format!("{prefix}.bn{}", i + 1),
                    ];
                    let gain = if i == 2 { 0.4 } else { 1.0 };
                    made.conv((&names[0], &names[1]), shape, gain);
                }
                if block == 0 {
                    let names = [0, 1].map(|i| format!("{prefix}.downsample.{i}"));
                    made.conv((&names[0], &names[1]), [outputs, inputs, 1, 1], 0.7);
                }
                inputs = outputs;
            }
        }
        let head = (0..CLASSES * inputs)
            .map(|_| made.random.normal() * 0.1)
            .collect();
        made.tensors
            .insert("fc.weight".into(), vec![CLASSES, inputs], head);
        made.tensors
            .insert("fc.bias".into(), vec![CLASSES], vec![0.0; CLASSES]);
        Resnet::from_tensors(made.tensors).unwrap()
    }
}

/// A folder with a float bundle and pictures.
struct Bench(TempDir);

impl Bench {
    fn new(silent_from: usize) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let net = Maker::network(silent_from);
        let side = u32::try_from(SIDE).unwrap();
        let manifest = Manifest {
            format: FORMAT,
            name: "made".into(),
            arch: net.arch(),
            labels: (0..CLASSES).map(|i| format!("class {i}")).collect(),
            preprocessing: Preprocessing {
                resize: side,
                crop: side,
                ..IMAGENET
            },
            activation: Activation::Softmax,
            quantization: None,
            provenance: Provenance {
                source: "a test".into(),
                sha256: None,
                tool: save::tool(),
            },
            accuracy: None,
            confidence: None,
            checksum: String::new(),
        };
        let path = bench.at("float.nnef.tar");
        let bundle = save::bundle(&path, net.to_graph(SIDE).unwrap(), manifest).unwrap();
        bundle.write(&path).unwrap();
        let mut random = Random::new(2);
        for i in 0..24 {
            let folder = bench.at("pictures").join(format!("class {}", i % CLASSES));
            std::fs::create_dir_all(&folder).unwrap();
            let pixels = noise(&mut random);
            let path = folder.join(format!("{i}.png"));
            image::save_buffer(path, &pixels, side, side, image::ExtendedColorType::Rgb8).unwrap();
        }
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn prune(&self, target: u64) -> Result<Outcome, ModelError> {
        let set = Dataset::open(&self.at("pictures")).unwrap();
        let target = Target::Macs(target);
        prune(&self.at("float.nnef.tar"), &set, &target, "pruned".into())
    }

    fn macs(&self) -> u64 {
        let network = Network::open(&self.at("float.nnef.tar")).unwrap();
        let rooms = network.empty_rooms(&network.blocks().unwrap()).unwrap();
        rooms.macs(&rooms.whole())
    }
}

/// Coarse noise in some colour.
fn noise(random: &mut Random) -> Vec<u8> {
    let colour: [u8; 3] = std::array::from_fn(|_| random.byte());
    let cells: Vec<u8> = (0..64).map(|_| random.byte()).collect();
    let pixel = |i: usize| {
        let cell = cells[i / SIDE / 8 * 8 + i % SIDE / 8];
        colour.map(|c| c / 2 + cell / 4)
    };
    (0..SIDE * SIDE).flat_map(pixel).collect()
}

fn logits(bundle: &Bundle) -> Vec<Vec<f32>> {
    let graph = read_graph(bundle, Backend::selected().unwrap()).unwrap();
    let plan = graph.into_optimized().unwrap().into_runnable().unwrap();
    let p = &bundle.manifest.preprocessing;
    let table = normalization(p.mean, p.std);
    let mut random = Random::new(9);
    let run = |_| {
        let picture = normalize(&noise(&mut random), &table, SIDE).unwrap();
        let outputs = plan.run(tvec!(picture.into_tvalue())).unwrap();
        walk::floats(&outputs[0]).unwrap().to_vec()
    };
    (0..5).map(run).collect()
}

/// Root mean square of the difference over that of the first.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = || a.iter().flatten().zip(b.iter().flatten());
    let off: f32 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    (off / pairs().map(|(a, _)| a * a).sum::<f32>()).sqrt()
}

fn widths(layers: &[Layer]) -> Vec<Vec<usize>> {
    let found = blocks::blocks(layers);
    let width = |&i: &usize| conv(layers, i).unwrap().weights.weights.shape()[0];
    found
        .iter()
        .map(|b| b.convs.iter().map(width).collect())
        .collect()
}

#[test]
fn without_channels_that_give_nothing_a_network_says_the_same() {
    let bench = Bench::new(32);
    let whole = bench.macs();
    let found = bench.prune(whole - 1).unwrap();
    let at = |layers: &[Layer]| widths(layers)[0].clone();
    let narrowed = at(&found.layers);
    assert!(
        narrowed == [32, 48, 64] || narrowed == [48, 32, 64],
        "{narrowed:?}"
    );
    let before = Bundle::open(&bench.at("float.nnef.tar"), OPERATORS).unwrap();
    let off = difference(&logits(&before), &logits(&found.bundle));
    assert!(off < 1e-4, "{off}");
    assert!(
        found
            .points
            .iter()
            .all(|p| (p.agreement - 1.0).abs() < 1e-9)
    );
}

#[test]
fn the_target_is_reached_within_a_step_and_channels_come_in_multiples() {
    let bench = Bench::new(usize::MAX);
    let target = bench.macs() * 7 / 10;
    let found = bench.prune(target).unwrap();
    let last = found.points.last().unwrap();
    // 16 outputs of a 3x3 over 16x16 pixels, and its reader's inputs
    let step = 16 * 16 * 16 * (9 * 64 + 96);
    assert!(
        last.macs <= target && target - last.macs < step,
        "{} of {target}",
        last.macs
    );
    // one behind the first for each station, but where a step passes several
    assert!((3..=6).contains(&found.points.len()));
    assert!(
        found
            .points
            .windows(2)
            .all(|p| p[0].macs > p[1].macs && p[0].params > p[1].params)
    );
    assert!(found.points[0].top1.is_some());
    for widths in widths(&found.layers) {
        assert!(
            widths[..2].iter().all(|w| w % 16 == 0 && *w >= 16),
            "{widths:?}"
        );
    }
    let stream = found.layers.iter().filter(|l| l.residual.is_some());
    assert!(stream.count() >= 2);
}

#[test]
fn what_is_left_quantizes_and_runs_and_has_the_layers_names() {
    let bench = Bench::new(usize::MAX);
    let found = bench.prune(bench.macs() * 7 / 10).unwrap();
    let before = Network::open(&bench.at("float.nnef.tar")).unwrap();
    let path = bench.at("pruned.nnef.tar");
    found.bundle.write(&path).unwrap();
    let after = Network::open(&path).unwrap();
    let names = |n: &Network| n.layers.iter().map(|l| l.name.clone()).collect::<Vec<_>>();
    let known = names(&before);
    assert!(
        names(&after).iter().all(|n| known.contains(n)),
        "{:?}",
        names(&after)
    );
    let mut random = Random::new(4);
    let pictures: Vec<_> = (0..4).map(|_| noise(&mut random)).collect();
    let int8 = quantize::on_pictures(&found.bundle, pictures.iter().cloned(), "noise").unwrap();
    int8.write(&path).unwrap();
    let mut engine = Engine::load(&path, Threads::ONE).unwrap();
    engine.picture().unwrap().copy_from_slice(&pictures[0]);
    engine.run(&mut Prediction::default()).unwrap();
}

#[test]
fn the_weights_for_training_are_imported_as_the_same_network() {
    let bench = Bench::new(usize::MAX);
    let found = bench.prune(bench.macs() * 6 / 10).unwrap();
    let bytes = export::safetensors(&found.layers, &found.spread, &found.bundle.manifest).unwrap();
    let path = bench.at("pruned.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let options = Options {
        name: "again".into(),
        ..Options::default()
    };
    let again = import(&path, &options).unwrap().bundle;
    assert_eq!(again.manifest.arch, found.bundle.manifest.arch);
    assert_eq!(again.manifest.labels, found.bundle.manifest.labels);
    assert_eq!(
        again.manifest.preprocessing,
        found.bundle.manifest.preprocessing
    );
    let (again, before) = (logits(&again).concat(), logits(&found.bundle).concat());
    for (again, before) in again.iter().zip(before) {
        assert!(
            (again - before).abs() < 1e-4 * before.abs().max(1.0),
            "{again} was {before}"
        );
    }
}

#[test]
fn the_weights_for_training_know_how_their_pictures_are_spread() {
    let bench = Bench::new(usize::MAX);
    let found = bench.prune(bench.macs() * 6 / 10).unwrap();
    let network = Network::open(&bench.at("float.nnef.tar")).unwrap();
    let set = Dataset::open(&bench.at("pictures")).unwrap();
    let pictures = Pictures::gather(&set, &network.manifest.preprocessing).unwrap();
    let mut walk = walk::Walk::new(
        found.layers.clone(),
        network.source,
        pictures.maps().unwrap(),
    );
    let mut convolutions = 0;
    for index in 0..walk.layers.len() {
        let maps = walk.compute(index).unwrap();
        if matches!(walk.layers[index].kind, Kind::Conv(_)) {
            let (now, said) = (
                Statistics::of(&maps).unwrap(),
                &found.spread[&walk.layers[index].output],
            );
            let pairs = now
                .mean
                .iter()
                .zip(&said.mean)
                .chain(now.deviation.iter().zip(&said.deviation));
            for (now, said) in pairs {
                assert!(
                    (now - said).abs() < 1e-3 * now.abs().max(1e-2),
                    "{said} is {now}"
                );
            }
            convolutions += 1;
        }
        walk.finish(index, maps).unwrap();
    }
    assert!(convolutions > 5);
}

#[test]
fn the_same_pictures_make_the_same_bundle() {
    let bench = Bench::new(usize::MAX);
    let target = bench.macs() * 7 / 10;
    let [a, b] = [bench.prune(target).unwrap(), bench.prune(target).unwrap()];
    assert_eq!(a.points, b.points);
    assert!(a.bundle.bytes() == b.bundle.bytes());
}

#[test]
fn a_removed_block_leaves_its_mean_behind() {
    let bench = Bench::new(usize::MAX);
    let network = Network::open(&bench.at("float.nnef.tar")).unwrap();
    let found = network.blocks().unwrap();
    let removable: Vec<bool> = found.iter().map(|b| b.removable).collect();
    assert_eq!(removable, [false, true, false, true]);
    let set = Dataset::open(&bench.at("pictures")).unwrap();
    let pictures = Pictures::gather(&set, &network.manifest.preprocessing).unwrap();
    let measured = network.measure(&found, &pictures).unwrap();
    assert!(measured.sensitivity.iter().all(|s| *s > 0.0));
    let rooms = network.rooms(&found, &measured).unwrap();
    let mut cut = rooms.whole();
    cut[1] = None;
    let pruned = surgery::apply(&network.layers, &found, &measured, &rooms.rooms, &cut).unwrap();
    assert_eq!(pruned.layers.len(), network.layers.len() - 3);
    let bias = |layers: &[Layer]| match &layers
        .iter()
        .find(|l| l.name == "layer1_0_conv3")
        .unwrap()
        .kind
    {
        Kind::Conv(conv) => conv.weights.bias.clone(),
        _ => Vec::new(),
    };
    let end = network.layers[found[1].convs[2]].output;
    let (before, after) = (bias(&network.layers), bias(&pruned.layers));
    let given: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    for (given, mean) in given.iter().zip(&measured.seen[&end].own.mean) {
        assert!((f64::from(*given) - mean).abs() < 1e-5, "{given} {mean}");
    }
    network.graph(&pruned.layers).unwrap();
}

#[test]
fn a_target_out_of_reach_is_refused_with_the_least_that_is_possible() {
    let bench = Bench::new(usize::MAX);
    let network = Network::open(&bench.at("float.nnef.tar")).unwrap();
    let least = network
        .empty_rooms(&network.blocks().unwrap())
        .unwrap()
        .least();
    let error = bench.prune(least - 1).unwrap_err().to_string();
    assert!(error.contains(&giga(least)), "{error}");
    let error = bench.prune(bench.macs()).unwrap_err().to_string();
    assert!(error.contains("not fewer"), "{error}");
    assert_eq!(
        bench.prune(least).unwrap().points.last().unwrap().macs,
        least
    );
}
