//! How long to wait before something that went away is tried again: longer each time, and short again after it
//! has worked.

use std::time::Duration;

/// A camera that delivered for this long was all right.
const STEADY: Duration = Duration::from_secs(5);

/// Growing pauses.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Half a second, then twice as long each time, up to half a minute.
    #[must_use]
    pub fn new() -> Self {
        Self::between(Duration::from_millis(500), Duration::from_secs(30))
    }

    /// `first`, then twice as long each time, up to `longest`.
    #[must_use]
    pub fn between(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// It works: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause to make now, after frames had come for `delivered`.
    pub fn pause(&mut self, delivered: Duration) -> Duration {
        if delivered >= STEADY {
            self.reset();
        }
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
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
