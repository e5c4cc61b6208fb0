//! Which bundle `resnetd run` begins with, and which others it may change to: each is tried on this machine, and the
//! first in the order of preference that is fast enough is taken.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Failure;
use super::machine;
use super::model::{Candidates, Loaded, candidates};
use crate::adapt::Cost;
use crate::adapt::choice::{Fit, choose};
use crate::adapt::sensors::Sensors;
use crate::config::Models;
use crate::cores::Threads;
use crate::daemon::{self, Choice, Known, Others, Shelf};
use crate::infer::room;
use crate::label::{Labels, Prediction};

/// How many inferences are timed, after one that warms up.
const RUNS: usize = 3;

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wants {
    pub threads: Threads,
    /// What a frame may take.
    pub longest: Option<Duration>,
    /// It may be changed for another while it runs.
    pub adaptive: bool,
}

/// # Errors
/// If there is no bundle, none can be run, or their labels differ.
pub fn choose_model(models: Option<&Models>, wants: Wants) -> Result<Choice, Failure> {
    let candidates = candidates(models)?;
    if let [only] = &candidates.paths[..] {
        let loaded = Loaded::load(only, wants.threads)?;
        let why = candidates.why.first.to_owned();
        return Ok(Tasting::of(candidates, wants).finish(loaded, 0, &why));
    }
    let mut tasting = Tasting::of(candidates, wants);
    (0..tasting.paths.len()).try_for_each(|index| tasting.taste(index))?;
    tasting.decide()
}

/// The candidates, and what is known of them so far.
struct Tasting {
    paths: Vec<PathBuf>,
    why: super::model::Why,
    wants: Wants,
    names: Vec<String>,
    /// Of those that were tried; none of one that cannot run.
    costs: Vec<Option<Cost>>,
    /// The labels that they all have.
    labels: Option<(PathBuf, Labels)>,
    /// The last one that may be the one, so that it is not loaded twice.
    held: Option<(usize, Loaded)>,
    /// Why the first of the broken ones is.
    failure: Option<Failure>,
    sensors: Sensors,
    /// Bytes of memory of the process without a model.
    base: u64,
}

impl Tasting {
    fn of(candidates: Candidates, wants: Wants) -> Self {
        Self {
            names: candidates.paths.iter().map(|path| stem(path)).collect(),
            paths: candidates.paths,
            why: candidates.why,
            wants,
            costs: Vec::new(),
            labels: None,
            held: None,
            failure: None,
            sensors: Sensors::from_environment(),
            base: resident(),
        }
    }

    /// Finds out what a candidate costs. Two are in memory at once only where both fit.
    fn taste(&mut self, index: usize) -> Result<(), Failure> {
        let path = self.paths[index].clone();
        let needs = room::resident(&path);
        if self.free() < needs {
            self.held = None;
        }
        let free = self.free();
        if free < needs {
            log::warn!(
                "{}: it takes {} MiB of memory, {} are free; skipped",
                path.display(),
                needs >> 20,
                free >> 20
            );
            self.costs.push(None);
            return Ok(());
        }
        let before = resident();
        let measured = warm(&path, self.wants.threads).and_then(timed);
        let (loaded, cost) = match measured {
            Ok((loaded, inference)) => {
                let own = resident().saturating_sub(before);
                let resident = self.base + own;
                (
                    loaded,
                    Cost {
                        inference,
                        resident,
                    },
                )
            }
            Err(failure) => {
                log::warn!("{failure}; skipped");
                self.failure.get_or_insert(failure);
                self.costs.push(None);
                return Ok(());
            }
        };
        self.compare_labels(path, &loaded)?;
        self.names[index].clone_from(&loaded.engine.manifest().name);
        log::info!(
            "{}: {:.1} ms an inference, {} MiB",
            self.names[index],
            milliseconds(cost.inference),
            cost.resident >> 20
        );
        self.costs.push(Some(cost));
        let best = choose(&self.costs, self.wants.longest);
        if best.is_some_and(|(best, _)| best == index) {
            self.held = Some((index, loaded));
        }
        Ok(())
    }

    fn compare_labels(&mut self, path: PathBuf, loaded: &Loaded) -> Result<(), Failure> {
        let labels = loaded.engine.labels();
        match &self.labels {
            None => self.labels = Some((path, labels.clone())),
            Some((_, known)) if known == labels => {}
            Some((other, _)) => {
                return Err(Failure::Model(format!(
                    "{} and {} have different labels, so that one cannot take the other's place; name models with the same labels in the same order",
                    other.display(),
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn decide(mut self) -> Result<Choice, Failure> {
        let Some((index, fit)) = choose(&self.costs, self.wants.longest) else {
            return Err(self.failure.unwrap_or_else(|| {
                Failure::Model("there is not enough memory for any of the models; end other programs, raise the limit (MemoryMax=) or name a smaller one".into())
            }));
        };
        let loaded = match self.held.take() {
            Some((held, loaded)) if held == index => loaded,
            _ => Loaded::load(&self.paths[index], self.wants.threads)?,
        };
        let why = self.reason(index, fit);
        if fit == Fit::Missed {
            log::warn!("{why}");
        }
        Ok(self.finish(loaded, index, &why))
    }

    /// Why this one, in a person's words.
    fn reason(&self, index: usize, fit: Fit) -> String {
        let taken = match index {
            0 => self.why.first,
            _ => self.why.others,
        };
        let (Some(cost), Some(longest)) = (self.costs[index], self.wants.longest) else {
            return taken.to_owned();
        };
        let (takes, wanted) = (milliseconds(cost.inference), milliseconds(longest));
        match fit {
            Fit::First => taken.to_owned(),
            Fit::FastEnough => format!(
                "{taken} that is fast enough: {takes:.1} ms an inference, {wanted:.1} ms are there for a frame"
            ),
            Fit::Missed => format!(
                "none of the models is fast enough for the {wanted:.1} ms that are there for a frame; this one comes nearest with {takes:.1} ms an inference"
            ),
        }
    }

    fn finish(self, loaded: Loaded, present: usize, why: &str) -> Choice {
        let models: Vec<Known> = { self.names }
            .into_iter()
            .enumerate()
            .map(|(i, name)| Known {
                name,
                cost: self.costs.get(i).copied().flatten(),
            })
            .collect();
        let mut model = loaded.into_model(why);
        model.others = daemon::others(&models, present);
        let shelf = Box::new(Bundles {
            paths: self.paths,
            labels: model.labels.clone(),
            threads: self.wants.threads,
        });
        let others = self.wants.adaptive.then_some(Others {
            shelf,
            models,
            present,
            sensors: self.sensors,
        });
        Choice { model, others }
    }

    /// Bytes of memory that may still be taken.
    fn free(&mut self) -> u64 {
        self.sensors.memory().map_or(u64::MAX, |memory| memory.free)
    }
}

/// Loaded, and its memory touched by one inference.
fn warm(path: &Path, threads: Threads) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::load(path, threads)?;
    loaded.engine.run(&mut Prediction::default())?;
    Ok(loaded)
}

/// With how long an inference takes.
fn timed(mut loaded: Loaded) -> Result<(Loaded, Duration), Failure> {
    let mut prediction = Prediction::default();
    let mut times = [Duration::ZERO; RUNS];
    for time in &mut times {
        let started = Instant::now();
        loaded.engine.run(&mut prediction)?;
        *time = started.elapsed();
    }
    times.sort();
    Ok((loaded, times[RUNS / 2]))
}

/// Bytes of memory of this process now.
fn resident() -> u64 {
    machine::resident().unwrap_or_default()
}

/// The files of the models, for when another is wanted.
struct Bundles {
    paths: Vec<PathBuf>,
    labels: Labels,
    threads: Threads,
}

impl Shelf for Bundles {
    fn load(&mut self, model: usize) -> Result<daemon::Model, String> {
        let path = self.paths.get(model).ok_or("there is no such model")?;
        let loaded = warm(path, self.threads).map_err(|failure| failure.to_string())?;
        if *loaded.engine.labels() != self.labels {
            return Err(format!("{} has other labels now", path.display()));
        }
        Ok(loaded.into_model(""))
    }
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(super::model::ENDING).to_owned()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
