//! Runs a bundle's network through tract: our int8 operators, their form in NNEF files, and the
//! engine that loads, checks and runs the whole.
//!
//! The arithmetic is `kernels`'; what the outputs are called is the bundle's. Pictures arrive here
//! already cropped, as RGB bytes.

pub mod activation;
mod document;
pub mod engine;
mod features;
pub mod inspect;
mod layer;
mod map;
pub mod observe;

pub mod qadd;
pub mod qcast;
pub mod qconv;
pub mod qdense;
pub mod qgroup;
pub mod qpool;
pub mod quiet;
pub mod registry;
pub mod room;
pub mod weights;
pub use engine::{Engine, EngineError};
pub use features::{FeatureMap, Features};
pub use map::ActivationMap;
