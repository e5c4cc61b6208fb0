//! Cross-validation: heads that are taught without some of the pictures judge these. It chooses the strength of
//! regularization, and says how good a head is on pictures that it has not seen.

use std::sync::{Mutex, PoisonError};
use std::thread;

use super::fit::{Example, Problem, loss};
use super::gather::Pictures;
use super::head;
use crate::kernels::Quant;
use crate::model::error::{ModelError, tract};
use crate::model::sweep::progress;
use crate::spec::Activation;

/// Tried from the strongest on, each head starting where the one before came to rest.
const STRENGTHS: [f32; 6] = [1e-1, 3e-2, 1e-2, 1e-3, 1e-4, 1e-5];

/// The strength that was best, and what heads of that strength say of each picture that they were taught without.
pub struct Validated {
    pub strength: f32,
    /// Rounded to 8 bits, as in the bundle.
    pub logits: Vec<Vec<f32>>,
    pub float_logits: Vec<Vec<f32>>,
}

/// One head's view of the pictures left out.
struct Judged {
    strength: usize,
    loss: f64,
    /// Picture, logits in 8 bits and in float.
    logits: Vec<(usize, Vec<f32>, Vec<f32>)>,
}

/// `folds` has the part of each picture, and their number.
///
/// # Errors
/// If a head's weights are not finite.
pub fn validate(
    pictures: &Pictures,
    (folds, count): (&[usize], usize),
    activation: Activation,
    input: Quant,
) -> Result<Validated, ModelError> {
    let bar = progress(count * STRENGTHS.len(), "cross-validating");
    let all = Mutex::new(Vec::new());
    let work = |fold: usize| -> Result<(), ModelError> {
        let part = |out: bool| (0..folds.len()).filter(move |&i| (folds[i] == fold) == out);
        let taught: Vec<Example> = part(false).map(|i| pictures.samples[i].example()).collect();
        let problem = Problem::new(&taught, pictures.labels.len(), activation);
        let mut near = None;
        for (place, &strength) in STRENGTHS.iter().enumerate() {
            let head = problem.fit(near.as_ref(), strength);
            let rounded = head::rounded(&head, input)?;
            let mut judged = Judged {
                strength: place,
                loss: 0.0,
                logits: Vec::new(),
            };
            for i in part(true) {
                let sample = &pictures.samples[i];
                let float = head.logits(&sample.views[0]);
                judged.loss += loss(activation, &mut float.clone(), &sample.labels);
                let int8 = head::logits(&rounded, input, &sample.views[0])?;
                judged.logits.push((i, int8, float));
            }
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((fold, judged));
            near = Some(head);
            bar.inc(1);
        }
        Ok(())
    };
    let work = &work;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|fold| scope.spawn(move || work(fold)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let done = worker.join();
            done.unwrap_or_else(|_| Err(tract("a worker gave up")))
        })
    })?;
    bar.finish_and_clear();
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    // whoever was first, sums are made in one order
    all.sort_by_key(|(fold, judged)| (*fold, judged.strength));
    Ok(best(
        folds.len(),
        all.into_iter().map(|(_, judged)| judged).collect(),
    ))
}

fn best(pictures: usize, all: Vec<Judged>) -> Validated {
    let mut losses = [0.0; STRENGTHS.len()];
    for judged in &all {
        losses[judged.strength] += judged.loss;
    }
    let best = (0..losses.len())
        .min_by(|&a, &b| losses[a].total_cmp(&losses[b]))
        .unwrap_or(0);
    log::debug!("loss on pictures left out, by strength: {losses:?} of {STRENGTHS:?}");
    let mut found = Validated {
        strength: STRENGTHS[best],
        logits: vec![Vec::new(); pictures],
        float_logits: vec![Vec::new(); pictures],
    };
    let chosen = all.into_iter().filter(|judged| judged.strength == best);
    for (i, int8, float) in chosen.flat_map(|judged| judged.logits) {
        found.logits[i] = int8;
        found.float_logits[i] = float;
    }
    found
}
