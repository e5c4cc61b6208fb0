//! A bundle that was taught here, and that somebody has accepted on the page, goes before the configuration's models: until it
//! is taken back there, and whatever is started anew. One that cannot be used is told and passed over.

use std::path::{Path, PathBuf};

use super::Failure;
use super::choice::{Chosen, choose_model};
use super::model;
use super::run::Options;
use crate::config::Models;
use crate::daemon::Choice;
use crate::publish::http::teach::Lessons;

/// What a person is told of why it runs.
const WHY: &str = "it was taught here, and somebody has accepted it on the page";

/// What is to run; lessons begin with it from now on, or with what would run without the taught one.
///
/// # Errors
/// If the configuration's models are needed and cannot be used.
pub fn choose(options: &Options, lessons: Option<&Lessons>) -> Result<Choice, Failure> {
    if let (Some(path), Some(lessons)) = (&options.taught, lessons) {
        match choose_model(Some(&Models::List(vec![path.clone()])), options.wants()) {
            Ok(Chosen { mut choice, .. }) => {
                choice.model.detail = WHY.into();
                lessons.runs(Some(path.clone()), base(options, path, lessons));
                return Ok(choice);
            }
            Err(failure) => log::warn!("{failure}; what was taught here is not used"),
        }
    }
    let Chosen { choice, bundle } = choose_model(options.models.as_ref(), options.wants())?;
    if let Some(lessons) = lessons {
        lessons.runs(None, bundle);
    }
    Ok(choice)
}

/// What a lesson begins with while this taught bundle runs: what the last one began with, as long as the configuration names it, else the
/// first that it names.
fn base(options: &Options, taught: &Path, lessons: &Lessons) -> PathBuf {
    let named = model::paths(options.models.as_ref()).unwrap_or_default();
    let absolute = |path: &PathBuf| std::path::absolute(path).ok();
    let last = lessons.last_base().filter(|base| {
        let same = |path| absolute(path).as_ref() == Some(base);
        named.iter().any(same)
    });
    let first = || named.first().cloned();
    last.or_else(first).unwrap_or_else(|| taught.to_owned())
}
