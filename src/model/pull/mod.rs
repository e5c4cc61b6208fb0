//! Brings published weights by their name: `torchvision/resnet50-v2` from PyTorch's download server
//! ([`torchvision`]), `timm/resnet50.a1_in1k` and any other `OWNER/NAME` from the model hub ([`hub`]). What was
//! brought once is kept and found again without a network. Reading the weights is `import`'s business.

mod fetch;
mod hub;
mod torchvision;

use std::path::PathBuf;

use super::error::ModelError;

/// Weights that lie on this machine now.
#[derive(Debug)]
pub struct Weights {
    pub path: PathBuf,
    /// What says how pictures were prepared, where there is such a file.
    pub config: Option<PathBuf>,
    /// The shorter side of pictures, where it is known by the weights' name alone.
    pub resize: Option<u32>,
}

/// No weights are larger: ResNeXt101 64x4d has 334 MB.
const MAX_WEIGHTS: u64 = 1 << 30;

/// Finds the weights called `name` in a cache, or fetches them.
///
/// # Errors
/// If the name is not known, the server cannot be reached or sends something else, or the disk is full.
pub fn weights(name: &str) -> Result<Weights, ModelError> {
    match name.strip_prefix("torchvision/") {
        Some(name) => torchvision::weights(name),
        None => hub::weights(name),
    }
}
