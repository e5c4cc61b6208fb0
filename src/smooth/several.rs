//! Any number of labels at once: each is on from where it reaches its threshold to where it falls clearly below.

use std::time::Instant;

use super::evidence::{Average, Ballots};
use super::{Settings, Smoothed, Thresholds};

#[derive(Debug, Default)]
pub(super) struct Several {
    ballots: Ballots,
    /// Of each class that it holds, or not, since when.
    classes: Vec<(bool, Instant)>,
    /// Those that hold, by their numbers.
    holding: Vec<usize>,
    /// When the first frame was taken.
    begun: Option<Instant>,
    settled: bool,
}

impl Several {
    /// Keeps its memory.
    pub(super) fn clear(&mut self) {
        self.ballots.clear();
        self.classes.clear();
        self.holding.clear();
        (self.begun, self.settled) = (None, false);
    }

    pub(super) fn holding(&self) -> &[usize] {
        &self.holding
    }

    /// Takes a frame that is in `average` already. `None` if there are no classes.
    pub(super) fn update(
        &mut self,
        frame: &[f32],
        average: &Average,
        (settings, thresholds): (&Settings, &Thresholds),
        at: Instant,
    ) -> Option<Smoothed> {
        let begun = self.begun.map_or(at, |begun| begun.min(at));
        self.begun = Some(begun);
        if let Some(votes) = settings.votes {
            let classes = &self.classes;
            self.ballots.add(frame.len(), votes, |class| {
                let on = classes.get(class).is_some_and(|&(on, _)| on);
                thresholds.reached(class, frame[class], on, settings.keep)
            });
        }
        // As with a single label, what a camera shows first is not believed at once.
        let mut changed = false;
        if at.saturating_duration_since(begun) >= settings.time_constant {
            changed = !self.settled;
            self.settled = true;
            changed |= self.flip(average, settings, thresholds, at);
        }
        let most = |classes: &mut dyn Iterator<Item = usize>| {
            classes.max_by(|&a, &b| average.of(a).total_cmp(&average.of(b)).then(b.cmp(&a)))
        };
        let top = most(&mut self.holding.iter().copied());
        let shown = top.or_else(|| most(&mut (0..frame.len())))?;
        Some(Smoothed {
            top,
            confidence: average.of(shown),
            changed,
        })
    }

    /// Turns on and off what is to be; true if anything was.
    fn flip(
        &mut self,
        average: &Average,
        settings: &Settings,
        thresholds: &Thresholds,
        at: Instant,
    ) -> bool {
        let first = self.classes.is_empty();
        self.classes.resize(average.values().len(), (false, at));
        let mut flipped = false;
        for (class, (on, since)) in self.classes.iter_mut().enumerate() {
            let wanted = match settings.votes {
                Some(votes) => {
                    let count = self.ballots.count(class);
                    // to go it takes as many that say the contrary
                    count >= votes.needed() || (*on && count > votes.of() - votes.needed())
                }
                None => thresholds.reached(class, average.of(class), *on, settings.keep),
            };
            if wanted != *on && (first || !settings.rests(*since, at)) {
                (*on, *since) = (wanted, at);
                flipped = true;
            }
        }
        if flipped {
            self.holding.clear();
            let on = self.classes.iter().enumerate().filter(|(_, (on, _))| *on);
            self.holding.extend(on.map(|(class, _)| class));
        }
        flipped
    }
}
