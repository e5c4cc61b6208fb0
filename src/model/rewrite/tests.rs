//! One small network with everything that a ResNet of any kind may hold, from float to int8 and through a bundle.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::{math, nn};

use crate::bundle::{FORMAT, Manifest, Provenance};
use crate::infer::engine::{normalization, normalize, read_graph};
use crate::infer::qadd::QAdd;
use crate::infer::qcast::{Dequantize, Quantize};
use crate::infer::qconv::QConv;
use crate::infer::qgroup::QGroupConv;
use crate::infer::qpool::QAverage;
use crate::kernels::{Backend, Padding};
use crate::model::float::FloatNetwork;
use crate::model::float_layers as layer;
use crate::model::import::IMAGENET;
use crate::model::layers::{Convolution, Weights, Window};
use crate::model::profile::Profile;
use crate::model::recipe::Recipe;
use crate::model::save;
use crate::random::Random;
use crate::spec::{Activation, Preprocessing};

const SIZE: usize = 48;
const CLASSES: usize = 7;

fn window(kernel: usize, stride: usize) -> Window {
    Window {
        kernel: (kernel, kernel),
        stride: (stride, stride),
        pad: Padding::all(kernel / 2),
    }
}

/// A network under construction, its weights made up.
struct Made(TypedModel, Random);

impl Made {
    fn conv(
        &mut self,
        name: &str,
        x: OutletId,
        (inputs, outputs): (usize, usize),
        (kernel, stride, groups): (usize, usize, usize),
    ) -> OutletId {
        let shape = [outputs, inputs / groups, kernel, kernel];
        let fan: usize = shape[1..].iter().product();
        #[allow(clippy::cast_precision_loss)] // a few hundred
        let spread = (2.0 / fan as f32).sqrt();
        let values: Vec<f32> = (0..outputs * fan)
            .map(|_| self.1.normal() * spread)
            .collect();
        let conv = Convolution {
            weights: Weights {
                weights: Arc::new(Tensor::from_shape(&shape, &values).unwrap()),
                bias: (0..outputs).map(|_| self.1.normal() * 0.1).collect(),
            },
            window: window(kernel, stride),
            groups,
        };
        layer::conv(&mut self.0, name, &conv, x).unwrap()
    }

    fn relu(&mut self, name: &str, x: OutletId) -> OutletId {
        layer::relu(&mut self.0, name, x).unwrap()
    }

    fn network() -> TypedModel {
        let mut m = Self(TypedModel::default(), Random::new(8));
        let image =
            m.0.add_source("image", f32::fact([1, 3, SIZE, SIZE]))
                .unwrap();
        let x = m.conv("stem", image, (3, 16), (3, 2, 1));
        let x = m.relu("stem_relu", x);
        let x = layer::max_pool(&mut m.0, "pool", window(3, 2), x).unwrap();
        // a basic block
        let y = m.conv("basic_1", x, (16, 16), (3, 1, 1));
        let y = m.relu("basic_1_relu", y);
        let y = m.conv("basic_2", y, (16, 16), (3, 1, 1));
        let y = layer::add(&mut m.0, "basic_add", y, x).unwrap();
        let x = m.relu("basic_relu", y);
        // groups, and an averaged shortcut
        let y = m.conv("grouped_1", x, (16, 32), (1, 1, 1));
        let y = m.relu("grouped_1_relu", y);
        let y = m.conv("grouped_2", y, (32, 32), (3, 2, 8));
        let y = m.relu("grouped_2_relu", y);
        let y = m.conv("grouped_3", y, (32, 32), (1, 1, 1));
        let half = Window {
            pad: Padding::all(0),
            ..window(2, 2)
        };
        let short = layer::average_pool(&mut m.0, "halved", (half, false), x).unwrap();
        let short = m.conv("short", short, (16, 32), (1, 1, 1));
        let y = layer::add(&mut m.0, "grouped_add", y, short).unwrap();
        let x = m.relu("grouped_relu", y);
        // squeeze and excite (Hu et al., 2018): the gate and its product are no layers of ours, the sum is
        let gate = layer::average(&mut m.0, "gate_average", x).unwrap();
        let gate = m.conv("gate_conv", gate, (32, 32), (1, 1, 1));
        let gate =
            m.0.wire_node("gate_sigmoid", nn::sigmoid(), &[gate])
                .unwrap()[0];
        let gated = m.0.wire_node("gated", math::mul(), &[x, gate]).unwrap()[0];
        let y = layer::add(&mut m.0, "gated_add", gated, x).unwrap();
        let x = m.relu("gated_relu", y);
        let x = layer::average(&mut m.0, "average", x).unwrap();
        let x = m.conv("fc", x, (32, CLASSES), (1, 1, 1));
        let x = layer::scores(&mut m.0, "scores", x).unwrap();
        m.0.select_output_outlets(&[x]).unwrap();
        m.0
    }
}

fn preprocessing() -> Preprocessing {
    Preprocessing {
        crop: u32::try_from(SIZE).unwrap(),
        resize: u32::try_from(SIZE).unwrap(),
        ..IMAGENET
    }
}

fn pictures() -> Vec<Vec<u8>> {
    let mut random = Random::new(3);
    let mut picture = || (0..3 * SIZE * SIZE).map(|_| random.byte()).collect();
    (0..8).map(|_| picture()).collect()
}

/// The network, what it scores on each picture, and its int8 graph with some layers kept float.
fn quantized(keep: &[&str]) -> (FloatNetwork, Vec<Vec<f32>>, TypedModel) {
    quantized_by(Recipe::PLAIN, keep)
}

fn quantized_by(recipe: Recipe, keep: &[&str]) -> (FloatNetwork, Vec<Vec<f32>>, TypedModel) {
    let network = FloatNetwork::new(&Made::network()).unwrap();
    let p = preprocessing();
    let table = normalization(p.mean, p.std);
    let mut profiles = vec![Profile::default(); network.measured.len()];
    let float = pictures()
        .iter()
        .map(|picture| {
            let picture = normalize(picture, &table, SIZE).unwrap();
            network.measure(picture, &mut profiles).unwrap()
        })
        .collect();
    let keep: BTreeSet<String> = keep.iter().map(|&name| name.to_owned()).collect();
    let backend = Backend::selected().unwrap();
    let graph = network
        .quantize(&profiles, recipe, (&p, &keep), backend)
        .unwrap();
    (network, float, graph)
}

fn scores(graph: &TypedModel) -> Vec<Vec<f32>> {
    scores_of(&pictures(), graph)
}

fn scores_of(pictures: &[Vec<u8>], graph: &TypedModel) -> Vec<Vec<f32>> {
    let plan = graph.clone().into_runnable().unwrap();
    let score = |picture: &Vec<u8>| {
        let input = Tensor::from_shape(&[1, SIZE, SIZE, 3], picture).unwrap();
        let output = plan.run(tvec!(input.into_tvalue())).unwrap();
        output[0]
            .try_as_plain_ram()
            .unwrap()
            .as_slice::<f32>()
            .unwrap()
            .to_vec()
    };
    pictures.iter().map(score).collect()
}

/// The difference's root mean square over the first one's.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = || a.iter().flatten().zip(b.iter().flatten());
    let error: f32 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    (error / pairs().map(|(a, _)| a * a).sum::<f32>()).sqrt()
}

fn count<O: TypedOp>(graph: &TypedModel) -> usize {
    graph.nodes.iter().filter(|n| n.op_is::<O>()).count()
}

#[test]
fn a_network_of_all_kinds_of_layers_becomes_int8_but_for_what_no_operator_covers() {
    let (network, float, graph) = quantized(&[]);
    let floats: Vec<&str> = network
        .layers
        .iter()
        .filter(|l| matches!(l.kind, super::Kind::Float(_)))
        .map(|l| &l.name[..])
        .collect();
    assert_eq!(floats, ["gate_sigmoid", "gated"]);
    let counts = [
        count::<QConv>(&graph),
        count::<QGroupConv>(&graph),
        count::<QAverage>(&graph),
        count::<QAdd>(&graph),
        count::<Quantize>(&graph),
        count::<Dequantize>(&graph),
    ];
    assert_eq!(counts, [7, 1, 1, 1, 1, 2]);
    let lost = difference(&float, &scores(&graph));
    assert!(lost < 0.03, "{lost}");
}

#[test]
fn with_all_layers_kept_float_nothing_is_lost() {
    let (network, float, _) = quantized(&[]);
    let names: Vec<&str> = network.layers.iter().map(|l| &l.name[..]).collect();
    let (_, _, graph) = quantized(&names);
    assert_eq!(
        count::<QConv>(&graph) + count::<QGroupConv>(&graph) + count::<Quantize>(&graph),
        0
    );
    let lost = difference(&float, &scores(&graph));
    assert!(lost < 1e-5, "{lost}");
}

#[test]
fn layers_kept_float_lie_between_int8_ones() {
    let (_, float, graph) = quantized(&["basic_2", "fc", "stem"]);
    assert_eq!(count::<QConv>(&graph), 5);
    let lost = difference(&float, &scores(&graph));
    assert!(lost < 0.03, "{lost}");
}

#[test]
fn a_bundle_holds_every_kind_of_layer() {
    let (_, _, graph) = quantized(&["basic_2"]);
    let want = scores(&graph);
    let manifest = Manifest {
        format: FORMAT,
        name: "all".into(),
        arch: "resnet".into(),
        labels: (0..CLASSES).map(|i| format!("class {i}")).collect(),
        preprocessing: preprocessing(),
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
    let bundle = save::bundle(Path::new("all"), graph, manifest).unwrap();
    let read = read_graph(&bundle, Backend::selected().unwrap()).unwrap();
    assert_eq!(scores(&read), want);
}

#[test]
fn every_recipe_keeps_what_the_network_computes() {
    for recipe in Recipe::ALL {
        let (_, float, graph) = quantized_by(recipe, &[]);
        let lost = difference(&float, &scores(&graph));
        assert!(lost < 0.05, "{recipe}: {lost}");
    }
}

#[test]
fn rounding_the_first_layer_does_not_shift_plain_pictures() {
    let (network, ..) = quantized(&[]);
    let names = network.layers.iter().map(|l| &l.name[..]);
    let others: Vec<&str> = names.filter(|&name| name != "stem").collect();
    let (_, _, graph) = quantized(&others);
    let (_, _, float) = quantized(&[&others[..], &["stem"]].concat());
    assert_eq!([count::<QConv>(&graph), count::<QConv>(&float)], [1, 0]);
    let greys = [16, 64, 112, 160, 208, 240].map(|level| vec![level; 3 * SIZE * SIZE]);
    let lost = difference(&scores_of(&greys, &float), &scores_of(&greys, &graph));
    // 0.006 where the bias makes up for nothing
    assert!(lost < 0.0045, "{lost}");
}
