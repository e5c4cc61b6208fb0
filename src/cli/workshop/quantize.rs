//! `resnetd-model quantize`: a float bundle to an int8 one.

use std::path::PathBuf;

use clap::Parser;

use crate::bundle::Bundle;
use crate::cli::Failure;
use crate::infer::registry::OPERATORS;
use crate::model::dataset::Dataset;
use crate::model::error::ModelError;
use crate::model::quantize;

/// Quantize a float bundle to 8 bits, its activation ranges measured on pictures.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model quantize resnet50-float.nnef.tar --calib photographs/ -o resnet50.nnef.tar
  resnetd-model quantize resnet50-float.nnef.tar --calib train.tar --report -o resnet50.nnef.tar")]
pub struct Args {
    /// The float bundle.
    bundle: PathBuf,
    /// Pictures like those that the network will see: a folder of folders, or a tar archive of one.
    #[arg(long, value_name = "FOLDER|TAR")]
    #[arg(required_unless_present = "data_free")]
    calib: Option<PathBuf>,
    /// Measure ranges on made-up pictures: less accurate, for whoever has no others.
    #[arg(long, conflicts_with_all = ["calib", "report", "keep_float"])]
    data_free: bool,
    /// Compare all recipes, on many pictures that are not used for calibration.
    #[arg(long)]
    report: bool,
    /// A layer that is to stay float, as `resnetd inspect` names it; may be given several times.
    #[arg(long, value_name = "LAYER")]
    keep_float: Vec<String>,
    /// Where the int8 bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let name = super::name_of(&self.out);
        let (report, bundle) = match &self.calib {
            Some(calib) => {
                let set = Dataset::open(calib)?;
                let mut calibrated = quantize::Calibrated::measure(&self.bundle, &set)?;
                calibrated.keep_float(&self.keep_float)?;
                let compared = calibrated.compare(&set, !self.report)?;
                let report = self.report.then(|| compared.to_string());
                (report, calibrated.bundle(compared.best(), name)?)
            }
            None => {
                let mut float = Bundle::open(&self.bundle, OPERATORS).map_err(ModelError::from)?;
                float.manifest.name = name;
                (None, quantize::data_free(&float)?)
            }
        };
        bundle.write(&self.out)?;
        let how = bundle.manifest.quantization.as_ref();
        let how = how.map_or_else(String::new, |q| {
            format!("{} on {} pictures", q.method, q.images)
        });
        super::show(format_args!(
            "{}{}: int8, {how}\n",
            report.unwrap_or_default(),
            self.out.display(),
        ))
    }
}
