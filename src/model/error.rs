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
    #[error("{path}: {error}; its float original, or this file imported --as-float, can be quantized anew", path = path.display())]
    Rounded {
        path: PathBuf,
        error: super::import::onnx::OnnxError,
    },
    #[error("{path} is no {kind} file: {reason}", path = path.display())]
    Weights {
        path: PathBuf,
        kind: &'static str,
        reason: String,
    },
    #[error("{path} is {kind}", path = path.display())]
    Foreign { path: PathBuf, kind: &'static str },
    #[error(
        "{path} holds no weights that are read: it begins like neither a safetensors nor a PyTorch file; save the network's state dict as one of these",
        path = path.display()
    )]
    Unknown { path: PathBuf },
    #[error(
        "the weights have no tensor {0}: only ResNets with torchvision's or timm's parameter names are read"
    )]
    Missing(String),
    #[error("the weights hold more than one network: {0}; save only one of them")]
    Several(String),
    #[error("the weights hold tensors that a ResNet does not have: {0}")]
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
    #[error("tensor {name} is {dtype}; f64, f32, f16 and bf16 are read")]
    Dtype { name: String, dtype: String },
    #[error(
        "the network has {classes} classes and {labels} labels; give a file with one label a line by --labels"
    )]
    Labels { classes: usize, labels: usize },
    #[error("the label \"{label}\" {fault}")]
    Label { label: String, fault: &'static str },
    #[error(
        "the network ends in a softmax, whose labels exclude each other; leave --multi-label out"
    )]
    Exclusive,
    #[error(
        "conv1 is {0}: weights do not say whether such a stem halves the picture and pools, as small pictures' networks do not; export it as ONNX"
    )]
    Stem(String),
    #[error(
        "the weights have no dense layer of a name that is known ({known}), but {found}; a head of several layers is read from ONNX"
    )]
    Head { known: String, found: String },
    #[error("the label {0:?} occurs more than once; every class needs a name of its own")]
    TwoLabels(String),
    #[error(
        "{said_by} says that the weights are a {name}: only plain ResNets are read (ResNet, wide ResNet, ResNeXt, ResNet-D); export it as \
        ONNX, or, if it is one of these after all, leave out what {said_by} says"
    )]
    Architecture { said_by: &'static str, name: String },
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
    #[error(
        "{path} is quantized already, and pruning needs the float weights; prune the float bundle it was made of, then quantize",
        path = path.display()
    )]
    PruneQuantized { path: PathBuf },
    #[error("{wanted} multiply-adds are {reason}")]
    PruneTarget { wanted: String, reason: String },
    #[error("the weights cannot be written with torchvision's names: {0}; leave --safetensors out")]
    Export(String),
    #[error(
        "there are no weights {name:?}; known are {known}, and OWNER/NAME on the model hub, as in timm/resnet50.a1_in1k"
    )]
    UnknownWeights { name: String, known: String },
    #[error(
        "cannot fetch {url}: {reason}; or fetch it by another way and give it to `resnetd-model import`"
    )]
    Fetch { url: String, reason: String },
    #[error(
        "{url} is damaged or something else: its SHA-256 is {found}, not {wanted}..; nothing was kept"
    )]
    Sum {
        url: String,
        wanted: String,
        found: String,
    },
    #[error("there is no home folder to keep weights in; set {0}")]
    NoCache(&'static str),
    #[error("cannot write {path}: {error}", path = path.display())]
    Write {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the network has no layer {0}; `resnetd inspect` lists them")]
    NoLayer(String),
    #[error(
        "{path} is a float bundle, whose features are not to be had; make an int8 one of it with `resnetd-model quantize`",
        path = path.display()
    )]
    FloatBase { path: PathBuf },
    #[error("{path} cannot be taught: {reason}", path = path.display())]
    Base { path: PathBuf, reason: String },
    #[error("{a} and {b} cannot be compared: {reason}", a = a.display(), b = b.display())]
    Unlike {
        a: PathBuf,
        b: PathBuf,
        reason: String,
    },
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
