//! Kept pictures on the page: which there are, and what a person says that they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::routes::{Answer, full, json, refusal, text};
use crate::publish::snapshots::Snapshots;
use crate::publish::snapshots::store::{Note, StoreError};

/// Of pictures in one answer.
const MOST: usize = 60;

/// Of `GET /snapshots`.
#[derive(Serialize)]
struct List {
    /// The newest first.
    snapshots: Vec<Note>,
    /// How many pictures each label has.
    labels: BTreeMap<String, usize>,
    /// How many nobody has judged.
    open: usize,
    /// Whether new labels can be taught: `/teach` is there.
    teaches: bool,
}

/// Of `POST /snapshots`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judgement {
    ids: Vec<String>,
    /// `None`: it is not known after all.
    label: Option<String>,
}

pub fn list(snapshots: &Snapshots, before: Option<&str>, teaches: bool) -> Answer {
    let mut store = snapshots.lock();
    let found = store
        .list(before, MOST)
        .and_then(|list| Ok((list, store.counts()?)));
    match found {
        Ok((snapshots, (labels, open))) => json(&List {
            snapshots,
            labels,
            open,
            teaches,
        }),
        Err(error) => refused(&error),
    }
}

/// The JPEG of `/snapshots/ID.jpg`.
pub fn picture(snapshots: &Snapshots, file: &str) -> Answer {
    let id = file.strip_suffix(".jpg").unwrap_or_default();
    match snapshots.lock().picture(id) {
        Ok(jpeg) => full(StatusCode::OK, "image/jpeg", Bytes::from(jpeg)),
        Err(error) => refused(&error),
    }
}

/// Many pictures at once; the first that cannot be judged ends it.
pub fn judge(snapshots: &Snapshots, body: &[u8]) -> Answer {
    let Ok(judgement) = serde_json::from_slice::<Judgement>(body) else {
        return text(
            StatusCode::BAD_REQUEST,
            "This is no {\"ids\":[...],\"label\":...}.",
        );
    };
    let mut store = snapshots.lock();
    for id in &judgement.ids {
        if let Err(error) = store.judge(id, judgement.label.as_deref()) {
            return refused(&error);
        }
    }
    text(StatusCode::OK, "Done.")
}

fn refused(error: &StoreError) -> Answer {
    let status = match error {
        StoreError::Unknown(_) => StatusCode::NOT_FOUND,
        StoreError::Label(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    refusal(status, error)
}
