//! When to compute: what can be decided about a stream of frames without running a network on it. Pure state
//! machines over what they are shown and the time that they are told; what follows of it is the daemon's business.

pub mod still;
