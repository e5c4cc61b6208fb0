//! `resnetd-model import`: somebody's weights to a float bundle.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cli::Failure;
use crate::model::error::ModelError;
use crate::model::import::{self, FloatLayer, Imported, Options};
use crate::plain_file;
use crate::spec::Interpolation;

/// Larger files are no lists of labels.
const LARGEST_LABELS: u64 = 1 << 20;

/// Read a network (ONNX, or weights as safetensors or PyTorch's .pth) and write a bundle of it.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model import resnet50.safetensors -o resnet50-float.nnef.tar
  resnetd-model import checkpoint.pth --labels labels.txt --resize 232 --crop 224 -o mine.nnef.tar
  resnetd-model import exported.onnx --labels labels.txt -o exported.nnef.tar

What kind a file is follows from its bytes. Weights have torchvision's or timm's names; of an ONNX file every
operator must be one of a ResNet's, and a float bundle is compared with the file before it is written. One that
is quantized already (QDQ or QOperator) keeps its own scales and becomes an int8 bundle. QDQ files that round what
no operator here does (some quantization-aware trainers leave shortcuts in float) are read --as-float, which leaves
their roundings out.

Labels, sizes, filter, mean and std are taken from the flags, else from the file's metadata or timm's
config.json beside it, else they are ImageNet's customs (resize 256, crop 224; its labels where there are
1000 classes). Of a .pth file only tensors are read; nothing that is pickled in it is called.")]
pub struct Args {
    /// The network or its weights.
    file: PathBuf,
    /// Where the bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
    /// A text file with one label a line (up to 256 bytes), in the order of the network's outputs.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The shorter side after resizing, in pixels.
    #[arg(long)]
    resize: Option<u32>,
    /// The side of the square cut from the middle: the network's input, in pixels.
    #[arg(long)]
    crop: Option<u32>,
    /// The filter that resizes: bilinear or bicubic.
    #[arg(long, value_name = "FILTER", value_parser = interpolation)]
    interpolation: Option<Interpolation>,
    /// Mean of each channel, of values from 0 to 1.
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    mean: Option<[f32; 3]>,
    /// Standard deviation of each channel.
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    std: Option<[f32; 3]>,
    /// The network was trained on B, G, R.
    #[arg(long)]
    bgr: bool,
    /// Each label is scored for itself (sigmoid); so is a single output anyway, unless the file says otherwise.
    #[arg(long)]
    multi_label: bool,
    /// Of a quantized file (QDQ) the float network that it rounds, to be quantized anew.
    #[arg(long)]
    as_float: bool,
}

fn triple(text: &str) -> Result<[f32; 3], &'static str> {
    import::triple(text).ok_or("three numbers are needed, as in 0.485,0.456,0.406")
}

fn interpolation(text: &str) -> Result<Interpolation, &'static str> {
    import::interpolation(text).ok_or("bilinear or bicubic is possible")
}

/// One label a line.
pub(super) fn labels(path: &Path) -> Result<Vec<String>, ModelError> {
    let text = plain_file::read_text(path, LARGEST_LABELS).map_err(|error| ModelError::Read {
        path: path.into(),
        error,
    })?;
    // some editors begin a text with a mark of its encoding
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().map(str::trim);
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let labels = self.labels.as_deref().map(labels);
        let options = Options {
            name: super::name_of(&self.out),
            labels: labels.transpose()?,
            resize: self.resize,
            crop: self.crop,
            interpolation: self.interpolation,
            mean: self.mean,
            std: self.std,
            bgr: self.bgr,
            multi_label: self.multi_label,
            as_float: self.as_float,
            ..Options::default()
        };
        super::keep_apart(&self.file, &self.out)?;
        let imported = import::import(&self.file, &options)?;
        imported.bundle.write(&self.out)?;
        super::show(format_args!(
            "{}: {}\n{}{}{}",
            self.out.display(),
            described(&imported),
            assumed(&imported),
            structure(&imported),
            slow(&imported.float_layers)
        ))
    }
}

/// What was taken for granted of the preprocessing.
fn assumed(imported: &Imported) -> String {
    if imported.assumed.is_empty() {
        return String::new();
    }
    let p = &imported.bundle.manifest.preprocessing;
    let list = |v: [f32; 3]| format!("{},{},{}", v[0], v[1], v[2]);
    let value = |key: &str| match key {
        "resize" => p.resize.to_string(),
        "crop" => p.crop.to_string(),
        "interpolation" => "bilinear".into(),
        "mean" => list(p.mean),
        _ => list(p.std),
    };
    let flags = imported
        .assumed
        .iter()
        .map(|key| format!(" --{key} {}", value(key)));
    let flags: String = flags.collect();
    format!("the file does not say how its pictures were prepared; taken as usual:{flags}\n")
}

/// What was taken for granted of the network.
fn structure(imported: &Imported) -> &'static str {
    match imported.weights_alone {
        true => {
            "weights do not say what lies between them; taken as torchvision has it: ReLU, a 3x3 max pool, strides in the 3x3 \
            convolutions, epsilon 1e-5 (an ONNX file says it itself, and the bundle is compared with it)\n"
        }
        false => "",
    }
}

/// Which layers will not be int8, and why.
pub(super) fn slow(layers: &[FloatLayer]) -> String {
    const SHOWN: usize = 12;
    if layers.is_empty() {
        return String::new();
    }
    let one = |l: &FloatLayer| format!("  {} ({}): {}\n", l.name, l.operator, l.reason);
    let mut out = format!(
        "{} will run in float also after quantization, through tract and slowly:\n",
        match layers.len() {
            1 => "one layer".to_owned(),
            n => format!("{n} layers"),
        }
    );
    out.extend(layers.iter().take(SHOWN).map(one));
    if layers.len() > SHOWN {
        out += &format!("  and {} more\n", layers.len() - SHOWN);
    }
    out
}

/// Architecture, classes and where the labels come from, in a few words.
pub(super) fn described(imported: &Imported) -> String {
    let m = &imported.bundle.manifest;
    let labels = if imported.imagenet_labels {
        " (no labels were given: ImageNet's names)"
    } else {
        ""
    };
    let precision = if m.quantization.is_some() {
        "int8 as it came"
    } else {
        "float"
    };
    let classes = match m.labels.len() {
        1 => "1 class".to_owned(),
        n => format!("{n} classes"),
    };
    format!("{}, {classes}{labels}, {precision}", m.arch)
}
