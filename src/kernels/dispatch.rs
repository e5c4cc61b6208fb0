//! Which backend runs: detected once at start, or forced by `RESNETD_ISA`.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

use super::driver::{self, Tile};
use super::portable::Portable;
use super::winograd::{self, Budget, Winograd};
use super::{Add, Conv, Dense, Filter, Layout, Pool, Storage, scalar};

/// The environment variable that forces a backend.
pub const VARIABLE: &str = "RESNETD_ISA";

/// An instruction set that there is a backend for, on some processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    Scalar,
    Portable,
    Neon,
    Dotprod,
    I8mm,
    Avx2,
    Avx512Vnni,
}

impl Isa {
    /// All, of each architecture the preferred last.
    pub const ALL: [Self; 7] = [
        Self::Scalar,
        Self::Portable,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
        Self::Avx2,
        Self::Avx512Vnni,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512vnni",
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

/// The tiles of this architecture: `Isa::Name` is `path::Name`, whose `new` asks the processor.
macro_rules! tiles {
    ($($(#[$cfg:meta])? $name:ident = $path:path;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Kind {
            Scalar,
            Portable(Portable),
            $($(#[$cfg])? $name($path),)*
        }

        impl Backend {
            /// `None` if the processor lacks `isa`.
            #[must_use]
            pub fn new(isa: Isa) -> Option<Self> {
                Some(Self(match isa {
                    Isa::Scalar => Kind::Scalar,
                    Isa::Portable => Kind::Portable(Portable),
                    $($(#[$cfg])? Isa::$name => Kind::$name(<$path>::new()?),)*
                    #[allow(unreachable_patterns)]
                    _ => return None,
                }))
            }

            #[must_use]
            pub fn isa(self) -> Isa {
                match self.0 {
                    Kind::Scalar => Isa::Scalar,
                    Kind::Portable(_) => Isa::Portable,
                    $($(#[$cfg])? Kind::$name(_) => Isa::$name,)*
                }
            }
        }

        /// Evaluates `$scalar`, or `$fast` with `$tile` bound to the backend's tile.
        macro_rules! with_tile {
            ($backend:expr, $scalar:expr, $tile:ident => $fast:expr) => {
                match $backend.0 {
                    Kind::Scalar => $scalar,
                    Kind::Portable($tile) => $fast,
                    $($(#[$cfg])? Kind::$name($tile) => $fast,)*
                }
            };
        }
    };
}

tiles! {
    #[cfg(target_arch = "aarch64")]
    Neon = super::aarch64::neon::Neon;
    #[cfg(target_arch = "aarch64")]
    Dotprod = super::aarch64::dotprod::Dotprod;
    #[cfg(target_arch = "aarch64")]
    I8mm = super::aarch64::i8mm::I8mm;
    #[cfg(target_arch = "x86_64")]
    Avx2 = super::x86_64::avx2::Avx2;
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni = super::x86_64::avx512vnni::Avx512Vnni;
}

/// What a tile's type says, from a value of it.
fn layout_of<T: Tile>(_: T) -> Layout {
    T::LAYOUT
}

fn storage_of<T: Tile>(_: T) -> Storage {
    T::STORAGE
}

impl Backend {
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
        let best = Isa::ALL.into_iter().rev().find_map(Self::new);
        best.ok_or(IsaError::Missing(Isa::Scalar))
    }

    /// How this backend wants its weights.
    #[must_use]
    pub fn layout(self) -> Layout {
        with_tile!(self, Layout::PLAIN, tile => layout_of(tile))
    }

    /// How this backend keeps activations in memory.
    #[must_use]
    pub fn storage(self) -> Storage {
        with_tile!(self, Storage::Unsigned, tile => storage_of(tile))
    }

    /// Makes a convolution ready: where the layer and `budget` allow and the backend gains by it, its
    /// weights are for Winograd's method.
    #[must_use]
    pub fn prepare(self, mut conv: Conv, budget: &Budget) -> Conv {
        let Filter::Direct(weights) = &conv.filter else {
            return conv;
        };
        let winograd = match self.0 {
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(neon) => Winograd::new(neon, &conv, weights, budget),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => Winograd::new(avx2, &conv, weights, budget),
            _ => None,
        };
        if let Some(winograd) = winograd {
            conv.filter = Filter::Winograd(winograd.into());
        }
        conv
    }

    /// Runs one convolution on weights packed in [`Self::layout`].
    ///
    /// # Panics
    /// If a slice does not have its geometry's length or the weights another layout: a plan that was
    /// checked at load gives neither.
    pub fn conv(self, pool: &Pool, conv: &Conv, x: &[u8], residual: Option<&[u8]>, y: &mut [u8]) {
        let g = &conv.geometry;
        assert_eq!(conv.border.len(), g.in_c);
        assert_eq!((x.len(), y.len()), (g.input_len(), g.output_len()));
        assert_eq!(
            residual.map(<[u8]>::len),
            conv.requant.residual.map(|_| y.len())
        );
        match &conv.filter {
            Filter::Direct(weights) => {
                assert_eq!(weights.layout, self.layout());
                assert_eq!((weights.out_c, weights.depth), (g.out_c, g.depth()));
                with_tile!(
                    self,
                    scalar::conv((conv, weights), x, residual, y),
                    tile => driver::conv(tile, pool, (conv, weights), x, residual, y)
                );
            }
            Filter::Winograd(weights) => self.winograd((conv, weights), pool, x, residual, y),
        }
    }

    /// [`Self::conv`] by Winograd's method.
    fn winograd(
        self,
        conv: (&Conv, &Winograd),
        pool: &Pool,
        x: &[u8],
        residual: Option<&[u8]>,
        y: &mut [u8],
    ) {
        match self.0 {
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(neon) => winograd::conv(neon, pool, conv, x, residual, y),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => winograd::conv(avx2, pool, conv, x, residual, y),
            _ => unreachable!("only `prepare` makes such weights, for backends that take them"),
        }
    }

    /// Adds two tensors.
    ///
    /// # Panics
    /// If the three are not equally long.
    pub fn add(self, pool: &Pool, add: &Add, inputs: [&[u8]; 2], y: &mut [u8]) {
        with_tile!(
            self,
            add.run(Portable, pool, inputs, y),
            tile => add.run(tile, pool, inputs, y)
        );
    }

    /// Runs the last layer on weights packed in [`Self::layout`].
    ///
    /// # Panics
    /// As [`Self::conv`].
    pub fn dense(self, pool: &Pool, dense: &Dense, x: &[u8], y: &mut [f32]) {
        assert_eq!(dense.weights.layout, self.layout());
        assert_eq!(
            (x.len(), y.len()),
            (dense.weights.depth, dense.weights.out_c)
        );
        with_tile!(
            self,
            scalar::dense(dense, x, y),
            tile => driver::dense(tile, pool, dense, x, y)
        );
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
