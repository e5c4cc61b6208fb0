//! Which backend runs: detected once at start, or forced by `RESNETD_ISA`.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

use super::driver::{self, Tile};
use super::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::x86_64::avx2::Avx2;
use super::{Conv, Dense, Layout, Pool, scalar};

/// The environment variable that forces a backend.
pub const VARIABLE: &str = "RESNETD_ISA";

/// An instruction set that there is a backend for, on some processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    Scalar,
    Portable,
    Avx2,
}

impl Isa {
    /// All, the preferred last.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Portable, Self::Avx2];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| IsaError::Unknown(name.to_owned()))
    }
}

#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum IsaError {
    #[error("{VARIABLE}={0} names no instruction set; known are {names}", names = names(&Isa::ALL))]
    Unknown(String),
    #[error("{VARIABLE}={0}, which this processor lacks; it has {names}", names = names(&available()))]
    Missing(Isa),
}

fn names(isas: &[Isa]) -> String {
    isas.iter()
        .map(|isa| isa.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// What this processor can run.
#[must_use]
pub fn available() -> Vec<Isa> {
    Isa::ALL
        .into_iter()
        .filter(|&isa| Backend::new(isa).is_some())
        .collect()
}

/// A backend that this processor can run: a value is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

impl Backend {
    /// `None` if the processor lacks `isa`.
    #[must_use]
    pub fn new(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Scalar => Some(Self(Kind::Scalar)),
            Isa::Portable => Some(Self(Kind::Portable(Portable))),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::new().map(|avx2| Self(Kind::Avx2(avx2))),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 => None,
        }
    }

    /// The fastest that there is, or the one that `RESNETD_ISA` names; the same for the whole life
    /// of the process.
    ///
    /// # Errors
    /// If `RESNETD_ISA` names nothing known, or what this processor lacks.
    pub fn selected() -> Result<Self, IsaError> {
        static SELECTED: OnceLock<Result<Backend, IsaError>> = OnceLock::new();
        SELECTED
            .get_or_init(|| Self::choose(std::env::var(VARIABLE).ok().as_deref()))
            .clone()
    }

    fn choose(forced: Option<&str>) -> Result<Self, IsaError> {
        if let Some(name) = forced.filter(|name| !name.is_empty()) {
            let isa = name.parse()?;
            return Self::new(isa).ok_or(IsaError::Missing(isa));
        }
        Ok(Isa::ALL
            .into_iter()
            .rev()
            .find_map(Self::new)
            .unwrap_or(Self(Kind::Scalar)))
    }

    #[must_use]
    pub fn isa(self) -> Isa {
        match self.0 {
            Kind::Scalar => Isa::Scalar,
            Kind::Portable(_) => Isa::Portable,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => Isa::Avx2,
        }
    }

    /// How this backend wants its weights.
    #[must_use]
    pub fn layout(self) -> Layout {
        match self.0 {
            Kind::Scalar => Layout::PLAIN,
            Kind::Portable(_) => Portable::LAYOUT,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => Avx2::LAYOUT,
        }
    }

    /// Runs one convolution on weights packed in [`Self::layout`].
    ///
    /// # Panics
    /// If a slice does not have its geometry's length or the weights another layout: a plan that was
    /// checked at load gives neither.
    pub fn conv(self, _pool: &Pool, conv: &Conv, x: &[u8], residual: Option<&[u8]>, y: &mut [u8]) {
        let g = &conv.geometry;
        assert_eq!(conv.weights.layout, self.layout());
        assert_eq!(
            (conv.weights.out_c, conv.weights.depth),
            (g.out_c, g.depth())
        );
        assert_eq!(conv.border.len(), g.in_c);
        assert_eq!((x.len(), y.len()), (g.input_len(), g.output_len()));
        assert_eq!(
            residual.map(<[u8]>::len),
            conv.requant.residual.map(|_| y.len())
        );
        match self.0 {
            Kind::Scalar => scalar::conv(conv, x, residual, y),
            Kind::Portable(tile) => driver::conv(tile, conv, x, residual, y),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.conv(conv, x, residual, y),
        }
    }

    /// Runs the last layer on weights packed in [`Self::layout`].
    ///
    /// # Panics
    /// As [`Self::conv`].
    pub fn dense(self, _pool: &Pool, dense: &Dense, x: &[u8], y: &mut [f32]) {
        assert_eq!(dense.weights.layout, self.layout());
        assert_eq!(
            (x.len(), y.len()),
            (dense.weights.depth, dense.weights.out_c)
        );
        match self.0 {
            Kind::Scalar => scalar::dense(dense, x, y),
            Kind::Portable(tile) => driver::dense(tile, dense, x, y),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.dense(dense, x, y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_isa_is_obeyed_or_refused_by_name() {
        assert_eq!(Backend::choose(Some("scalar")).unwrap().isa(), Isa::Scalar);
        let unknown = Backend::choose(Some("mmx")).unwrap_err().to_string();
        assert!(
            unknown.contains("mmx") && unknown.contains("portable"),
            "{unknown}"
        );
    }

    #[test]
    fn without_a_wish_the_last_available_runs() {
        assert_eq!(
            Backend::choose(None).unwrap().isa(),
            *available().last().unwrap()
        );
    }
}
