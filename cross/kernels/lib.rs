//! The kernels without the rest of the crate. The paths hold in target/avx512 and target/kernels too, where this
//! is built.
#![allow(dead_code)]

#[path = "../../src/kernels/mod.rs"]
pub mod kernels;
#[cfg(test)]
#[path = "../../src/random.rs"]
mod random;
