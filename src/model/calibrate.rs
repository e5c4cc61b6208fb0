//! Measures what values a network's activations take, and chooses the range that 8 bits will cover.

use std::fmt;

use crate::kernels::{Quant, QuantError};

/// Bins of a histogram, half of them below zero.
const BINS: usize = 8192;

/// How many values fell where. The covered range doubles when a value falls outside, so that one
/// pass over the pictures is enough.
#[derive(Debug, Clone)]
pub struct Histogram {
    bins: Vec<u64>,
    /// Covers `-reach..reach`, a power of two.
    reach: f32,
    low: f32,
    high: f32,
}

/// How a range is chosen from a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Everything that was seen.
    Minmax,
    /// All but one in ten thousand at each end.
    Percentile,
    /// The range with the least mean squared error of quantization.
    Mse,
    /// The range whose quantized histogram is nearest the original's in Kullback-Leibler divergence
    /// (Migacz, "8-bit inference with TensorRT", 2017).
    Entropy,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::Minmax, Self::Percentile, Self::Mse, Self::Entropy];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Minmax => "minmax",
            Self::Percentile => "percentile",
            Self::Mse => "mse",
            Self::Entropy => "entropy",
        })
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            reach: 1.0 / 64.0,
            low: 0.0,
            high: 0.0,
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // bins are counted in f64, values binned in f32
impl Histogram {
    pub fn add(&mut self, values: &[f32]) {
        let (low, high) = values
            .iter()
            .filter(|v| v.is_finite())
            .fold((0f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
        self.low = self.low.min(low);
        self.high = self.high.max(high);
        self.reach_out(high.max(-low));
        let scale = BINS as f32 / 2.0 / self.reach;
        for &v in values.iter().filter(|v| v.is_finite()) {
            let bin = (v * scale + BINS as f32 / 2.0) as usize;
            self.bins[bin.min(BINS - 1)] += 1;
        }
    }

    /// Doubles the covered range until it holds `magnitude`, two bins becoming one.
    fn reach_out(&mut self, magnitude: f32) {
        while self.reach < magnitude {
            let mut wider = vec![0; BINS];
            for (i, count) in self.bins.iter().enumerate() {
                wider[BINS / 4 + i / 2] += count;
            }
            self.bins = wider;
            self.reach *= 2.0;
        }
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, mut other: Self) {
        self.reach_out(other.reach);
        other.reach_out(self.reach);
        for (a, b) in self.bins.iter_mut().zip(&other.bins) {
            *a += b;
        }
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
    }

    fn width(&self) -> f64 {
        f64::from(self.reach) * 2.0 / BINS as f64
    }

    /// The middle of a bin and its count, for bins that are not empty.
    fn counts(&self) -> impl Iterator<Item = (f64, f64)> {
        let width = self.width();
        let middle = move |i: usize| (i as f64 + 0.5) * width - f64::from(self.reach);
        self.bins
            .iter()
            .enumerate()
            .filter(|(_, c)| **c > 0)
            .map(move |(i, &c)| (middle(i), c as f64))
    }

    /// The range that `method` chooses; it always holds zero.
    #[must_use]
    pub fn range(&self, method: Method) -> (f32, f32) {
        match method {
            Method::Minmax => (self.low, self.high),
            Method::Percentile => self.percentile(1e-4),
            Method::Mse => self.best(|low, high| self.squared_error(low, high)),
            Method::Entropy => self.best(|low, high| self.divergence(low, high)),
        }
    }

    fn percentile(&self, share: f64) -> (f32, f32) {
        let total: f64 = self.counts().map(|(_, c)| c).sum();
        let limit = total * share;
        let end = |counts: &mut dyn Iterator<Item = (f64, f64)>| {
            let mut passed = 0.0;
            for (value, count) in counts {
                passed += count;
                if passed > limit {
                    return value as f32;
                }
            }
            0.0
        };
        let counts: Vec<_> = self.counts().collect();
        let low = end(&mut counts.iter().copied());
        let high = end(&mut counts.iter().rev().copied());
        (low.min(0.0).max(self.low), high.max(0.0).min(self.high))
    }

    /// Shrinks both ends together, in steps of a hundredth, and keeps the least cost.
    fn best(&self, cost: impl Fn(f64, f64) -> f64) -> (f32, f32) {
        let at = |share: f64| (f64::from(self.low) * share, f64::from(self.high) * share);
        let mut best = (f64::INFINITY, 1.0);
        for step in (15..=100).rev() {
            let share = f64::from(step) / 100.0;
            let (low, high) = at(share);
            let cost = cost(low, high);
            if cost < best.0 {
                best = (cost, share);
            }
        }
        let (low, high) = at(best.1);
        (low as f32, high as f32)
    }

    fn squared_error(&self, low: f64, high: f64) -> f64 {
        let step = (high - low) / 255.0;
        if step <= 0.0 {
            return 0.0;
        }
        let error = |v: f64| {
            let clamped = v.clamp(low, high);
            let rounded = ((clamped - low) / step).round() * step + low;
            (v - rounded) * (v - rounded)
        };
        self.counts().map(|(v, count)| count * error(v)).sum()
    }

    /// KL divergence of the histogram, clipped to the range, from its 256-level version. The bin of
    /// zero is left out: after a ReLU it holds half of all values, and every range represents it.
    fn divergence(&self, low: f64, high: f64) -> f64 {
        const LEVELS: usize = 256;
        let step = (high - low) / LEVELS as f64;
        if step <= 0.0 {
            return 0.0;
        }
        let level = |v: f64| (((v - low) / step) as usize).min(LEVELS - 1);
        let zero = self.width();
        let counts: Vec<_> = self
            .counts()
            .filter(|(v, _)| !(0.0..zero).contains(v))
            .collect();
        let total: f64 = counts.iter().map(|(_, c)| c).sum();
        let outside = |out: &dyn Fn(f64) -> bool| -> f64 {
            counts.iter().filter(|(v, _)| out(*v)).map(|(_, c)| c).sum()
        };
        let (below, above) = (outside(&|v| v < low), outside(&|v| v > high));
        let kept: Vec<_> = counts
            .iter()
            .filter(|(v, _)| (low..=high).contains(v))
            .collect();
        let mut levels = [(0.0, 0.0); LEVELS]; // what falls into each, and from how many bins
        for (v, count) in &kept {
            levels[level(*v)].0 += count;
            levels[level(*v)].1 += 1.0;
        }
        let mut sum = 0.0;
        for (i, (v, count)) in kept.iter().enumerate() {
            // what was clipped piles up in the outermost bins of the original
            let piled = if i == 0 { below } else { 0.0 };
            let p = count + piled + if i + 1 == kept.len() { above } else { 0.0 };
            let (mass, bins) = levels[level(*v)];
            let q = mass / bins / (total - below - above);
            sum += p / total * (p / total / q).ln();
        }
        sum
    }
}

/// The scale and zero point that cover a range.
///
/// # Errors
/// If the range is not finite.
#[allow(clippy::cast_possible_truncation)] // within 0..=255
pub fn quant((low, high): (f32, f32)) -> Result<Quant, QuantError> {
    let scale = ((high - low) / 255.0).max(1e-9);
    Quant::new(scale, (-low / scale).round().clamp(0.0, 255.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bell(outlier: f32) -> Histogram {
        let mut h = Histogram::default();
        let values: Vec<f32> = (0..20_000i16)
            .map(|i| f32::from(i) / 20_000.0)
            .map(|u| (u / (1.0 - u).max(1e-4)).ln().max(0.0))
            .collect();
        h.add(&values);
        h.add(&[outlier]);
        h
    }

    #[test]
    fn minmax_covers_everything_and_the_others_cut_an_outlier() {
        let h = bell(1000.0);
        assert_eq!(h.range(Method::Minmax), (0.0, 1000.0));
        for method in [Method::Percentile, Method::Entropy] {
            let (low, high) = h.range(method);
            assert!(low == 0.0 && high < 500.0, "{method}: {low}..{high}");
        }
    }

    #[test]
    fn the_mse_range_has_the_least_squared_error_of_those_tried() {
        let h = bell(30.0);
        let error = |(low, high): (f32, f32)| h.squared_error(low.into(), high.into());
        let best = h.range(Method::Mse);
        assert!(best.1 < 30.0, "{best:?}");
        for method in [Method::Minmax, Method::Percentile, Method::Entropy] {
            assert!(error(best) <= error(h.range(method)), "{method}");
        }
    }

    #[test]
    fn widening_and_merging_lose_no_value() {
        let mut a = Histogram::default();
        a.add(&[0.001, -0.002, 3.0]);
        let mut b = Histogram::default();
        b.add(&[-100.0, 0.5]);
        a.merge(b);
        assert_eq!(a.counts().map(|(_, c)| c).sum::<f64>(), 5.0);
        assert_eq!(a.range(Method::Minmax), (-100.0, 3.0));
    }

    #[test]
    fn the_zero_point_stands_for_zero() {
        let q = quant((-1.0, 4.1)).unwrap();
        assert_eq!(q.zero.0, 50);
        assert_eq!(quant((0.0, 0.0)).unwrap().zero.0, 0);
    }
}
