//! Backends for 64-bit ARM. Activations are kept signed: `sdot` and `smull` multiply i8 by i8.

pub mod dotprod;
mod epilogue;
pub mod i8mm;
pub mod neon;
mod winograd;
