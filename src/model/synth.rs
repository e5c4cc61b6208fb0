//! Networks with seeded weights, for benchmarks and tests where no trained weights are.
//!
//! Their labels mean nothing, but shapes, cost and the spread of activations are those of a trained
//! network: He's initialization, the last convolution of each block scaled down so that the sum over
//! blocks does not grow.

use std::path::Path;

use super::arch::{PUBLISHED, Resnet};
use super::error::ModelError;
use super::import::IMAGENET;
use super::import::tensors::Tensors;
use super::save;
use crate::bundle::{Bundle, FORMAT, Manifest, Provenance};
use crate::random::Random;
use crate::spec::Activation;

/// The float network of a published depth.
///
/// # Errors
/// If tract refuses a tensor.
pub fn network(arch: &str, classes: usize, seed: u64) -> Result<Resnet, ModelError> {
    let blocks = PUBLISHED
        .iter()
        .find(|(name, _)| *name == arch)
        .map_or([3, 4, 6, 3], |(_, b)| *b);
    let mut made = Maker {
        random: Random::new(seed),
        tensors: Tensors::default(),
    };
    made.conv("conv1", "bn1", [64, 3, 7, 7], 1.0);
    let mut inputs = 64;
    for (stage, &count) in blocks.iter().enumerate() {
        let width = 64 << stage;
        for block in 0..count {
            let prefix = format!("layer{}.{block}", stage + 1);
            let name = |i: usize| (format!("{prefix}.conv{i}"), format!("{prefix}.bn{i}"));
            let shapes = [
                [width, inputs, 1, 1],
                [width, width, 3, 3],
                [4 * width, width, 1, 1],
            ];
            for (i, shape) in shapes.into_iter().enumerate() {
                let (conv, bn) = name(i + 1);
                made.conv(&conv, &bn, shape, if i == 2 { 0.25 } else { 1.0 });
            }
            if block == 0 {
                let shortcut = [4 * width, inputs, 1, 1];
                made.conv(
                    &format!("{prefix}.downsample.0"),
                    &format!("{prefix}.downsample.1"),
                    shortcut,
                    0.7,
                );
            }
            inputs = 4 * width;
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let spread = 1.0 / (inputs as f32).sqrt();
    made.tensor("fc.weight", vec![classes, inputs], |r| r.normal() * spread);
    made.tensor("fc.bias", vec![classes], |r| r.normal() * 0.01);
    Resnet::from_tensors(made.tensors)
}

struct Maker {
    random: Random,
    tensors: Tensors,
}

impl Maker {
    fn tensor(&mut self, name: &str, shape: Vec<usize>, mut value: impl FnMut(&mut Random) -> f32) {
        let count = shape.iter().product();
        let values = (0..count).map(|_| value(&mut self.random)).collect();
        self.tensors.insert(name.to_owned(), shape, values);
    }

    fn conv(&mut self, conv: &str, bn: &str, shape: [usize; 4], gain: f32) {
        #[allow(clippy::cast_precision_loss)] // a few thousand
        let spread = (2.0 / (shape[1] * shape[2] * shape[3]) as f32).sqrt();
        self.tensor(&format!("{conv}.weight"), shape.to_vec(), |r| {
            r.normal() * spread
        });
        let channels = vec![shape[0]];
        self.tensor(&format!("{bn}.weight"), channels.clone(), |r| {
            gain * (0.8 + 0.4 * r.uniform())
        });
        self.tensor(&format!("{bn}.bias"), channels.clone(), |r| {
            0.1 * r.normal()
        });
        self.tensor(&format!("{bn}.running_mean"), channels.clone(), |r| {
            0.1 * r.normal()
        });
        self.tensor(&format!("{bn}.running_var"), channels, |r| {
            0.7 + 0.6 * r.uniform()
        });
    }
}

/// A float bundle of [`network`].
///
/// # Errors
/// If it cannot be put together.
pub fn bundle(out: &Path, arch: &str, classes: usize, seed: u64) -> Result<Bundle, ModelError> {
    let net = network(arch, classes, seed)?;
    let graph = net.to_graph(IMAGENET.crop as usize)?;
    let manifest = Manifest {
        format: FORMAT,
        name: format!("{arch}-synthetic-{seed}"),
        arch: net.arch(),
        labels: (0..classes).map(|i| format!("class {i}")).collect(),
        preprocessing: IMAGENET,
        activation: Activation::Softmax,
        quantization: None,
        provenance: Provenance {
            source: format!("seed {seed}"),
            sha256: None,
            tool: save::tool(),
        },
        accuracy: None,
        confidence: None,
        checksum: String::new(),
    };
    drop(net);
    save::bundle(out, graph, manifest)
}
