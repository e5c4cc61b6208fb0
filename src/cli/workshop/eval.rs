//! `resnetd-model eval`: how often a bundle is right.

use std::fmt::Write as _; // into a String, which cannot fail
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::json;

use super::curve::{self, Series};
use super::judgement;
use crate::cli::Failure;
use crate::model::cascade::{self, Step};
use crate::model::confidence::{self, Fitted};
use crate::model::dataset::Dataset;
use crate::model::eval::{self, Evaluation, share};

/// Measure a bundle on labelled pictures: top-1, top-5 and a confusion table.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model eval resnet50.nnef.tar photographs/
  resnetd-model eval resnet50.nnef.tar val.tar --against resnet50-float.nnef.tar
  resnetd-model eval resnet50.nnef.tar val.tar --write
  resnetd-model eval resnet50.nnef.tar val.tar --fit-temperature --write
  resnetd-model eval resnet50.nnef.tar val.tar --plot judgement.svg
  resnetd-model eval resnet50.nnef.tar val.tar --cascade resnet101.nnef.tar --plot cascade.svg

Each folder of the pictures is a class: all named like labels, or none of them and as many as labels, in their order.")]
pub struct Args {
    bundle: PathBuf,
    /// A folder of folders, or a tar archive of one.
    #[arg(value_name = "FOLDER|TAR")]
    data: PathBuf,
    /// Another bundle: how often do both give the same label?
    #[arg(long, value_name = "BUNDLE")]
    against: Option<PathBuf>,
    /// A better bundle that is asked where this one is not sure: what accuracy at what cost?
    #[arg(long, value_name = "BUNDLE", conflicts_with = "against")]
    cascade: Option<PathBuf>,
    /// Draw what accuracy at what cost, with --cascade; else which labels are taken for which, and whether the network
    /// is as often right as it is sure (SVG).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// One JSON object: `top1` and `top5` as fractions, `images`, `predicted` (each picture's class, in the order of their
    /// names; without those that were `skipped`).
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
            .or(self.cascade.as_ref())
            .map(|path| eval::evaluate(path, &set))
            .transpose()?;
        let fitted = self
            .fit_temperature
            .then(|| confidence::fit(&found.answers));
        let agreement = other.as_ref().map(|o| agreement(&found, o));
        if self.write {
            eval::write(&self.bundle, &found, fitted.as_ref(), &set)?;
        }
        let steps = match (&self.cascade, &other) {
            (Some(path), Some(second)) => self.cascade_steps(path, &found, second, fitted)?,
            _ => Vec::new(),
        };
        if let (Some(path), None) = (&self.plot, &self.cascade) {
            super::write(path, judgement(&found, fitted).as_bytes())?;
        }
        if self.json {
            return super::show(format_args!(
                "{}\n",
                json!({
                    "top1": found.top1, "top5": found.top5, "images": found.images,
                    "skipped": found.skipped, "confusion": found.confusion, "predicted": found.predicted,
                    "confidence": fitted.map(|f| json!({
                        "temperature": f.temperature, "error_before": f.before, "error": f.after,
                    })),
                    "against": other.map(|o| json!({
                        "top1": o.top1, "top5": o.top5, "agreement": agreement,
                    })),
                    "cascade": self.cascade.is_some().then(|| json_of(&steps)),
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
        if !steps.is_empty() {
            out.push_str(&table(&steps, found.answers.len() / 2));
        }
        if let (Some(o), Some(agreement), Some(path)) = (other, agreement, self.against) {
            let _ = writeln!(out, "{:>8.2} % top-1 of {}", o.top1 * 100.0, path.display());
            let _ = writeln!(out, "{:>8.2} % the same label", agreement * 100.0);
        }
        super::show(out)
    }

    /// The bundle with a better one behind it.
    fn cascade_steps(
        &self,
        path: &Path,
        first: &Evaluation,
        second: &Evaluation,
        fitted: Option<Fitted>,
    ) -> Result<Vec<Step>, Failure> {
        if first.labels != second.labels {
            return Err(Failure::Model(format!(
                "{} and {} have different labels; a cascade is of two that say the same",
                self.bundle.display(),
                path.display()
            )));
        }
        let temperature = fitted
            .map(|fitted| fitted.temperature)
            .or(first.temperature);
        if temperature.is_none() {
            log::warn!("how sure it may be is not known; --fit-temperature finds it out");
        }
        let steps = cascade::curve(first, second, temperature.unwrap_or(1.0));
        if let Some(path) = &self.plot {
            super::write(path, picture(&steps, first.answers.len() / 2).as_bytes())?;
        }
        Ok(steps)
    }
}

fn json_of(steps: &[Step]) -> serde_json::Value {
    let round = |v: f64| (v * 1e4).round() / 1e4;
    let step = |step: &Step| {
        json!({
            "below": step.below.min(1.0), "asked": round(step.asked), "top1": round(step.top1),
            "macs": step.macs.round(),
        })
    };
    steps.iter().map(step).collect()
}

fn table(steps: &[Step], pictures: usize) -> String {
    let most = steps.last().map_or(1.0, |alone| alone.macs);
    let mut out = format!(
        "\n{:>12}{:>10}{:>10}{:>16}{:>10}\n",
        "asked below", "asked", "top-1", "multiply-adds", "share"
    );
    for step in steps {
        let below = match step.below {
            below if below <= 0.0 => "never".into(),
            below if below > 1.0 => "always".into(),
            below => format!("{:.1} %", below * 100.0),
        };
        let _ = writeln!(
            out,
            "{below:>12}{:>8.1} %{:>8.2} %{:>14.2} G{:>8.1} %",
            step.asked * 100.0,
            step.top1 * 100.0,
            step.macs / 1e9,
            100.0 * step.macs / most
        );
    }
    let _ = writeln!(
        out,
        "on {pictures} pictures to which no temperature was fitted"
    );
    let _ = match cascade::cheapest(steps) {
        Some(step) => writeln!(
            out,
            "as many right answers as the better one alone for {:.0} % of its multiply-adds",
            100.0 * step.macs / most
        ),
        None => writeln!(out, "no bar gives the better one's accuracy for less"),
    };
    out
}

fn picture(steps: &[Step], pictures: usize) -> String {
    let point = |step: &Step| (step.macs / 1e9, step.top1);
    let (alone, cascades) = match steps.split_last() {
        Some((alone, cascades)) => (vec![point(alone)], cascades),
        None => (Vec::new(), steps),
    };
    let series = [
        Series {
            name: "the right label, together",
            points: cascades.iter().map(point).collect(),
        },
        Series {
            name: "the better one alone",
            points: alone,
        },
    ];
    curve::draw(&format!("of {pictures} pictures"), &series)
}

/// As sure as it says it is, where that was found out, of pictures that were not used for it.
fn judgement(found: &Evaluation, fitted: Option<Fitted>) -> String {
    let temperature = fitted
        .map(|fitted| fitted.temperature)
        .or(found.temperature);
    let (first, step) = if fitted.is_some() { (1, 2) } else { (0, 1) };
    let answers = found.answers.iter().skip(first).step_by(step);
    judgement::draw(
        found,
        &confidence::bins(answers, temperature.unwrap_or(1.0)),
    )
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
