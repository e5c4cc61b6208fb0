//! What the daemon asks of the workshop, and what comes of it: files below the service's state directory, so that neither program
//! runs the other. Somebody on the page asks ([`Room::ask`]), `resnetd-model teach --request` takes the request ([`take`]) and leaves a
//! report and a bundle, somebody accepts it ([`Room::accept`]): a link, which outlives a restart.
//!
//! | below the state directory | is |
//! |---|---|
//! | `teach/request.json` | asked for; systemd's path unit waits for it |
//! | `teach/taken.json` | taken, and locked by whoever works on it |
//! | `teach/report.json` | what came of the last one |
//! | `models/taught/taught-N.nnef.tar` | what was taught: the one in use, and the newest |
//! | `models/active` | a link to the one in use, if one is |

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::plain_file;

const REQUEST: &str = "request.json";
const TAKEN: &str = "taken.json";
const REPORT: &str = "report.json";
const PREFIX: &str = "taught-";
const ENDING: &str = ".nnef.tar";
/// Of a request or a report, in bytes.
const LARGEST: u64 = 1 << 20;

/// What is to be taught.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The bundle to start from.
    pub base: PathBuf,
    /// A folder for each label.
    pub folder: PathBuf,
    /// Where the new bundle goes.
    pub bundle: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    #[serde(flatten)]
    pub request: Request,
    /// Unix seconds.
    pub ended: f64,
    /// Why there is no new bundle.
    pub error: Option<String>,
    /// How good it is on pictures that it did not learn from, as `resnetd-model teach --json` says it.
    pub figures: Option<serde_json::Value>,
}

/// How far a lesson is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nobody has asked for one.
    None,
    /// Nobody has begun. Times are Unix seconds.
    Asked {
        since: f64,
    },
    /// Somebody works on it.
    Learning {
        since: f64,
    },
    /// Whoever worked on it was killed.
    Died {
        since: f64,
    },
    Ended(Report),
}

#[derive(Debug, thiserror::Error)]
pub enum LessonError {
    #[error("{}: {reason}", .path.display())]
    Io { path: PathBuf, reason: io::Error },
    #[error("{} is no request: {reason}", .path.display())]
    Request { path: PathBuf, reason: String },
    #[error("a lesson is under way; wait for its end")]
    Busy,
    #[error("there is no taught bundle to use; teach one first")]
    Nothing,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> LessonError {
    let path = path.to_owned();
    move |reason| LessonError::Io {
        path: path.clone(),
        reason,
    }
}

/// The state directory, as far as lessons go.
#[derive(Debug, Clone)]
pub struct Room {
    state: PathBuf,
}

impl Room {
    /// In a state directory, which is there.
    #[must_use]
    pub fn new(state: PathBuf) -> Self {
        Self { state }
    }

    /// Asks for a lesson.
    ///
    /// # Errors
    /// If one is under way, or nothing can be written.
    pub fn ask(&self, base: &Path, folder: &Path) -> Result<(), LessonError> {
        if matches!(self.state(), State::Asked { .. } | State::Learning { .. }) {
            return Err(LessonError::Busy);
        }
        for folder in [self.lesson(""), self.taught()] {
            fs::create_dir_all(&folder).map_err(failed(&folder))?;
        }
        let absolute = |path: &Path| std::path::absolute(path).map_err(failed(path));
        let name = format!("{PREFIX}{}{ENDING}", self.newest().map_or(1, |n| n + 1));
        let request = Request {
            base: absolute(base)?,
            folder: absolute(folder)?,
            bundle: absolute(&self.taught().join(name))?,
        };
        write(&self.lesson(REQUEST), &request)
    }

    /// How far the last lesson is that was asked for.
    #[must_use]
    pub fn state(&self) -> State {
        if let Some(since) = written(&self.lesson(REQUEST)) {
            return State::Asked { since };
        }
        if let Some(since) = written(&self.lesson(TAKEN)) {
            return if is_locked(&self.lesson(TAKEN)) {
                State::Learning { since }
            } else {
                State::Died { since }
            };
        }
        read(&self.lesson(REPORT)).map_or(State::None, State::Ended)
    }

    /// The taught bundle that somebody has accepted, if it is there.
    #[must_use]
    pub fn active(&self) -> Option<PathBuf> {
        let target = fs::read_link(self.link()).ok()?;
        let bundle = self.taught().join(target.file_name()?);
        bundle.is_file().then_some(bundle)
    }

    /// From now on the newest taught bundle is used.
    ///
    /// # Errors
    /// If there is none, or no link can be made.
    pub fn accept(&self) -> Result<(), LessonError> {
        let State::Ended(report) = self.state() else {
            return Err(LessonError::Nothing);
        };
        let name = report.request.bundle.file_name().unwrap_or_default();
        if report.error.is_some() || !self.taught().join(name).is_file() {
            return Err(LessonError::Nothing);
        }
        let link = self.link();
        let beside = link.with_extension("part");
        remove(&beside)?;
        symlink(Path::new("taught").join(name), &beside)
            .and_then(|()| fs::rename(&beside, &link))
            .map_err(failed(&link))
    }

    /// From now on the configuration's models are used again.
    ///
    /// # Errors
    /// If the link cannot be removed.
    pub fn back(&self) -> Result<(), LessonError> {
        remove(&self.link())
    }

    fn lesson(&self, name: &str) -> PathBuf {
        self.state.join("teach").join(name)
    }

    fn taught(&self) -> PathBuf {
        self.state.join("models/taught")
    }

    fn link(&self) -> PathBuf {
        self.state.join("models/active")
    }

    /// The highest number that a taught bundle has.
    fn newest(&self) -> Option<u64> {
        bundles(&self.taught())
            .filter_map(|path| number(&path))
            .max()
    }
}

/// A lesson that was taken; nobody else takes it.
#[derive(Debug)]
pub struct Taken {
    pub request: Request,
    /// The folder of the request.
    place: PathBuf,
    _lock: File,
}

/// Takes what is asked for by this file; `None` if nothing is.
///
/// # Errors
/// If it cannot be read, or is no request. It is gone all the same: who waits for it shall not begin again and again.
pub fn take(path: &Path) -> Result<Option<Taken>, LessonError> {
    let lock = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => LessonError::Busy,
        TryLockError::Error(error) => failed(path)(error),
    })?;
    let taken = path.with_file_name(TAKEN);
    fs::rename(path, &taken).map_err(failed(path))?;
    let text = plain_file::read(&taken, LARGEST).map_err(failed(&taken))?;
    let request = serde_json::from_slice(&text).map_err(|error| {
        let _ = fs::remove_file(&taken); // what there is to say is said by the error
        LessonError::Request {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    })?;
    Ok(Some(Taken {
        request,
        place: path.with_file_name(""),
        _lock: lock,
    }))
}

impl Taken {
    /// Leaves the report, and deletes the bundles that were taught before and are not in use.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(
        self,
        outcome: Result<serde_json::Value, String>,
        now: f64,
    ) -> Result<(), LessonError> {
        let (figures, error) = match outcome {
            Ok(figures) => (Some(figures), None),
            Err(error) => (None, Some(error)),
        };
        if error.is_none() {
            self.forget_older();
        }
        let report = Report {
            request: self.request,
            ended: now,
            error,
            figures,
        };
        write(&self.place.join(REPORT), &report)?;
        remove(&self.place.join(TAKEN))
    }

    fn forget_older(&self) {
        let Some(folder) = self.request.bundle.parent() else {
            return;
        };
        let active = folder.with_file_name("active");
        let active = fs::read_link(active).unwrap_or_default();
        let kept = [self.request.bundle.file_name(), active.file_name()];
        for path in bundles(folder) {
            if number(&path).is_some() && !kept.contains(&path.file_name()) {
                let _ = fs::remove_file(path); // the next lesson tries again
            }
        }
    }
}

/// What may be a bundle in a folder; nothing if there is no folder.
fn bundles(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

/// N of `taught-N.nnef.tar`.
fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?
        .strip_suffix(ENDING)?
        .parse()
        .ok()
}

/// When a file was written, in Unix seconds, if there is one.
fn written(path: &Path) -> Option<f64> {
    let time = fs::metadata(path).ok()?.modified().ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

fn is_locked(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn read(path: &Path) -> Option<Report> {
    let text = plain_file::read(path, LARGEST).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Beside its place, and then there: nobody reads half of it.
fn write(path: &Path, value: &impl Serialize) -> Result<(), LessonError> {
    let beside = path.with_extension("part");
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(path)(error.into()))?;
    File::create(&beside)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(failed(path))
}

fn remove(path: &Path) -> Result<(), LessonError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
