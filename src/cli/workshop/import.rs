//! `resnetd-model import`: somebody's weights to a float bundle.

use std::fs;
use std::path::PathBuf;

use clap::Parser;

use crate::model::error::ModelError;
use crate::model::import::{self, Options};

/// Read weights (safetensors, torchvision's or timm's names) and write a float bundle.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model import resnet50.safetensors -o resnet50-float.nnef.tar
  resnetd-model import mine.safetensors --labels labels.txt --resize 232 --crop 224 -o mine.nnef.tar

Labels, sizes, mean and std are taken from the flags, else from the file's metadata, else they are
ImageNet's customs (resize 256, crop 224).")]
pub struct Args {
    /// The weights.
    file: PathBuf,
    /// Where the bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
    /// A text file with one label a line, in the order of the network's outputs.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The shorter side after resizing, in pixels.
    #[arg(long)]
    resize: Option<u32>,
    /// The side of the square cut from the middle: the network's input, in pixels.
    #[arg(long)]
    crop: Option<u32>,
    /// Mean of each channel, of values from 0 to 1.
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    mean: Option<[f32; 3]>,
    /// Standard deviation of each channel.
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    std: Option<[f32; 3]>,
    /// The network was trained on B, G, R.
    #[arg(long)]
    bgr: bool,
}

fn triple(text: &str) -> Result<[f32; 3], &'static str> {
    import::triple(text).ok_or("three numbers are needed, as in 0.485,0.456,0.406")
}

impl Args {
    pub fn run(self) -> Result<(), ModelError> {
        let labels = self.labels.map(|path| match fs::read_to_string(&path) {
            Ok(text) => Ok(text
                .lines()
                .map(|l| l.trim().to_owned())
                .filter(|l| !l.is_empty())
                .collect()),
            Err(error) => Err(ModelError::Read { path, error }),
        });
        let options = Options {
            name: super::name_of(&self.out),
            labels: labels.transpose()?,
            resize: self.resize,
            crop: self.crop,
            mean: self.mean,
            std: self.std,
            bgr: self.bgr,
        };
        let bundle = import::import(&self.file, &options)?;
        bundle.write(&self.out)?;
        let m = &bundle.manifest;
        println!(
            "{}: {}, {} classes, float",
            self.out.display(),
            m.arch,
            m.labels.len()
        );
        Ok(())
    }
}
