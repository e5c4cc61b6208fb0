//! Whether the graph that we made computes what the file does: both are run once on noise. What this finds is a
//! mistake of ours, better told here than by wrong labels.

use tract_nnef::internal::*;

use super::error::OnnxError;
use crate::random::Random;

/// Of the largest logit: far above what another order of sums does, far below any mistake.
const TOLERANCE: f32 = 1e-3;

/// The file's graph, where its logits are, and whether it reads channels last.
type File<'a> = (&'a TypedModel, OutletId, bool);

/// # Errors
/// If the logits differ, or a graph does not run.
pub fn same(
    file: File<'_>,
    ours: &TypedModel,
    normalization: Option<[(f32, f32); 3]>,
) -> Result<(), OnnxError> {
    let difference = difference(file, ours, normalization);
    match difference.map_err(|e| OnnxError::Tract(format!("{:#}", e.root_cause())))? {
        difference if difference <= TOLERANCE => Ok(()),
        difference => Err(OnnxError::Graph(format!(
            "what was read of it does not compute what it does (difference {difference}): a fault of this program's"
        ))),
    }
}

/// The largest difference of a logit, relative to the largest logit.
fn difference(
    (theirs, logits, channels_last): File<'_>,
    ours: &TypedModel,
    normalization: Option<[(f32, f32); 3]>,
) -> TractResult<f32> {
    let shape = ours
        .outlet_fact(*ours.inputs.first().context("no input")?)?
        .shape
        .clone();
    let shape = shape.as_concrete().context("no size")?.to_vec();
    let mut random = Random::new(1);
    let pixels = shape[2] * shape[3];
    let picture: Vec<f32> = (0..3 * pixels).map(|_| random.normal()).collect();
    let seen: Vec<f32> = match normalization {
        Some(channels) => picture
            .chunks_exact(pixels)
            .zip(channels)
            .flat_map(|(plane, (factor, summand))| plane.iter().map(move |v| v * factor + summand))
            .collect(),
        None => picture.clone(),
    };
    let mut picture = Tensor::from_shape(&shape, &picture)?;
    if channels_last {
        picture = picture.permute_axes(&[0, 2, 3, 1])?;
    }
    let mut theirs = theirs.clone();
    theirs.select_output_outlets(&[logits])?;
    let wanted = run(theirs, picture)?;
    let found = run(ours.clone(), Tensor::from_shape(&shape, &seen)?)?;
    ensure!(
        wanted.len() == found.len(),
        "{} logits and {}",
        wanted.len(),
        found.len()
    );
    let largest = wanted.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let pairs = wanted.iter().zip(&found);
    Ok(pairs.fold(0.0, |m: f32, (a, b)| worse(m, (a - b).abs() / largest)))
}

/// As `max`, but what is no number is worst of all.
fn worse(a: f32, b: f32) -> f32 {
    if b.is_nan() { f32::INFINITY } else { a.max(b) }
}

fn run(model: TypedModel, picture: Tensor) -> TractResult<Vec<f32>> {
    let outputs = model
        .into_optimized()?
        .into_runnable()?
        .run(tvec!(picture.into_tvalue()))?;
    let logits = outputs.first().context("no output")?;
    Ok(logits.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}
