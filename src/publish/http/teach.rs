//! Teaching from the page: asks for a lesson on the pictures that somebody has labelled, shows what came of it, and takes the
//! taught bundle into use or out of it. The learning is another program's; see [`crate::lesson`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::routes::{Answer, json, refusal, text};
use crate::lesson::{Learned, LessonError, Room, State};
use crate::publish::lock;
use crate::publish::snapshots::Snapshots;
use crate::publish::wire::unix_seconds;

/// Where lessons are, and what they begin with.
pub struct Lessons {
    room: Room,
    models: Mutex<Models>,
    /// Becomes true when another bundle is to be used.
    changed: Arc<AtomicBool>,
}

/// What runs now.
#[derive(Debug, Default)]
struct Models {
    /// A taught bundle, if it is one.
    taught: Option<PathBuf>,
    /// What a lesson begins with: what runs, or would if the taught one did not.
    base: PathBuf,
}

impl Lessons {
    #[must_use]
    pub fn new(room: Room, changed: Arc<AtomicBool>) -> Self {
        Self {
            room,
            models: Mutex::default(),
            changed,
        }
    }

    /// From now on this taught bundle runs, or none, and lessons begin with `base`.
    pub fn runs(&self, taught: Option<PathBuf>, base: PathBuf) {
        *lock(&self.models) = Models { taught, base };
    }

    /// The taught bundle that is to be used, if one is.
    #[must_use]
    pub fn active(&self) -> Option<PathBuf> {
        self.room.active()
    }

    /// What the last lesson began with that ended well.
    #[must_use]
    pub fn last_base(&self) -> Option<PathBuf> {
        Some(self.room.learned()?.request.base)
    }

    fn order(&self, order: Order, snapshots: &Snapshots) -> Result<(), LessonError> {
        let models = lock(&self.models); // held: one order at a time
        match order {
            Order::Learn => {
                let labelled = snapshots.lock().labelled();
                return self.room.ask(&models.base, &labelled);
            }
            Order::Accept => self.room.accept()?,
            Order::Back => self.room.back()?,
        }
        self.changed.store(true, Ordering::Release);
        Ok(())
    }
}

/// Of `GET /teach`.
#[derive(Serialize)]
struct Now {
    #[serde(flatten)]
    state: State,
    /// This machine's clock, in Unix seconds.
    now: f64,
    /// What came of the last lesson that ended well.
    learned: Option<Learned>,
    /// Whether that is another bundle than the accepted one.
    offered: bool,
    /// The taught bundle that somebody has accepted.
    active: Option<String>,
    /// The taught bundle that runs: the same, unless that cannot be used or has not been loaded yet.
    running: Option<String>,
}

/// Of `POST /teach`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(rename = "do")]
    order: Order,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Learn,
    Accept,
    Back,
}

pub fn show(lessons: &Lessons) -> Answer {
    let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    let learned = lessons.room.learned();
    let active = lessons.room.active().as_ref().and_then(name);
    let newest = { learned.as_ref() }.and_then(|learned| name(&learned.request.bundle));
    json(&Now {
        state: lessons.room.state(),
        now: unix_seconds(SystemTime::now()),
        offered: newest.is_some() && newest != active,
        learned,
        running: lock(&lessons.models).taught.as_ref().and_then(name),
        active,
    })
}

/// What a person wants done.
pub fn change(lessons: &Lessons, snapshots: &Snapshots, body: &[u8]) -> Answer {
    let Ok(Wish { order }) = serde_json::from_slice(body) else {
        return text(
            StatusCode::BAD_REQUEST,
            "This is no {\"do\":\"learn\"}, \"accept\" or \"back\".",
        );
    };
    match lessons.order(order, snapshots) {
        Ok(()) => text(StatusCode::OK, "Done."),
        Err(error) => {
            let status = match error {
                LessonError::Busy | LessonError::Nothing => StatusCode::CONFLICT,
                LessonError::Io { .. } | LessonError::Request { .. } => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            refusal(status, &error)
        }
    }
}
