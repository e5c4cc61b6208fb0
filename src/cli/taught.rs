//! A bundle that was taught here, and that somebody has accepted on the page, goes before the configuration's models: until it
//! is taken back there, and whatever is started anew. One that cannot be used is told and passed over.

use std::path::PathBuf;

use super::Failure;
use super::choice::choose_model;
use super::model;
use super::run::Options;
use crate::config::Models;
use crate::daemon::Choice;
use crate::publish::http::teach::Lessons;

/// What a person is told of why it runs.
const WHY: &str = "it was taught here, and somebody has accepted it on the page";

/// What runs; lessons begin with it from now on, or with what would run without the taught one.
///
/// # Errors
/// If the configuration's models are needed and cannot be used.
pub fn choose(options: &Options, lessons: Option<&Lessons>) -> Result<Choice, Failure> {
    let (choice, base) = match options.taught.clone().map(|path| taught(path, options)) {
        Some(Ok(chosen)) => chosen,
        Some(Err(failure)) => {
            log::warn!("{failure}; what was taught here is not used");
            untaught(options)?
        }
        None => untaught(options)?,
    };
    if let Some(lessons) = lessons {
        lessons.begin_with(base);
    }
    Ok(choice)
}

fn taught(path: PathBuf, options: &Options) -> Result<(Choice, PathBuf), Failure> {
    let only = Models::List(vec![path.clone()]);
    let mut chosen = choose_model(Some(&only), options.wants())?;
    chosen.choice.model.detail = WHY.into();
    let own = model::paths(options.models.as_ref()).unwrap_or_default();
    Ok((chosen.choice, own.into_iter().next().unwrap_or(path)))
}

fn untaught(options: &Options) -> Result<(Choice, PathBuf), Failure> {
    let chosen = choose_model(options.models.as_ref(), options.wants())?;
    Ok((chosen.choice, chosen.bundle))
}
