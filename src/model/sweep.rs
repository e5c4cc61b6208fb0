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
    let refused = |reason: String| ModelError::Dataset {
        path: set.path.clone(),
        reason,
    };
    let bar = progress(indices.len(), what);
    let make = || {
        let preprocessor = Preprocessor::new(preprocessing).map_err(|e| refused(e.to_string()))?;
        let picture = vec![0; preprocessor.output_len()];
        Ok((make()?, preprocessor, picture))
    };
    let swept = on_all_cores(&bar, make, |(state, preprocessor, picture), at| {
        let index = indices[at];
        if let Err(reason) = prepare(set, index, preprocessor, picture) {
            let name = set.name(index).to_string_lossy();
            bar.suspend(|| log::warn!("{} skipped: {reason}", name.escape_debug()));
            return Ok(None);
        }
        Ok(Some((index, visit(state, picture)?)))
    })?;
    if swept.skipped * 10 > indices.len() {
        let (skipped, all) = (swept.skipped, indices.len());
        return Err(refused(format!(
            "{skipped} of {all} pictures cannot be read"
        )));
    }
    Ok(Swept {
        results: swept.results,
        states: swept.states.into_iter().map(|(state, ..)| state).collect(),
        skipped: swept.skipped,
    })
}

/// As [`sweep`], over pictures that are made as they are needed.
///
/// # Errors
/// If `make` or `visit` fails.
pub fn sweep_made<S: Send>(
    what: &str,
    pictures: impl ExactSizeIterator<Item = Vec<u8>> + Send,
    make: impl Fn() -> Result<S, ModelError> + Sync,
    visit: impl Fn(&mut S, &[u8]) -> Result<(), ModelError> + Sync,
) -> Result<Vec<S>, ModelError> {
    let count = pictures.len();
    let pictures = Mutex::new(pictures);
    let next = || {
        pictures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };
    let swept = on_all_cores(&progress(count, what), make, |state, at| {
        next()
            .map(|picture| Ok((at, visit(state, &picture)?)))
            .transpose()
    })?;
    Ok(swept.states)
}

/// Visits 0 to the bar's length, each by whichever core is free; what gives nothing was skipped.
fn on_all_cores<S: Send, R: Send>(
    bar: &ProgressBar,
    make: impl Fn() -> Result<S, ModelError> + Sync,
    visit: impl Fn(&mut S, usize) -> Result<Option<(usize, R)>, ModelError> + Sync,
) -> Result<Swept<S, R>, ModelError> {
    let count = usize::try_from(bar.length().unwrap_or(0)).unwrap_or(0);
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Swept {
        results: Vec::new(),
        states: Vec::new(),
        skipped: 0,
    });
    let work = || -> Result<(), ModelError> {
        let mut state = make()?;
        let (mut results, mut skipped) = (Vec::new(), 0);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                break;
            }
            match visit(&mut state, at)? {
                Some(result) => results.push(result),
                None => skipped += 1,
            }
            bar.inc(1);
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.results.append(&mut results);
        found.states.push(state);
        found.skipped += skipped;
        Ok(())
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let cores = 0..cores.min(count.max(1));
        let workers: Vec<_> = cores.map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().unwrap_or_else(|_| Err(panicked())))
    })?;
    bar.finish_and_clear();
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.results.sort_by_key(|(index, _)| *index);
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
