//! Backends for x86-64 beyond its baseline.

pub mod avx2;
mod avx2_inputs;
pub mod avx512vnni;
mod winograd_avx2;
