//! `resnetd-model teach`: new labels for a bundle, from a folder of pictures.

use std::fmt::Write as _; // into a String, which cannot fail
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use serde_json::json;

use crate::cli::Failure;
use crate::lesson::{self, LessonError, Request};
use crate::model::eval::share;
use crate::model::teach::{self, Lesson, Taught};

/// Teach a bundle new labels from a few pictures of each.
///
/// Only the last layer is learned, so it takes about as long as classifying every picture twice. Each picture is then
/// judged by a last layer that was taught without it: these are the figures that are shown.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model teach --base resnet50.nnef.tar birds/ -o birds.nnef.tar
  resnetd-model teach --base resnet50.nnef.tar --multi-label garden/ -o garden.nnef.tar
  resnetd classify --model birds.nnef.tar new.jpg
  resnetd-model teach --request /var/lib/resnetd/teach/request.json

birds/ holds one folder per label: birds/robin/1.jpg, birds/magpie/a.png, ... Twenty different pictures of each are
a good start, taken with the camera and in the light that the label is for. A folder `nothing` is a label like others.

With --multi-label a picture may show several things, or none: copy or link it (`ln`, `ln -s`) into the folder of each
label that it has; files with the same picture count as one with all their labels. Pictures of none lie in birds/ itself.

Pictures that are nearly the same are found and kept together when the figures are measured. Files that are no pictures
are skipped, up to one in ten. The same base and folder give the same bundle, byte for byte. See docs/TEACHING.md.")]
pub struct Args {
    /// The folder with one folder per label.
    #[arg(required_unless_present = "request")]
    folder: Option<PathBuf>,
    /// The int8 bundle to start from; it is not changed.
    #[arg(long, value_name = "BUNDLE", required_unless_present = "request")]
    base: Option<PathBuf>,
    /// Where the new bundle goes.
    #[arg(
        short,
        long,
        value_name = "BUNDLE",
        required_unless_present = "request"
    )]
    out: Option<PathBuf>,
    /// All of that as the page of `resnetd` has asked for it, which gets the answer; nothing if it has not.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["folder", "base", "out", "multi_label"])]
    request: Option<PathBuf>,
    /// A picture may have several labels, or none; each is scored for itself.
    #[arg(long)]
    multi_label: bool,
    /// One JSON object: `top1` and `top5` as fractions, `images`, `classes` with precision and recall, `warnings`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        match (&self.request, &self.base, &self.folder, &self.out) {
            (Some(request), ..) => self.answer(request),
            (None, Some(base), Some(folder), Some(out)) => {
                self.learn((base, folder, out)).map(drop)
            }
            _ => Err(Failure::Internal(
                "the parser lets through what it must not".into(),
            )),
        }
    }

    /// Does what the page has asked for, and leaves the answer where it looks.
    fn answer(&self, request: &Path) -> Result<(), Failure> {
        let failed = |error: LessonError| Failure::Input(error.to_string());
        let Some(taken) = lesson::take(request).map_err(failed)? else {
            log::info!("{}: nothing is asked for", request.display());
            return Ok(());
        };
        let Request {
            base,
            folder,
            bundle,
        } = &taken.request;
        let outcome = self.learn((base, folder, bundle));
        let said = match &outcome {
            Ok(taught) => Ok(json(taught)),
            Err(failure) => Err(failure.to_string()),
        };
        taken.end(said).map_err(failed)?;
        outcome.map(drop)
    }

    fn learn(&self, (base, folder, out): (&Path, &Path, &Path)) -> Result<Taught, Failure> {
        super::keep_apart(base, out)?;
        let started = Instant::now();
        let taught = teach::teach(Lesson {
            base,
            folder,
            name: super::name_of(out),
            several: self.multi_label,
        })?;
        for warning in &taught.warnings {
            log::warn!("{warning}");
        }
        taught.bundle.write(out)?;
        self.show(&taught, out, started)?;
        Ok(taught)
    }

    fn show(&self, taught: &Taught, bundle: &Path, started: Instant) -> Result<(), Failure> {
        if self.json {
            return super::show(format_args!("{}\n", json(taught)));
        }
        let mut out = table(taught, self.multi_label);
        let seconds = started.elapsed().as_secs_f64();
        let _ = writeln!(
            out,
            "\n{}: {} labels, learned in {seconds:.1} s",
            bundle.display(),
            taught.bundle.manifest.labels.len()
        );
        super::show(out)
    }
}

fn json(taught: &Taught) -> serde_json::Value {
    let report = &taught.report;
    json!({
        "top1": share(report.first, report.labelled),
        "top5": share(report.among_five, report.labelled),
        "exact": share(report.exact, report.pictures),
        "images": report.pictures,
        "skipped": taught.skipped,
        "folds": taught.folds,
        "strength": taught.strength,
        "changed_by_rounding": taught.changed_by_rounding,
        "classes": report.classes.iter().map(|c| json!({
            "label": c.label, "images": c.pictures,
            "precision": c.precision(), "recall": c.recall(),
        })).collect::<Vec<_>>(),
        "confused": report.confused.iter().map(|c| json!({
            "label": c.label, "given": c.given, "images": c.pictures,
        })).collect::<Vec<_>>(),
        "warnings": taught.warnings,
    })
}

fn table(taught: &Taught, several: bool) -> String {
    let report = &taught.report;
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let names = report.classes.iter().map(|c| c.label.chars().count());
    let width = names.max().unwrap_or(0).max("label".len());
    let mut out = format!(
        "{:width$}{:>10}{:>12}{:>10}\n",
        "label", "pictures", "precision", "recall"
    );
    for c in &report.classes {
        let precision = c.precision().map_or("-".into(), percent);
        let _ = writeln!(
            out,
            "{:width$}{:>10}{precision:>12}{:>10}",
            c.label,
            c.pictures,
            percent(c.recall())
        );
    }
    let _ = writeln!(
        out,
        "\n{:>8} pictures, {} files skipped, {}-fold cross-validation",
        report.pictures, taught.skipped, taught.folds
    );
    let mut line = |share: f64, what: &str| {
        let _ = writeln!(out, "{:>8} {what}", percent(share));
    };
    if several {
        line(
            share(report.exact, report.pictures),
            "given exactly their labels",
        );
    }
    line(share(report.first, report.labelled), "top-1");
    if report.classes.len() > 5 {
        line(share(report.among_five, report.labelled), "top-5");
    }
    let _ = writeln!(
        out,
        "{:>8} given another label by rounding to 8 bits",
        taught.changed_by_rounding
    );
    if !report.confused.is_empty() {
        out.push_str("\nmost often mistaken:\n");
    }
    for c in report.confused.iter().take(5) {
        let _ = writeln!(out, "{:>8} of {} called {}", c.pictures, c.label, c.given);
    }
    out
}
