//! The layers of a float network as a safetensors file with torchvision's parameter names, for training programs to go
//! on from; `import` reads it, too. What is where follows from how the layers hang together, not from their names, so
//! blocks that were removed leave no gap. Batch normalizations are written as ones that change nothing but add the bias,
//! with the mean and variance that their inputs have on pictures: training goes by its batches' own, which then are about the same.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use tract_nnef::internal::OutletId;

use super::arch::read::BATCH_NORM_EPSILON;
use super::error::{ModelError, tract};
use super::layers::{Convolution, Kind, Layer, Weights, Window};
use super::prune::blocks::{Block, blocks, conv, writer};
use super::prune::{Spread, Statistics};
use crate::bundle::Manifest;
use crate::kernels::Padding;
use crate::spec::{ChannelOrder, Interpolation};

/// A deep stem's convolutions and their normalizations.
const DEEP_STEM: [(&str, &str); 3] = [
    ("conv1.0", "conv1.1"),
    ("conv1.3", "conv1.4"),
    ("conv1.6", "bn1"),
];

/// A network's convolutions as places in its list of layers, in torchvision's order.
#[derive(Debug, PartialEq)]
pub struct Outline {
    stem: Vec<usize>,
    stages: Vec<Vec<Residual>>,
    head: usize,
}

#[derive(Debug, PartialEq)]
struct Residual {
    convs: Vec<usize>,
    shortcut: Option<Shortcut>,
}

#[derive(Debug, PartialEq)]
struct Shortcut {
    conv: usize,
    /// Behind an average of 2x2 pixels (ResNet-D).
    averaged: bool,
}

impl Outline {
    /// # Errors
    /// If the network is no ResNet as torchvision or timm builds them.
    pub fn of(layers: &[Layer]) -> Result<Self, ModelError> {
        let pool = layers
            .iter()
            .position(|l| matches!(l.kind, Kind::MaxPool(_)));
        let pool = pool.ok_or_else(|| ModelError::Export("there is no pooling".into()))?;
        let stem: Vec<usize> = (0..pool).collect();
        check_stem(layers, &stem)?;
        let mut stages: Vec<Vec<Residual>> = vec![Vec::new()];
        let mut used = pool + 1;
        let mut at = layers[pool].output;
        for block in blocks(layers) {
            let end = last(&block);
            let (residual, layers_used, halves) = residual(layers, &block, at)?;
            used += layers_used;
            at = layers[end].output;
            if halves && stages.last().is_some_and(|stage| !stage.is_empty()) {
                stages.push(Vec::new());
            } else if halves {
                return Err(odd(&layers[end], "the first stage halves the picture"));
            }
            if let Some(stage) = stages.last_mut() {
                stage.push(residual);
            }
        }
        let head = layers.len() - 1;
        let average = writer(layers, layers[head].input)
            .filter(|&i| matches!(layers[i].kind, Kind::Average) && layers[i].input == at);
        if average.is_none() || !matches!(layers[head].kind, Kind::Dense(_)) {
            return Err(odd(
                &layers[head],
                "it does not read the average of the last block",
            ));
        }
        if used + 2 != layers.len() {
            let more = layers.len() - used - 2;
            return Err(ModelError::Export(format!(
                "{more} layers belong to no residual block"
            )));
        }
        Ok(Self { stem, stages, head })
    }

    /// The number of blocks in each stage, as in `resnet-3-4-6-3`.
    #[must_use]
    pub fn name(&self) -> String {
        let counts = self.stages.iter().map(|stage| format!("-{}", stage.len()));
        counts.fold("resnet".to_owned(), |name, count| name + &count)
    }
}

fn odd(layer: &Layer, reason: &str) -> ModelError {
    ModelError::Export(format!("{}: {reason}", layer.name))
}

fn last(block: &Block) -> usize {
    block.convs.last().copied().unwrap_or(0)
}

/// Whether the window is as everywhere in such networks: square, padded by half of it.
fn usual(window: &Window, kernel: usize, stride: usize) -> bool {
    let pad = Padding::all(kernel / 2);
    window.kernel == (kernel, kernel) && window.stride == (stride, stride) && window.pad == pad
}

fn check_stem(layers: &[Layer], stem: &[usize]) -> Result<(), ModelError> {
    let kernel = match stem.len() {
        1 => 7,
        3 => 3,
        other => {
            return Err(ModelError::Export(format!(
                "{other} layers before the pooling"
            )));
        }
    };
    for &i in stem {
        let stride = if i == 0 { 2 } else { 1 };
        let fits = |c: &Convolution| usual(&c.window, kernel, stride) && layers[i].relu;
        if !conv(layers, i).is_some_and(fits) {
            return Err(odd(&layers[i], "not as in a stem"));
        }
    }
    Ok(())
}

/// A block that reads `at`; how many layers it has, and whether it halves the picture.
fn residual(
    layers: &[Layer],
    block: &Block,
    at: OutletId,
) -> Result<(Residual, usize, bool), ModelError> {
    let end = &layers[last(block)];
    let kernels: &[usize] = match block.convs.len() {
        2 => &[3, 3],
        3 => &[1, 3, 1],
        _ => return Err(odd(end, "its block has neither two convolutions nor three")),
    };
    let strided = if kernels[0] == 3 { 0 } else { 1 };
    let stride = conv(layers, block.convs[strided]).map_or(1, |c| c.window.stride.0);
    for (place, (&i, &kernel)) in block.convs.iter().zip(kernels).enumerate() {
        let stride = if place == strided { stride } else { 1 };
        let fits = |c: &Convolution| usual(&c.window, kernel, stride) && layers[i].relu;
        if !conv(layers, i).is_some_and(fits) {
            return Err(odd(
                &layers[i],
                "its window or its ReLU is not as in a ResNet",
            ));
        }
    }
    if block.input != at || stride > 2 {
        return Err(odd(end, "its block does not follow the one before"));
    }
    let residual = end.residual.unwrap_or(block.input);
    let shortcut = if residual == block.input {
        None
    } else {
        Some(
            shortcut(layers, residual, block.input, stride)
                .ok_or_else(|| odd(end, "the way around it is not as in a ResNet"))?,
        )
    };
    let around = shortcut.as_ref().map_or(0, |s| 1 + usize::from(s.averaged));
    let used = block.convs.len() + around;
    let convs = block.convs.clone();
    Ok((Residual { convs, shortcut }, used, stride == 2))
}

fn shortcut(
    layers: &[Layer],
    residual: OutletId,
    input: OutletId,
    stride: usize,
) -> Option<Shortcut> {
    let at = writer(layers, residual)?;
    let window = conv(layers, at).filter(|_| !layers[at].relu)?.window;
    if layers[at].input == input && usual(&window, 1, stride) {
        let averaged = false;
        return Some(Shortcut { conv: at, averaged });
    }
    let before = &layers[writer(layers, layers[at].input)?];
    let halved = matches!(&before.kind, Kind::AveragePool { window, count_padding: false }
        if window.kernel == (2, 2) && window.stride == (2, 2));
    let averaged = stride == 2 && halved && before.input == input && usual(&window, 1, 1);
    averaged.then_some(Shortcut { conv: at, averaged })
}

/// The file: every tensor in f32, and what the manifest says of labels and preprocessing as its metadata.
///
/// # Errors
/// If the network is no ResNet as torchvision or timm builds them, or `spread` lacks one of its convolutions.
pub fn safetensors(
    layers: &[Layer],
    spread: &Spread,
    manifest: &Manifest,
) -> Result<Vec<u8>, ModelError> {
    let normalized = |i: usize| Some((conv(layers, i)?, spread.get(&layers[i].output)?));
    if manifest.preprocessing.channel_order != ChannelOrder::Rgb {
        return Err(ModelError::Export("it reads B, G, R".into()));
    }
    let outline = Outline::of(layers)?;
    let mut file = File::default();
    let stem: &[(&str, &str)] = match outline.stem.len() {
        1 => &[("conv1", "bn1")],
        _ => &DEEP_STEM,
    };
    for (&i, (name, norm)) in outline.stem.iter().zip(stem) {
        file.normalized(name, norm, normalized(i))?;
    }
    for (stage, blocks) in outline.stages.iter().enumerate() {
        for (number, block) in blocks.iter().enumerate() {
            let prefix = format!("layer{}.{number}", stage + 1);
            for (i, &place) in block.convs.iter().enumerate() {
                let (name, norm) = (format!("conv{}", i + 1), format!("bn{}", i + 1));
                let [name, norm] = [name, norm].map(|n| format!("{prefix}.{n}"));
                file.normalized(&name, &norm, normalized(place))?;
            }
            if let Some(shortcut) = &block.shortcut {
                let first = usize::from(shortcut.averaged);
                let [name, norm] = [first, first + 1].map(|n| format!("{prefix}.downsample.{n}"));
                file.normalized(&name, &norm, normalized(shortcut.conv))?;
            }
        }
    }
    if let Kind::Dense(weights) = &layers[outline.head].kind {
        let shape = weights.weights.shape()[..2].to_vec();
        file.tensor("fc.weight".into(), shape, floats(weights)?);
        file.vector("fc.bias".into(), weights.bias.clone());
    }
    file.bytes(metadata(manifest, &outline))
}

fn floats(weights: &Weights) -> Result<Vec<f32>, ModelError> {
    let plain = weights.weights.try_as_plain_ram()?;
    Ok(plain.as_slice::<f32>()?.to_vec())
}

fn metadata(manifest: &Manifest, outline: &Outline) -> HashMap<String, String> {
    let p = &manifest.preprocessing;
    let join = |v: [f32; 3]| v.map(|v| v.to_string()).join(",");
    let filter = match p.interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    let labels = serde_json::to_string(&manifest.labels).unwrap_or_default();
    let pairs = [
        ("architecture", outline.name()),
        ("labels", labels),
        ("resize", p.resize.to_string()),
        ("crop", p.crop.to_string()),
        ("mean", join(p.mean)),
        ("std", join(p.std)),
        ("interpolation", format!("{filter}, antialiased")),
    ];
    pairs.map(|(k, v)| (k.to_owned(), v)).into()
}

/// A safetensors file under construction.
#[derive(Default)]
struct File(Vec<(String, Vec<usize>, Vec<u8>)>);

impl File {
    fn tensor(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.0.push((name, shape, bytes));
    }

    fn vector(&mut self, name: String, values: Vec<f32>) {
        self.tensor(name, vec![values.len()], values);
    }

    /// A convolution, and a normalization that only adds its bias: `(x - mean) / sqrt(variance + e)`, times that root, plus
    /// mean and bias. `x` is what the convolution makes without it.
    #[allow(clippy::cast_possible_truncation)] // to the precision of the file
    fn normalized(
        &mut self,
        name: &str,
        norm: &str,
        conv: Option<(&Convolution, &Statistics)>,
    ) -> Result<(), ModelError> {
        let missing = || tract(format!("{name} is no convolution that was measured"));
        let (conv, spread) = conv.ok_or_else(missing)?;
        let weights = &conv.weights;
        let shape = weights.weights.shape().to_vec();
        self.tensor(format!("{name}.weight"), shape, floats(weights)?);
        let variance = || spread.deviation.iter().map(|d| d * d);
        let means = spread.mean.iter().zip(&weights.bias);
        let f32s = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v as f32).collect();
        self.vector(
            format!("{norm}.weight"),
            f32s(&mut variance().map(|v| (v + BATCH_NORM_EPSILON).sqrt())),
        );
        self.vector(
            format!("{norm}.bias"),
            f32s(&mut spread.mean.iter().copied()),
        );
        self.vector(
            format!("{norm}.running_mean"),
            f32s(&mut means.map(|(mean, bias)| mean - f64::from(*bias))),
        );
        self.vector(format!("{norm}.running_var"), f32s(&mut variance()));
        Ok(())
    }

    fn bytes(&self, metadata: HashMap<String, String>) -> Result<Vec<u8>, ModelError> {
        let views = self.0.iter().map(|(name, shape, bytes)| {
            Ok((
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(tract)?,
            ))
        });
        let views = views.collect::<Result<Vec<_>, ModelError>>()?;
        safetensors::serialize(views, Some(metadata)).map_err(tract)
    }
}
