//! The bundle: one file that holds a network, its labels, its preprocessing and what is known of its
//! accuracy. A tar archive: `resnetd.json` (the manifest), `graph.nnef`, and one `.dat` per tensor,
//! which plain tract-nnef reads too.
//!
//! This module reads, checks and writes the file. It does not build a network from it: `infer` does,
//! from contents that have passed [`check`]. Whoever opens a bundle says which operators it knows. A device
//! streams the file ([`read`]); the workshop, which rewrites bundles, holds it in memory ([`Bundle`]).

mod archive;
mod check;
mod graph;
mod manifest;
mod tensor;

use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::plain_file;

pub use check::{Contents, faulty_label, preprocessing as check_preprocessing};
pub use graph::{Graph, Value, parse as parse_graph};
pub use manifest::{Accuracy, Confidence, FORMAT, Manifest, Provenance, Quantization};
pub use tensor::{Kind, Sink, TensorInfo};

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

/// Reads and checks a file from front to back, its tensors going to `sink` as they come; `operators` are the
/// names that its graph may use.
///
/// # Errors
/// If the file cannot be read, or is damaged, foreign, hostile or of another format.
pub fn read(path: &Path, operators: &[&str], sink: &mut dyn Sink) -> Result<Contents, BundleError> {
    let read = |error| BundleError::Read {
        path: path.to_owned(),
        error,
    };
    let (file, length) = plain_file::open(path, MAX_FILE).map_err(read)?;
    let file = BufReader::with_capacity(1 << 16, file.take(length));
    check::read(file, length, operators, sink).map_err(|reason| reason.at(path))
}

/// A checked bundle in memory.
#[derive(Debug)]
pub struct Bundle {
    pub path: PathBuf,
    pub manifest: Manifest,
    bytes: Vec<u8>,
    stored_values: u64,
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
        let length = bytes.len() as u64;
        let contents = check::read(&bytes[..], length, operators, &mut ())
            .map_err(|reason| reason.at(path))?;
        Ok(Self {
            path: path.to_owned(),
            manifest: contents.manifest,
            stored_values: contents.stored_values,
            bytes,
        })
    }

    /// Reads it once more, for its tensors and its graph.
    ///
    /// # Errors
    /// If `sink` can use one of the tensors not.
    pub fn read(&self, operators: &[&str], sink: &mut dyn Sink) -> Result<Contents, BundleError> {
        check::read(&self.bytes[..], self.bytes.len() as u64, operators, sink)
            .map_err(|reason| reason.at(&self.path))
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
        let contents = unpack(&self.path, &self.bytes)?;
        Self::build(&self.path, manifest, contents, operators)
    }

    /// Writes the file beside its place and renames it, so that nobody ever sees half of one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        plain_file::replace(path, &self.bytes).map_err(|error| BundleError::Write {
            path: path.to_owned(),
            error,
        })
    }

    /// The whole archive.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Numbers in the archive's tensors.
    #[must_use]
    pub fn stored_values(&self) -> u64 {
        self.stored_values
    }
}

/// A tensor's file in an archive that is no bundle: its header, checked against its size, and its values, finite.
///
/// # Errors
/// What is wrong with it.
pub fn read_tensor<'a>(name: &str, bytes: &'a [u8]) -> Result<(TensorInfo, &'a [u8]), String> {
    let Some((header, values)) = bytes.split_first_chunk::<{ tensor::HEADER }>() else {
        return Err(format!("{name}.dat: too short for a tensor"));
    };
    let info = tensor::info(name, header, values.len()).map_err(check::Reason::text)?;
    tensor::finite(&info, values).map_err(check::Reason::text)?;
    Ok((info, values))
}

/// The entries of an archive that tract wrote.
///
/// # Errors
/// If it is no archive.
pub fn unpack(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
    let entries = archive::entries(bytes).map_err(|reason| reason.at(path))?;
    Ok(entries
        .into_iter()
        .filter_map(|e| {
            let contents = archive::contents(bytes, &e)?.to_vec();
            Some((e.name, contents))
        })
        .collect())
}
