//! What the values of one tensor are like over many pictures: all together, and channel by channel.

use super::calibrate::Histogram;

#[derive(Debug, Clone, Default)]
pub struct Profile {
    pub histogram: Histogram,
    channels: Vec<Channel>,
    /// Values of each channel.
    count: u64,
}

/// Sums are of whole numbers, so that they do not depend on the order in which pictures came.
#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    highest: f32,
    sum: i128,
}

/// What a sum counts.
const UNIT: f64 = 1.0 / 1_048_576.0;

impl Profile {
    /// Adds a tensor of `channels` planes.
    #[allow(clippy::cast_possible_truncation)] // a picture's sum is far below 2^100
    pub fn add(&mut self, channels: usize, values: &[f32]) {
        self.histogram.add(values);
        self.channels.resize(channels, Channel::default());
        let plane = values.len() / channels.max(1);
        self.count += plane as u64;
        let planes = values.chunks_exact(plane.max(1));
        for (channel, plane) in self.channels.iter_mut().zip(planes) {
            let finite = || plane.iter().filter(|v| v.is_finite());
            let sum: f64 = finite().map(|&v| f64::from(v)).sum();
            channel.sum += (sum / UNIT).round() as i128;
            channel.highest = finite().fold(channel.highest, |a, v| a.max(v.abs()));
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.histogram.merge(other.histogram);
        self.count += other.count;
        let len = self.channels.len().max(other.channels.len());
        self.channels.resize(len, Channel::default());
        for (channel, other) in self.channels.iter_mut().zip(other.channels) {
            channel.sum += other.sum;
            channel.highest = channel.highest.max(other.highest);
        }
    }

    /// Each channel's mean.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // to the precision of weights
    pub fn means(&self) -> Vec<f32> {
        let count = self.count.max(1) as f64;
        let mean = |c: &Channel| (c.sum as f64 * UNIT / count) as f32;
        self.channels.iter().map(mean).collect()
    }

    /// Each channel's largest magnitude.
    #[must_use]
    pub fn highest(&self) -> Vec<f32> {
        self.channels.iter().map(|c| c.highest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_told_apart_and_the_order_of_pictures_is_nothing() {
        let (a, b) = ([1.0, 2.0, -5.0, 0.25], [0.1, 0.2, 3.0, 4.0]);
        let profile = |order: [&[f32]; 2]| {
            let mut sum = Profile::default();
            for values in order {
                let mut one = Profile::default();
                one.add(2, values);
                sum.merge(one);
            }
            sum
        };
        let found = profile([&a, &b]);
        assert_eq!(found.highest(), [2.0, 5.0]);
        assert!((found.means()[0] - 0.825).abs() < 1e-6);
        assert!((found.means()[1] - 0.5625).abs() < 1e-6);
        assert_eq!(found.means(), profile([&b, &a]).means());
    }
}
