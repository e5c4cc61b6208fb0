//! What to compute, and when: which model, how hard it works, and whether a frame is worth an inference at all.
//! [`cascade`], [`choice`], [`governor`] and [`still`] are pure state machines over what they are shown and the time that they are
//! told; [`sensors`] reads what the governor is shown. What follows of it is the daemon's business.

pub mod cascade;
pub mod choice;
pub mod governor;
pub mod sensors;
pub mod still;

use std::time::Duration;

/// What a model takes of this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of one inference, with the machine to itself.
    pub inference: Duration,
    /// Bytes of memory of the whole process with this model.
    pub resident: u64,
    /// Of a further network's answer, where one is asked for its opinion if there is time.
    pub opinion: Duration,
}

/// How fast it has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// What an inference may take on average.
    pub turn: Option<Duration>,
    /// What each one may take.
    pub latency: Option<Duration>,
}

impl Pace {
    /// What an inference may take.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        self.turn.into_iter().chain(self.latency).min()
    }
}
