//! From a stream of scores to labels that do not flicker: a moving average per class, or votes of the last frames, and
//! rules for when another label takes over ([`single`]) or one more holds ([`several`]). A pure function of the stream:
//! time is the frames' capture time, so the same frames give the same labels at any frame rate and on any machine.
//!
//! What happens when a camera is lost is the daemon's decision (it calls [`Smoother::reset`]).

mod evidence;
mod several;
mod single;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use evidence::Average;
use several::Several;
use single::Single;

/// How steady labels are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Time constant of the moving average: after this long without support a label has lost 63% of its
    /// weight. Half a second hides single bad frames and is still felt as immediate.
    pub time_constant: Duration,
    /// A new label takes over at once if its average leads by this much.
    pub margin: f32,
    /// A new label that leads by less takes over when it has led for this long; so does that none is known.
    pub hold: Duration,
    /// A label stays for so long at least.
    pub dwell: Duration,
    /// Labels hold that so many of the last frames had, in place of those of the average.
    pub votes: Option<Votes>,
    /// A label that holds goes on until it is below this share of its threshold.
    pub keep: f32,
}

impl Settings {
    /// For pictures that have nothing to do with each other.
    const IMMEDIATE: Self = Self {
        time_constant: Duration::ZERO,
        margin: 0.0,
        hold: Duration::ZERO,
        dwell: Duration::ZERO,
        votes: None,
        keep: 1.0,
    };

    /// Whether what changed at `since` has to stay as it is at `at`.
    fn rests(&self, since: Instant, at: Instant) -> bool {
        since <= at && at.saturating_duration_since(since) < self.dwell
    }

    /// After so long with the same scores every label has settled: the average is within a hundredth of them, and
    /// a narrow lead has held.
    #[must_use]
    pub fn settled(&self) -> Duration {
        single::settled(self)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_constant: Duration::from_millis(500),
            margin: 0.15,
            hold: Duration::from_secs(1),
            dwell: Duration::ZERO,
            votes: None,
            keep: 0.8,
        }
    }
}

/// So many of so many frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Votes {
    needed: u32,
    of: u32,
}

impl Votes {
    /// As many frames as are remembered.
    pub const MOST: u32 = 100;

    /// `None` unless `1 <= needed <= of <= 100`.
    #[must_use]
    pub fn new(needed: u32, of: u32) -> Option<Self> {
        (1..=of).contains(&needed).then_some(())?;
        (of <= Self::MOST).then_some(Self { needed, of })
    }

    fn needed(self) -> u32 {
        self.needed
    }

    /// How many frames vote.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    fn mask(self) -> u128 {
        u128::MAX >> (u128::BITS - self.of)
    }
}

/// How sure a label must be to be told, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confidences {
    /// Of all that are not named.
    pub usual: Option<f32>,
    pub named: BTreeMap<String, f32>,
}

/// How many labels a picture may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labelling {
    /// One.
    Single,
    /// Each for itself.
    Several,
}

/// Of several labels each is told that is more probable than not, unless something else is said.
const USUAL_OF_SEVERAL: f32 = 0.5;

impl Confidences {
    /// For classes of these names. With one label and nothing said the most probable is always told.
    #[must_use]
    pub fn thresholds(&self, labels: &[String], labelling: Labelling) -> Thresholds {
        let usual = self.usual.unwrap_or(match labelling {
            Labelling::Single => 0.0,
            Labelling::Several => USUAL_OF_SEVERAL,
        });
        let of = |label: &String| self.named.get(label).copied().unwrap_or(usual);
        Thresholds(labels.iter().map(of).collect())
    }
}

/// How sure each class must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thresholds(Vec<f32>);

impl Thresholds {
    /// Whether a class that holds already, or not, is sure enough.
    fn reached(&self, class: usize, value: f32, holds: bool, keep: f32) -> bool {
        let threshold = self.0.get(class).copied().unwrap_or(0.0);
        value >= if holds { threshold * keep } else { threshold }
    }
}

/// The label of the stream after one more frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothed {
    /// The label that holds now, of several the surest; `None`: none is known. Before the first label has settled
    /// it is the class that leads.
    pub top: Option<usize>,
    /// Its averaged confidence in `0..=1`; of the surest class if none is known.
    pub confidence: f32,
    /// True on the frame with which a label settles, takes over, comes or goes.
    pub changed: bool,
}

/// The filter of one camera. Allocates at the first frame only.
#[derive(Debug)]
pub struct Smoother {
    settings: Settings,
    thresholds: Thresholds,
    average: Average,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Single(Single),
    Several(Several),
}

impl Smoother {
    /// A filter for a stream of one scene.
    #[must_use]
    pub fn new(settings: Settings, thresholds: Thresholds, labelling: Labelling) -> Self {
        let rule = match labelling {
            Labelling::Single => Rule::Single(Single::default()),
            Labelling::Several => Rule::Several(Several::default()),
        };
        Self {
            settings,
            thresholds,
            average: Average::default(),
            rule,
        }
    }

    /// No filter at all: for pictures that have nothing to do with each other.
    #[must_use]
    pub fn pass_through(thresholds: Thresholds, labelling: Labelling) -> Self {
        Self::new(Settings::IMMEDIATE, thresholds, labelling)
    }

    /// Forgets every frame seen so far.
    pub fn reset(&mut self) {
        self.average.clear();
        match &mut self.rule {
            Rule::Single(single) => single.clear(),
            Rule::Several(several) => several.clear(),
        }
    }

    /// The labels that hold, by their numbers, where there may be several.
    #[must_use]
    pub fn holding(&self) -> Option<&[usize]> {
        match &self.rule {
            Rule::Single(_) => None,
            Rule::Several(several) => Some(several.holding()),
        }
    }

    /// Takes the probabilities of one frame, captured at `at`. None only if there are no classes.
    ///
    /// Another number of classes than before (another model) starts afresh.
    pub fn update(&mut self, probabilities: &[f32], at: Instant) -> Option<Smoothed> {
        if probabilities.len() != self.average.values().len() {
            self.reset();
        }
        let (settings, thresholds) = (&self.settings, &self.thresholds);
        self.average.add(probabilities, settings.time_constant, at);
        let (average, rules) = (&self.average, (settings, thresholds));
        match &mut self.rule {
            Rule::Single(single) => single.update(probabilities, average, rules, at),
            Rule::Several(several) => several.update(probabilities, average, rules, at),
        }
    }
}

#[cfg(test)]
mod tests;
