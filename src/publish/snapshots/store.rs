//! The folder: `new/` has pictures that nobody has judged, `labelled/LABEL/` those that somebody has, `notes/` what was said of each.
//! At the bound the oldest that nobody has judged goes; what a person did is never deleted. Nothing is written to a disk that
//! is nearly full.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::name::{is_id, is_label};
use crate::plain_file;
use crate::spec::When;

/// So much stays free on the disk, in bytes.
const FREE: u64 = 64 << 20;
const NEW: &str = "new";
const LABELLED: &str = "labelled";
const NOTES: &str = "notes";
const LARGEST_NOTE: u64 = 16 << 10;
pub const LARGEST_PICTURE: u64 = 8 << 20;

/// What was said of a picture, and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub id: String,
    pub camera: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Unix seconds.
    pub timestamp: f64,
    pub top: String,
    pub confidence: f32,
    pub because: When,
    /// What a person says that it is.
    #[serde(default)]
    pub label: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the folder {} is not there; make it, or name another by `dir` in [snapshots]", .0.display())]
    Missing(PathBuf),
    #[error("the disk of {} is nearly full: less than {} MiB are free", .0.display(), FREE >> 20)]
    Full(PathBuf),
    #[error(
        "the pictures in {} that somebody has labelled fill all of max_mb; move some away, or allow more in [snapshots]", .0.display()
    )]
    Labelled(PathBuf),
    #[error("{}: {reason}", .path.display())]
    Io { path: PathBuf, reason: io::Error },
    #[error("there is no picture {0:?}")]
    Unknown(String),
    #[error("{0:?} can be no label: 1 to 64 characters, no / and none that cannot be seen")]
    Label(String),
}

/// A kept picture.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    bytes: u64,
    label: Option<String>,
}

/// The folder and what is in it.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    most: u64,
    /// By their names, which sort by time. `None`: the folder was not looked at yet.
    kept: Option<BTreeMap<String, Kept>>,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |reason| match reason.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(path.clone()),
        _ => StoreError::Io {
            path: path.clone(),
            reason,
        },
    }
}

impl Store {
    #[must_use]
    pub fn new(dir: PathBuf, most: u64) -> Self {
        Self {
            dir,
            most,
            kept: None,
        }
    }

    /// Keeps a picture and its note.
    ///
    /// # Errors
    /// If there is no folder, no room, or nothing left that may be deleted.
    pub fn keep(&mut self, note: &Note, jpeg: &[u8]) -> Result<(), StoreError> {
        if !self.dir.is_dir() {
            self.kept = None; // what comes back may be another
            return Err(StoreError::Missing(self.dir.clone()));
        }
        self.scan()?;
        let text = serde_json::to_vec(note).unwrap_or_default();
        let bytes = (jpeg.len() + text.len()) as u64;
        self.make_room(bytes)?;
        let free =
            rustix::fs::statvfs(&self.dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free.is_ok_and(|free| free < FREE + bytes) {
            return Err(StoreError::Full(self.dir.clone()));
        }
        self.write(&self.note_path(&note.id), &text)?;
        let picture = self.picture_path(&note.id, None);
        self.write(&picture, jpeg).inspect_err(|_| {
            let _ = fs::remove_file(self.note_path(&note.id)); // it may be gone already
        })?;
        let kept = Kept { bytes, label: None };
        self.kept
            .get_or_insert_default()
            .insert(note.id.clone(), kept);
        Ok(())
    }

    /// Notes of at most `most` pictures, the newest first, older than `before` if that is given.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&mut self, before: Option<&str>, most: usize) -> Result<Vec<Note>, StoreError> {
        let kept = self.scan()?;
        let older = kept
            .iter()
            .rev()
            .filter(|(id, _)| before.is_none_or(|before| id.as_str() < before));
        let ids: Vec<(String, Option<String>)> = older
            .take(most)
            .map(|(id, kept)| (id.clone(), kept.label.clone()))
            .collect();
        Ok(ids
            .into_iter()
            .filter_map(|(id, label)| {
                Some(Note {
                    label,
                    ..self.note(&id)?
                })
            })
            .collect())
    }

    /// How many pictures each label has, and how many nobody has judged.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn counts(&mut self) -> Result<(BTreeMap<String, usize>, usize), StoreError> {
        let (mut labels, mut open) = (BTreeMap::new(), 0);
        for kept in self.scan()?.values() {
            match &kept.label {
                Some(label) => *labels.entry(label.clone()).or_default() += 1,
                None => open += 1,
            }
        }
        Ok((labels, open))
    }

    /// The JPEG of a picture.
    ///
    /// # Errors
    /// If there is no such picture.
    pub fn picture(&mut self, id: &str) -> Result<Vec<u8>, StoreError> {
        let unknown = || StoreError::Unknown(id.to_owned());
        let label = self.scan()?.get(id).ok_or_else(unknown)?.label.clone();
        let path = self.picture_path(id, label.as_deref());
        plain_file::read(&path, LARGEST_PICTURE).map_err(failed(&path))
    }

    /// A person says what a picture is; `None`: that it is not known after all.
    ///
    /// # Errors
    /// If that can be no label, or there is no such picture.
    pub fn judge(&mut self, id: &str, label: Option<&str>) -> Result<(), StoreError> {
        if let Some(label) = label.filter(|label| !is_label(label)) {
            return Err(StoreError::Label(label.to_owned()));
        }
        let unknown = || StoreError::Unknown(id.to_owned());
        let before = self.scan()?.get(id).ok_or_else(unknown)?.label.clone();
        if before.as_deref() == label {
            return Ok(());
        }
        let (from, to) = (
            self.picture_path(id, before.as_deref()),
            self.picture_path(id, label),
        );
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        fs::rename(&from, &to).map_err(failed(&from))?;
        if let Some(kept) = self.kept.get_or_insert_default().get_mut(id) {
            kept.label = label.map(str::to_owned);
        }
        if let (Some(_), Some(folder)) = (before, from.parent()) {
            let _ = fs::remove_dir(folder); // it may hold others
        }
        Ok(())
    }

    /// Where `resnetd-model teach` finds a folder for each label.
    #[must_use]
    pub fn labelled(&self) -> PathBuf {
        self.dir.join(LABELLED)
    }

    fn note(&self, id: &str) -> Option<Note> {
        let text = plain_file::read(&self.note_path(id), LARGEST_NOTE).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn note_path(&self, id: &str) -> PathBuf {
        self.dir.join(NOTES).join(format!("{id}.json"))
    }

    fn picture_path(&self, id: &str, label: Option<&str>) -> PathBuf {
        let folder = match label {
            Some(label) => self.dir.join(LABELLED).join(label),
            None => self.dir.join(NEW),
        };
        folder.join(format!("{id}.jpg"))
    }

    /// Beside, and then in its place: nobody sees half a file.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        let beside = path.with_extension("part");
        fs::write(&beside, bytes)
            .and_then(|()| fs::rename(&beside, path))
            .map_err(failed(path))
            .inspect_err(|_| {
                let _ = fs::remove_file(&beside); // what there is of it
            })
    }

    /// Deletes the oldest that nobody has judged until `bytes` more fit.
    fn make_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        let mut all: u64 = self.scan()?.values().map(|kept| kept.bytes).sum();
        while all + bytes > self.most {
            let mut open = self.scan()?.iter().filter(|(_, kept)| kept.label.is_none());
            let Some((id, freed)) = open.next().map(|(id, kept)| (id.clone(), kept.bytes)) else {
                return Err(StoreError::Labelled(self.dir.clone()));
            };
            for path in [self.picture_path(&id, None), self.note_path(&id)] {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(failed(&path)(error));
                    }
                    _ => {}
                }
            }
            self.kept.get_or_insert_default().remove(&id);
            all -= freed;
        }
        Ok(())
    }

    /// What is in the folder; looked at once, and by nobody else changed but to add or remove labelled pictures.
    fn scan(&mut self) -> Result<&BTreeMap<String, Kept>, StoreError> {
        if self.kept.is_none() {
            let mut found = BTreeMap::new();
            self.scan_folder(&self.dir.join(NEW), None, &mut found)?;
            for folder in entries(&self.dir.join(LABELLED))? {
                let label = folder
                    .file_name()
                    .and_then(|name| name.to_str())
                    .map(str::to_owned);
                if label.as_deref().is_some_and(is_label) && folder.is_dir() {
                    self.scan_folder(&folder, label.as_deref(), &mut found)?;
                }
            }
            self.kept = Some(found);
        }
        Ok(self.kept.get_or_insert_default())
    }

    fn scan_folder(
        &self,
        folder: &Path,
        label: Option<&str>,
        found: &mut BTreeMap<String, Kept>,
    ) -> Result<(), StoreError> {
        for path in entries(folder)? {
            let id = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default()
                .to_owned();
            if path.extension().is_none_or(|extension| extension != "jpg") || !is_id(&id) {
                continue; // not one of ours
            }
            let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
            let kept = Kept {
                bytes: size(&path) + size(&self.note_path(&id)),
                label: label.map(str::to_owned),
            };
            found.insert(id, kept);
        }
        Ok(())
    }
}

/// The entries of a folder; none if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(folder)(error)),
    }
}

#[cfg(test)]
mod tests;
