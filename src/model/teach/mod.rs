//! Teaches a bundle new labels from a few pictures of each: its network stays, only the last layer is learned anew,
//! from what the layers before it make of the pictures (Donahue et al., "DeCAF", 2014; Kornblith et al., "Do better
//! ImageNet models transfer better?", 2019).
//!
//! `gather` runs the pictures through the network, `similar` finds those that are nearly the same, `folds` parts them for
//! cross-validation, `fit` learns a head (by `lbfgs`), `validate` tries strengths of regularization on pictures left out,
//! `report` counts how often the head was right on them, `head` rounds it and puts it into the bundle.

mod fit;
mod folds;
mod gather;
mod head;
mod lbfgs;
pub mod report;
mod similar;
mod validate;

use std::path::Path;

use super::error::ModelError;
use super::eval::share;
use crate::bundle::{Accuracy, Bundle};
use crate::spec::Activation;

use gather::Pictures;
use head::Base;
use report::Report;
use similar::Similar;

/// A class with so many times another's pictures is told of.
const IMBALANCE: usize = 10;
/// Of each kind of finding so many are named.
const NAMED: usize = 5;

/// What is to be taught.
pub struct Lesson<'a> {
    /// The int8 bundle whose network sees.
    pub base: &'a Path,
    /// A folder of folders, one per class.
    pub folder: &'a Path,
    /// Of the bundle to be made.
    pub name: String,
    /// Whether a picture may have several labels, or none.
    pub several: bool,
}

/// A bundle that has learned, and how well.
pub struct Taught {
    pub bundle: Bundle,
    pub report: Report,
    /// Pictures that could not be read.
    pub skipped: usize,
    pub folds: usize,
    /// Of regularization, as cross-validation chose it.
    pub strength: f32,
    /// Held-out pictures on which the head, rounded to 8 bits, says something else than before.
    pub changed_by_rounding: usize,
    /// What the pictures' owner should know of them.
    pub warnings: Vec<String>,
}

/// Learns the labels of a folder.
///
/// # Errors
/// If the base is no int8 bundle, too many pictures cannot be read, or there are too few of them.
pub fn teach(lesson: Lesson) -> Result<Taught, ModelError> {
    let base = Base::open(lesson.base)?;
    let activation = if lesson.several {
        Activation::Sigmoid
    } else {
        Activation::Softmax
    };
    let pictures = Pictures::gather(&lesson, &base)?;
    let mut warnings = pictures.warnings.clone();
    warnings.extend(imbalance(&pictures));
    let similar = Similar::find(&pictures.samples);
    warnings.extend(near_duplicates(&pictures, &similar));
    let (folds, count) = folds::split(&pictures.samples, &similar.groups, pictures.labels.len());
    warnings.extend(single_groups(&pictures, &similar));
    let validated = validate::validate(&pictures, (&folds, count), activation, base.input)?;
    let report = Report::of(&pictures, &validated.logits, activation);
    let head = fit::Problem::new(&pictures.all(), pictures.labels.len(), activation)
        .fit(None, validated.strength);
    let changed = report::differing(&validated.float_logits, &validated.logits, activation);
    let mut manifest = base.manifest.clone();
    manifest.provenance.source = format!(
        "{} ({}), taught on {}",
        manifest.name,
        manifest.checksum,
        file_name(lesson.folder)
    );
    manifest.provenance.sha256 = None;
    manifest.provenance.tool = super::save::tool();
    manifest.name = lesson.name;
    manifest.labels.clone_from(&pictures.labels);
    manifest.activation = activation;
    manifest.forget_measured();
    manifest.accuracy = Some(accuracy(&report, lesson.folder, count));
    Ok(Taught {
        bundle: base.with_head(&head, manifest)?,
        report,
        skipped: pictures.skipped,
        folds: count,
        strength: validated.strength,
        changed_by_rounding: changed,
        warnings,
    })
}

fn file_name(path: &Path) -> String {
    let absolute = path.canonicalize();
    let path = absolute.as_deref().unwrap_or(path);
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn accuracy(report: &Report, folder: &Path, folds: usize) -> Accuracy {
    let round = |v: f64| (v * 10_000.0).round() / 10_000.0;
    Accuracy {
        top1: round(share(report.first, report.labelled)),
        top5: round(share(report.among_five, report.labelled)),
        images: report.labelled,
        data: format!("{}, by {folds}-fold cross-validation", file_name(folder)),
    }
}

fn imbalance(pictures: &Pictures) -> Option<String> {
    let counts = pictures.counts();
    let of = |class: &usize| counts[*class];
    let most = (0..counts.len()).max_by_key(of)?;
    let least = (0..counts.len()).min_by_key(of)?;
    (counts[most] > IMBALANCE * counts[least]).then(|| {
        format!(
            "{} has {} pictures, {} only {}: the head will rather say {}; more pictures of the rare classes help most",
            pictures.labels[most],
            counts[most],
            pictures.labels[least],
            counts[least],
            pictures.labels[most]
        )
    })
}

fn near_duplicates(pictures: &Pictures, similar: &Similar) -> Vec<String> {
    let mut found = Vec::new();
    if similar.pictures > 0 {
        found.push(format!(
            "{} of {} pictures are nearly the same as another; they were kept together, so that none is judged by a head that saw its like",
            similar.pictures,
            pictures.samples.len()
        ));
    }
    for &(a, b) in similar.across.iter().take(NAMED) {
        let [a, b] = [a, b].map(|i| pictures.samples[i].name.display());
        found.push(format!(
            "{a} and {b} are nearly the same, but not their labels: one of them may lie in the wrong folder"
        ));
    }
    if similar.across.len() > NAMED {
        let more = similar.across.len() - NAMED;
        found.push(format!("{more} more such pairs with different labels"));
    }
    found
}

/// Classes whose every picture is left out at once: nothing is known of how well they are recognized.
fn single_groups(pictures: &Pictures, similar: &Similar) -> Vec<String> {
    let of_class = |class: usize| {
        let with = pictures.samples.iter().zip(&similar.groups);
        let mut groups = { with }
            .filter(|(s, _)| s.labels.contains(&class))
            .map(|(_, g)| g);
        let first = groups.next();
        groups.all(|g| Some(g) == first)
    };
    let classes = (0..pictures.labels.len()).filter(|&class| of_class(class));
    classes
        .map(|class| {
            format!(
                "all pictures of {} are nearly the same: add others, its figures below mean nothing",
                pictures.labels[class]
            )
        })
        .collect()
}
