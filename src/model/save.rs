//! From a graph and its manifest to a bundle.

use std::path::Path;

use tract_nnef::internal::*;

use super::error::ModelError;
use crate::bundle::{self, Bundle, Manifest};
use crate::infer::registry::{OPERATORS, nnef};

/// What a manifest names as its maker.
#[must_use]
pub fn tool() -> String {
    format!("resnetd-model {}", env!("CARGO_PKG_VERSION"))
}

/// Serializes `graph` and puts the bundle together; `path` is for messages.
///
/// # Errors
/// If tract cannot write an operator, or the result does not pass the checks of reading.
pub fn bundle(path: &Path, graph: TypedModel, manifest: Manifest) -> Result<Bundle, ModelError> {
    let tar = nnef().write_to_tar_with_config(&graph, Vec::new(), false, true)?;
    drop(graph);
    let contents = bundle::unpack(path, &tar)?;
    drop(tar);
    Ok(Bundle::build(path, manifest, contents, OPERATORS)?)
}
