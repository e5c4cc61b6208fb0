//! What to compute, and when: which model, how hard it works, and whether a frame is worth an inference at all.
//! [`choice`], [`governor`] and [`still`] are pure state machines over what they are shown and the time that they are
//! told; [`sensors`] reads what the governor is shown. What follows of it is the daemon's business.

pub mod choice;
pub mod governor;
pub mod sensors;
pub mod still;

use std::time::Duration;

/// What a model takes of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Of one inference, with the machine to itself.
    pub inference: Duration,
    /// Bytes of memory of the whole process with this model.
    pub resident: u64,
}
