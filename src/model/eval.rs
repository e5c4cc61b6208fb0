//! How often a bundle is right, on labelled pictures.

use super::confidence::{Answer, Fitted};
use super::dataset::Dataset;
use super::error::ModelError;
use super::sweep::sweep;
use crate::bundle::{Accuracy, Bundle, Confidence, Manifest};
use crate::cores::Threads;
use crate::infer::Engine;
use crate::infer::registry::OPERATORS;
use crate::label::Prediction;

/// What was measured.
#[derive(Debug, Clone)]
pub struct Evaluation {
    pub images: usize,
    pub skipped: usize,
    /// The bundle's, in the order of its classes.
    pub labels: Vec<String>,
    pub top1: f64,
    pub top5: f64,
    /// `confusion[true class][predicted class]`: pictures.
    pub confusion: Vec<Vec<usize>>,
    /// The most probable class of each picture, in the data's order.
    pub predicted: Vec<usize>,
    /// What was said of each, in the same order.
    pub answers: Vec<Answer>,
    /// Multiply-adds for one picture.
    pub macs: u64,
    /// As the bundle has it.
    pub temperature: Option<f32>,
}

/// Runs every picture of `set` through the bundle at `path`.
///
/// # Errors
/// If the bundle cannot be loaded, or its labels do not match the data's folders.
pub fn evaluate(path: &std::path::Path, set: &Dataset) -> Result<Evaluation, ModelError> {
    let Manifest {
        labels,
        preprocessing,
        confidence,
        ..
    } = Bundle::open(path, OPERATORS)?.manifest;
    let truth = set.classes(&labels)?;
    let all: Vec<usize> = (0..set.len()).collect();
    let swept = sweep(
        "evaluating",
        (set, &all),
        &preprocessing,
        || Ok((Engine::load(path, Threads::ONE)?, Prediction::default())),
        |(engine, prediction), picture| {
            engine.picture()?.copy_from_slice(picture);
            engine.run(prediction)?;
            let top: Vec<usize> = prediction.top(5).iter().map(|s| s.class_id).collect();
            Ok((top, prediction.logits.clone()))
        },
    )?;
    let mut confusion = vec![vec![0; labels.len()]; labels.len()];
    let (mut first, mut among) = (0usize, 0usize);
    for (index, (top, _)) in &swept.results {
        confusion[truth[*index]][top[0]] += 1;
        first += usize::from(top[0] == truth[*index]);
        among += usize::from(top.contains(&truth[*index]));
    }
    let images = swept.results.len();
    let layers = swept.states.first().map(|(engine, _)| engine.layers());
    let macs = layers
        .unwrap_or_default()
        .iter()
        .map(|layer| layer.macs)
        .sum();
    let answer = |(index, (top, logits)): (usize, (Vec<usize>, Vec<f32>))| {
        let truth = truth[index];
        (top[0], Answer { logits, truth })
    };
    let (predicted, answers) = swept.results.into_iter().map(answer).unzip();
    Ok(Evaluation {
        images,
        skipped: swept.skipped,
        labels,
        top1: share(first, images),
        top5: share(among, images),
        confusion,
        predicted,
        answers,
        macs,
        temperature: confidence.map(|fitted| fitted.temperature),
    })
}

/// Of two counts, 0 of 0 being 0.
#[must_use]
#[allow(clippy::cast_precision_loss)] // counts of pictures
pub fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Puts a measured accuracy, and a temperature if one was fitted, into the bundle's manifest, in place.
///
/// # Errors
/// If the bundle cannot be read or written.
pub fn write(
    path: &std::path::Path,
    evaluation: &Evaluation,
    fitted: Option<&Fitted>,
    data: &Dataset,
) -> Result<(), ModelError> {
    let bundle = Bundle::open(path, OPERATORS)?;
    let mut manifest = bundle.manifest.clone();
    let round = |v: f64| (v * 10_000.0).round() / 10_000.0;
    let name = data.path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    if let Some(fitted) = fitted {
        manifest.confidence = Some(Confidence {
            temperature: fitted.temperature,
            error_before: round(fitted.before),
            error: round(fitted.after),
            images: fitted.images,
            data: name.clone(),
        });
    }
    manifest.accuracy = Some(Accuracy {
        top1: round(evaluation.top1),
        top5: round(evaluation.top5),
        images: evaluation.images,
        data: name,
    });
    bundle.with_manifest(manifest, OPERATORS)?.write(path)?;
    Ok(())
}
