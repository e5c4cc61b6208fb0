//! The bundle: one file that holds a network, its labels, its preprocessing and what is known of its
//! accuracy. A tar archive: `resnetd.json` (the manifest), `graph.nnef`, and one `.dat` per tensor,
//! which plain tract-nnef reads too.
//!
//! This module reads, checks and writes the file. It does not build a network from it: `infer` does,
//! from bytes that have passed [`check`]. Whoever opens a bundle says which operators it knows.

mod archive;
mod check;
mod graph;
mod manifest;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::plain_file;

pub use check::preprocessing as check_preprocessing;
pub use manifest::{Accuracy, FORMAT, Manifest, Provenance, Quantization};

/// The name of the manifest in the archive.
pub const MANIFEST: &str = "resnetd.json";
/// The name of the network's description in the archive.
pub const GRAPH: &str = "graph.nnef";
/// No bundle is larger: a float ResNet152 has 241 MB.
const MAX_FILE: u64 = 1 << 30;

/// Why a file is not a bundle that we run.
#[derive(Debug, Error)]
pub enum BundleError {
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("cannot write {path}: {error}", path = path.display())]
    Write {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{path} is not a bundle: {reason}; make one with `resnetd-model`", path = path.display())]
    Foreign { path: PathBuf, reason: String },
    #[error("{path} is damaged: {reason}; copy it again from where it came", path = path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} is refused: {reason}; make it anew with `resnetd-model`", path = path.display())]
    Refused { path: PathBuf, reason: String },
    #[error(
        "{path} has format {found}, this program reads {FORMAT}; make it anew with this version's `resnetd-model`",
        path = path.display()
    )]
    Format { path: PathBuf, found: u64 },
}

/// A checked bundle in memory.
#[derive(Debug)]
pub struct Bundle {
    pub path: PathBuf,
    pub manifest: Manifest,
    bytes: Vec<u8>,
    entries: Vec<archive::Entry>,
}

impl Bundle {
    /// Reads and checks a file; `operators` are the names that its graph may use.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged, foreign, hostile or of another format.
    pub fn open(path: &Path, operators: &[&str]) -> Result<Self, BundleError> {
        let read = |error| BundleError::Read {
            path: path.to_owned(),
            error,
        };
        let bytes = plain_file::read(path, MAX_FILE).map_err(read)?;
        Self::from_bytes(path, bytes, operators)
    }

    /// As [`Self::open`], from memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(
        path: &Path,
        bytes: Vec<u8>,
        operators: &[&str],
    ) -> Result<Self, BundleError> {
        let at = |reason: check::Reason| reason.at(path);
        let entries = archive::entries(&bytes).map_err(at)?;
        let manifest = check::manifest(&bytes, &entries).map_err(at)?;
        check::contents(&bytes, &entries, operators).map_err(at)?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
            bytes,
            entries,
        })
    }

    /// Puts a bundle together; the same input gives the same bytes.
    ///
    /// # Errors
    /// If what was put together does not pass the checks that reading makes.
    pub fn build(
        path: &Path,
        mut manifest: Manifest,
        mut contents: Vec<(String, Vec<u8>)>,
        operators: &[&str],
    ) -> Result<Self, BundleError> {
        manifest.checksum = check::NO_CHECKSUM.into();
        contents.retain(|(name, _)| name != MANIFEST);
        contents.sort_by_key(|(name, _)| (name != GRAPH, name.clone()));
        contents.insert(0, (MANIFEST.into(), manifest.to_json().into_bytes()));
        let mut bytes = archive::write(&contents);
        drop(contents);
        check::stamp(&mut bytes).map_err(|reason| reason.at(path))?;
        Self::from_bytes(path, bytes, operators)
    }

    /// The same network with another manifest.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn with_manifest(
        &self,
        manifest: Manifest,
        operators: &[&str],
    ) -> Result<Self, BundleError> {
        let contents = self
            .entries
            .iter()
            .map(|e| (e.name.clone(), self.bytes[e.range.clone()].to_vec()));
        Self::build(&self.path, manifest, contents.collect(), operators)
    }

    /// Writes the file beside its place and renames it, so that nobody ever sees half of one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        let error = |error| BundleError::Write {
            path: path.to_owned(),
            error,
        };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let write = || {
            let mut file = fs::File::create(&partial)?;
            file.write_all(&self.bytes)?;
            file.sync_all()?;
            fs::rename(&partial, path)
        };
        write().map_err(|e| {
            fs::remove_file(&partial).ok();
            error(e)
        })
    }

    /// The whole archive, for tract.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Numbers in the archive's tensors.
    #[must_use]
    pub fn stored_values(&self) -> u64 {
        let tensors = self.entries.iter().filter(|e| e.name.ends_with(".dat"));
        tensors
            .map(|e| check::values(&self.bytes[e.range.clone()]))
            .sum()
    }
}

/// The entries of an archive that tract wrote.
///
/// # Errors
/// If it is no archive.
pub fn unpack(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
    let entries = archive::entries(bytes).map_err(|reason| reason.at(path))?;
    Ok(entries
        .into_iter()
        .map(|e| (e.name, bytes[e.range].to_vec()))
        .collect())
}
