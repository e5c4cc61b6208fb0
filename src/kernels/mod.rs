//! The arithmetic of int8 networks, one layer at a time: what `infer`'s operators call.
//!
//! `scalar` is the reference and defines every bit of the result; the other backends give the same
//! bits, faster. `requant` holds the one rounding rule, `pack` the weight layouts, `driver` the loop
//! over tiles that all fast backends share, and `dispatch` the choice of backend. Nothing here knows
//! tract, files or pictures: slices in, slices out.
//!
//! Activations are 8-bit in NHWC order (channels innermost), one scale and zero point per tensor,
//! kept as u8 or, where the instructions multiply signed by signed, as i8 ([`Storage`]);
//! weights are i8 in `[-127, 127]`, symmetric, one scale per output channel, OHWI order
//! (`[out][kernel row][kernel column][in]`) before packing.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod add;
pub mod dispatch;
mod driver;
mod gather;
mod geometry;
pub mod pack;
pub mod pool;
mod portable;
pub mod probe;
pub mod quant;
pub mod requant;
pub mod scalar;
mod scratch;
#[cfg(test)]
mod tests;
pub mod threads;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use add::Add;
pub use dispatch::{Backend, Isa, IsaError};
pub use geometry::{Geometry, GeometryError, Padding};
pub use pack::{Layout, Notes, PackedWeights};
pub use quant::{Quant, QuantError, Scale, Storage, ZeroPoint};
pub use requant::Requant;
pub use threads::Pool;
pub use winograd::{Budget, BudgetError, Winograd};

/// A convolution with everything that one run needs but the pictures: made when a bundle is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    pub geometry: Geometry,
    pub filter: Filter,
    /// How the input lies in memory: as the backend stores activations, or a picture's plain bytes.
    pub input: Storage,
    /// What padding holds, per input channel, as the input lies in memory: the zero point, or for
    /// pictures the mean colour.
    pub border: Vec<u8>,
    pub requant: Requant,
}

/// A convolution's weights, made ready for one way of computing it.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    Direct(std::sync::Arc<PackedWeights>),
    /// For 3x3 convolutions of stride 1.
    Winograd(std::sync::Arc<Winograd>),
}

/// The last layer: one vector in, one score per class out, not requantized.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    pub weights: std::sync::Arc<PackedWeights>,
    /// Per class, the input's zero point folded in, counted as activations are stored.
    pub bias: Vec<i32>,
    /// Per class: input scale times weight scale.
    pub multiplier: Vec<f32>,
}
