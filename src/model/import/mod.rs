//! Reads other people's weights: safetensors and PyTorch's files. A file's kind is told by its first bytes, not by
//! its name. What a network looks like is `arch`'s business.

mod metadata;
pub mod tensors;
pub mod torch;

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use self::tensors::{Metadata, Tensors};
use super::arch::Resnet;
use super::error::ModelError;
use super::save;
use crate::bundle::{Bundle, FORMAT, Manifest, Provenance};
use crate::plain_file;
use crate::spec::Activation;

pub use metadata::{IMAGENET, Options, interpolation, timm, triple};

/// A ResNet152 in f32 has 241 MB.
const MAX_WEIGHTS: u64 = 2 << 30;

/// The names of ImageNet-1k's classes, one a line, as torchvision has them.
const IMAGENET_LABELS: &str = include_str!("imagenet.txt");

/// A file's tensors, and what it says of itself.
///
/// # Errors
/// If it is of no known kind, or not sound.
pub fn tensors_of(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata), ModelError> {
    // the first eight bytes are the length of a header, which is JSON
    let is_safetensors = bytes.get(8) == Some(&b'{');
    if is_safetensors {
        tensors::read(path, bytes)
    } else if torch::is_torch(bytes) {
        Ok((torch::read(path, bytes)?, Metadata::default()))
    } else {
        Err(ModelError::Unknown { path: path.into() })
    }
}

/// A float bundle, and what is to be said of how it came about.
#[derive(Debug)]
pub struct Imported {
    pub bundle: Bundle,
    /// The labels are the built-in ones: the network has as many classes as ImageNet, and nobody gave any.
    pub imagenet_labels: bool,
}

/// Weights to a float bundle.
///
/// # Errors
/// If the file is not readable as a ResNet's weights, or labels and classes do not match.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ModelError> {
    let bytes = plain_file::read(path, MAX_WEIGHTS).map_err(|error| ModelError::Read {
        path: path.to_owned(),
        error,
    })?;
    let sha256 = hex(&Sha256::digest(&bytes));
    let (tensors, mut metadata) = tensors_of(path, &bytes)?;
    drop(bytes);
    for (key, value) in options.beside(path)? {
        metadata.entry(key).or_insert(value);
    }
    let net = Resnet::from_tensors(tensors)?;
    let (labels, imagenet_labels) = labels(options, &metadata, net.classes())?;
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
            source: options.source.clone().unwrap_or(source),
            sha256: Some(sha256),
            tool: save::tool(),
        },
        accuracy: None,
        checksum: String::new(),
    };
    drop(net);
    Ok(Imported {
        bundle: save::bundle(path, graph, manifest)?,
        imagenet_labels,
    })
}

/// The user's labels, else the file's own, else ImageNet's where there are as many classes; and whether it is these.
fn labels(
    options: &Options,
    metadata: &Metadata,
    classes: usize,
) -> Result<(Vec<String>, bool), ModelError> {
    let own = || serde_json::from_str(metadata.get("labels")?).ok();
    let given: Option<Vec<String>> = options.labels.clone().or_else(own);
    let imagenet = given.is_none();
    let labels = given.unwrap_or_else(|| IMAGENET_LABELS.lines().map(str::to_owned).collect());
    if labels.len() != classes {
        let labels = if imagenet { 0 } else { labels.len() };
        return Err(ModelError::Labels { classes, labels });
    }
    let mut seen = HashSet::new();
    match labels.iter().find(|label| !seen.insert(label.as_str())) {
        Some(twice) => Err(ModelError::TwoLabels(twice.clone())),
        None => Ok((labels, imagenet)),
    }
}

/// The digits of a checksum.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").ok();
        text
    })
}
