//! Teaching from the page: asks for a lesson on the pictures that somebody has labelled, shows what came of it, and takes the
//! taught bundle into use or out of it. The learning is another program's; see [`crate::lesson`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::routes::{Answer, full, json, text};
use crate::lesson::{LessonError, Room, State};
use crate::publish::lock;
use crate::publish::snapshots::Snapshots;

/// Where lessons are, and what they begin with.
pub struct Lessons {
    room: Room,
    /// The bundle that runs, untaught.
    base: Mutex<PathBuf>,
    /// Becomes true when another bundle is to be used.
    changed: Arc<AtomicBool>,
}

impl Lessons {
    #[must_use]
    pub fn new(room: Room, changed: Arc<AtomicBool>) -> Self {
        Self {
            room,
            base: Mutex::default(),
            changed,
        }
    }

    /// From now on lessons begin with this bundle.
    pub fn begin_with(&self, bundle: PathBuf) {
        *lock(&self.base) = bundle;
    }

    /// The taught bundle that is to be used, if one is.
    #[must_use]
    pub fn active(&self) -> Option<PathBuf> {
        self.room.active()
    }

    fn order(&self, order: Order, snapshots: &Snapshots) -> Result<(), LessonError> {
        match order {
            Order::Learn => {
                let base = lock(&self.base).clone();
                let labelled = snapshots.lock().labelled();
                return self.room.ask(&base, &labelled);
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
    /// The taught bundle in use.
    active: Option<String>,
    /// Whether the report's bundle is another, which could be used.
    offered: bool,
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
    let name = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    let (state, active) = (lessons.room.state(), lessons.room.active().and_then(name));
    let offered = match &state {
        State::Ended(report) if report.error.is_none() => {
            name(report.request.bundle.clone()) != active
        }
        _ => false,
    };
    json(&Now {
        state,
        active,
        offered,
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
            full(status, "text/plain; charset=utf-8", error.to_string())
        }
    }
}
