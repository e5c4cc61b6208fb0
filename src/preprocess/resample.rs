//! Pillow's resize and torchvision's centre crop, bit for bit, restricted to the pixels of the crop.
//!
//! Pillow (src/libImaging/Resample.c) shrinks and enlarges with one separable filter, a triangle or a cubic, as wide
//! as the scale, at least for one pixel; first each row, rounded to 8 bits, then each column.
//! Weights are doubles, normalized, then fixed-point numbers with 22 fractional bits. (Pillow 13 takes
//! the columns first where a picture is much higher than wide; releases up to 12, and this, never do.)

use std::ops::Range;

use super::ImageSize;
use super::convert::Rgbx;
use super::framing::Window;
use super::pixels::Picture;
use crate::spec::{Fit, Interpolation};

/// Fractional bits of a weight: 32 less 8 for the pixel and 2 to spare, as in Pillow.
pub(super) const PRECISION: u32 = 22;
pub(super) const HALF: i32 = 1 << (PRECISION - 1);

/// What is to be made of a picture's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub fit: Fit,
    /// The side that `fit` names, in pixels.
    pub resize: u32,
    /// Side of the output, in pixels.
    pub crop: u32,
    pub filter: Interpolation,
    /// The colour where there is no picture.
    pub fill: [u8; 3],
}

/// Everything about a resize and crop that depends only on the sizes.
pub(super) struct Plan {
    crop: usize,
    fill: [u8; 3],
    x: Axis,
    y: Axis,
}

/// The buffers that a [`Plan`] works in.
#[derive(Default)]
pub(super) struct Scratch {
    /// One source row.
    source: Vec<Rgbx>,
    /// The last horizontally resampled rows, 3 bytes a pixel, as many as one output row needs.
    ring: Vec<u8>,
    /// One output row before rounding.
    sums: Vec<i32>,
}

/// One direction: which source pixels each output pixel is made of, and where the outputs lie in the crop.
pub(super) struct Axis {
    /// Empty pixels before the first output pixel, where the crop is larger than the picture.
    pad: usize,
    /// The first source pixel of each output pixel; never decreases.
    starts: Vec<usize>,
    /// How many source pixels each output pixel is made of. The same for all, so that the inner loop is
    /// predictable; those that Pillow would not use weigh nothing.
    taps: usize,
    /// `taps` weights for each output pixel.
    weights: Vec<i32>,
    /// From where to where in the source the output reaches, in its pixels; beyond it where there is border.
    shown: (f32, f32),
}

impl Plan {
    pub(super) fn new(window: &Window, target: &Target) -> Self {
        let (width, height) = resized(window.size(), target);
        let (crop, filter) = (target.crop as usize, target.filter);
        let axis = |part: &Range<u32>, resized| {
            Axis::new(
                part.start as usize..part.end as usize,
                resized,
                crop,
                filter,
            )
        };
        Self {
            crop,
            fill: target.fill,
            x: axis(&window.columns, width),
            y: axis(&window.rows, height),
        }
    }

    /// Which columns and rows of the output are picture.
    pub(super) fn inside(&self) -> (Range<usize>, Range<usize>) {
        (self.x.inside(), self.y.inside())
    }

    /// Where the output is in a picture of this size: left, top, width and height in shares of it.
    #[allow(clippy::cast_precision_loss)] // sizes of pictures
    pub(super) fn shown(&self, size: ImageSize) -> [f32; 4] {
        let share = |axis: &Axis, size: u32| {
            let (from, to) = axis.shown;
            (from / size as f32, (to - from) / size as f32)
        };
        let (left, width) = share(&self.x, size.width);
        let (top, height) = share(&self.y, size.height);
        [left, top, width, height]
    }

    /// Resizes and crops the part of `picture` that this was made for, into `out`, RGB. The picture must have it.
    pub(super) fn run(&self, picture: &Picture<'_>, scratch: &mut Scratch, out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if super::avx2::run(self, picture, scratch, out) {
            return;
        }
        self.run_with(Axis::resample_row, picture, scratch, out);
    }

    /// [`run`](Self::run) with this way to resample a row. Inlined, as all that it calls, so that whoever calls
    /// it for a better processor has all of it compiled for that.
    #[inline(always)]
    pub(super) fn run_with(
        &self,
        resample_row: impl Fn(&Axis, &[Rgbx], &mut [u8]),
        picture: &Picture<'_>,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) {
        let row = self.crop * 3;
        scratch.ring.resize(self.y.taps * row, 0);
        if self.x.starts.len() < self.crop || self.y.starts.len() < self.crop {
            out.as_chunks_mut().0.fill(self.fill);
            // The columns beside the picture are summed like all others.
            scratch.ring.as_chunks_mut().0.fill(self.fill);
        }
        scratch.sums.resize(row, 0);
        let columns = self.x.used();
        let mut next = self.y.used().start;
        for ((start, weights), out) in self
            .y
            .outputs()
            .zip(out.chunks_exact_mut(row).skip(self.y.pad))
        {
            while next < start + self.y.taps {
                let source = picture.row(next, columns.clone(), &mut scratch.source);
                let slot = next % self.y.taps;
                resample_row(&self.x, source, &mut scratch.ring[slot * row..][..row]);
                next += 1;
            }
            let rows = (start..).map(|y| &scratch.ring[y % self.y.taps * row..][..row]);
            combine_rows(rows.zip(weights), &mut scratch.sums, out);
        }
    }
}

/// The width and height of the whole picture, of which the crop is the middle. As torchvision's `Resize` and timm's
/// `ResizeKeepRatio` do it: one side is as asked, the other keeps the aspect, rounded down by the first and to the
/// nearest by the second.
fn resized(input: ImageSize, target: &Target) -> (usize, usize) {
    let (short, long) = (input.width.min(input.height), input.width.max(input.height));
    let asked = u64::from(target.resize);
    let side = |side: u64| usize::try_from(side).unwrap_or(usize::MAX);
    let (short, long) = match target.fit {
        Fit::Squash => return (side(asked), side(asked)),
        Fit::Crop => (asked, asked * u64::from(long) / u64::from(short)),
        Fit::Letterbox => (nearest(asked * u64::from(short), long.into()).max(1), asked),
    };
    if input.width <= input.height {
        (side(short), side(long))
    } else {
        (side(long), side(short))
    }
}

/// The quotient, rounded to the nearest, a half to the even number, as Python's `round` does.
fn nearest(dividend: u64, divisor: u64) -> u64 {
    let (quotient, twice) = (dividend / divisor, 2 * (dividend % divisor));
    let up = twice > divisor || (twice == divisor && quotient % 2 == 1);
    quotient + u64::from(up)
}

/// torchvision's `CenterCrop` in one direction: the first pixel of the crop in a picture of `size`, by
/// Python's `round((size - crop) / 2)`, which rounds a half to the even number.
fn crop_start(size: usize, crop: usize) -> usize {
    usize::try_from(nearest(size.saturating_sub(crop) as u64, 2)).unwrap_or(usize::MAX)
}

impl Axis {
    /// From the source pixels of `part` to `resized`, of which the middle `crop` are made.
    fn new(part: Range<usize>, resized: usize, crop: usize, filter: Interpolation) -> Self {
        let size = part.len();
        let first = crop_start(resized, crop);
        let made: Vec<_> = (first..first + crop.min(resized))
            .map(|output| weights(size, resized, output, filter))
            .collect();
        let taps = made
            .iter()
            .map(|(_, weights)| weights.len())
            .max()
            .unwrap_or(0);
        let pad = crop.saturating_sub(resized) / 2;
        #[allow(clippy::cast_precision_loss)] // sizes of pictures
        let source = |output: usize| {
            let output = output as f32 - pad as f32;
            part.start as f32 + output * size as f32 / resized.max(1) as f32
        };
        let mut axis = Self {
            shown: (source(first), source(first + crop)),
            pad,
            starts: Vec::with_capacity(made.len()),
            taps,
            weights: vec![0; made.len() * taps],
        };
        for ((start, weights), slots) in made.iter().zip(axis.weights.chunks_exact_mut(taps.max(1)))
        {
            // At the far edge the unused ones go before the others.
            let moved = (*start).min(size - taps);
            slots[start - moved..][..weights.len()].copy_from_slice(weights);
            axis.starts.push(part.start + moved);
        }
        axis
    }

    /// The outputs that are made of something.
    fn inside(&self) -> Range<usize> {
        self.pad..self.pad + self.starts.len()
    }

    /// The source pixels that are used at all.
    fn used(&self) -> Range<usize> {
        let first = self.starts.first().copied().unwrap_or(0);
        first..self.starts.last().map_or(first, |last| last + self.taps)
    }

    /// For each output pixel its first source pixel and its weights.
    #[inline(always)]
    fn outputs(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.starts
            .iter()
            .copied()
            .zip(self.weights.chunks_exact(self.taps.max(1)))
    }

    /// Makes the outputs of one row, 3 bytes each, from the source pixels [`used`](Self::used).
    fn resample_row(&self, source: &[Rgbx], out: &mut [u8]) {
        self.each_output(source, out, |pixels, weights| {
            let mut sums = [HALF; 4];
            for (pixel, &weight) in pixels.iter().zip(weights) {
                for (sum, channel) in sums.iter_mut().zip(pixel.to_le_bytes()) {
                    *sum += i32::from(channel) * weight;
                }
            }
            let [r, g, b, _] = sums.map(round);
            [r, g, b]
        });
    }

    /// Calls `sum` with the source pixels and the weights of each output pixel.
    #[inline(always)]
    pub(super) fn each_output(
        &self,
        source: &[Rgbx],
        out: &mut [u8],
        sum: impl Fn(&[Rgbx], &[i32]) -> [u8; 3],
    ) {
        let first = self.used().start;
        let (pixels, _) = out.as_chunks_mut::<3>();
        for ((start, weights), out) in self.outputs().zip(&mut pixels[self.pad..]) {
            *out = sum(&source[start - first..][..self.taps], weights);
        }
    }
}

/// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` for one output pixel: its first source pixel
/// and the weights from there on.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
// Sizes are far below 2^52; the doubles that become integers again are sizes, or weights of little more than 1.
fn weights(size: usize, resized: usize, output: usize, filter: Interpolation) -> (usize, Vec<i32>) {
    let (curve, reach): (fn(f64) -> f64, f64) = match filter {
        Interpolation::Bilinear => (triangle, 1.0),
        Interpolation::Bicubic => (cubic, 2.0),
    };
    let scale = size as f64 / resized as f64;
    let width = scale.max(1.0);
    let support = reach * width;
    let center = (output as f64 + 0.5) * scale;
    let first = (center - support + 0.5).max(0.0) as usize;
    let end = ((center + support + 0.5) as usize).min(size);
    let step = 1.0 / width;
    let weight = |x: usize| curve(((x as f64 - center + 0.5) * step).abs());
    let mut total = 0.0;
    for x in first..end {
        total += weight(x);
    }
    let fixed = |x: usize| {
        let exact = weight(x) / total * f64::from(1_u32 << PRECISION);
        (exact + 0.5_f64.copysign(exact)) as i32
    };
    let mut weights: Vec<i32> = (first..end).map(fixed).collect();
    while weights.last() == Some(&0) {
        weights.pop();
    }
    (first, weights)
}

/// Pillow's `bilinear_filter` of a distance.
fn triangle(x: f64) -> f64 {
    (1.0 - x).max(0.0)
}

/// Pillow's `bicubic_filter` of a distance, with its order of operations.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The weighted sum of rows, rounded to bytes.
#[inline(always)]
fn combine_rows<'a>(
    rows: impl Iterator<Item = (&'a [u8], &'a i32)>,
    sums: &mut [i32],
    out: &mut [u8],
) {
    sums.fill(HALF);
    for (row, &weight) in rows {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += i32::from(value) * weight;
        }
    }
    for (out, &sum) in out.iter_mut().zip(sums.iter()) {
        *out = round(sum);
    }
}

/// From fixed point to the byte below; the half is in the sum already.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // limited to 0..=255 right here
fn round(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
