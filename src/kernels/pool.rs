//! Pooling: maximum and average over a window, average over the whole picture. Vectorized well enough by the
//! compiler; they are a few per mille of a ResNet.
#![allow(unsafe_code)] // threads write disjoint rows of one output

use std::ops::Range;

use super::driver::Output;
use super::{Geometry, Pool, Quant, Requant, Storage, scratch};

/// Maximum over each window; padding never wins. `in_c == out_c` is the caller's to check.
///
/// # Panics
/// If a slice does not have its geometry's length.
pub fn max(pool: &Pool, storage: Storage, g: &Geometry, x: &[u8], y: &mut [u8]) {
    assert_eq!((x.len(), y.len()), (g.input_len(), g.out_pixels() * g.in_c));
    let row = g.out_w() * g.in_c;
    let rows = g.out_h().div_ceil(4 * pool.threads());
    let y = Output(y.as_mut_ptr());
    pool.run(g.out_h().div_ceil(rows), &|task| {
        for oy in task * rows..((task + 1) * rows).min(g.out_h()) {
            // SAFETY: row `oy` of the output, which is this task's alone.
            let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(oy * row), row) };
            match storage {
                Storage::Unsigned => max_row(g, oy, x, y, u8::max, 0),
                Storage::Signed => {
                    let signed =
                        |a: u8, b: u8| a.cast_signed().max(b.cast_signed()).cast_unsigned();
                    max_row(g, oy, x, y, signed, 0x80);
                }
            }
        }
    });
}

/// One row of outputs, for a notion of the larger of two stored bytes and the least of all: first over
/// the rows of the window, whole lines at a time, then over its columns.
#[inline(always)]
fn max_row(
    g: &Geometry,
    oy: usize,
    x: &[u8],
    y: &mut [u8],
    larger: impl Fn(u8, u8) -> u8,
    least: u8,
) {
    let merge = |to: &mut [u8], from: &[u8]| {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = larger(*to, from);
        }
    };
    let len = g.in_w * g.in_c;
    scratch::with(|scratch| {
        let (line, _) = scratch.rows_and_pointers(len, 0);
        line.fill(least);
        for ky in 0..g.kernel_h {
            if let Some(iy) = Geometry::source(oy, ky, g.stride_h, g.pad.top, g.in_h) {
                merge(line, &x[iy * len..][..len]);
            }
        }
        for (ox, y) in y.chunks_exact_mut(g.in_c).enumerate() {
            y.fill(least);
            for kx in 0..g.kernel_w {
                if let Some(ix) = Geometry::source(ox, kx, g.stride_w, g.pad.left, g.in_w) {
                    merge(y, &line[ix * g.in_c..][..g.in_c]);
                }
            }
        }
    });
}

/// The average of each channel over all pixels, requantized:
/// `y = round_half_even(clamp(f32(sum - pixels * z_x) * m)) + z_y`, `m = s_x / (pixels * s_y)`.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalAverage {
    pixels: usize,
    bias: i32,
    multiplier: f32,
    rule: Requant,
}

/// Sums of this many 8-bit values fit 32 bits with room to spare.
pub const MAX_AVERAGED_PIXELS: usize = 1 << 20;

impl GlobalAverage {
    /// `None` if there are no pixels or more than [`MAX_AVERAGED_PIXELS`].
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap
    )] // bounded by MAX_AVERAGED_PIXELS
    pub fn new(pixels: usize, input: Quant, output: Quant) -> Option<Self> {
        if !(1..=MAX_AVERAGED_PIXELS).contains(&pixels) {
            return None;
        }
        Some(Self {
            pixels,
            bias: -(pixels as i32) * input.zero.get(),
            multiplier: input.scale.get() / (pixels as f32 * output.scale.get()),
            rule: Requant::rounding(output, false),
        })
    }

    #[must_use]
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// `x` is `[pixels][y.len()]`.
    #[allow(clippy::cast_precision_loss)] // the rule's own rounding
    pub fn run(&self, storage: Storage, x: &[u8], y: &mut [u8]) {
        const LANES: usize = 64;
        let (channels, flip) = (y.len(), storage.flip());
        for (block, y) in y.chunks_mut(LANES).enumerate() {
            let mut sums = [self.bias; LANES];
            for pixel in 0..self.pixels {
                let x = &x[pixel * channels + block * LANES..][..y.len()];
                for (sum, &x) in sums.iter_mut().zip(x) {
                    *sum += i32::from(x ^ flip);
                }
            }
            for (y, sum) in y.iter_mut().zip(sums) {
                *y = self.rule.round(sum as f32 * self.multiplier) ^ flip;
            }
        }
    }
}

/// The average over each window, requantized as in [`GlobalAverage`]: `x` and `y` are `[rows][columns][channels]`.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowAverage {
    geometry: Geometry,
    /// Whether padding counts as zeros, or not at all.
    count_padding: bool,
    input: Quant,
    output: Quant,
    rule: Requant,
}

impl WindowAverage {
    /// `geometry.in_c == geometry.out_c` is the caller's to check.
    #[must_use]
    pub fn new(geometry: Geometry, count_padding: bool, input: Quant, output: Quant) -> Self {
        Self {
            geometry,
            count_padding,
            input,
            output,
            rule: Requant::rounding(output, false),
        }
    }

    /// # Panics
    /// If a slice does not have its geometry's length.
    pub fn run(&self, pool: &Pool, storage: Storage, x: &[u8], y: &mut [u8]) {
        let g = &self.geometry;
        assert_eq!((x.len(), y.len()), (g.input_len(), g.out_pixels() * g.in_c));
        let row = g.out_w() * g.in_c;
        let rows = g.out_h().div_ceil(4 * pool.threads());
        let y = Output(y.as_mut_ptr());
        pool.run(g.out_h().div_ceil(rows), &|task| {
            for oy in task * rows..((task + 1) * rows).min(g.out_h()) {
                // SAFETY: row `oy` of the output, which is this task's alone.
                let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(oy * row), row) };
                for (ox, y) in y.chunks_exact_mut(g.in_c).enumerate() {
                    self.pixel(storage.flip(), (oy, ox), x, y);
                }
            }
        });
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation
    )] // a window's few values
    fn pixel(&self, flip: u8, (oy, ox): (usize, usize), x: &[u8], y: &mut [u8]) {
        const LANES: usize = 64;
        let g = &self.geometry;
        let lines = inside(oy, g.kernel_h, g.stride_h, g.pad.top, g.in_h);
        let columns = inside(ox, g.kernel_w, g.stride_w, g.pad.left, g.in_w);
        let seen = lines.len() * columns.len();
        let counted = if self.count_padding {
            g.kernel_h * g.kernel_w
        } else {
            seen.max(1)
        };
        let multiplier = self.input.scale.get() / (counted as f32 * self.output.scale.get());
        let bias = -(seen as i32) * self.input.zero.get();
        for (block, y) in y.chunks_mut(LANES).enumerate() {
            let mut sums = [bias; LANES];
            for iy in lines.clone() {
                for ix in columns.clone() {
                    let x = &x[(iy * g.in_w + ix) * g.in_c + block * LANES..][..y.len()];
                    for (sum, &x) in sums.iter_mut().zip(x) {
                        *sum += i32::from(x ^ flip);
                    }
                }
            }
            for (y, sum) in y.iter_mut().zip(sums) {
                *y = self.rule.round(sum as f32 * multiplier) ^ flip;
            }
        }
    }
}

/// The input rows (or columns) that a window covers, padding left out.
fn inside(out: usize, kernel: usize, stride: usize, pad: usize, size: usize) -> Range<usize> {
    let start = out * stride;
    start.saturating_sub(pad).min(size)..(start + kernel).saturating_sub(pad).min(size)
}

#[cfg(test)]
mod tests {
    use super::super::Padding;
    use super::*;

    #[test]
    fn padding_never_wins_a_maximum() {
        let g = Geometry::new((3, 3), (2, 2), (3, 3), (2, 2), Padding::all(1)).unwrap();
        let x: Vec<u8> = (0..18).collect();
        let mut y = [0; 8];
        max(&Pool::serial(), Storage::Unsigned, &g, &x, &mut y);
        assert_eq!(y, [8, 9, 10, 11, 14, 15, 16, 17]);
        let flipped = |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|b| b ^ 0x80).collect() };
        let pool = Pool::new(2.try_into().unwrap()).unwrap();
        max(&pool, Storage::Signed, &g, &flipped(&x), &mut y);
        assert_eq!(flipped(&y), [8, 9, 10, 11, 14, 15, 16, 17]);
    }

    #[test]
    fn an_average_is_rounded_half_to_even() {
        let q = Quant::new(0.5, 0).unwrap();
        let average = GlobalAverage::new(2, q, q).unwrap();
        let mut y = [0; 3];
        average.run(Storage::Unsigned, &[1, 2, 255, 2, 3, 255], &mut y);
        assert_eq!(y, [2, 2, 255]);
    }

    #[test]
    fn an_average_honours_zero_points() {
        let average = GlobalAverage::new(
            4,
            Quant::new(1.0, 128).unwrap(),
            Quant::new(0.5, 10).unwrap(),
        );
        let mut y = [0; 1];
        average
            .unwrap()
            .run(Storage::Unsigned, &[130, 130, 132, 132], &mut y); // mean 3 above zero
        assert_eq!(y, [16]);
    }

    #[test]
    fn a_window_s_average_counts_padding_only_if_told() {
        let q = Quant::new(1.0, 10).unwrap();
        let g = Geometry::new(
            (2, 2),
            (1, 1),
            (2, 2),
            (2, 2),
            Padding {
                top: 1,
                left: 1,
                bottom: 1,
                right: 1,
            },
        )
        .unwrap();
        let x = [14, 18, 22, 26];
        let run = |count_padding| {
            let mut y = [0; 4];
            let average = WindowAverage::new(g, count_padding, q, q);
            average.run(&Pool::serial(), Storage::Unsigned, &x, &mut y);
            y
        };
        assert_eq!(run(false), x);
        assert_eq!(run(true), [11, 12, 13, 14]);
        let whole = Geometry::new((2, 2), (1, 1), (2, 2), (2, 2), Padding::all(0)).unwrap();
        let average = WindowAverage::new(whole, false, q, Quant::new(0.5, 0).unwrap());
        let (mut y, stored) = ([0], x.map(|x| x ^ 0x80));
        let pool = Pool::new(2.try_into().unwrap()).unwrap();
        average.run(&pool, Storage::Signed, &stored, &mut y);
        assert_eq!(y[0] ^ 0x80, 20);
    }
}
