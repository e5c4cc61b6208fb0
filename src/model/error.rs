//! What can go wrong in the workshop.

use std::path::PathBuf;

use thiserror::Error;

use crate::bundle::BundleError;
use crate::infer::EngineError;

#[derive(Debug, Error)]
pub enum ModelError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{path}: {error}", path = path.display())]
    Onnx {
        path: PathBuf,
        error: super::import::onnx::OnnxError,
    },
    #[error("{path} is no safetensors file: {reason}", path = path.display())]
    Weights { path: PathBuf, reason: String },
    #[error(
        "the weights have no tensor {0}: only bottleneck ResNets with torchvision's or timm's parameter names are read"
    )]
    Missing(String),
    #[error("{0} is of a basic block (ResNet-18, ResNet-34); only bottleneck ResNets are read")]
    BasicBlock(String),
    #[error("the weights hold tensors that a bottleneck ResNet does not have: {0}")]
    LeftOver(String),
    #[error("{name} has {found} dimensions, not {wanted}")]
    Rank {
        name: String,
        found: usize,
        wanted: usize,
    },
    #[error("{name} has shape {shape:?}, which does not fit its {inputs} inputs")]
    Shape {
        name: String,
        shape: Vec<usize>,
        inputs: usize,
    },
    #[error("{name}: {inner} channels added to a shortcut of {shortcut}")]
    Shortcut {
        name: String,
        inner: usize,
        shortcut: usize,
    },
    #[error("{0} holds a value that is not finite")]
    NotFinite(String),
    #[error("tensor {name} is {dtype}; f32, f16 and bf16 are read")]
    Dtype { name: String, dtype: String },
    #[error(
        "the network has {classes} classes and {labels} labels; give a file with one label a line by --labels"
    )]
    Labels { classes: usize, labels: usize },
    #[error("{0}; say what the network was trained with by --resize, --crop, --mean and --std")]
    Preprocessing(String),
    #[error("{name} ({op}): {reason}")]
    Lower {
        name: String,
        op: String,
        reason: String,
    },
    #[error("{path}: {reason}", path = path.display())]
    Dataset { path: PathBuf, reason: String },
    #[error("{path} is quantized already; quantize a float bundle", path = path.display())]
    Quantized { path: PathBuf },
    #[error("{0}")]
    Tract(String),
}

impl From<tract_nnef::internal::TractError> for ModelError {
    fn from(error: tract_nnef::internal::TractError) -> Self {
        Self::Tract(format!("{error:#}"))
    }
}

/// Any error as [`ModelError::Tract`].
pub fn tract(error: impl std::fmt::Display) -> ModelError {
    ModelError::Tract(error.to_string())
}
