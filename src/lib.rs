//! resnetd: watches a camera with an int8 ResNet and publishes labels over a local Unix socket.
//!
//! ```text
//! source -> frame -> preprocess -> infer -> smooth -> publish        on the device
//! import -> float graph -> calibrate -> quantize -> bundle           in the workshop
//!                                       kernels                      used by both
//! ```
//!
//! docs/ARCHITECTURE.md is the map: what each module is for, what it may import, and how a frame
//! travels. The library exists for the two programs and their tests; it is no stable interface.

pub mod adapt;
pub mod backoff;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod control;
pub mod cores;
pub mod daemon;
pub mod frame;
pub mod heap;
pub mod infer;
pub mod kernels;
pub mod label;
pub mod lesson;
#[cfg(feature = "tools")]
pub mod model;
pub mod plain_file;
pub mod preprocess;
pub mod publish;
#[cfg(any(test, feature = "tools"))]
pub mod random;
pub mod ratelimit;
pub mod slot;
pub mod smooth;
pub mod source;
pub mod spec;
pub mod telemetry;
