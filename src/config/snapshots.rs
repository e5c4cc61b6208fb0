//! `[snapshots]`: pictures that are kept.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;

/// Which, where and how many.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    pub dir: Option<PathBuf>,
    pub max_mb: Option<NonZeroU32>,
    #[serde(default)]
    pub when: When,
}

/// When a picture is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    #[default]
    Change,
    Uncertain,
    Every,
}
