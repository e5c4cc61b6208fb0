//! Pooling: maximum over a window, average over the whole picture. Vectorized well enough by the
//! compiler; they are a few per mille of a ResNet.
#![allow(unsafe_code)] // threads write disjoint rows of one output

use super::driver::Output;
use super::requant::Residual;
use super::{Geometry, Pool, Quant, Storage, scratch};

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
        let line = scratch.rows::<u8>(len);
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
    rule: super::Requant,
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
        let multiplier = input.scale.get() / (pixels as f32 * output.scale.get());
        Some(Self {
            pixels,
            bias: -(pixels as i32) * input.zero.get(),
            rule: super::Requant {
                bias: vec![0],
                multiplier: vec![multiplier],
                low: -f32::from(output.zero.0),
                high: 255.0 - f32::from(output.zero.0),
                output_zero: output.zero.get(),
                residual: None::<Residual>,
            },
        })
    }

    #[must_use]
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// `x` is `[pixels][y.len()]`.
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
                *y = self.rule.apply(sum, 0, None) ^ flip;
            }
        }
    }
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
}
