//! resnetd: watches a camera with an int8 ResNet and publishes labels over a local Unix socket.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod frame;
pub mod label;
pub mod publish;
pub mod ratelimit;
pub mod slot;
pub mod smooth;
pub mod source;
pub mod spec;
