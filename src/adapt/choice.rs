//! Which of several models to begin with: the first, in the order of preference, that leaves some time over.

use std::time::Duration;

use super::Cost;

/// The share of the time for a frame that an inference may take: the rest is for preparing the picture, and for
/// what else the machine does.
const HEADROOM: f64 = 0.85;

/// Why a model was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Nothing was asked for: the first that runs.
    First,
    /// The first that is fast enough.
    FastEnough,
    /// None is; this one comes nearest.
    Missed,
}

/// The model to begin with, by its place among the `costs`, of which those that cannot run have none; `longest` is what a
/// frame may take. `None` if none runs.
#[must_use]
pub fn choose(costs: &[Option<Cost>], longest: Option<Duration>) -> Option<(usize, Fit)> {
    let measured = || {
        let all = costs.iter().enumerate();
        all.filter_map(|(i, cost)| cost.map(|cost| (i, cost.inference)))
    };
    let Some(longest) = longest else {
        return measured().next().map(|(i, _)| (i, Fit::First));
    };
    let fits = |&(_, inference): &(usize, Duration)| inference <= longest.mul_f64(HEADROOM);
    let first = measured().find(fits).map(|(i, _)| (i, Fit::FastEnough));
    let fastest = measured().min_by_key(|&(_, inference)| inference);
    first.or_else(|| fastest.map(|(i, _)| (i, Fit::Missed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(ms: u64) -> Option<Cost> {
        Some(Cost {
            inference: Duration::from_millis(ms),
            ..Cost::default()
        })
    }

    #[test]
    fn without_a_target_the_first_that_runs_is_taken() {
        assert_eq!(
            choose(&[None, None, takes(9), takes(1)], None),
            Some((2, Fit::First))
        );
        assert_eq!(choose(&[None, None], None), None);
    }

    #[test]
    fn the_first_that_leaves_time_over_is_taken() {
        let longest = Some(Duration::from_millis(100));
        let tried = [takes(86), takes(85), takes(1)];
        assert_eq!(choose(&tried, longest), Some((1, Fit::FastEnough)));
    }

    #[test]
    fn an_impossible_target_is_missed_by_the_fastest() {
        let longest = Some(Duration::from_millis(1));
        let tried = [takes(90), takes(40), None, takes(41)];
        assert_eq!(choose(&tried, longest), Some((1, Fit::Missed)));
    }
}
