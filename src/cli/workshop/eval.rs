//! `resnetd-model eval`: how often a bundle is right.

use std::fmt::Write as _; // into a String, which cannot fail
use std::path::PathBuf;

use clap::Parser;
use serde_json::json;

use crate::cli::Failure;
use crate::model::confidence;
use crate::model::dataset::Dataset;
use crate::model::eval::{self, Evaluation, share};

/// Measure a bundle on labelled pictures: top-1, top-5 and a confusion table.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model eval resnet50.nnef.tar photographs/
  resnetd-model eval resnet50.nnef.tar val.tar --against resnet50-float.nnef.tar
  resnetd-model eval resnet50.nnef.tar val.tar --write
  resnetd-model eval resnet50.nnef.tar val.tar --fit-temperature --write

Each folder of the pictures is a class: named like a label, or as many as labels and in their order.")]
pub struct Args {
    bundle: PathBuf,
    /// A folder of folders, or a tar archive of one.
    #[arg(value_name = "FOLDER|TAR")]
    data: PathBuf,
    /// Another bundle: how often do both give the same label?
    #[arg(long, value_name = "BUNDLE")]
    against: Option<PathBuf>,
    /// One JSON object: `top1` and `top5` as fractions, `images`.
    #[arg(long)]
    json: bool,
    /// Find out by how much the network is too sure of itself, on every second picture.
    #[arg(long)]
    fit_temperature: bool,
    /// Put the accuracy, and the temperature if it was fitted, into the bundle.
    #[arg(long)]
    write: bool,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let set = Dataset::open(&self.data)?;
        let found = eval::evaluate(&self.bundle, &set)?;
        let other = self
            .against
            .as_ref()
            .map(|path| eval::evaluate(path, &set))
            .transpose()?;
        let fitted = self
            .fit_temperature
            .then(|| confidence::fit(&found.answers));
        let agreement = other.as_ref().map(|o| agreement(&found, o));
        if self.write {
            eval::write(&self.bundle, &found, fitted.as_ref(), &set)?;
        }
        if self.json {
            return super::show(format_args!(
                "{}\n",
                json!({
                    "top1": found.top1, "top5": found.top5, "images": found.images,
                    "skipped": found.skipped, "confusion": found.confusion,
                    "confidence": fitted.map(|f| json!({
                        "temperature": f.temperature, "error_before": f.before, "error": f.after,
                    })),
                    "against": other.map(|o| json!({
                        "top1": o.top1, "top5": o.top5, "agreement": agreement,
                    })),
                })
            ));
        }
        let mut out = confusion(&found);
        let _ = writeln!(
            out,
            "{:>8} pictures, {} skipped\n{:>8.2} % top-1\n{:>8.2} % top-5",
            found.images,
            found.skipped,
            found.top1 * 100.0,
            found.top5 * 100.0
        );
        if let Some(f) = fitted {
            let _ = writeln!(
                out,
                "{:>8.3} temperature, fitted to {} of them\n{:>8.2} % calibration error on the others ({:.2} % before)",
                f.temperature,
                f.images,
                f.after * 100.0,
                f.before * 100.0
            );
        }
        if let (Some(o), Some(agreement), Some(path)) = (other, agreement, self.against) {
            let _ = writeln!(out, "{:>8.2} % top-1 of {}", o.top1 * 100.0, path.display());
            let _ = writeln!(out, "{:>8.2} % the same label", agreement * 100.0);
        }
        super::show(out)
    }
}

fn agreement(a: &Evaluation, b: &Evaluation) -> f64 {
    let same = a
        .predicted
        .iter()
        .zip(&b.predicted)
        .filter(|(a, b)| a == b)
        .count();
    share(same, a.predicted.len())
}

/// Rows are the true classes, columns what was predicted. Only where it fits a terminal.
fn confusion(found: &Evaluation) -> String {
    let labels = &found.labels;
    let mut out = String::new();
    if labels.len() > 20 {
        return out;
    }
    let width = labels.iter().map(String::len).max().unwrap_or(0);
    let column = |text: &str| format!("{text:>6.5}");
    let _ = writeln!(
        out,
        "{:width$}{}",
        "",
        labels.iter().map(|l| column(l)).collect::<String>()
    );
    for (label, row) in labels.iter().zip(&found.confusion) {
        let counts: String = row
            .iter()
            .map(|n| {
                if *n == 0 {
                    column(".")
                } else {
                    column(&n.to_string())
                }
            })
            .collect();
        let _ = writeln!(out, "{label:width$}{counts}");
    }
    out.push('\n');
    out
}
