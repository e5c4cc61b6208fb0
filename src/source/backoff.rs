//! How long to wait before a camera that went away is tried again: longer each time, and short again after it
//! has worked for a while. And the loop of a source that goes from state to state and must not wait for long.

use std::thread;
use std::time::{Duration, Instant};

use super::Event;

/// A camera that delivered for this long was all right.
const STEADY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Half a second, then twice as long each time, up to half a minute.
    pub(super) fn new() -> Self {
        Self::between(Duration::from_millis(500), Duration::from_secs(30))
    }

    pub(super) fn between(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The pause to make now, after frames had come for `delivered`.
    pub(super) fn pause(&mut self, delivered: Duration) -> Duration {
        if delivered >= STEADY {
            self.next = self.first;
        }
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_are_short_again_after_steady_frames() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u128> = (0..8)
            .map(|_| backoff.pause(Duration::from_secs(1)).as_millis())
            .collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(backoff.pause(STEADY), Duration::from_millis(500));
        assert_eq!(backoff.pause(Duration::ZERO), Duration::from_millis(1000));
    }
}
