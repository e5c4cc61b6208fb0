//! Backends for x86-64 beyond its baseline.

pub mod avx2;
mod winograd_avx2;
