//! One row of any layout as RGB: the arithmetic behind `pixels`, which finds the rows.
//!
//! YUV becomes RGB in integers (the same bits on every processor), here for BT.601 with limited range,
//! with `c = Y - 16`, `d = U - 128`, `e = V - 128`:
//!
//! ```text
//! R = (298 c         + 409 e + 128) >> 8
//! G = (298 c - 100 d - 208 e + 128) >> 8      each then limited to 0..=255
//! B = (298 c + 516 d         + 128) >> 8
//! ```
//!
//! (Microsoft, "Recommended 8-Bit YUV Formats for Video Rendering".) Pixels that share a chroma sample
//! get the same chroma: it is not interpolated. 5 and 6 bits of RGB565 become `round(255 x / 31)` and
//! `round(255 x / 63)`.
//!
//! Everything is inlined, so that it is compiled for the processor that its caller is compiled for, and
//! written such that LLVM makes vectors of it.

use crate::frame::{YuvCoding, YuvMatrix, YuvRange};

/// A pixel: R in the lowest byte, then G, B and nothing. A word and not bytes, so that converting and
/// resampling become vectors.
pub(super) type Rgbx = u32;

#[inline(always)]
pub(super) fn rgb(source: &[u8], out: &mut [Rgbx]) {
    for (&[r, g, b], out) in source.as_chunks().0.iter().zip(out) {
        *out = Rgbx::from_le_bytes([r, g, b, 0]);
    }
}

#[inline(always)]
pub(super) fn bgr(source: &[u8], out: &mut [Rgbx]) {
    for (&[b, g, r], out) in source.as_chunks().0.iter().zip(out) {
        *out = Rgbx::from_le_bytes([r, g, b, 0]);
    }
}

#[inline(always)]
pub(super) fn rgb565(source: &[u8], out: &mut [Rgbx]) {
    for (&pair, out) in source.as_chunks().0.iter().zip(out) {
        let word = u32::from(u16::from_le_bytes(pair));
        // Exact for every value: a multiplication in place of the division.
        let five = |value: u32| (value * 527 + 23) >> 6;
        let six = |value: u32| (value * 259 + 33) >> 6;
        *out = five(word >> 11) | six(word >> 5 & 0x3f) << 8 | five(word & 0x1f) << 16;
    }
}

#[inline(always)]
pub(super) fn grey(source: &[u8], out: &mut [Rgbx]) {
    for (&luma, out) in source.iter().zip(out) {
        *out = Rgbx::from_le_bytes([luma, luma, luma, 0]);
    }
}

/// Packed 4:2:2: two pixels in 4 bytes, each sample at its shift in their (little-endian) word.
#[inline(always)]
pub(super) fn packed<const Y0: u32, const U: u32, const Y1: u32, const V: u32>(
    source: &[u8],
    yuv: Yuv,
    out: &mut [Rgbx],
) {
    for (&quad, out) in source.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        // Shifts of one word, not bytes: so LLVM makes vectors of it.
        let word = u32::from_le_bytes(quad).cast_signed();
        let chroma = yuv.chroma((word >> U) & 0xff, (word >> V) & 0xff);
        *out = [
            yuv.rgbx((word >> Y0) & 0xff, chroma),
            yuv.rgbx((word >> Y1) & 0xff, chroma),
        ];
    }
}

/// A row of luma and its chroma (U, V), one for two pixels.
#[inline(always)]
pub(super) fn planar(
    luma: &[u8],
    mut chroma: impl Iterator<Item = (u8, u8)> + Clone,
    yuv: Yuv,
    out: &mut [Rgbx],
) {
    let (pairs, odd) = luma.as_chunks();
    let (out, _) = out.as_chunks_mut();
    for ((&[left, right], (u, v)), out) in pairs.iter().zip(chroma.clone()).zip(out.iter_mut()) {
        let chroma = yuv.chroma(i32::from(u), i32::from(v));
        *out = [left, right].map(|luma| yuv.rgbx(i32::from(luma), chroma));
    }
    let (last_chroma, last_out) = (chroma.nth(pairs.len()), out.get_mut(pairs.len()));
    if let (&[last], Some((u, v)), Some(out)) = (odd, last_chroma, last_out) {
        let chroma = yuv.chroma(i32::from(u), i32::from(v));
        *out = [yuv.rgbx(i32::from(last), chroma), 0];
    }
}

/// The factors of one [`YuvCoding`], in 1/256.
#[derive(Debug, Clone, Copy)]
pub(super) struct Yuv {
    luma: i32,
    black: i32,
    v_to_r: i32,
    u_to_g: i32,
    v_to_g: i32,
    u_to_b: i32,
}

/// What a chroma sample adds to each channel, the rounding and the black level included.
#[derive(Clone, Copy)]
pub(super) struct Chroma {
    r: i32,
    g: i32,
    b: i32,
}

impl Yuv {
    /// The factors follow from the weights of red and blue in luma (ITU-R BT.601: 0.299 and 0.114, BT.709:
    /// 0.2126 and 0.0722); limited range spreads 219 steps of luma and 224 of chroma over 255.
    pub(super) fn of(coding: YuvCoding) -> Self {
        let (luma, black, [v_to_r, u_to_g, v_to_g, u_to_b]) = match (coding.matrix, coding.range) {
            (YuvMatrix::Bt601, YuvRange::Limited) => (298, 16, [409, 100, 208, 516]),
            (YuvMatrix::Bt601, YuvRange::Full) => (256, 0, [359, 88, 183, 454]),
            (YuvMatrix::Bt709, YuvRange::Limited) => (298, 16, [459, 55, 136, 541]),
            (YuvMatrix::Bt709, YuvRange::Full) => (256, 0, [403, 48, 120, 475]),
        };
        Self {
            luma,
            black,
            v_to_r,
            u_to_g,
            v_to_g,
            u_to_b,
        }
    }

    #[inline(always)]
    fn chroma(self, u: i32, v: i32) -> Chroma {
        let (d, e) = (u - 128, v - 128);
        let base = 128 - self.luma * self.black;
        Chroma {
            r: base + self.v_to_r * e,
            g: base - self.u_to_g * d - self.v_to_g * e,
            b: base + self.u_to_b * d,
        }
    }

    #[inline(always)]
    fn rgbx(self, luma: i32, chroma: Chroma) -> Rgbx {
        let c = self.luma * luma;
        let limit = |value: i32| (value >> 8).clamp(0, 255).cast_unsigned();
        limit(c + chroma.r) | limit(c + chroma.g) << 8 | limit(c + chroma.b) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODINGS: [(YuvMatrix, YuvRange); 4] = [
        (YuvMatrix::Bt601, YuvRange::Limited),
        (YuvMatrix::Bt601, YuvRange::Full),
        (YuvMatrix::Bt709, YuvRange::Limited),
        (YuvMatrix::Bt709, YuvRange::Full),
    ];

    fn rgb_of(matrix: YuvMatrix, range: YuvRange, [y, u, v]: [i32; 3]) -> [u8; 3] {
        let yuv = Yuv::of(YuvCoding { matrix, range });
        let [r, g, b, _] = yuv.rgbx(y, yuv.chroma(u, v)).to_le_bytes();
        [r, g, b]
    }

    #[test]
    fn reference_colours_come_out_of_limited_range_yuv() {
        // Y, U, V of BT.601 black, white, and saturated red, green and blue.
        for (yuv, rgb) in [
            ([16, 128, 128], [0, 0, 0]),
            ([235, 128, 128], [255, 255, 255]),
            ([82, 90, 240], [255, 1, 0]),
            ([145, 54, 34], [0, 255, 1]),
            ([41, 240, 110], [0, 0, 255]),
        ] {
            assert_eq!(rgb_of(YuvMatrix::Bt601, YuvRange::Limited, yuv), rgb);
        }
    }

    /// What the standards say, in doubles: RGB to Y, U, V in 8 bits.
    #[allow(clippy::cast_possible_truncation)]
    fn encoded(matrix: YuvMatrix, range: YuvRange, rgb: [u8; 3]) -> [i32; 3] {
        let (red, blue) = match matrix {
            YuvMatrix::Bt601 => (0.299, 0.114),
            YuvMatrix::Bt709 => (0.2126, 0.0722),
        };
        let [r, g, b] = rgb.map(|value| f64::from(value) / 255.0);
        let luma = red * r + (1.0 - red - blue) * g + blue * b;
        let (u, v) = (
            (b - luma) / (2.0 - 2.0 * blue),
            (r - luma) / (2.0 - 2.0 * red),
        );
        let (scale, black, chroma) = match range {
            YuvRange::Limited => (219.0, 16.0, 224.0),
            YuvRange::Full => (255.0, 0.0, 255.0),
        };
        [luma * scale + black, u * chroma + 128.0, v * chroma + 128.0]
            .map(|value| (value.round() as i32).min(255))
    }

    #[test]
    fn every_coding_gives_back_the_colours_that_the_standard_encodes() {
        for (matrix, range) in CODINGS {
            for rgb in [
                [0, 0, 0],
                [255; 3],
                [200, 30, 40],
                [30, 180, 60],
                [20, 40, 220],
                [90, 91, 92],
            ] {
                let back = rgb_of(matrix, range, encoded(matrix, range, rgb));
                let worst = back.iter().zip(rgb).map(|(&a, b)| a.abs_diff(b)).max();
                assert!(worst <= Some(3), "{matrix:?} {range:?} {rgb:?}: {back:?}");
            }
        }
    }

    #[test]
    fn rgb565_is_spread_over_the_whole_range_and_rounded() {
        for value in 0..64_u16 {
            let round =
                |value: u16, most: u16| u8::try_from((value * 510 + most) / (2 * most)).unwrap();
            let (five, six) = (value & 31, value);
            let mut out = [0];
            rgb565(
                &(five << 11 | six << 5 | (31 - five)).to_le_bytes(),
                &mut out,
            );
            let [r, g, b, _] = out[0].to_le_bytes();
            assert_eq!(
                [r, g, b],
                [round(five, 31), round(six, 63), round(31 - five, 31)]
            );
        }
    }
}
