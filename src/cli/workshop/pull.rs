//! `resnetd-model pull`: published weights, by their name, to a bundle.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::import::{described, labels, slow};
use crate::bundle::Bundle;
use crate::cli::Failure;
use crate::model::dataset::Dataset;
use crate::model::effort::Effort;
use crate::model::error::ModelError;
use crate::model::import::{self, Options};
use crate::model::{pull, quantize};

/// Fetch published weights by their name and write a bundle.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model pull timm/resnet50.tv2_in1k --calib photographs/ -o imagenet50.nnef.tar
  resnetd-model pull torchvision/resnet101-v2 --float -o imagenet101-float.nnef.tar

Names: torchvision/NETWORK (its newest weights) or torchvision/NETWORK-v1, -v2; OWNER/NAME of the model hub.
What was fetched once is kept and used without a network: the hub's files below $HF_HOME, where Python keeps
them too, torchvision's below $XDG_CACHE_HOME/resnetd. HF_ENDPOINT and RESNETD_TORCHVISION_URL name other
servers. Preprocessing and labels are those that the weights were trained with.")]
pub struct Args {
    /// As in torchvision/resnet50-v2 or timm/resnet50.a1_in1k.
    name: String,
    /// Where the bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
    /// Do not quantize.
    #[arg(long, conflicts_with = "calib")]
    float: bool,
    /// Pictures like those that the network will see, to measure ranges on: a folder of them or of folders of them, or a
    /// tar archive of one.
    #[arg(long, value_name = "FOLDER|TAR")]
    calib: Option<PathBuf>,
    /// A text file with one label a line, in the order of the network's outputs.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let labels = self.labels.as_deref().map(labels).transpose()?;
        let set = self.calib.as_deref().map(Dataset::open_loose).transpose()?;
        let weights = pull::weights(&self.name)?;
        let options = Options {
            name: super::name_of(&self.out),
            labels,
            resize: weights.resize,
            config: weights.config,
            source: Some(self.name.clone()),
            ..Options::default()
        };
        let imported = import::import(&weights.path, &options)?;
        let mut done = described(&imported);
        let mut slow = slow(&imported.float_layers);
        let mut bundle = imported.bundle;
        if !self.float {
            bundle = match &set {
                Some(set) => calibrated(&bundle, set, &self.out)?,
                None => quantize::data_free(&bundle)?,
            };
            let ranges = bundle.manifest.quantization.as_ref();
            let method = ranges.map_or("", |q| q.method.as_str());
            done = format!(
                "{}, int8, ranges by {method}",
                done.trim_end_matches(", float")
            );
            if set.is_none() {
                slow += WITHOUT_PICTURES;
            }
        }
        bundle.write(&self.out)?;
        super::show(format_args!("{}: {done}\n{slow}", self.out.display()))
    }
}

/// How the two ways to find ranges compare: docs/QUANTIZATION.md, "What int8 costs".
const WITHOUT_PICTURES: &str = "\
ranges were measured on made-up pictures; a folder of your own (--calib) is safer. On our photographs a ResNet50 gives
the float network's label on 99.59 % this way, and on 99.73 % with 512 photographs (docs/QUANTIZATION.md)
";

/// Quantized on pictures.
fn calibrated(bundle: &Bundle, set: &Dataset, out: &Path) -> Result<Bundle, ModelError> {
    let measured = quantize::Calibrated::measure_bundle(bundle, set, Effort::WHOLE)?;
    let recipe = measured.compare(set, true)?.best();
    measured.bundle(recipe, super::name_of(out))
}
