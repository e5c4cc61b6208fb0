//! From a stream of scores to a label that does not flicker: a moving average per class, and a rule for
//! when another label takes over. A pure function of the stream: time is the frames' capture time, so
//! the same frames give the same labels at any frame rate and on any machine.
//!
//! What happens when a camera is lost is the daemon's decision (it calls [`Smoother::reset`]).

use std::time::{Duration, Instant};

use crate::label::Score;

/// How steady a label is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Time constant of the moving average: after this long without support a label has lost 63% of its
    /// weight. Half a second hides single bad frames and is still felt as immediate.
    pub time_constant: Duration,
    /// A new label takes over at once if its average leads by this much.
    pub margin: f32,
    /// A new label that leads by less takes over when it has led for this long.
    pub hold: Duration,
}

impl Settings {
    /// After so long with the same scores every label has settled: the average is within a hundredth of them, and
    /// a narrow lead has held.
    #[must_use]
    pub fn settled(&self) -> Duration {
        self.time_constant * 5 + self.hold
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_constant: Duration::from_millis(500),
            margin: 0.15,
            hold: Duration::from_secs(1),
        }
    }
}

/// The label of the stream after one more frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothed {
    /// The label that holds now, and its averaged confidence in `0..=1`. Before the first label has
    /// settled it is the class that leads.
    pub top: Score,
    /// True on the frame with which a label settles or takes over.
    pub changed: bool,
}

/// The filter of one camera. Allocates at the first frame only.
#[derive(Debug)]
pub struct Smoother {
    settings: Settings,
    pass_through: bool,
    average: Vec<f32>,
    last: Option<Instant>,
    label: Option<usize>,
    leader: Option<Leader>,
}

/// The class with the highest average, and since when it has been that.
#[derive(Debug, Clone, Copy)]
struct Leader {
    class_id: usize,
    since: Instant,
}

impl Smoother {
    /// A filter for a stream of one scene.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            pass_through: false,
            average: Vec::new(),
            last: None,
            label: None,
            leader: None,
        }
    }

    /// No filter at all: for pictures that have nothing to do with each other.
    #[must_use]
    pub fn pass_through() -> Self {
        Self {
            pass_through: true,
            ..Self::new(Settings::default())
        }
    }

    /// Forgets every frame seen so far.
    pub fn reset(&mut self) {
        self.average.clear();
        self.last = None;
        self.label = None;
        self.leader = None;
    }

    /// Takes the probabilities of one frame, captured at `at`. None only if there are no classes.
    ///
    /// Another number of classes than before (another model) starts afresh.
    pub fn update(&mut self, probabilities: &[f32], at: Instant) -> Option<Smoothed> {
        if probabilities.len() != self.average.len() {
            self.reset();
        }
        self.accumulate(probabilities, at);
        let leader = self.lead(at)?;
        let changed = self.label != Some(leader.class_id) && self.takes_over(leader, at);
        if changed {
            self.label = Some(leader.class_id);
        }
        let class_id = self.label.unwrap_or(leader.class_id);
        let confidence = self.average.get(class_id).copied().unwrap_or(0.0);
        Some(Smoothed {
            top: Score {
                class_id,
                confidence,
            },
            changed,
        })
    }

    fn accumulate(&mut self, probabilities: &[f32], at: Instant) {
        let share = match self.last {
            Some(last) if !self.pass_through => self.share(at.saturating_duration_since(last)),
            _ => 1.0,
        };
        // Not the later of both: a clock that was ahead for one frame must not stop time until it has caught up.
        self.last = Some(at);
        self.average.resize(probabilities.len(), 0.0);
        for (average, &probability) in self.average.iter_mut().zip(probabilities) {
            let probability = if probability.is_nan() {
                0.0
            } else {
                probability.clamp(0.0, 1.0)
            };
            let next = *average + share * (probability - *average);
            *average = if share >= 1.0 {
                probability
            } else {
                next.clamp(0.0, 1.0)
            };
        }
    }

    /// The weight of a frame that comes `step` after the one before it.
    fn share(&self, step: Duration) -> f32 {
        let constant = self.settings.time_constant.as_secs_f32();
        if constant > 0.0 {
            -libm::expm1f(-step.as_secs_f32() / constant)
        } else {
            1.0
        }
    }

    fn lead(&mut self, at: Instant) -> Option<Leader> {
        let mut best: Option<(usize, f32)> = None;
        for (class_id, &average) in self.average.iter().enumerate() {
            if best.is_none_or(|(_, highest)| average > highest) {
                best = Some((class_id, average));
            }
        }
        let (class_id, _) = best?;
        let leader = self.leader.filter(|leader| leader.class_id == class_id);
        let since = leader.map_or(at, |leader| leader.since.min(at));
        self.leader = Some(Leader { class_id, since });
        self.leader
    }

    fn takes_over(&self, leader: Leader, at: Instant) -> bool {
        if self.pass_through {
            return true;
        }
        let led = at.saturating_duration_since(leader.since);
        let Some(current) = self.label else {
            // The average is no more than the first frame at first, and cameras often start with a bad one.
            return led >= self.settings.time_constant;
        };
        let lead = self.average[leader.class_id] - self.average[current];
        lead >= self.settings.margin || led >= self.settings.hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Duration = Duration::from_millis(33);

    /// Feeds `frames` at 30 per second; says for each which label held and whether it changed.
    fn feed(smoother: &mut Smoother, start: Instant, frames: &[[f32; 2]]) -> Vec<Smoothed> {
        let mut at = start;
        let step = |frame: &[f32; 2]| {
            at += FRAME;
            smoother.update(frame, at).unwrap()
        };
        frames.iter().map(step).collect()
    }

    fn changes(seen: &[Smoothed]) -> Vec<usize> {
        seen.iter()
            .filter(|s| s.changed)
            .map(|s| s.top.class_id)
            .collect()
    }

    #[test]
    fn a_label_settles_once_and_stays() {
        let seen = feed(
            &mut Smoother::new(Settings::default()),
            Instant::now(),
            &[[0.9, 0.1]; 60],
        );
        assert_eq!(changes(&seen), [0]);
        assert!(!seen[0].changed, "the first frame alone settles nothing");
        assert_eq!(seen[0].top.class_id, 0, "but it has a leader");
    }

    #[test]
    fn a_single_bad_frame_changes_nothing() {
        let mut frames = [[0.9, 0.1]; 60];
        frames[40] = [0.0, 1.0];
        let seen = feed(
            &mut Smoother::new(Settings::default()),
            Instant::now(),
            &frames,
        );
        assert_eq!(changes(&seen), [0]);
    }

    #[test]
    fn a_new_scene_takes_over_within_a_second() {
        let mut frames = [[0.9, 0.1]; 60];
        frames[30..].fill([0.1, 0.9]);
        let seen = feed(
            &mut Smoother::new(Settings::default()),
            Instant::now(),
            &frames,
        );
        assert_eq!(changes(&seen), [0, 1]);
    }

    #[test]
    fn a_narrow_lead_takes_over_after_the_hold_time() {
        let mut frames = [[0.9, 0.1]; 130];
        frames[30..].fill([0.48, 0.52]);
        let start = Instant::now();
        let seen = feed(&mut Smoother::new(Settings::default()), start, &frames);
        assert_eq!(changes(&seen), [0, 1]);
        let crossed = seen.iter().rposition(|s| s.changed).unwrap();
        assert!(
            crossed > 30 + 30,
            "not before the hold time: frame {crossed}"
        );
    }

    #[test]
    fn independent_pictures_are_not_smoothed() {
        let seen = feed(
            &mut Smoother::pass_through(),
            Instant::now(),
            &[[0.6, 0.4], [0.1, 0.9], [0.7, 0.3]],
        );
        assert_eq!(changes(&seen), [0, 1, 0]);
        assert!((seen[1].top.confidence - 0.9).abs() < f32::EPSILON);
    }

    #[test]
    fn the_frame_rate_does_not_matter() {
        let start = Instant::now();
        let average_after_a_second = |steps: u32| {
            let mut smoother = Smoother::new(Settings::default());
            smoother.update(&[1.0, 0.0], start).unwrap();
            let mut at = start;
            for _ in 0..steps {
                at += Duration::from_secs(1) / steps;
                smoother.update(&[0.0, 1.0], at).unwrap();
            }
            smoother.average[0]
        };
        assert!((average_after_a_second(5) - average_after_a_second(60)).abs() < 1e-4);
    }

    #[test]
    fn a_frame_from_the_future_does_not_stop_time() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut smoother = Smoother::new(Settings::default());
        feed(&mut smoother, start, &[[0.9, 0.1]; 30]);
        smoother.update(&[0.9, 0.1], start + hour).unwrap();
        let after = feed(&mut smoother, start + 31 * FRAME, &[[0.1, 0.9]; 30]);
        assert_eq!(changes(&after), [1]);
        // nor does one of a class that begins to lead with it
        smoother.update(&[0.9, 0.1], start + hour).unwrap();
        let after = feed(&mut smoother, start + 62 * FRAME, &[[0.55, 0.45]; 60]);
        assert_eq!(after.last().unwrap().top.class_id, 0);
    }

    #[test]
    fn no_classes_give_no_label() {
        assert_eq!(
            Smoother::new(Settings::default()).update(&[], Instant::now()),
            None
        );
    }

    proptest! {
        #[test]
        fn a_constant_stream_changes_once(scores in prop::collection::vec(0f32..=1.0, 1..12), steps in prop::collection::vec(0u64..400, 1..80)) {
            let mut smoother = Smoother::new(Settings::default());
            let mut at = Instant::now();
            let mut labels = Vec::new();
            let mut count = 0;
            for step in steps {
                at += Duration::from_millis(step);
                let now = smoother.update(&scores, at).unwrap();
                labels.push(now.top.class_id);
                count += u32::from(now.changed);
            }
            prop_assert!(count <= 1);
            prop_assert!(labels.iter().all(|&label| label == labels[0]));
        }

        #[test]
        fn confidence_stays_a_probability(frames in prop::collection::vec((prop::array::uniform3(prop::num::f32::ANY), 0u64..2000), 1..60)) {
            let mut smoother = Smoother::new(Settings::default());
            let mut at = Instant::now();
            for (scores, step) in frames {
                at += Duration::from_millis(step);
                let now = smoother.update(&scores, at).unwrap();
                prop_assert!((0.0..=1.0).contains(&now.top.confidence));
            }
        }

        #[test]
        fn reset_forgets(before in prop::collection::vec(prop::array::uniform2(0f32..=1.0), 0..40), after in prop::collection::vec(prop::array::uniform2(0f32..=1.0), 1..40)) {
            let start = Instant::now();
            let mut used = Smoother::new(Settings::default());
            feed(&mut used, start, &before);
            used.reset();
            let later = start + Duration::from_secs(5);
            let fresh = feed(&mut Smoother::new(Settings::default()), later, &after);
            prop_assert_eq!(feed(&mut used, later, &after), fresh);
        }
    }
}
