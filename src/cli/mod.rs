//! Commands.
#[cfg(feature = "tools")]
pub mod workshop;
