//! `[snapshots]`: pictures that are kept.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;

use crate::spec::When;

/// Which, where and how many.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    pub dir: Option<PathBuf>,
    pub max_mb: Option<NonZeroU32>,
    #[serde(default)]
    pub when: When,
}
