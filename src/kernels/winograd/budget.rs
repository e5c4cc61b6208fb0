//! How much memory transformed weights may take.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use thiserror::Error;

/// The environment variable that says how much memory transformed weights may take: `auto`, `all` or
/// `off`.
pub const VARIABLE: &str = "RESNETD_WINOGRAD";
/// Bytes of transformed weights that `auto` keeps: in a ResNet50 of 224 x 224 those of its six layers at 56x56 and 28x28, 4.4
/// million, for which each picture would transform them several times.
const AUTO: usize = 6 << 20;

/// Which layers of a network keep their transformed weights, and which transform them for each picture. Layers ask in
/// the order in which they run, so that those with few channels and many pixels, which gain most per byte, come first.
#[derive(Debug)]
pub struct Budget {
    /// Bytes of transformed weights.
    left: AtomicUsize,
    layers: Layers,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Layers {
    None,
    ThatGain,
    All,
}

impl Budget {
    const fn new(left: usize, layers: Layers) -> Self {
        Self {
            left: AtomicUsize::new(left),
            layers,
        }
    }

    /// No layer.
    #[must_use]
    pub const fn none() -> Self {
        Self::new(0, Layers::None)
    }

    /// All layers, none of which keeps transformed weights.
    #[cfg(test)]
    pub const fn nothing_kept() -> Self {
        Self::new(0, Layers::All)
    }

    /// As `RESNETD_WINOGRAD` says.
    ///
    /// # Errors
    /// If it says something else.
    pub fn selected() -> Result<Self, BudgetError> {
        std::env::var(VARIABLE).unwrap_or_default().parse()
    }

    /// Whether a layer is to be transformed; `gains`: it takes less time then.
    pub(super) fn wants(&self, gains: bool) -> bool {
        match self.layers {
            Layers::None => false,
            Layers::ThatGain => gains,
            Layers::All => true,
        }
    }

    /// Takes so many bytes, if they are left.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Relaxed, Relaxed, left).is_ok()
    }
}

impl std::str::FromStr for Budget {
    type Err = BudgetError;

    fn from_str(name: &str) -> Result<Self, BudgetError> {
        match name {
            "" | "auto" => Ok(Self::new(AUTO, Layers::ThatGain)),
            "all" => Ok(Self::new(usize::MAX, Layers::All)),
            "off" => Ok(Self::none()),
            _ => Err(BudgetError(name.to_owned())),
        }
    }
}

#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{VARIABLE}={0} is none of auto, all, off")]
pub struct BudgetError(String);
