//! `resnetd-model quantize`: a float bundle to an int8 one.

use std::path::PathBuf;

use clap::Parser;

use crate::cli::Failure;
use crate::model::dataset::Dataset;
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
    calib: PathBuf,
    /// Compare the ways to choose ranges, on pictures that are not used for calibration.
    #[arg(long)]
    report: bool,
    /// Where the int8 bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let set = Dataset::open(&self.calib)?;
        let calibrated = quantize::Calibrated::measure(&self.bundle, &set)?;
        let report = if self.report {
            calibrated.report(&set)?
        } else {
            String::new()
        };
        let bundle = calibrated.bundle(quantize::METHOD, super::name_of(&self.out))?;
        bundle.write(&self.out)?;
        super::show(format_args!(
            "{report}{}: int8, ranges by {} on {} pictures\n",
            self.out.display(),
            quantize::METHOD,
            calibrated.images()
        ))
    }
}
