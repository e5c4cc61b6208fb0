//! Chance that is the same everywhere: a small integer generator, smooth noise for clouds and
//! grass, and a camera's grain.

// Table positions and colours are bounded by the tables' sizes and by 255.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

use super::canvas::{CHANNELS, WIDTH};

/// Numbers by chance (SplitMix64, Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    /// In `0..1`.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 16_777_216.0
    }

    /// In `low..high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Smooth noise in `0..1` on a lattice that repeats every `wrap` cells in x.
fn smooth(x: f32, y: f32, wrap: i32, seed: u64) -> f32 {
    let (cell_x, cell_y) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - cell_x), ease(y - cell_y));
    let at = |dx: i32, dy: i32| {
        let column = (cell_x as i32 + dx).rem_euclid(wrap) as u64;
        let row = (cell_y as i32 + dy) as u32;
        let bits = mixed(seed ^ (column << 32) ^ u64::from(row));
        (bits >> 40) as f32 / 16_777_216.0
    };
    let upper = at(0, 0) + (at(1, 0) - at(0, 0)) * u;
    let lower = at(0, 1) + (at(1, 1) - at(0, 1)) * u;
    upper + (lower - upper) * v
}

/// Layers of smooth noise, each twice as fine and half as strong, in `0..1`. Repeats every `wrap`
/// cells of the coarsest in x.
pub fn layered(x: f32, y: f32, wrap: i32, layers: u32, seed: u64) -> f32 {
    let (mut sum, mut weight, mut total) = (0.0, 1.0, 0.0);
    for layer in 0..layers {
        let finer = (1 << layer) as f32;
        sum += weight * smooth(x * finer, y * finer, wrap << layer, seed + u64::from(layer));
        total += weight;
        weight *= 0.5;
    }
    sum / total
}

const TABLE: usize = 1 << 16;

/// A camera sensor's noise: a table of it, read from another place for every row.
pub struct Grain {
    table: Vec<i16>,
}

impl Grain {
    pub fn new() -> Self {
        let mut random = Random(4);
        // The sum of four even chances is close to a bell: standard deviation 2.6.
        let mut bell = || {
            let sum: f32 = (0..4).map(|_| random.between(-4.5, 4.5)).sum();
            (sum * 0.5).round() as i16
        };
        Self {
            table: (0..TABLE + WIDTH * CHANNELS).map(|_| bell()).collect(),
        }
    }

    /// Multiplies every value by `gain` / 256 (at most 1) and adds the noise of picture `index`.
    pub fn develop(&self, index: u64, gain: u16, data: &mut [u8]) {
        let mut random = Random(index);
        for row in data.chunks_exact_mut(WIDTH * CHANNELS) {
            let start = random.bits() as usize % TABLE;
            for (value, noise) in row.iter_mut().zip(&self.table[start..]) {
                let lit = (u16::from(*value) * gain) >> 8;
                *value = (lit as i16 + noise).clamp(0, 255) as u8;
            }
        }
    }
}
