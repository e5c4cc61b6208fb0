//! Runs something over many pictures, on all cores, with a progress bar.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use super::dataset::Dataset;
use super::error::ModelError;
use crate::preprocess::Preprocessor;
use crate::source::images;
use crate::spec::Preprocessing;

/// What a sweep found: a result per picture in the order of `indices`, and the workers' states.
pub struct Swept<S, R> {
    pub results: Vec<(usize, R)>,
    pub states: Vec<S>,
    /// Pictures that could not be read.
    pub skipped: usize,
}

/// Prepares each picture and hands it to `visit` as RGB bytes; every core has a state that `make`
/// made.
///
/// # Errors
/// If more than one picture in ten cannot be read, or `make` or `visit` fails.
pub fn sweep<S: Send, R: Send>(
    what: &str,
    (set, indices): (&Dataset, &[usize]),
    preprocessing: &Preprocessing,
    make: impl Fn() -> Result<S, ModelError> + Sync,
    visit: impl Fn(&mut S, &[u8]) -> Result<R, ModelError> + Sync,
) -> Result<Swept<S, R>, ModelError> {
    let bar = progress(indices.len(), what);
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Swept {
        results: Vec::new(),
        states: Vec::new(),
        skipped: 0,
    });
    let work = || -> Result<(), ModelError> {
        let mut state = make()?;
        let mut preprocessor =
            Preprocessor::new(preprocessing).map_err(|e| ModelError::Dataset {
                path: set.path.clone(),
                reason: e.to_string(),
            })?;
        let mut picture = vec![0; preprocessor.output_len()];
        let (mut results, mut skipped) = (Vec::new(), 0);
        while let Some(&index) = indices.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(reason) = prepare(set, index, &mut preprocessor, &mut picture) {
                bar.suspend(|| log::warn!("{} skipped: {reason}", set.name(index).display()));
                skipped += 1;
            } else {
                results.push((index, visit(&mut state, &picture)?));
            }
            bar.inc(1);
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.results.append(&mut results);
        found.states.push(state);
        found.skipped += skipped;
        Ok(())
    };
    let cores = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(indices.len().max(1));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().unwrap_or_else(|_| Err(panicked())))
    })?;
    bar.finish_and_clear();
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.results.sort_by_key(|(index, _)| *index);
    if found.skipped * 10 > indices.len() {
        let reason = format!(
            "{} of {} pictures cannot be read",
            found.skipped,
            indices.len()
        );
        return Err(ModelError::Dataset {
            path: set.path.clone(),
            reason,
        });
    }
    Ok(found)
}

fn panicked() -> ModelError {
    ModelError::Tract("a worker gave up".into())
}

fn prepare(
    set: &Dataset,
    index: usize,
    preprocessor: &mut Preprocessor,
    picture: &mut [u8],
) -> Result<(), String> {
    let bytes = set.read(index).map_err(|e| e.to_string())?;
    let frame = images::decode(set.name(index), bytes).map_err(|e| e.to_string())?;
    preprocessor
        .run(&frame, picture)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// A bar on standard error, hidden where that is no terminal.
pub fn progress(length: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg:>24} {bar:40} {pos}/{len}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
