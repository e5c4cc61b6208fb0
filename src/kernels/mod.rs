//! The arithmetic of int8 networks, one layer at a time: what `infer`'s operators call.
//!
//! `scalar` is the reference and defines every bit of the result; the other backends give the same
//! bits, faster. `requant` holds the one rounding rule, `pack` the weight layouts, `driver` the loop
//! over tiles that all fast backends share, and `dispatch` the choice of backend. Nothing here knows
//! tract, files or pictures: slices in, slices out.
//!
//! Activations are u8 in NHWC order (channels innermost), one scale and zero point per tensor;
//! weights are i8 in `[-127, 127]`, symmetric, one scale per output channel, OHWI order
//! (`[out][kernel row][kernel column][in]`) before packing.

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
#[cfg(test)]
mod tests;
pub mod threads;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use dispatch::{Backend, Isa, IsaError};
pub use geometry::{Geometry, GeometryError, Padding};
pub use pack::{Layout, PackedWeights};
pub use quant::{Quant, QuantError, Scale, ZeroPoint};
pub use requant::Requant;
pub use threads::Pool;

/// A convolution with everything that one run needs but the pictures: made when a bundle is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    pub geometry: Geometry,
    pub weights: std::sync::Arc<PackedWeights>,
    /// What padding holds, per input channel: the zero point, or for pictures the mean colour.
    pub border: Vec<u8>,
    pub requant: Requant,
}

/// The last layer: one vector in, one score per class out, not requantized.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    pub weights: std::sync::Arc<PackedWeights>,
    /// Per class, the input's zero point folded in.
    pub bias: Vec<i32>,
    /// Per class: input scale times weight scale.
    pub multiplier: Vec<f32>,
}
