//! Reads other people's weights. Safetensors so far.

pub mod tensors;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::arch::Resnet;
use super::error::ModelError;
use super::save;
use crate::bundle::{Bundle, FORMAT, Manifest, Provenance};
use crate::spec::{Activation, ChannelOrder, Interpolation, Preprocessing};

/// What the user says; the file's own metadata and ImageNet's customs stand in for the rest.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub name: String,
    pub labels: Option<Vec<String>>,
    pub resize: Option<u32>,
    pub crop: Option<u32>,
    pub mean: Option<[f32; 3]>,
    pub std: Option<[f32; 3]>,
    pub bgr: bool,
}

impl Options {
    fn preprocessing(&self, meta: &tensors::Metadata) -> Preprocessing {
        let numbers = |key: &str| -> Option<[f32; 3]> {
            let values: Result<Vec<f32>, _> = meta
                .get(key)?
                .split(',')
                .map(|v| v.trim().parse())
                .collect();
            values.ok()?.try_into().ok()
        };
        let size = |key: &str| meta.get(key)?.parse().ok();
        let crop = self.crop.or_else(|| size("crop")).unwrap_or(IMAGENET.crop);
        Preprocessing {
            resize: self
                .resize
                .or_else(|| size("resize"))
                .unwrap_or(IMAGENET.resize.max(crop)),
            crop,
            interpolation: Interpolation::Bilinear,
            mean: self
                .mean
                .or_else(|| numbers("mean"))
                .unwrap_or(IMAGENET.mean),
            std: self.std.or_else(|| numbers("std")).unwrap_or(IMAGENET.std),
            channel_order: if self.bgr {
                ChannelOrder::Bgr
            } else {
                ChannelOrder::Rgb
            },
        }
    }
}

/// ImageNet's statistics and torchvision's sizes, which most ResNets were trained with.
pub const IMAGENET: Preprocessing = Preprocessing {
    resize: 256,
    crop: 224,
    interpolation: Interpolation::Bilinear,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    channel_order: ChannelOrder::Rgb,
};

/// Weights to a float bundle.
///
/// # Errors
/// If the file is not readable as a ResNet's weights, or labels and classes do not match.
pub fn import(path: &Path, options: &Options) -> Result<Bundle, ModelError> {
    let bytes = fs::read(path).map_err(|error| ModelError::Read {
        path: path.to_owned(),
        error,
    })?;
    let sha256 = hex(&Sha256::digest(&bytes));
    let (tensors, metadata) = tensors::read(path, &bytes)?;
    drop(bytes);
    let net = Resnet::from_tensors(tensors)?;
    let embedded = || serde_json::from_str(metadata.get("labels")?).ok();
    let labels = options.labels.clone().or_else(embedded).unwrap_or_default();
    if labels.len() != net.classes() {
        return Err(ModelError::Labels {
            classes: net.classes(),
            labels: labels.len(),
        });
    }
    let preprocessing = options.preprocessing(&metadata);
    let graph = net.to_graph(preprocessing.crop as usize)?;
    let source = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let manifest = Manifest {
        format: FORMAT,
        name: options.name.clone(),
        arch: net.arch(),
        labels,
        preprocessing,
        activation: Activation::Softmax,
        quantization: None,
        provenance: Provenance {
            source,
            sha256: Some(sha256),
            tool: save::tool(),
        },
        accuracy: None,
        checksum: String::new(),
    };
    save::bundle(path, graph, manifest)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").ok();
        text
    })
}
