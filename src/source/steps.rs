//! A source that goes from state to state in small steps, so that none waits longer than the caller allows.

use std::thread;
use std::time::{Duration, Instant};

use super::Event;

/// Nothing is done before a certain time.
#[derive(Debug)]
pub(super) struct Paused {
    until: Instant,
    /// Why the camera was lost, if it was.
    why: Option<String>,
}

impl Paused {
    /// Until `until`, and no loss.
    pub(super) fn until(until: Instant) -> Self {
        Self { until, why: None }
    }

    /// For `pause`, because of a loss.
    pub(super) fn after_loss(pause: Duration, why: String) -> Self {
        Self {
            until: Instant::now() + pause,
            why: Some(why),
        }
    }

    /// Waits for the end, but not beyond `deadline`: the end comes later if this is an error, with what there is to say.
    pub(super) fn wait(&self, deadline: Instant) -> Result<(), Option<Event>> {
        let wake = self.until.min(deadline);
        thread::sleep(wake.saturating_duration_since(Instant::now()));
        if self.until > deadline {
            return Err(self.why.clone().map(Event::Lost));
        }
        Ok(())
    }
}

/// Takes steps, each not beyond the deadline that it is given, until one has something to say or `timeout` has passed.
pub(super) fn step_until(
    timeout: Duration,
    mut step: impl FnMut(Instant) -> Option<Event>,
) -> Event {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(event) = step(deadline) {
            return event;
        }
        if Instant::now() >= deadline {
            return Event::Timeout;
        }
    }
}
