//! What Linux says of heat and memory, for the governor. Sensors lie, stick and vanish: what makes no sense is told
//! once and counts as not known.

mod heat;
mod memory;

use std::fs;
use std::path::{Path, PathBuf};

use super::governor::{Heat, Memory};
pub use heat::Gauge;
use heat::HeatSensors;
use memory::MemorySensors;
pub use memory::{limits_have_no_effect, value};

/// A directory in place of `/` below which `sys/` and `proc/` are read: for trying out what heat would do.
pub const VARIABLE: &str = "RESNETD_SENSORS";

/// Everything that is read.
#[derive(Debug)]
pub struct Sensors {
    heat: HeatSensors,
    memory: MemorySensors,
}

impl Sensors {
    /// Those of this machine, or where [`VARIABLE`] says.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::below(&root())
    }

    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            heat: HeatSensors::below(root),
            memory: MemorySensors::below(root),
        }
    }

    /// How warm it is, and in words why.
    pub fn heat(&mut self) -> (Heat, String) {
        self.heat.read()
    }

    /// The same in figures.
    pub fn gauge(&mut self) -> Gauge {
        self.heat.gauge()
    }

    /// `None` where Linux does not say.
    pub fn memory(&mut self) -> Option<Memory> {
        self.memory.read()
    }
}

/// Where `sys/` and `proc/` are.
#[must_use]
pub fn root() -> PathBuf {
    std::env::var_os(VARIABLE)
        .filter(|root| !root.is_empty())
        .map_or_else(|| "/".into(), PathBuf::from)
}

/// A file of one line; `None` where it cannot be read.
fn line(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    line(path)?.parse().ok()
}

/// The entries of a folder whose names begin so, by name.
fn entries(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(begin))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests;
