//! One label, or that none is known: a class that leads takes over, and so does `None` where none reaches its threshold.

use std::time::{Duration, Instant};

use super::evidence::{Average, Ballots};
use super::{Settings, Smoothed, Thresholds};

#[derive(Debug, Default)]
pub(super) struct Single {
    ballots: Ballots,
    held: Option<Held>,
    leader: Option<Held>,
}

/// A class, or `None` for that none is known, and since when.
#[derive(Debug, Clone, Copy)]
struct Held {
    class: Option<usize>,
    since: Instant,
}

impl Single {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a frame that is in `average` already. `None` if there are no classes.
    pub(super) fn update(
        &mut self,
        frame: &[f32],
        average: &Average,
        (settings, thresholds): (&Settings, &Thresholds),
        at: Instant,
    ) -> Option<Smoothed> {
        let held = self.held.map(|held| held.class);
        let reached = |class: usize, values: &[f32]| {
            let own = held == Some(Some(class));
            let value = values.get(class).copied().unwrap_or(0.0);
            thresholds.reached(class, value, own, settings.keep)
        };
        // of this frame, or of the average: the one that leads, else the one that holds, if it is sure
        let claim = |values: &[f32]| {
            let leader = best(values)?;
            let sure = [Some(leader), held.flatten()].into_iter().flatten();
            Some(sure.into_iter().find(|&class| reached(class, values)))
        };
        let claimed = claim(average.values())?;
        let next = match settings.votes {
            Some(votes) => {
                let claimed = claim(frame).flatten();
                let unknown = frame.len();
                let place = claimed.unwrap_or(unknown);
                self.ballots.add(unknown + 1, votes, |class| class == place);
                let holds = held.map(|class| class.unwrap_or(unknown));
                let elected = self.ballots.elected(votes, holds);
                elected.map(|place| (place != unknown).then_some(place))
            }
            None => self.leads(claimed, average, settings, at),
        };
        let rests = self.held.is_some_and(|held| settings.rests(held.since, at));
        let next = next.filter(|&next| held != Some(next) && !rests);
        if let Some(class) = next {
            self.held = Some(Held { class, since: at });
        }
        let top = self.held.map_or(claimed, |held| held.class);
        let shown = top.or_else(|| best(average.values()))?;
        Some(Smoothed {
            top,
            confidence: average.of(shown),
            changed: next.is_some(),
        })
    }

    /// What takes over by the average.
    fn leads(
        &mut self,
        claimed: Option<usize>,
        average: &Average,
        settings: &Settings,
        at: Instant,
    ) -> Option<Option<usize>> {
        let before = self.leader.filter(|leader| leader.class == claimed);
        let since = before.map_or(at, |leader| leader.since.min(at));
        self.leader = Some(Held {
            class: claimed,
            since,
        });
        let led = at.saturating_duration_since(since);
        let takes_over = match self.held {
            // The average is no more than the first frame at first, and cameras often start with a bad one.
            None => led >= settings.time_constant,
            Some(held) => led >= settings.hold || ahead(claimed, held, average) >= settings.margin,
        };
        takes_over.then_some(claimed)
    }
}

/// By how much a class leads before the label that holds; that none is known leads by nothing.
fn ahead(claimed: Option<usize>, held: Held, average: &Average) -> f32 {
    let Some(class) = claimed else {
        return 0.0;
    };
    average.of(class) - held.class.map_or(0.0, |held| average.of(held))
}

/// The first of the classes with the highest value.
fn best(values: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (class_id, &value) in values.iter().enumerate() {
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((class_id, value));
        }
    }
    best.map(|(class_id, _)| class_id)
}

/// Longer than any label has to wait for the next.
pub(super) fn settled(settings: &Settings) -> Duration {
    settings.time_constant * 5 + settings.hold + settings.dwell
}
