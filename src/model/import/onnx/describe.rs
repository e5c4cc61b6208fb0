//! What a network is called: the published name where its blocks are those of one, else its blocks per stage.

use std::fmt::Write;

use super::layers::{Conv, Kind, Layer, Place, Shape};
use super::quantized::{self, QuantizedNetwork};

/// Blocks per stage of published depths; how many convolutions a block has tells those apart that share them.
const PUBLISHED: [(&str, usize, &[usize]); 6] = [
    ("18", 2, &[2, 2, 2, 2]),
    ("26", 3, &[2, 2, 2, 2]),
    ("34", 2, &[3, 4, 6, 3]),
    ("50", 3, &[3, 4, 6, 3]),
    ("101", 3, &[3, 4, 23, 3]),
    ("152", 3, &[3, 8, 36, 3]),
];

/// The architecture's name: `resnet50`, `resnet50d` for one with a deep stem, `resnext101` for one in groups.
#[must_use]
pub fn arch(layers: &[Layer]) -> String {
    let additions: Vec<&Layer> = layers
        .iter()
        .filter(|l| matches!(l.kind, Kind::Add))
        .collect();
    let mut stages: Vec<(Shape, usize)> = Vec::new();
    for add in &additions {
        match stages.last_mut() {
            Some((shape, blocks)) if *shape == add.shape => *blocks += 1,
            _ => stages.push((add.shape, 1)),
        }
    }
    let blocks: Vec<usize> = stages.iter().map(|(_, blocks)| *blocks).collect();
    let convs = additions.first().map_or(0, |add| block_convs(layers, add));
    let grouped =
        |l: &Layer| matches!(&l.kind, Kind::Conv(conv) if conv.groups > 1 && conv.dims[1] > 1);
    // SiLU has a sigmoid too, of whole maps
    let gated =
        { layers.iter() }.any(|l| matches!(l.kind, Kind::Sigmoid) && l.shape[1..] == [1, 1]);
    let family = match (layers.iter().any(grouped), gated) {
        (true, true) => "seresnext",
        (true, false) => "resnext",
        (false, true) => "seresnet",
        (false, false) => "resnet",
    };
    let published = PUBLISHED
        .iter()
        .find(|(_, c, b)| *c == convs && *b == blocks);
    let mut name = family.to_owned();
    match published {
        Some((depth, ..)) => {
            name += depth;
            if stem_convs(layers) == 3 {
                name.push('d');
            }
        }
        None => blocks.iter().for_each(|n| {
            write!(name, "-{n}").ok();
        }),
    }
    name
}

/// The same for a network that came quantized.
#[must_use]
pub fn quantized_arch(network: &QuantizedNetwork) -> String {
    let mut layers = Vec::new();
    // where each of the network's layers is found: an addition may be two of ours
    let mut places: Vec<Place> = Vec::new();
    for layer in &network.layers {
        let inputs: Vec<Place> = layer.inputs.iter().map(|&place| places[place]).collect();
        let mut push = |kind: Kind, inputs: Vec<Place>| {
            layers.push(Layer {
                name: layer.name.clone(),
                op: String::new(),
                kind,
                inputs,
                shape: layer.shape,
            });
            layers.len() - 1
        };
        let place = match &layer.kind {
            quantized::Kind::Picture | quantized::Kind::Normalized => push(Kind::Image, inputs),
            quantized::Kind::Float(conv) if layer.shape[1..] != [1, 1] => {
                let conv = Conv {
                    weights: Vec::new(),
                    bias: Vec::new(),
                    ..conv.clone()
                };
                push(Kind::Conv(conv), inputs)
            }
            quantized::Kind::Conv {
                weights,
                groups,
                window,
            } => {
                let conv = Conv {
                    dims: weights.dims,
                    weights: Vec::new(),
                    bias: Vec::new(),
                    groups: *groups,
                    window: *window,
                };
                let place = push(Kind::Conv(conv), vec![inputs[0]]);
                match inputs.get(1) {
                    Some(&other) => push(Kind::Add, vec![place, other]),
                    None => place,
                }
            }
            quantized::Kind::Add => push(Kind::Add, inputs),
            quantized::Kind::Rescale => push(Kind::Relu, inputs),
            _ => push(Kind::GlobalAverage, inputs),
        };
        places.push(place);
    }
    arch(&layers)
}

/// Convolutions of the longer way into an addition, as far as the next addition or pooling.
fn block_convs(layers: &[Layer], add: &Layer) -> usize {
    add.inputs
        .iter()
        .map(|&i| convs_behind(layers, i))
        .max()
        .unwrap_or(0)
}

fn convs_behind(layers: &[Layer], mut place: Place) -> usize {
    let mut count = 0;
    loop {
        let layer = &layers[place];
        match layer.kind {
            Kind::Conv(_) => count += 1,
            Kind::Relu
            | Kind::Affine(_)
            | Kind::Product
            | Kind::Bound(..)
            | Kind::Elementwise(_) => {}
            _ => return count,
        }
        place = layer.inputs[0];
    }
}

/// Convolutions before the first pooling or addition.
fn stem_convs(layers: &[Layer]) -> usize {
    let stem = layers.iter().take_while(|l| {
        matches!(
            l.kind,
            Kind::Image | Kind::Conv(_) | Kind::Relu | Kind::Affine(_)
        )
    });
    stem.filter(|l| matches!(l.kind, Kind::Conv(_))).count()
}
