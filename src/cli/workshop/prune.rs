//! `resnetd-model prune`: a smaller float bundle, and what each step towards it costs.

use std::fmt::Write as _; // into a String, which cannot fail
use std::path::PathBuf;

use clap::Parser;
use serde_json::json;

use super::curve::{self, Series};
use crate::cli::Failure;
use crate::model::dataset::Dataset;
use crate::model::error::ModelError;
use crate::model::export;
use crate::model::prune::{self, Outcome, Point, Target};

/// Make a float bundle smaller: remove the channels and blocks that matter least.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model prune resnet50-float.nnef.tar --calib train.tar --target-macs 3.0G -o smaller-float.nnef.tar
  resnetd-model prune resnet101-float.nnef.tar --calib photographs/ --like resnet50 --curve curve.svg -o r101-float.nnef.tar
  resnetd-model prune big-float.nnef.tar --calib train.tar --target-macs 2G --safetensors small.safetensors -o small-float.nnef.tar

What is written is an ordinary float bundle: quantize it next. Channels go inside residual blocks only and stay
multiples of 16. The remaining weights are fitted to the pictures, but nothing is trained: far targets lose accuracy
that only training wins back. For that --safetensors writes weights with torchvision's names.

The table shows some points on the way, each with the share of held-out pictures that get the original's label and,
where the folders are the labels' as for `eval`, of those that get the right one.")]
pub struct Args {
    /// The float bundle.
    bundle: PathBuf,
    /// Pictures like those that the network will see: a folder of them or of folders of them, or a tar archive of one.
    #[arg(long, value_name = "FOLDER|TAR")]
    calib: PathBuf,
    #[command(flatten)]
    goal: Goal,
    /// Where the smaller bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
    /// Draw accuracy against cost.
    #[arg(long, value_name = "FILE.svg")]
    curve: Option<PathBuf>,
    /// Write the weights for training, too.
    #[arg(long, value_name = "FILE")]
    safetensors: Option<PathBuf>,
    /// One JSON object: `points` with `macs`, `params`, `blocks`, `agreement` and `top1` as fractions.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Goal {
    /// Multiply-adds for one picture: 2.0G, 350M, or a plain number.
    #[arg(long, value_name = "MACS", value_parser = macs)]
    target_macs: Option<u64>,
    /// As many multiply-adds as a published network has for the same pictures and labels.
    #[arg(long, value_name = "ARCH")]
    like: Option<String>,
}

impl Goal {
    fn target(self) -> Target {
        match self.like {
            Some(name) => Target::Like(name),
            None => Target::Macs(self.target_macs.unwrap_or(0)),
        }
    }
}

fn macs(text: &str) -> Result<u64, &'static str> {
    let wrong = "a number is needed, as in 2.0G, 350M or 2000000000";
    let (number, unit) = match text.strip_suffix(['G', 'g', 'M', 'm']) {
        Some(number) if text.ends_with(['G', 'g']) => (number, 1e9),
        Some(number) => (number, 1e6),
        None => (text, 1.0),
    };
    let value = number.trim().parse::<f64>().map_err(|_| wrong)? * unit;
    if !(1.0..1e15).contains(&value) {
        return Err(wrong);
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 1 to 1e15
    Ok(value.round() as u64)
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        super::keep_apart(&self.bundle, &self.out)?;
        let set = Dataset::open_loose(&self.calib)?;
        let name = super::name_of(&self.out);
        let found = prune::prune(&self.bundle, &set, &self.goal.target(), name)?;
        if let Some(path) = &self.safetensors {
            super::write(
                path,
                &export::safetensors(&found.layers, &found.spread, &found.bundle.manifest)?,
            )?;
        }
        if let Some(path) = &self.curve {
            super::write(path, picture(&found).as_bytes())?;
        }
        found.bundle.write(&self.out).map_err(ModelError::from)?;
        if self.json {
            return super::show(format_args!("{}\n", json(&found)));
        }
        let arch = &found.bundle.manifest.arch;
        super::show(format_args!(
            "{}{}: {arch}, float\n",
            table(&found),
            self.out.display()
        ))
    }
}

/// The way to the target.
fn picture(found: &Outcome) -> String {
    #[allow(clippy::cast_precision_loss)] // a place in a picture
    let giga = |p: &Point| p.macs as f64 / 1e9;
    let same = found.points.iter().map(|p| (giga(p), p.agreement));
    let right = found.points.iter().filter_map(|p| Some((giga(p), p.top1?)));
    let mut series = vec![Series {
        name: "the original's label",
        points: same.collect(),
    }];
    if found.points.iter().any(|p| p.top1.is_some()) {
        series.push(Series {
            name: "the right label",
            points: right.collect(),
        });
    }
    let title = format!("of {} held-out pictures", found.held_out);
    curve::draw(&title, &series)
}

fn json(found: &Outcome) -> serde_json::Value {
    let round = |v: f64| (v * 1e4).round() / 1e4;
    let point = |p: &Point| {
        json!({
            "macs": p.macs, "params": p.params, "blocks": p.blocks,
            "agreement": round(p.agreement), "top1": p.top1.map(round),
        })
    };
    json!({
        "arch": found.bundle.manifest.arch,
        "points": found.points.iter().map(point).collect::<Vec<_>>(),
        "calibrated": found.calibrated,
        "images": found.held_out,
        "skipped": found.skipped,
    })
}

fn table(found: &Outcome) -> String {
    let mut out = format!(
        "{:>14}{:>8}{:>14}{:>8}{:>13}{:>9}\n",
        "multiply-adds", "share", "parameters", "blocks", "same label", "top-1"
    );
    let whole = found.points.first().map_or(1, |p| p.macs);
    for p in &found.points {
        let top1 = p.top1.map_or("-".into(), |v| format!("{:.2} %", v * 100.0));
        let _ = writeln!(
            out,
            "{:>14}{:>6.1} %{:>14}{:>8}{:>11.2} %{top1:>9}",
            prune::giga(p.macs),
            percent(p.macs, whole),
            p.params,
            p.blocks,
            p.agreement * 100.0
        );
    }
    let _ = writeln!(
        out,
        "measured on {} pictures, compared on {} others; {} skipped",
        found.calibrated, found.held_out, found.skipped
    );
    out
}

#[allow(clippy::cast_precision_loss)] // for people
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiply_adds_are_read_with_and_without_a_unit() {
        assert_eq!(macs("2.0G"), Ok(2_000_000_000));
        assert_eq!(macs("350M"), Ok(350_000_000));
        assert_eq!(macs("12345"), Ok(12345));
        for wrong in ["", "G", "-1G", "nan", "inf", "0", "2T", "1e300G"] {
            assert!(macs(wrong).is_err(), "{wrong}");
        }
    }
}
