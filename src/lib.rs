//! resnetd: watches a camera with an int8 ResNet and publishes labels over a local Unix socket.

pub mod frame;
pub mod label;
pub mod preprocess;
pub mod source;
pub mod spec;
