//! Whether a scene is worth another inference. A still one is classified every `max_interval` only, and looked at
//! now and then meanwhile.
//!
//! Looked at is a thumbnail of the luma of what the network would see. Two of them differ where, after one line
//! has been fitted through all cells (so that a camera that adjusts its exposure is no change), a few cells are
//! farther off than the camera's own noise explains. That noise is learned from the stream: the median of what
//! is left of the difference, as long as it is spread like noise and not like things that move.

use std::time::{Duration, Instant};

use crate::frame::Square;

/// Cells of a thumbnail along one side.
const SIDE: usize = 28;
const CELLS: usize = SIDE * SIDE;
/// So many changed cells are a change: half a hundredth of the picture.
const FEW: usize = 4;
/// In levels of luma: less is never a change.
const LEAST: f32 = 4.0;
/// In deviations of the noise: more is no noise (of 784 cells, one in a million pictures has one).
const DEVIATIONS: f32 = 6.0;
/// From the median of absolute values to a normal distribution's deviation.
const MEDIAN_TO_DEVIATION: f32 = 1.4826;
/// The 90th hundredth over the median is 2.4 for noise; things that move give more.
const NOISE_SPREAD: f32 = 3.0;
/// The least and the most that noise is taken for, in levels.
const NOISE: (f32, f32) = (0.2, 8.0);
/// Brighter or darker by more is a change of the scene.
const GAIN: (f32, f32) = (0.5, 2.0);

/// The mean luma of each part of a picture, in levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail([f32; CELLS]);

impl Thumbnail {
    /// Of what is picture in a square, R and B in any order; black if nothing is.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // sums of some hundred bytes
    pub fn of(square: &Square) -> Self {
        let side = (square.bytes.len() / 3).isqrt();
        let (left, top) = (square.columns.start, square.rows.start);
        let (width, height) = (square.columns.len(), square.rows.len());
        let mut cells = [0.0; CELLS];
        let inside = square.columns.end <= side && square.rows.end <= side;
        if !inside || width == 0 || height == 0 {
            return Self(cells);
        }
        // one pixel at least, where there are fewer than cells
        let part = |cell: usize, length: usize| {
            let from = cell * length / SIDE;
            from..((cell + 1) * length / SIDE).max(from + 1)
        };
        for (row, cells) in cells.chunks_exact_mut(SIDE).enumerate() {
            let mut sums = [0u32; SIDE];
            for y in part(row, height) {
                let line = &square.bytes[((top + y) * side + left) * 3..][..width * 3];
                for (column, sum) in sums.iter_mut().enumerate() {
                    let pixels = part(column, width);
                    let bytes = &line[pixels.start * 3..pixels.end * 3];
                    *sum += { bytes.chunks_exact(3) }
                        .map(|p| u32::from(p[0]) + 2 * u32::from(p[1]) + u32::from(p[2]))
                        .sum::<u32>();
                }
            }
            let rows = part(row, height).len();
            for (column, (cell, sum)) in cells.iter_mut().zip(sums).enumerate() {
                let columns = part(column, width).len();
                *cell = sum as f32 / (4 * rows * columns) as f32;
            }
        }
        Self(cells)
    }
}

/// How often a still scene is looked at, and classified nevertheless.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Between two looks.
    pub look: Duration,
    /// Between two classifications.
    pub max_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            look: Duration::from_millis(200),
            max_interval: Duration::from_secs(10),
        }
    }
}

/// What is to become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Classify,
    /// It shows what was classified last.
    Still,
}

/// After a change every frame is classified until so long has passed and so many were: until the label has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settle {
    pub time: Duration,
    pub frames: u32,
}

/// The gate of one camera.
#[derive(Debug)]
pub struct StillGate {
    settings: Settings,
    settle: Settle,
    reference: Option<Reference>,
    /// Of a cell, as the median of absolute differences.
    noise: f32,
}

/// What was classified last.
#[derive(Debug)]
struct Reference {
    thumbnail: Thumbnail,
    classified: Instant,
    changed: Instant,
    /// Classified since the change.
    frames: u32,
}

impl StillGate {
    /// `settle`: how long a change takes to be the label.
    #[must_use]
    pub fn new(settings: Settings, settle: Settle) -> Self {
        Self {
            settings,
            settle,
            reference: None,
            noise: 1.0,
        }
    }

    /// What comes next is a new scene.
    pub fn reset(&mut self) {
        self.reference = None;
    }

    /// A frame, captured at `at`.
    pub fn see(&mut self, thumbnail: Thumbnail, at: Instant) -> Verdict {
        let changed = match &self.reference {
            None => true,
            Some(reference) => {
                let difference = Difference::between(&reference.thumbnail, &thumbnail);
                let changed = difference.is_change(self.noise);
                self.noise = difference.learn(self.noise);
                changed
            }
        };
        let since = |then: Instant| at.saturating_duration_since(then);
        let reference = self.reference.as_ref();
        let moved = reference.filter(|_| !changed).map_or(at, |r| r.changed);
        let due = reference.is_none_or(|r| since(r.classified) >= self.settings.max_interval);
        // a clock that was ahead for one frame must not stop the gate
        let ahead = reference.is_some_and(|r| r.classified > at);
        let frames = reference.filter(|_| !changed).map_or(0, |r| r.frames);
        let settled = since(moved) >= self.settle.time && frames >= self.settle.frames;
        if !changed && !due && !ahead && settled {
            return Verdict::Still;
        }
        self.reference = Some(Reference {
            thumbnail,
            classified: at,
            changed: moved,
            frames: frames.saturating_add(1),
        });
        Verdict::Classify
    }

    /// How long a scene that was found still may be left alone.
    #[must_use]
    pub fn look(&self) -> Duration {
        self.settings.look
    }
}

/// What is left of the difference of two thumbnails when one line has been fitted through their cells.
struct Difference {
    /// Absolute values, in levels.
    left: [f32; CELLS],
    median: f32,
    ninth_tenth: f32,
    /// Whether no line explains it.
    beyond: bool,
}

impl Difference {
    fn between(before: &Thumbnail, now: &Thumbnail) -> Self {
        let shift = median(std::array::from_fn(|i| now.0[i] - before.0[i]));
        let near = left_of(before, now, (1.0, shift));
        let trusted = 3.0 * MEDIAN_TO_DEVIATION * median(near) + 1.0;
        let fit = line(before, now, |i| near[i] <= trusted).unwrap_or((1.0, shift));
        let left = left_of(before, now, fit);
        let (gain, _) = fit;
        Self {
            median: median(left),
            ninth_tenth: quantile(left, CELLS * 9 / 10),
            left,
            beyond: !(GAIN.0..=GAIN.1).contains(&gain),
        }
    }

    fn is_change(&self, noise: f32) -> bool {
        let most = (DEVIATIONS * MEDIAN_TO_DEVIATION * noise).max(LEAST);
        self.beyond || self.left.iter().filter(|&&d| d > most).count() >= FEW
    }

    /// The noise, after this. It sinks soon and rises slowly, and only by what looks like noise.
    fn learn(&self, noise: f32) -> f32 {
        let towards = |share: f32| noise + share * (self.median - noise);
        let like_noise = self.ninth_tenth <= NOISE_SPREAD * self.median;
        let next = if self.median < noise {
            towards(0.3)
        } else if like_noise {
            towards(0.05)
        } else {
            noise
        };
        next.clamp(NOISE.0, NOISE.1)
    }
}

fn left_of(before: &Thumbnail, now: &Thumbnail, (gain, shift): (f32, f32)) -> [f32; CELLS] {
    std::array::from_fn(|i| (now.0[i] - gain * before.0[i] - shift).abs())
}

/// The line `now = gain * before + shift` of least squares through the cells that are `trusted`; nothing where
/// they are all alike.
#[allow(clippy::cast_precision_loss)] // cells
fn line(
    before: &Thumbnail,
    now: &Thumbnail,
    trusted: impl Fn(usize) -> bool,
) -> Option<(f32, f32)> {
    let cells = || (0..CELLS).filter(|&i| trusted(i));
    let count = cells().count().max(1) as f32;
    let mean = |of: &Thumbnail| cells().map(|i| of.0[i]).sum::<f32>() / count;
    let (x, y) = (mean(before), mean(now));
    let (mut varies, mut together) = (0.0, 0.0);
    for i in cells() {
        varies += (before.0[i] - x).powi(2);
        together += (before.0[i] - x) * (now.0[i] - y);
    }
    if varies < count {
        return None;
    }
    let gain = together / varies;
    Some((gain, y - gain * x))
}

fn median(values: [f32; CELLS]) -> f32 {
    quantile(values, CELLS / 2)
}

fn quantile(mut values: [f32; CELLS], at: usize) -> f32 {
    *values.select_nth_unstable_by(at, f32::total_cmp).1
}

#[cfg(test)]
mod tests;
