//! Reads other people's networks: weights in safetensors, whole graphs in ONNX. What a file is follows from its
//! bytes, not from its name.

pub mod onnx;
pub mod tensors;

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use tract_nnef::internal::TypedModel;

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
    /// The user's labels, else the file's.
    ///
    /// # Errors
    /// If there are not as many as classes.
    fn labels(&self, meta: &tensors::Metadata, classes: usize) -> Result<Vec<String>, ModelError> {
        let embedded = || serde_json::from_str(meta.get("labels")?).ok();
        let labels = self.labels.clone().or_else(embedded).unwrap_or_default();
        if labels.len() == classes {
            return Ok(labels);
        }
        Err(ModelError::Labels {
            classes,
            labels: labels.len(),
        })
    }

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
    let read = if tensors::are_safetensors(&bytes) {
        from_weights(path, &bytes, options)?
    } else {
        from_graph(path, bytes, options)?
    };
    let source = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let manifest = Manifest {
        format: FORMAT,
        name: options.name.clone(),
        arch: read.arch,
        labels: read.labels,
        preprocessing: read.preprocessing,
        activation: read.activation,
        quantization: None,
        provenance: Provenance {
            source,
            sha256: Some(sha256),
            tool: save::tool(),
        },
        accuracy: None,
        checksum: String::new(),
    };
    save::bundle(path, read.graph, manifest)
}

/// What every kind of file comes down to.
struct Network {
    graph: TypedModel,
    arch: String,
    labels: Vec<String>,
    preprocessing: Preprocessing,
    activation: Activation,
}

fn from_weights(path: &Path, bytes: &[u8], options: &Options) -> Result<Network, ModelError> {
    let (tensors, metadata) = tensors::read(path, bytes)?;
    let net = Resnet::from_tensors(tensors)?;
    let preprocessing = options.preprocessing(&metadata)?;
    Ok(Network {
        labels: options.labels(&metadata, net.classes())?,
        graph: net.to_graph(preprocessing.crop as usize)?,
        arch: net.arch(),
        preprocessing,
        activation: Activation::Softmax,
    })
}

fn from_graph(path: &Path, bytes: Vec<u8>, options: &Options) -> Result<Network, ModelError> {
    let bad = |error| ModelError::Onnx {
        path: path.to_owned(),
        error,
    };
    let file = onnx::open(path, &bytes).map_err(bad)?;
    drop(bytes);
    let metadata = file.metadata.clone();
    let mut preprocessing = options.preprocessing(&metadata)?;
    let read = file.network(preprocessing.crop as usize).map_err(bad)?;
    if let Some(normalization) = read.normalization {
        if options.mean.is_none() && !metadata.contains_key("mean") {
            return Err(ModelError::Preprocessing(OWN_NORMALIZATION.into()));
        }
        preprocessing = absorbed(&preprocessing, normalization)?;
    }
    Ok(Network {
        labels: options.labels(&metadata, read.classes)?,
        graph: read.graph,
        arch: read.arch,
        preprocessing,
        activation: read.activation.unwrap_or(Activation::Softmax),
    })
}

const OWN_NORMALIZATION: &str = "the network normalizes its input itself, and whether it takes values from 0 to 1 \
    (--mean 0,0,0 --std 1,1,1) or from 0 to 255 (--mean 0,0,0 --std 0.00392157,0.00392157,0.00392157) is not said";

/// The mean and standard deviation that do what `found` and then the network's own factors and summands do.
fn absorbed(found: &Preprocessing, own: [(f32, f32); 3]) -> Result<Preprocessing, ModelError> {
    let mut both = found.clone();
    for (channel, (factor, summand)) in own.into_iter().enumerate() {
        both.std[channel] = found.std[channel] / factor;
        both.mean[channel] = found.mean[channel] - summand * both.std[channel];
    }
    check_preprocessing(&both).map_err(ModelError::Preprocessing)?;
    Ok(both)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").ok();
        text
    })
}
