//! Which model runs, and how hard it works, while conditions change. It steps down when inference falls behind what is
//! asked for, when memory gets tight, and when the machine is hot; and up again, one step at a time, when the step
//! would have held for a while.
//!
//! ```text
//!   model 0 -> model 1 -> ... -> half of the time idle -> three quarters -> and half of the threads
//!           <-         <-     <-                       <-                <-
//! ```
//!
//! It never flaps: two switches are `dwell` apart at least, and a step up that had to be taken back makes the next one
//! wait twice as long. Load and memory move it between models only: a pause makes no inference faster. A pure state
//! machine; loading, and telling anybody, is the daemon's.

use std::time::{Duration, Instant};

use super::Cost;

/// Trouble of each kind has to last for so long: a hiccup is none.
const BEHIND: Duration = Duration::from_secs(5);
const TIGHT: Duration = Duration::from_secs(3);
const HOT: Duration = Duration::from_secs(10);
/// Of a frame that was late nothing is known after so long.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// A step up that is taken back within this time was a mistake.
const RELAPSE: Duration = Duration::from_secs(600);
/// The longest that mistakes make a step up wait.
const LONGEST_QUIET: Duration = Duration::from_secs(3600);
/// Bytes of free memory: with less it is tight.
const RESERVE: u64 = 16 << 20;
/// A step up leaves this share of a frame's time over, else it would not hold.
const MARGIN: f64 = 0.9;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What a frame may take from its preparation to its scores; `None`: what it takes.
    pub longest: Option<Duration>,
    /// The least time between two switches.
    pub dwell: Duration,
}

impl Settings {
    /// A step up has to be possible for so long before it is taken.
    fn quiet(&self) -> Duration {
        self.dwell * 2
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            longest: None,
            dwell: Duration::from_secs(30),
        }
    }
}

/// What is spared where no smaller model is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    Full,
    /// As long as an inference took, nothing is computed.
    Half,
    /// Three times as long.
    Quarter,
    /// And half of the threads.
    Least,
}

impl Effort {
    /// A frame is taken after so many times the time that the last one took.
    #[must_use]
    pub fn stretch(self) -> u32 {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter | Self::Least => 4,
        }
    }

    fn less(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::Half),
            Self::Half => Some(Self::Quarter),
            Self::Quarter => Some(Self::Least),
            Self::Least => None,
        }
    }

    fn more(self) -> Option<Self> {
        match self {
            Self::Full => None,
            Self::Half => Some(Self::Full),
            Self::Quarter => Some(Self::Half),
            Self::Least => Some(Self::Quarter),
        }
    }
}

/// Where the governor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// By its place in the order of preference.
    pub model: usize,
    pub effort: Effort,
}

/// How the machine is. What cannot be read is `None` or unknown, and moves nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readings {
    pub at: Instant,
    /// Of the frames since the last readings.
    pub frame: Option<Spent>,
    pub memory: Option<Memory>,
    pub heat: Heat,
}

/// What a frame took, on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub preparing: Duration,
    pub inference: Duration,
}

/// Within all limits that hold for this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that could still be had.
    pub free: u64,
    /// Programs wait for memory.
    pub stalls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heat {
    Unknown,
    Cool,
    /// Too warm to do more.
    Warm,
    /// Throttled, or about to be.
    Hot,
}

/// Why something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Load,
    Memory,
    Heat,
    Recovered,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Stay,
    Move {
        to: Rung,
        cause: Cause,
        /// There is memory for both models at once; else the present one goes first.
        beside: bool,
    },
    /// There is nothing smaller left. Said once, until it is over.
    Stuck(Cause),
}

#[derive(Debug)]
pub struct Governor {
    settings: Settings,
    models: Vec<Option<Cost>>,
    rung: Rung,
    /// How much slower than at the start an inference is.
    slowdown: f64,
    behind: Since,
    /// When a frame was timed last.
    measured: Option<Instant>,
    tight: Since,
    hot: Since,
    calm: Since,
    /// When it moved last.
    moved: Option<Instant>,
    /// When it stepped up last.
    climbed: Option<Instant>,
    /// How long a step up has to be possible now.
    quiet: Duration,
    stuck: Option<Cause>,
}

impl Governor {
    /// Of `models` in the order of preference, of which the `present` one runs; `None` is one that cannot be had.
    #[must_use]
    pub fn new(settings: Settings, models: Vec<Option<Cost>>, present: usize) -> Self {
        Self {
            settings,
            models,
            rung: Rung {
                model: present,
                effort: Effort::Full,
            },
            slowdown: 1.0,
            behind: Since::default(),
            measured: None,
            tight: Since::default(),
            hot: Since::default(),
            calm: Since::default(),
            moved: None,
            climbed: None,
            quiet: settings.quiet(),
            stuck: None,
        }
    }

    #[must_use]
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Other wishes, from now on.
    pub fn change(&mut self, settings: Settings) {
        self.settings = settings;
        self.quiet = settings.quiet();
    }

    /// To be asked about once a second.
    pub fn step(&mut self, readings: &Readings) -> Step {
        let now = readings.at;
        self.observe(readings);
        let waits = |moved: Instant| now.saturating_duration_since(moved) < self.settings.dwell;
        if self.moved.is_some_and(waits) {
            return Step::Stay;
        }
        let Some(cause) = self.trouble(now) else {
            self.stuck = None;
            return self.climb(readings);
        };
        match self.lower(cause, readings.memory) {
            Some(to) => self.step_to(to, cause, readings),
            None if self.stuck == Some(cause) => Step::Stay,
            None => {
                self.stuck = Some(cause);
                Step::Stuck(cause)
            }
        }
    }

    /// What [`Governor::step`] asked for was done.
    pub fn moved(&mut self, to: Rung, now: Instant) {
        let recent = |then: Instant| now.saturating_duration_since(then) < RELAPSE;
        let up = (to.model, to.effort) < (self.rung.model, self.rung.effort);
        if !up && self.climbed.is_some_and(recent) {
            self.quiet = (self.quiet * 2).min(LONGEST_QUIET);
        }
        self.climbed = up.then_some(now);
        self.rung = to;
        self.moved = Some(now);
        for since in [
            &mut self.behind,
            &mut self.tight,
            &mut self.hot,
            &mut self.calm,
        ] {
            *since = Since::default();
        }
    }

    /// A model could not be loaded: it is not asked for again.
    pub fn failed(&mut self, model: usize, now: Instant) {
        if let Some(cost) = self.models.get_mut(model) {
            *cost = None;
        }
        self.moved = Some(now);
    }

    fn observe(&mut self, readings: &Readings) {
        let now = readings.at;
        let whole = self.rung.effort != Effort::Least;
        if let (Some(spent), Some(cost), true) = (readings.frame, self.present(), whole) {
            let usual = cost.inference.as_secs_f64().max(1e-6);
            self.slowdown = (spent.inference.as_secs_f64() / usual).max(1.0);
        }
        let longest = self.settings.longest;
        let is_behind = |spent: Spent| {
            longest.is_some_and(|longest| spent.preparing + spent.inference > longest)
        };
        let behind = match readings.frame {
            Some(spent) => {
                self.measured = Some(now);
                is_behind(spent)
            }
            // frames that come seldom are as late as the last one was
            None => {
                self.behind.is_set()
                    && self
                        .measured
                        .is_some_and(|then| now.saturating_duration_since(then) < FORGOTTEN)
            }
        };
        let tight = |memory: Memory| memory.stalls || memory.free < RESERVE;
        self.behind.note(behind, now);
        self.tight.note(readings.memory.is_some_and(tight), now);
        self.hot.note(readings.heat == Heat::Hot, now);
        let could = self.higher(readings).is_some();
        let well = !(behind || self.tight.is_set() || self.hot.is_set());
        self.calm.note(could && well, now);
        let held = |then: Instant| now.saturating_duration_since(then) >= RELAPSE;
        if self.climbed.is_some_and(held) {
            self.climbed = None;
            self.quiet = self.settings.quiet();
        }
    }

    fn present(&self) -> Option<Cost> {
        self.models.get(self.rung.model).copied().flatten()
    }

    /// Memory first: it kills.
    fn trouble(&self, now: Instant) -> Option<Cause> {
        if self.tight.lasts(TIGHT, now) {
            Some(Cause::Memory)
        } else if self.hot.lasts(HOT, now) {
            Some(Cause::Heat)
        } else if self.behind.lasts(BEHIND, now) && self.measured == Some(now) {
            Some(Cause::Load)
        } else {
            None
        }
    }

    /// The next rung down that helps, and fits.
    fn lower(&self, cause: Cause, memory: Option<Memory>) -> Option<Rung> {
        let present = self.present();
        let helps = |cost: &Cost| match (present, cause) {
            (None, _) => true,
            (Some(now), Cause::Memory) => cost.resident < now.resident,
            (Some(now), Cause::Heat) => {
                let work = |cost: Cost| cost.inference + cost.opinion;
                work(*cost) < work(now) && self.fits(*cost, memory, RESERVE)
            }
            (Some(now), _) => cost.inference < now.inference && self.fits(*cost, memory, RESERVE),
        };
        let later = self.models.iter().enumerate().skip(self.rung.model + 1);
        let smaller = later
            .filter_map(|(model, cost)| cost.map(|cost| (model, cost)))
            .find(|(_, cost)| helps(cost));
        match smaller {
            Some((model, _)) => Some(Rung {
                model,
                effort: self.rung.effort,
            }),
            None if cause == Cause::Heat => self.rung.effort.less().map(|effort| Rung {
                effort,
                ..self.rung
            }),
            None => None,
        }
    }

    /// The next rung up, if it would hold as things are.
    fn higher(&self, readings: &Readings) -> Option<Rung> {
        if !matches!(readings.heat, Heat::Cool | Heat::Unknown) {
            return None;
        }
        if let Some(effort) = self.rung.effort.more() {
            return Some(Rung {
                effort,
                ..self.rung
            });
        }
        let preparing = readings.frame.map_or(Duration::ZERO, |s| s.preparing);
        let fast = |cost: Cost| {
            let expected = preparing + cost.inference.mul_f64(self.slowdown);
            self.settings
                .longest
                .is_none_or(|longest| expected <= longest.mul_f64(MARGIN))
        };
        let better = self.models.iter().take(self.rung.model).enumerate().rev();
        better
            .filter_map(|(model, cost)| cost.map(|cost| (model, cost)))
            .find(|&(_, cost)| fast(cost) && self.fits(cost, readings.memory, 2 * RESERVE))
            .map(|(model, _)| Rung {
                model,
                effort: Effort::Full,
            })
    }

    /// Whether a model in place of the present one would leave so many bytes free.
    fn fits(&self, cost: Cost, memory: Option<Memory>, left: u64) -> bool {
        let now = self.present().map_or(0, |cost| cost.resident);
        memory.is_none_or(|memory| memory.free + now >= cost.resident + left)
    }

    fn climb(&self, readings: &Readings) -> Step {
        if !self.calm.lasts(self.quiet, readings.at) {
            return Step::Stay;
        }
        self.higher(readings).map_or(Step::Stay, |to| {
            self.step_to(to, Cause::Recovered, readings)
        })
    }

    fn step_to(&self, to: Rung, cause: Cause, readings: &Readings) -> Step {
        let takes = self.models.get(to.model).copied().flatten();
        let takes = takes.map_or(0, |cost| cost.resident);
        let room = |memory: Memory| memory.free >= takes + RESERVE;
        Step::Move {
            to,
            cause,
            beside: to.model == self.rung.model || readings.memory.is_none_or(room),
        }
    }
}

/// Since when something has been so without a break.
#[derive(Debug, Clone, Copy, Default)]
struct Since(Option<Instant>);

impl Since {
    fn note(&mut self, so: bool, now: Instant) {
        self.0 = if so { self.0.or(Some(now)) } else { None };
    }

    fn is_set(self) -> bool {
        self.0.is_some()
    }

    fn lasts(self, time: Duration, now: Instant) -> bool {
        self.0
            .is_some_and(|since| now.saturating_duration_since(since) >= time)
    }
}

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timeline;
