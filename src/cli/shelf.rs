//! The files of the models that may take each other's place, for when the daemon wants another. Which that is
//! [`super::choice`] and the governor say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Failure;
use super::cascade::Both;
use super::choice::Wants;
use super::model::Loaded;
use crate::daemon::{self, Shelf};
use crate::label::{Labels, Prediction};

/// What can run: a bundle by its place among the candidates, or two as one.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    One(usize),
    Both {
        first: usize,
        second: usize,
        below: f32,
        /// An inference of the second.
        takes: Duration,
    },
}

/// The files of the models, for when another is wanted.
pub struct Bundles {
    pub paths: Vec<PathBuf>,
    pub entries: Vec<Entry>,
    pub labels: Labels,
    pub wants: Wants,
}

impl Bundles {
    fn open(&self, index: usize) -> Result<Loaded, String> {
        let path = self.paths.get(index).ok_or("there is no such model")?;
        let mut loaded = warm(path, &self.wants).map_err(|failure| failure.to_string())?;
        { loaded.relabel(&self.wants.names, Some(&self.labels)) }
            .map_err(|mismatch| format!("{} has other labels now: {mismatch}", path.display()))?;
        Ok(loaded)
    }
}

impl Shelf for Bundles {
    fn load(&mut self, model: usize) -> Result<daemon::Model, String> {
        match self.entries.get(model) {
            None => Err("there is no such model".into()),
            Some(&Entry::One(index)) => Ok(self.open(index)?.into_model("")),
            Some(&Entry::Both {
                first,
                second,
                below,
                takes,
            }) => {
                let (first, second) = (self.open(first)?, self.open(second)?);
                let both = Both::new(first, second, (below, takes));
                Ok(both.into_model(below, ""))
            }
        }
    }
}

/// Loaded, with the labels that are wanted.
pub fn relabelled(path: &Path, wants: &Wants, order: Option<&Labels>) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::load(path, wants.threads)?;
    let relabelled = loaded.relabel(&wants.names, order);
    relabelled.map_err(|mismatch| Failure::Model(format!("{}: {mismatch}", path.display())))?;
    Ok(loaded)
}

/// Loaded, and its memory touched by one inference.
pub fn warm(path: &Path, wants: &Wants) -> Result<Loaded, Failure> {
    let mut loaded = relabelled(path, wants, None)?;
    loaded.engine.run(&mut Prediction::default())?;
    Ok(loaded)
}
