//! The socket as its subscribers see it: the daemon runs as a library, with a source and a classifier
//! that do what the tests say.

// The helpers here are parts of tests.
#![allow(clippy::unwrap_used)]

mod adapt;
mod cameras;
mod fakes;
mod harness;
mod life;
mod messages;
mod regions;
mod reload;
mod still;
mod subscribers;
