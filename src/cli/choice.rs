//! Which bundle `resnetd run` begins with, and which others it may change to: each is tried on this machine, and the
//! first in the order of preference that is fast enough is taken.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Failure;
use super::cascade::Both;
use super::machine;
use super::model::{Candidates, Loaded, candidates};
use super::relabel::Names;
use super::shelf::{Bundles, Entry, relabelled, warm};
use crate::adapt::choice::{Fit, choose};
use crate::adapt::sensors::Sensors;
use crate::adapt::{Cost, Pace};
use crate::config::Models;
use crate::cores::Threads;
use crate::daemon::{self, Choice, Known, Others};
use crate::infer::room;
use crate::label::{Labels, Prediction};
use crate::spec::Activation;

/// How many inferences are timed, after one that warms up.
const RUNS: usize = 3;

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Wants {
    pub threads: Threads,
    pub pace: Pace,
    /// It may be changed for another while it runs.
    pub adaptive: bool,
    /// The best is asked only where the fastest is less sure than this.
    pub cascade: Option<f32>,
    /// What labels are to be called.
    pub names: Names,
}

/// What was chosen.
pub struct Chosen {
    pub choice: Choice,
    /// Its file; of a cascade that of the better one.
    pub bundle: PathBuf,
}

/// # Errors
/// If there is no bundle, none can be run, or their labels differ.
pub fn choose_model(models: Option<&Models>, wants: Wants) -> Result<Chosen, Failure> {
    let candidates = candidates(models)?;
    if let [only] = &candidates.paths[..] {
        let loaded = relabelled(only, &wants, None)?;
        if wants.cascade.is_some() {
            log::warn!("a cascade is of two models, and there is only one; it answers alone");
        }
        let why = candidates.why.first;
        let mut tasting = Tasting::of(candidates, wants);
        tasting
            .unknown
            .retain(|label| !loaded.engine.labels().contains(label));
        let model = loaded.into_model(why);
        return Ok(tasting.finish(model, 0));
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
    /// Those for which there was no memory: there may be later.
    without_room: Vec<usize>,
    /// The labels that they all have, and what their scores are.
    labels: Option<(PathBuf, Labels, Activation)>,
    /// Those of `names` that no bundle has so far.
    unknown: BTreeSet<String>,
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
        let unknown = wants.names.keys().cloned().collect();
        Self {
            names: candidates.paths.iter().map(|path| stem(path)).collect(),
            paths: candidates.paths,
            why: candidates.why,
            wants,
            costs: Vec::new(),
            without_room: Vec::new(),
            labels: None,
            held: None,
            failure: None,
            sensors: Sensors::from_environment(),
            base: resident(),
            unknown,
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
            self.without_room.push(index);
            self.costs.push(None);
            return Ok(());
        }
        let before = resident();
        let measured = warm(&path, &self.wants).and_then(timed);
        let (mut loaded, cost) = match measured {
            Ok((loaded, inference)) => {
                let own = resident().saturating_sub(before);
                let resident = self.base + own;
                let cost = Cost {
                    inference,
                    resident,
                    opinion: Duration::ZERO,
                };
                (loaded, cost)
            }
            Err(failure) => {
                log::warn!("{failure}; skipped");
                self.failure.get_or_insert(failure);
                self.costs.push(None);
                return Ok(());
            }
        };
        self.compare_labels(path, &mut loaded)?;
        self.names[index].clone_from(&loaded.engine.manifest().name);
        log::info!(
            "{}: {:.1} ms an inference, {} MiB",
            self.names[index],
            milliseconds(cost.inference),
            cost.resident >> 20
        );
        self.costs.push(Some(cost));
        let best = choose(&self.costs, self.wants.pace.longest());
        if best.is_some_and(|(best, _)| best == index) {
            self.held = Some((index, loaded));
        }
        Ok(())
    }

    fn compare_labels(&mut self, path: PathBuf, loaded: &mut Loaded) -> Result<(), Failure> {
        for label in loaded.engine.labels().iter() {
            self.unknown.remove(label);
        }
        let activation = loaded.engine.manifest().activation;
        let Some((other, known, theirs)) = &self.labels else {
            self.labels = Some((path, loaded.labels(), activation));
            return Ok(());
        };
        if *theirs != activation {
            return Err(Failure::Model(format!(
                "{} says one label for a picture, {} several (or the other way round), so that one cannot take the other's place",
                other.display(),
                path.display()
            )));
        }
        loaded.relabel(&self.wants.names, Some(known)).map_err(|mismatch| {
            Failure::Model(format!(
                "{} and {} have different labels, so that one cannot take the other's place: {mismatch}; name models with the same labels, or say by [labels] what those of one are called in the other",
                other.display(),
                path.display()
            ))
        })
    }

    fn decide(mut self) -> Result<Chosen, Failure> {
        let longest = self.wants.pace.longest();
        let Some((index, fit)) = choose(&self.costs, longest) else {
            return Err(self.failure.unwrap_or_else(|| {
                Failure::Model("there is not enough memory for any of the models; end other programs, raise the limit (MemoryMax=) or name a smaller one".into())
            }));
        };
        if let Some(below) = self.wants.cascade {
            match self.pair(longest) {
                Ok((pair, one, other)) => return self.cascade(pair, (one, other), below),
                Err(why) => log::warn!("no cascade, one model answers alone: {why}"),
            }
        }
        let loaded = self.load(index)?;
        let why = self.reason(index, fit);
        if fit == Fit::Missed {
            log::warn!("{why}");
        }
        let model = loaded.into_model(&why);
        Ok(self.finish(model, index))
    }

    /// The candidate, loaded and with the labels of all.
    fn load(&mut self, index: usize) -> Result<Loaded, Failure> {
        match self.held.take() {
            Some((held, loaded)) if held == index => Ok(loaded),
            _ => relabelled(&self.paths[index], &self.wants, self.order()),
        }
    }

    fn order(&self) -> Option<&Labels> {
        self.labels.as_ref().map(|(_, labels, _)| labels)
    }

    /// Whether those of a pair that are not in memory have room there.
    fn have_room(&mut self, (first, second): (usize, usize)) -> bool {
        let held = self.held.as_ref().map(|(index, _)| *index);
        let missing = [first, second].into_iter().filter(|&i| held != Some(i));
        let needed: u64 = missing.map(|i| room::resident(&self.paths[i])).sum();
        self.free() >= needed
    }

    /// The two of a cascade, loaded, or why there is none.
    fn pair(
        &mut self,
        longest: Option<Duration>,
    ) -> Result<((usize, usize), Loaded, Loaded), String> {
        let (first, second) = pair(&self.costs, longest)?;
        if !self.have_room((first, second)) {
            return Err("there is no memory for two".into());
        }
        // the one that is in memory before the other takes its place there
        let held = self.held.as_ref().map(|(index, _)| *index);
        let mut load = |index| self.load(index).map_err(|failure| failure.to_string());
        let (one, other) = if held == Some(second) {
            let other = load(second)?;
            (load(first)?, other)
        } else {
            (load(first)?, load(second)?)
        };
        Ok(((first, second), one, other))
    }

    /// The fastest for every frame, and the best where that is not sure.
    fn cascade(
        self,
        (first, second): (usize, usize),
        (one, other): (Loaded, Loaded),
        below: f32,
    ) -> Result<Chosen, Failure> {
        let (Some(fast), Some(best)) = (self.costs[first], self.costs[second]) else {
            return Err(Failure::Internal(
                "a model of a cascade was not tried".into(),
            ));
        };
        let both = Both::new(one, other, (below, best.inference));
        let name = format!("{}+{}", self.names[first], self.names[second]);
        let model = both.into_model(below, "the fastest of the models, and the best of them");
        let cost = Cost {
            inference: fast.inference,
            resident: fast.resident + best.resident.saturating_sub(self.base),
            opinion: best.inference,
        };
        let entry = Entry::Both {
            first,
            second,
            below,
            takes: best.inference,
        };
        let known = Known {
            name,
            cost: Some(cost),
            measured: true,
        };
        let models = vec![(entry, known), self.known(first)];
        Ok(self.close(model, models, (0, second)))
    }

    /// What is known of a candidate.
    fn known(&self, index: usize) -> (Entry, Known) {
        let measured = self.costs.get(index).copied().flatten();
        let guessed = || {
            { self.without_room.contains(&index) }
                .then(|| self.guess(index))
                .flatten()
        };
        let known = Known {
            name: self.names[index].clone(),
            cost: measured.or_else(guessed),
            measured: measured.is_some(),
        };
        (Entry::One(index), known)
    }

    /// Of one that could not be tried, by its size beside another's.
    fn guess(&self, index: usize) -> Option<Cost> {
        let size = |path: &Path| fs::metadata(path).ok().map(|file| file.len());
        let tried = self.costs.iter().zip(&self.paths);
        let (cost, other) = tried
            .filter_map(|(cost, path)| Some((((*cost)?), path)))
            .next()?;
        let (own, theirs) = (size(&self.paths[index])?, size(other)?);
        #[allow(clippy::cast_precision_loss)] // sizes of files
        let times = own as f64 / theirs.max(1) as f64;
        Some(Cost {
            inference: cost.inference.mul_f64(times),
            resident: self.base + room::resident(&self.paths[index]),
            opinion: Duration::ZERO,
        })
    }

    /// Why this one, in a person's words.
    fn reason(&self, index: usize, fit: Fit) -> String {
        let taken = match index {
            0 => self.why.first,
            _ => self.why.others,
        };
        let (Some(cost), Some(longest)) = (self.costs[index], self.wants.pace.longest()) else {
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

    fn finish(self, model: daemon::Model, present: usize) -> Chosen {
        let models = (0..self.paths.len()).map(|index| self.known(index));
        let models = models.collect();
        self.close(model, models, (present, present))
    }

    /// `models`: those that may take each other's place, in the order of preference. `bundle`: the file of the present one.
    fn close(
        self,
        mut model: daemon::Model,
        models: Vec<(Entry, Known)>,
        (present, bundle): (usize, usize),
    ) -> Chosen {
        let bundle = self.paths[bundle].clone();
        let (entries, known): (Vec<Entry>, Vec<Known>) = models.into_iter().unzip();
        if !self.unknown.is_empty() {
            let unknown: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
            log::warn!("[labels]: no model has the label {}", unknown.join(", "));
        }
        model.others = daemon::others(&known, present);
        let adaptive = self.wants.adaptive;
        let shelf = Box::new(Bundles {
            paths: self.paths,
            entries,
            labels: model.labels.clone(),
            wants: self.wants,
        });
        let others = adaptive.then_some(Others {
            shelf,
            models: known,
            present,
            sensors: self.sensors,
        });
        Chosen {
            choice: Choice { model, others },
            bundle,
        }
    }

    /// Bytes of memory that may still be taken.
    fn free(&mut self) -> u64 {
        self.sensors.memory().map_or(u64::MAX, |memory| memory.free)
    }
}

/// The fastest of the models, for every frame, and the first in the order of preference; or why there is no such pair.
fn pair(costs: &[Option<Cost>], longest: Option<Duration>) -> Result<(usize, usize), &'static str> {
    let measured = costs.iter().enumerate();
    let measured = measured.filter_map(|(i, cost)| Some((i, (*cost)?.inference)));
    let best = costs.iter().position(Option::is_some);
    let fastest = measured.min_by_key(|&(_, inference)| inference);
    let (Some(best), Some((fastest, _))) = (best, fastest) else {
        return Err("none can be used");
    };
    let fit = choose(&[costs[fastest]], longest).map(|(_, fit)| fit);
    if best == fastest {
        Err("the first of the models is the fastest already")
    } else if fit == Some(Fit::Missed) {
        Err("not even the fastest is fast enough")
    } else {
        Ok((fastest, best))
    }
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

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(super::model::ENDING).to_owned()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(ms: u64) -> Option<Cost> {
        Some(Cost {
            inference: Duration::from_millis(ms),
            ..Cost::default()
        })
    }

    #[test]
    fn a_cascade_is_of_the_fastest_and_the_best_if_these_are_two() {
        let all = [None, takes(80), takes(40), takes(60)];
        assert_eq!(pair(&all, None), Ok((2, 1)));
        assert!(pair(&[takes(40), takes(80)], None).is_err());
        assert!(pair(&[None, takes(80)], None).is_err());
        assert!(pair(&[None], None).is_err());
        let longest = |ms| Some(Duration::from_millis(ms));
        assert_eq!(pair(&all, longest(50)), Ok((2, 1)));
        assert!(pair(&all, longest(45)).is_err());
    }
}
