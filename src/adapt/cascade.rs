//! When a second, better and slower model may be asked: where the first is not sure, and there is time for it.
//!
//! The time that frames leave over is saved up, for a few second answers at most, so that on average no frame takes
//! longer than it may; a limit on the latency holds for each frame.

use std::time::Duration;

use super::Pace;

/// The share of the time for a frame that both answers together may take on average.
const SHARE: f64 = 0.9;
/// So many second answers can be saved up for.
const MOST_SAVED: u32 = 4;
/// The weight of a frame in what a second answer is expected to take.
const NEWEST: f64 = 0.1;
/// And of what it took when it was tried, with each frame for which that is too much.
const FORGOTTEN: f64 = 0.02;

#[derive(Debug, Clone, PartialEq)]
pub struct Cascade {
    /// Less sure than this is not sure.
    below: f32,
    pace: Pace,
    saved: Duration,
    /// What a second answer took when it was tried, and is expected to take.
    tried: Duration,
    second: Duration,
}

impl Cascade {
    /// `second`: what an answer of the second model took when it was tried.
    #[must_use]
    pub fn new(below: f32, second: Duration) -> Self {
        Self {
            below,
            pace: Pace::default(),
            saved: Duration::ZERO,
            tried: second,
            second,
        }
    }

    /// How fast it has to be from now on.
    pub fn change(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// The first answer took `first`, and is so sure. Whether the second model is to be asked.
    pub fn asks(&mut self, confidence: f32, first: Duration) -> bool {
        let unsure = confidence < self.below;
        let Pace { turn, latency } = self.pace;
        if let Some(turn) = turn {
            let left = turn.mul_f64(SHARE).saturating_sub(first);
            self.saved = (self.saved + left).min(self.second * MOST_SAVED);
        }
        let saved = turn.is_none() || self.saved >= self.second;
        let affordable = saved && latency.is_none_or(|latency| first + self.second <= latency);
        if unsure && !affordable {
            // one answer that took long is not for ever
            self.second = mixed(self.second, self.tried, FORGOTTEN);
        }
        unsure && affordable
    }

    /// The second answer took so long.
    pub fn asked(&mut self, took: Duration) {
        self.saved = self.saved.saturating_sub(took);
        self.second = mixed(self.second, took, NEWEST);
    }
}

fn mixed(before: Duration, now: Duration, share: f64) -> Duration {
    before.mul_f64(1.0 - share) + now.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn cascade(below: f32, turn: Option<u32>, latency: Option<u32>, second: u32) -> Cascade {
        let mut cascade = Cascade::new(below, MS * second);
        cascade.change(Pace {
            turn: turn.map(|ms| MS * ms),
            latency: latency.map(|ms| MS * ms),
        });
        cascade
    }

    #[test]
    fn only_who_is_not_sure_asks() {
        let mut cascade = cascade(0.8, None, None, 20);
        assert!(cascade.asks(0.79, 10 * MS));
        assert!(!cascade.asks(0.8, 10 * MS));
    }

    #[test]
    fn a_latency_that_two_answers_miss_is_kept_by_one() {
        assert!(!cascade(0.8, None, Some(29), 20).asks(0.1, 10 * MS));
        assert!(cascade(0.8, None, Some(30), 20).asks(0.1, 10 * MS));
    }

    #[test]
    fn one_answer_that_took_long_is_not_for_ever() {
        let mut cascade = cascade(0.8, None, Some(150), 100);
        assert!(cascade.asks(0.1, 20 * MS));
        cascade.asked(500 * MS);
        assert!(!cascade.asks(0.1, 20 * MS));
        assert!((0..100).any(|_| cascade.asks(0.1, 20 * MS)));
    }

    #[test]
    fn where_half_of_the_time_is_left_every_other_frame_may_ask() {
        let mut cascade = cascade(0.8, Some(100), None, 80);
        let mut asked = 0;
        for _ in 0..1000 {
            if cascade.asks(0.1, 50 * MS) {
                cascade.asked(80 * MS);
                asked += 1;
            }
        }
        assert_eq!(asked, 500);
    }

    proptest! {
        #[test]
        fn on_average_no_frame_takes_longer_than_it_may(
            frames in prop::collection::vec((0f32..=1.0, 1u32..60, 1u32..200), 1..300),
            ms in 60u32..150,
        ) {
            let mut cascade = cascade(0.5, Some(ms), None, 100);
            let (mut spent, mut allowed, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
            for (confidence, first, second) in frames {
                allowed += MS * ms;
                spent += MS * first;
                if cascade.asks(confidence, MS * first) {
                    cascade.asked(MS * second);
                    spent += MS * second;
                    longest = longest.max(MS * second);
                }
            }
            // what one answer took more than was expected of it
            prop_assert!(spent <= allowed + longest);
        }
    }
}
