//! What the daemon asks of the workshop, and what comes of it: files below the service's state directory, so that neither program
//! runs the other. Somebody on the page asks ([`Room::ask`]), `resnetd-model teach --request` takes the request ([`take`]) and leaves a
//! report and a bundle, somebody accepts it ([`Room::accept`]): a link, which outlives a restart.
//!
//! | below the state directory | is |
//! |---|---|
//! | `teach/request.json` | asked for; systemd's path unit waits for it |
//! | `teach/taken.json` | taken, and locked by whoever works on it |
//! | `teach/outcome.json` | how the last one ended |
//! | `teach/learned.json` | what came of the last one that ended well |
//! | `models/taught/taught-N.nnef.tar` | what was taught: the one in use, and the newest |
//! | `models/active` | a link to the one in use, if one is |

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::plain_file;

const REQUEST: &str = "request.json";
const TAKEN: &str = "taken.json";
const OUTCOME: &str = "outcome.json";
const LEARNED: &str = "learned.json";
const PREFIX: &str = "taught-";
const ENDING: &str = ".nnef.tar";
/// Of each of these files, in bytes.
const LARGEST: u64 = 1 << 20;
/// Of their folder: whoever may read a lesson could lock it, and members of the service's group may read much.
const OURS_ALONE: u32 = 0o700;

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

/// What was learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    #[serde(flatten)]
    pub request: Request,
    /// When, in Unix seconds.
    pub ended: f64,
    /// How good it is on pictures that it did not learn from, as `resnetd-model teach --json` says it.
    pub figures: serde_json::Value,
}

/// How far the last lesson is. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nobody has asked for one.
    None,
    /// Nobody has begun.
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
    Ended(Outcome),
}

/// How a lesson ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub ended: f64,
    /// Why nothing was learned.
    pub error: Option<String>,
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

    /// Asks for a lesson, in place of one that nobody has begun. Not to be called twice at once.
    ///
    /// # Errors
    /// If one is under way, or nothing can be written.
    pub fn ask(&self, base: &Path, folder: &Path) -> Result<(), LessonError> {
        if matches!(self.state(), State::Learning { .. }) {
            return Err(LessonError::Busy);
        }
        let (lessons, taught) = (self.lesson(""), self.taught());
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(OURS_ALONE);
        folders.create(&lessons).map_err(failed(&lessons))?;
        fs::create_dir_all(&taught).map_err(failed(&taught))?;
        let absolute = |path: &Path| std::path::absolute(path).map_err(failed(path));
        let name = format!("{PREFIX}{}{ENDING}", self.newest().map_or(1, |n| n + 1));
        let request = Request {
            base: absolute(base)?,
            folder: absolute(folder)?,
            bundle: absolute(&taught.join(name))?,
        };
        write(&self.lesson(REQUEST), &request)
    }

    /// How far the last lesson is that was asked for.
    #[must_use]
    pub fn state(&self) -> State {
        if let Some((since, _)) = seen(&self.lesson(REQUEST)) {
            return State::Asked { since };
        }
        match seen(&self.lesson(TAKEN)) {
            Some((since, true)) => State::Learning { since },
            Some((since, false)) => State::Died { since },
            None => read(&self.lesson(OUTCOME)).map_or(State::None, State::Ended),
        }
    }

    /// What came of the last lesson that ended well, if its bundle is there.
    #[must_use]
    pub fn learned(&self) -> Option<Learned> {
        let learned: Learned = read(&self.lesson(LEARNED))?;
        let bundle = self.taught().join(learned.request.bundle.file_name()?);
        bundle.is_file().then_some(learned)
    }

    /// The taught bundle that somebody has accepted, if it is there.
    #[must_use]
    pub fn active(&self) -> Option<PathBuf> {
        let target = fs::read_link(self.link()).ok()?;
        let bundle = self.taught().join(target.file_name()?);
        bundle.is_file().then_some(bundle)
    }

    /// From now on the bundle that was learned last is used.
    ///
    /// # Errors
    /// If there is none, or no link can be made.
    pub fn accept(&self) -> Result<(), LessonError> {
        let learned = self.learned().ok_or(LessonError::Nothing)?;
        let name = learned.request.bundle.file_name().unwrap_or_default();
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

/// Takes what is asked for by this file; `None` if nothing is. What cannot be taken is gone, and that is its outcome: who waits for
/// the file shall not begin again and again.
///
/// # Errors
/// If somebody else takes it right now, or it cannot be read, or is no request.
pub fn take(path: &Path) -> Result<Option<Taken>, LessonError> {
    match attempt(path) {
        Err(error @ (LessonError::Io { .. } | LessonError::Request { .. })) => {
            remove(path)?;
            remove(&path.with_file_name(TAKEN))?;
            let outcome = Outcome {
                ended: now(),
                error: Some(error.to_string()),
            };
            write(&path.with_file_name(OUTCOME), &outcome)?;
            Err(error)
        }
        other => other,
    }
}

fn attempt(path: &Path) -> Result<Option<Taken>, LessonError> {
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
    let request = serde_json::from_slice(&text).map_err(|error| LessonError::Request {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Some(Taken {
        request,
        place: path.with_file_name(""),
        _lock: lock,
    }))
}

impl Taken {
    /// Leaves what came of it; where something was learned, the bundles that were taught before and are not in use go.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(self, said: Result<serde_json::Value, String>) -> Result<(), LessonError> {
        let ended = now();
        let error = match said {
            Ok(figures) => {
                self.forget_older();
                let learned = Learned {
                    request: self.request,
                    ended,
                    figures,
                };
                write(&self.place.join(LEARNED), &learned)?;
                None
            }
            Err(error) => Some(error),
        };
        write(&self.place.join(OUTCOME), &Outcome { ended, error })?;
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

/// When a file was written, in Unix seconds, and whether somebody holds a lock on it. `None`: there is no such file. One that
/// cannot be looked at is held.
fn seen(path: &Path) -> Option<(f64, bool)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(_) => return Some((now(), true)),
    };
    let written = file.metadata().and_then(|metadata| metadata.modified());
    let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    Some((seconds(written.unwrap_or(UNIX_EPOCH)), held))
}

fn now() -> f64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = plain_file::read(path, LARGEST).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), LessonError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(path)(error.into()))?;
    plain_file::replace(path, &text).map_err(failed(path))
}

fn remove(path: &Path) -> Result<(), LessonError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
