//! The workshop: from somebody's weights to a bundle whose accuracy is known. Only `resnetd-model`
//! uses it; nothing of it enters the device program.
//!
//! `pull` fetches published weights, `import` reads weights, `arch` knows what a ResNet looks like and builds it as a
//! float graph of `float_layers`, `lower` finds in a float graph the `layers` that our fused operators cover, `float` runs it with every activation
//! in view, `profile` keeps what they were like, `calibrate` chooses ranges, `equalize` evens out channels, `round` makes integers of weights, `recipe` says which, `rewrite` builds the int8
//! graph, `quantize` does all that for a bundle, `judge` holds int8 networks against it, `compare` says
//! which recipe is best, `sensitivity` which layers hurt, `effort` how much of that there is time for, `pictures` makes some up. `dataset` and `sweep` go over labelled pictures, `foreign` says what a file is that is not read, `sample` says whether they will do, `eval`
//! measures, `synth` makes networks up, `save` turns a graph and its manifest into a bundle. `teach` gives a
//! bundle new labels, `diff` compares two bundles layer by layer. `prune` makes a float network smaller; `emit` makes a
//! float graph of its layers again, `export` a file of weights for training.

pub mod arch;
pub mod calibrate;
pub mod cascade;
pub mod compare;
pub mod confidence;
pub mod dataset;
pub mod diff;
pub mod effort;
pub mod emit;
pub mod equalize;
pub mod error;
pub mod eval;
pub mod export;
pub mod float;
pub mod float_layers;
mod foreign;
pub mod import;
pub mod judge;
pub mod layers;
pub mod lower;
pub mod pictures;
pub mod profile;
pub mod prune;
pub mod pull;
pub mod quantize;
pub mod recipe;
pub mod rewrite;
pub mod round;
pub mod sample;
pub mod save;
pub mod sensitivity;
pub mod sweep;
pub mod synth;
pub mod teach;
