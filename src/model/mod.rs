//! The workshop: from somebody's weights to a bundle whose accuracy is known. Only `resnetd-model`
//! uses it; nothing of it enters the device program.
//!
//! `import` reads weights, `arch` knows what a ResNet looks like and builds it as a float graph,
//! `lower` finds in a float graph what our fused operators cover, `calibrate` measures activations,
//! `quantize` chooses scales and writes the int8 graph, `dataset` reads labelled pictures, and `eval`
//! measures. `save` turns a graph and its manifest into a bundle.

pub mod arch;
pub mod calibrate;
pub mod dataset;
pub mod error;
pub mod eval;
pub mod import;
pub mod lower;
pub mod quantize;
pub mod save;
pub mod sweep;
pub mod synth;
