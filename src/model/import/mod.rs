//! Reads other people's weights. Safetensors so far.

pub mod tensors;

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::arch::Resnet;
use super::error::ModelError;
use super::save;
use crate::bundle::{Bundle, FORMAT, Manifest, Provenance, check_preprocessing};
use crate::plain_file;
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
    /// # Errors
    /// If the file says what we cannot read or do: preprocessing that is not the training's gives
    /// wrong labels.
    fn preprocessing(&self, meta: &tensors::Metadata) -> Result<Preprocessing, ModelError> {
        let crop = self
            .crop
            .map_or_else(|| read(meta, "crop", number), |c| Ok(Some(c)))?;
        let crop = crop.unwrap_or(IMAGENET.crop);
        let resize = self
            .resize
            .map_or_else(|| read(meta, "resize", number), |r| Ok(Some(r)))?;
        let mean = self
            .mean
            .map_or_else(|| read(meta, "mean", triple), |m| Ok(Some(m)))?;
        let std = self
            .std
            .map_or_else(|| read(meta, "std", triple), |s| Ok(Some(s)))?;
        read(meta, "interpolation", |text| {
            text.contains("bilinear").then_some(())
        })?;
        let found = Preprocessing {
            resize: resize.unwrap_or(IMAGENET.resize.max(crop)),
            crop,
            interpolation: Interpolation::Bilinear,
            mean: mean.unwrap_or(IMAGENET.mean),
            std: std.unwrap_or(IMAGENET.std),
            channel_order: if self.bgr {
                ChannelOrder::Bgr
            } else {
                ChannelOrder::Rgb
            },
        };
        check_preprocessing(&found).map_err(ModelError::Preprocessing)?;
        Ok(found)
    }
}

/// What the file's metadata says under `key`, if anything.
fn read<T>(
    meta: &tensors::Metadata,
    key: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ModelError> {
    let Some(text) = meta.get(key) else {
        return Ok(None);
    };
    let value = parse(text).ok_or_else(|| {
        ModelError::Preprocessing(format!(
            "the file's metadata says {key} = {text:?}, which is not supported"
        ))
    })?;
    Ok(Some(value))
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

/// Three numbers with commas between them.
#[must_use]
pub fn triple(text: &str) -> Option<[f32; 3]> {
    let values: Result<Vec<f32>, _> = text.split(',').map(|v| v.trim().parse()).collect();
    values.ok()?.try_into().ok()
}

/// A ResNet152 in f32 has 241 MB.
const MAX_WEIGHTS: u64 = 2 << 30;

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
    let bytes = plain_file::read(path, MAX_WEIGHTS).map_err(|error| ModelError::Read {
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
    let preprocessing = options.preprocessing(&metadata)?;
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
