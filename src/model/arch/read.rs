//! From named tensors to a network: torchvision's and timm's parameter names, whatever stands before them.

use tract_nnef::internal::*;

use super::{Block, FoldedConv, Resnet, Shortcut};
use crate::model::error::ModelError;
use crate::model::import::tensors::Tensors;

/// torchvision's and timm's.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;
/// What every such network has, whatever stands before it.
const LANDMARK: &str = "layer1.0.conv1.weight";
/// Where the dense layer is found: torchvision's and timm's, and those of well-known training programs.
const HEADS: [&str; 7] = [
    "fc",
    "head.fc",
    "head",
    "last_linear",
    "classifier",
    "fc.1",
    "classifier.1",
];
/// The convolutions of a deep stem, and their normalizations; what lies between are ReLUs.
const DEEP_STEM: [(&str, &str); 3] = [
    ("conv1.0", "conv1.1"),
    ("conv1.3", "conv1.4"),
    ("conv1.6", "bn1"),
];

impl Resnet {
    /// Reads torchvision's (and timm's) parameter names; depth, widths and kind follow from what is there.
    ///
    /// # Errors
    /// If a tensor is missing, left over or shaped unlike a ResNet's.
    pub fn from_tensors(mut t: Tensors) -> Result<Self, ModelError> {
        strip_prefix(&mut t)?;
        let stem = stem(&mut t)?;
        let mut stages = Vec::new();
        while t.contains(&format!("layer{}.0.conv1.weight", stages.len() + 1)) {
            stages.push(stage(&mut t, stages.len() + 1)?);
        }
        let head = head(&mut t)?;
        t.finish()?;
        let net = Self { stem, stages, head };
        net.check()?;
        Ok(net)
    }
}

/// Takes away what stands before all names: `module.` of PyTorch's parallel training, `model.`, `backbone.`.
fn strip_prefix(t: &mut Tensors) -> Result<(), ModelError> {
    let prefixes = t.names().filter_map(|name| name.strip_suffix(LANDMARK));
    let prefixes: Vec<String> = prefixes.map(str::to_owned).collect();
    let prefix = match &prefixes[..] {
        [] => return Err(ModelError::Missing(LANDMARK.into())),
        [prefix] => prefix,
        [one, other, ..] => {
            return Err(ModelError::Several(format!(
                "{one}{LANDMARK}, {other}{LANDMARK}"
            )));
        }
    };
    if !prefix.is_empty() {
        // a head may stand beside the backbone, behind a part of its prefix: `backbone.` and `head.`
        t.strip(prefix)?;
        for parent in prefix.rmatch_indices('.').skip(1).map(|(at, _)| at + 1) {
            t.strip(&prefix[..parent])?;
        }
    }
    Ok(())
}

fn stem(t: &mut Tensors) -> Result<Vec<FoldedConv>, ModelError> {
    if !t.contains("conv1.0.weight") {
        if let Some(&[_, _, rows, columns]) = t.shape("conv1.weight")
            && (rows, columns) != (7, 7)
        {
            return Err(ModelError::Stem(format!("{rows}x{columns}")));
        }
        return Ok(vec![folded(t, "conv1", "bn1", 2, 3)?]);
    }
    let mut found = Vec::new();
    let (mut stride, mut inputs) = (2, 3);
    for (conv, bn) in DEEP_STEM {
        let conv = folded(t, conv, bn, stride, inputs)?;
        (stride, inputs) = (1, conv.outputs());
        found.push(conv);
    }
    Ok(found)
}

fn stage(t: &mut Tensors, number: usize) -> Result<Vec<Block>, ModelError> {
    let mut blocks = Vec::new();
    while t.contains(&format!("layer{number}.{}.conv1.weight", blocks.len())) {
        let prefix = format!("layer{number}.{}", blocks.len());
        let halves = number > 1 && blocks.is_empty();
        blocks.push(block(t, &prefix, if halves { 2 } else { 1 })?);
    }
    Ok(blocks)
}

fn block(t: &mut Tensors, prefix: &str, stride: usize) -> Result<Block, ModelError> {
    // the stride is in the 3x3: the first of a basic block, the middle one of a bottleneck
    let strides: &[usize] = if t.contains(&format!("{prefix}.conv3.weight")) {
        &[1, stride, 1]
    } else {
        &[stride, 1]
    };
    let first = format!("{prefix}.conv1.weight");
    let channels = t.shape(&first).and_then(|s| s.get(1).copied()).unwrap_or(0);
    let (mut convs, mut inputs) = (Vec::new(), channels);
    for (i, &stride) in strides.iter().enumerate() {
        let name = |what: &str| format!("{prefix}.{what}{}", i + 1);
        let conv = folded(t, &name("conv"), &name("bn"), stride, inputs)?;
        inputs = conv.outputs();
        convs.push(conv);
    }
    Ok(Block {
        convs,
        shortcut: shortcut(t, &format!("{prefix}.downsample"), stride, channels)?,
    })
}

/// timm puts an average without parameters first (ResNet-D), or nothing in its place where the size stays.
fn shortcut(
    t: &mut Tensors,
    prefix: &str,
    stride: usize,
    channels: usize,
) -> Result<Option<Shortcut>, ModelError> {
    let is_conv = |i: usize| {
        t.shape(&format!("{prefix}.{i}.weight"))
            .is_some_and(|shape| shape.len() == 4)
    };
    let (at, averaged) = match (is_conv(0), is_conv(1)) {
        (true, _) => (0, false),
        (false, true) => (1, true),
        (false, false) => return Ok(None),
    };
    let names = [at, at + 1].map(|i| format!("{prefix}.{i}"));
    let conv_stride = if averaged { 1 } else { stride };
    Ok(Some(Shortcut {
        averaged: averaged && stride > 1,
        conv: folded(t, &names[0], &names[1], conv_stride, channels)?,
    }))
}

/// A convolution and its normalization: `w * gamma / sqrt(var + eps)` and
/// `beta - mean * gamma / sqrt(var + eps)`, in f64.
#[allow(clippy::cast_possible_truncation)] // back to the precision the graph has
fn folded(
    t: &mut Tensors,
    conv: &str,
    bn: &str,
    stride: usize,
    inputs: usize,
) -> Result<FoldedConv, ModelError> {
    let (shape, mut weights) = t.take(&format!("{conv}.weight"), 4)?;
    let mut vector = |name: &str| vector(t, &format!("{bn}.{name}"), shape[0]);
    let (gamma, beta) = (vector("weight")?, vector("bias")?);
    let (mean, var) = (vector("running_mean")?, vector("running_var")?);
    let mut bias = Vec::with_capacity(shape[0]);
    let per_channel = weights.len() / shape[0];
    for (o, row) in weights.chunks_exact_mut(per_channel).enumerate() {
        let factor = f64::from(gamma[o]) / (f64::from(var[o]) + BATCH_NORM_EPSILON).sqrt();
        for w in row {
            *w = (f64::from(*w) * factor) as f32;
        }
        bias.push((f64::from(beta[o]) - f64::from(mean[o]) * factor) as f32);
    }
    finite(conv, &weights)?;
    finite(bn, &bias)?;
    Ok(FoldedConv {
        name: node_name(conv),
        groups: groups(&shape, inputs),
        weights: Tensor::from_shape(&shape, &weights)?,
        bias,
        stride,
    })
}

/// A grouped convolution's weights name fewer inputs than there are. Only 3x3 ones are grouped; what does not come
/// out even is found by [`Resnet::check`].
fn groups(shape: &[usize], inputs: usize) -> usize {
    let grouped = shape[2..] == [3, 3] && inputs.is_multiple_of(shape[1]);
    if grouped {
        (inputs / shape[1]).max(1)
    } else {
        1
    }
}

fn vector(t: &mut Tensors, name: &str, channels: usize) -> Result<Vec<f32>, ModelError> {
    let (shape, values) = t.take(name, 1)?;
    if values.len() == channels {
        return Ok(values);
    }
    Err(ModelError::Shape {
        name: name.to_owned(),
        shape,
        inputs: channels,
    })
}

fn head(t: &mut Tensors) -> Result<FoldedConv, ModelError> {
    let here = |name: &&str| t.contains(&format!("{name}.weight"));
    let Some(name) = HEADS.iter().copied().find(here) else {
        return Err(ModelError::Head {
            known: HEADS.join(", "),
            found: left(t),
        });
    };
    // timm stores some as the 1x1 convolution that it is
    let weight = format!("{name}.weight");
    let rank = if t.shape(&weight).is_some_and(|shape| shape.len() == 4) {
        4
    } else {
        2
    };
    let (mut shape, weights) = t.take(&weight, rank)?;
    let bias = if t.contains(&format!("{name}.bias")) {
        vector(t, &format!("{name}.bias"), shape[0])?
    } else {
        vec![0.0; shape[0]]
    };
    finite(name, &weights)?;
    finite(name, &bias)?;
    shape.resize(4, 1);
    if shape[2..] != [1, 1] {
        return Err(ModelError::Shape {
            name: weight,
            inputs: shape[1],
            shape,
        });
    }
    Ok(FoldedConv {
        name: "fc".into(),
        weights: Tensor::from_shape(&shape, &weights)?,
        bias,
        stride: 1,
        groups: 1,
    })
}

/// Weights that are there besides those of the stages, if any.
fn left(t: &Tensors) -> String {
    const SHOWN: usize = 5;
    let rest: Vec<&str> = t.names().filter(|n| n.ends_with(".weight")).collect();
    match rest.len() {
        0 => "no other weights".into(),
        _ => rest[..rest.len().min(SHOWN)].join(", "),
    }
}

fn finite(name: &str, values: &[f32]) -> Result<(), ModelError> {
    if values.iter().all(|v| v.is_finite()) {
        Ok(())
    } else {
        Err(ModelError::NotFinite(name.to_owned()))
    }
}

/// NNEF identifiers have no dots.
fn node_name(parameter: &str) -> String {
    parameter.replace('.', "_")
}
