//! resnetd: watches a camera with an int8 ResNet and publishes labels over a local Unix socket.

pub mod bundle;
pub mod frame;
pub mod infer;
pub mod kernels;
pub mod label;
pub mod preprocess;
pub mod source;
pub mod spec;
