//! Reads other people's networks: weights in safetensors and PyTorch's files, whole graphs in ONNX. A file's kind is
//! told by its first bytes, not by its name. What a network looks like that is only weights is `arch`'s business.

mod metadata;
pub mod nnef;
pub mod onnx;
mod relatives;
pub mod tensors;
pub mod torch;

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use tract_nnef::internal::TypedModel;

use self::onnx::quantized::{self, QuantizedLayer};
use self::tensors::{Metadata, Tensors};
use super::arch::Resnet;
use super::error::ModelError;
use super::layers::Kind;
use super::{foreign, lower, save};
use crate::bundle::{
    Bundle, FORMAT, Manifest, Provenance, Quantization, check_preprocessing, faulty_label,
};
use crate::infer::EngineError;
use crate::kernels::Backend;
use crate::plain_file;
use crate::spec::{Activation, Preprocessing};

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
    if tensors::are_safetensors(bytes) {
        tensors::read(path, bytes)
    } else if torch::is_torch(bytes) {
        torch::read(path, bytes)
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
    /// What nobody said of the preprocessing, by the names of the flags: ImageNet's customs.
    pub assumed: Vec<&'static str>,
    /// It came as weights alone, which do not say what lies between them.
    pub weights_alone: bool,
    /// What no int8 operator covers, and tract will run in float also once the bundle is quantized.
    pub float_layers: Vec<FloatLayer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatLayer {
    pub name: String,
    pub operator: String,
    pub reason: String,
}

/// A file to a float bundle.
///
/// # Errors
/// If it is not readable as a ResNet, or labels and classes do not match.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ModelError> {
    let bytes = plain_file::read(path, MAX_WEIGHTS).map_err(|error| ModelError::Read {
        path: path.to_owned(),
        error,
    })?;
    let sha256 = hex(&Sha256::digest(&bytes));
    let weights_alone = tensors::are_safetensors(&bytes) || torch::is_torch(&bytes);
    let read = if weights_alone {
        from_weights(path, bytes, options)?
    } else if nnef::is_archive(&bytes) {
        from_archive(path, bytes, options)?
    } else {
        from_graph(path, bytes, options)?
    };
    let source = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let float_layers = match read.quantized {
        true => read.left_in_float,
        false => float_layers(&read.graph)?,
    };
    let manifest = Manifest {
        format: FORMAT,
        name: options.name.clone(),
        arch: read.arch,
        labels: read.labels,
        preprocessing: read.preprocessing,
        activation: read.activation,
        quantization: read.quantized.then(|| Quantization {
            method: "as it came".into(),
            calibration: source.clone(),
            images: 0,
        }),
        provenance: Provenance {
            source: options.source.clone().unwrap_or(source),
            sha256: Some(sha256),
            tool: save::tool(),
        },
        accuracy: None,
        confidence: None,
        checksum: String::new(),
    };
    Ok(Imported {
        float_layers,
        weights_alone,
        bundle: save::bundle(path, read.graph, manifest)?,
        imagenet_labels: read.imagenet_labels,
        assumed: read.assumed,
    })
}

fn float_layers(graph: &TypedModel) -> Result<Vec<FloatLayer>, ModelError> {
    let layers = lower::layers(graph)?.into_iter();
    let floats = layers.filter_map(|layer| match layer.kind {
        Kind::Float(float) => Some(FloatLayer {
            name: layer.name,
            operator: float.op.name().into_owned(),
            reason: float.reason,
        }),
        _ => None,
    });
    Ok(floats.collect())
}

/// What every kind of file comes down to.
struct Network {
    graph: TypedModel,
    arch: String,
    labels: Vec<String>,
    imagenet_labels: bool,
    preprocessing: Preprocessing,
    assumed: Vec<&'static str>,
    activation: Activation,
    /// It came so; then the graph is one of our operators, but for these layers.
    quantized: bool,
    left_in_float: Vec<FloatLayer>,
}

fn from_weights(path: &Path, bytes: Vec<u8>, options: &Options) -> Result<Network, ModelError> {
    let (tensors, metadata) = tensors_of(path, &bytes)?;
    drop(bytes);
    let metadata = options.with_beside(path, metadata)?;
    relatives::check(&metadata)?;
    let net = Resnet::from_tensors(tensors)?;
    let (labels, imagenet_labels) = labels(options, &metadata, net.classes())?;
    let preprocessing = options.preprocessing(&metadata)?;
    let activation = options.activation(None, net.classes())?;
    Ok(Network {
        graph: net.to_graph(preprocessing.crop as usize)?,
        arch: net.arch(),
        labels,
        imagenet_labels,
        assumed: options.assumed(&metadata),
        preprocessing,
        activation,
        quantized: false,
        left_in_float: Vec::new(),
    })
}

fn from_graph(path: &Path, bytes: Vec<u8>, options: &Options) -> Result<Network, ModelError> {
    if let Some(kind) = foreign::kind(&bytes) {
        let path = path.to_owned();
        return Err(ModelError::Foreign { path, kind });
    }
    let bad = refused(path);
    let mut file = onnx::open(path, &bytes).map_err(bad)?;
    drop(bytes);
    if options.as_float {
        file.unround().map_err(bad)?;
    }
    let metadata = options.with_beside(path, file.metadata.clone())?;
    let preprocessing = options.preprocessing(&metadata)?;
    if file.is_quantized() {
        return from_integers(path, &file, (options, &metadata), preprocessing);
    }
    let read = file.network(preprocessing.crop as usize).map_err(bad)?;
    from_floats(read, options, preprocessing, &metadata)
}

fn from_archive(path: &Path, bytes: Vec<u8>, options: &Options) -> Result<Network, ModelError> {
    let bad = refused(path);
    let file = nnef::open(path, &bytes)?;
    drop(bytes);
    let metadata = Metadata::from([("crop".to_owned(), file.size.to_string())]);
    let preprocessing = options.preprocessing(&metadata)?;
    if preprocessing.crop as usize != file.size {
        let size = file.size;
        return Err(bad(onnx::OnnxError::Graph(format!(
            "it was made for pictures of {size}x{size}; leave --crop away"
        ))));
    }
    let read = file.network().map_err(bad)?;
    from_floats(read, options, preprocessing, &metadata)
}

/// What is wrong with a graph, with the file's name.
fn refused(path: &Path) -> impl Fn(onnx::OnnxError) -> ModelError + Copy {
    move |error| ModelError::Onnx {
        path: path.to_owned(),
        error,
    }
}

/// A float graph with what the file says beside it.
fn from_floats(
    read: onnx::Imported,
    options: &Options,
    mut preprocessing: Preprocessing,
    metadata: &Metadata,
) -> Result<Network, ModelError> {
    if let Some(normalization) = read.normalization {
        if options.mean.is_none() && !metadata.contains_key("mean") {
            return Err(ModelError::Preprocessing(OWN_NORMALIZATION.into()));
        }
        preprocessing = absorbed(&preprocessing, normalization)?;
    }
    let (labels, imagenet_labels) = labels(options, metadata, read.classes)?;
    let activation = options.activation(read.activation, read.classes)?;
    Ok(Network {
        graph: read.graph,
        arch: read.arch,
        labels,
        imagenet_labels,
        assumed: options.assumed(metadata),
        preprocessing,
        activation,
        quantized: false,
        left_in_float: Vec::new(),
    })
}

/// A network that came quantized, with the file's own scales.
fn from_integers(
    path: &Path,
    file: &onnx::File,
    (options, metadata): (&Options, &Metadata),
    preprocessing: Preprocessing,
) -> Result<Network, ModelError> {
    let bad = |error| match file.keeps_floats() {
        true => ModelError::Rounded {
            path: path.to_owned(),
            error,
        },
        false => refused(path)(error),
    };
    let read = file.quantized(preprocessing.crop as usize).map_err(bad)?;
    if read.clipped() > 0 {
        let (path, clipped) = (path.display(), read.clipped());
        log::warn!(
            "{path}: {clipped} weights are -128, which the kernels do not have, and became -127"
        );
    }
    let backend = Backend::selected().map_err(EngineError::from)?;
    let graph = read.graph(&preprocessing, backend);
    let graph = graph.map_err(|(name, reason)| {
        bad(onnx::OnnxError::Node {
            name: onnx::shown(&name),
            op: "quantized".into(),
            reason,
        })
    })?;
    let classes = read.layers.last().map_or(0, |l| l.shape[0]);
    let (labels, imagenet_labels) = labels(options, metadata, classes)?;
    let activation = options.activation(read.activation, classes)?;
    Ok(Network {
        graph,
        arch: onnx::quantized_arch(&read),
        labels,
        imagenet_labels,
        assumed: options.assumed(metadata),
        preprocessing,
        activation,
        quantized: true,
        left_in_float: read.floats().map(left_in_float).collect(),
    })
}

fn left_in_float(layer: &QuantizedLayer) -> FloatLayer {
    let operator = match &layer.kind {
        quantized::Kind::GlobalAverage => "GlobalAveragePool",
        _ if layer.shape[1..] == [1, 1] => "Gemm",
        _ => "Conv",
    };
    FloatLayer {
        name: layer.name.clone(),
        operator: operator.into(),
        reason: "the file leaves it in float".into(),
    }
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
    if let Some((label, fault)) = faulty_label(&labels) {
        return Err(ModelError::Label {
            label: onnx::shown(label),
            fault,
        });
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
