//! How long a choice may take, and how much work fits: a Raspberry Pi needs minutes for what a workbench does in seconds.

use std::thread;
use std::time::{Duration, Instant};

/// With fewer pictures nothing is known.
const LEAST: usize = 16;

/// The time that there is.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    until: Option<Instant>,
}

impl Effort {
    /// As long as it takes.
    pub const WHOLE: Self = Self { until: None };

    #[must_use]
    pub fn within(time: Duration) -> Self {
        Self {
            until: Instant::now().checked_add(time),
        }
    }

    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.until.is_some()
    }

    /// How many pictures, `most` at most, fit into `share` of the time that is left, where one core needs `each` for one.
    #[must_use]
    pub fn pictures(&self, most: usize, share: f64, each: Duration) -> usize {
        let Some(until) = self.until else {
            return most;
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let left = until.saturating_duration_since(Instant::now());
        fitting(left.mul_f64(share), each, cores).clamp(LEAST.min(most), most)
    }

    /// Whether something that takes so long can still be done.
    #[must_use]
    pub fn allows(&self, work: Duration) -> bool {
        let end = Instant::now().checked_add(work);
        self.until
            .is_none_or(|until| end.is_some_and(|end| end <= until))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)] // a number of pictures
fn fitting(time: Duration, each: Duration, cores: usize) -> usize {
    (time.as_secs_f64() * cores as f64 / each.as_secs_f64().max(1e-6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_limit_everything_fits() {
        let effort = Effort::WHOLE;
        assert_eq!(effort.pictures(512, 0.1, SECOND * 1000), 512);
        assert!(effort.allows(SECOND * 1_000_000));
    }

    #[test]
    fn a_limit_bounds_the_pictures_but_leaves_enough_to_know_something() {
        assert_eq!(fitting(SECOND * 10, SECOND / 2, 2), 40);
        let effort = Effort::within(SECOND);
        assert_eq!(effort.pictures(512, 0.5, SECOND * 1000), LEAST);
        assert_eq!(effort.pictures(5, 0.5, SECOND * 1000), 5);
        assert_eq!(effort.pictures(512, 0.5, Duration::ZERO), 512);
        assert!(!effort.allows(SECOND * 2));
    }
}
