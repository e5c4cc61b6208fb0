//! Any pixel format's rows as RGB. Checks once that the picture is whole, so that reading a row of it
//! cannot fail.
//!
//! YUV is taken as BT.601 with limited range, which is what webcams send, in integers (the same bits
//! on every processor), with `c = Y - 16`, `d = U - 128`, `e = V - 128`:
//!
//! ```text
//! R = (298 c         + 409 e + 128) >> 8
//! G = (298 c - 100 d - 208 e + 128) >> 8      each then limited to 0..=255
//! B = (298 c + 516 d         + 128) >> 8
//! ```
//!
//! (Microsoft, "Recommended 8-Bit YUV Formats for Video Rendering".) Pixels that share a chroma sample
//! get the same chroma: it is not interpolated.

use std::ops::Range;

use crate::frame::{Frame, PixelFormat};

use super::{ImageSize, PreprocessError};

/// A pixel: R in the lowest byte, then G, B and nothing. A word and not bytes, so that converting and
/// resampling become vectors.
pub(super) type Rgbx = u32;

/// An uncompressed picture whose bytes are known to be all there.
pub(super) struct Picture<'a> {
    size: ImageSize,
    pixels: Pixels<'a>,
}

/// The planes of a picture. Each holds as many whole rows as the picture needs.
enum Pixels<'a> {
    Rgb(Plane<'a>),
    Bgr(Plane<'a>),
    Yuyv(Plane<'a>),
    Nv12 { luma: Plane<'a>, chroma: Plane<'a> },
    Grey(Plane<'a>),
}

/// Rows of `row` bytes, each `stride` after the one before.
struct Plane<'a> {
    data: &'a [u8],
    stride: usize,
    row: usize,
}

impl<'a> Plane<'a> {
    /// The plane that begins at `data`, if `rows` rows of `row` bytes are in it.
    fn new(data: &'a [u8], stride: usize, row: usize, rows: usize) -> Option<Self> {
        let last = rows.checked_sub(1)?.checked_mul(stride)?;
        let whole = row <= stride && last.checked_add(row)? <= data.len();
        whole.then_some(Self { data, stride, row })
    }

    fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.stride;
        &self.data[start..start + self.row]
    }
}

impl<'a> Picture<'a> {
    /// The picture in an uncompressed frame.
    pub(super) fn of(frame: &'a Frame) -> Result<Self, PreprocessError> {
        let size = ImageSize {
            width: frame.width,
            height: frame.height,
        };
        if size.width == 0 || size.height == 0 {
            return Err(PreprocessError::Empty {
                width: size.width,
                height: size.height,
            });
        }
        let pixels = Pixels::of(frame).ok_or(PreprocessError::Truncated {
            format: frame.format,
            width: frame.width,
            height: frame.height,
            stride: frame.stride,
            have: frame.data.len(),
        })?;
        Ok(Self { size, pixels })
    }

    /// A picture of tightly packed rows, as a decoder leaves it: 3 bytes a pixel, or 1 if `grey`.
    pub(super) fn packed(size: ImageSize, grey: bool, data: &'a [u8]) -> Option<Self> {
        let row = size.width as usize * if grey { 1 } else { 3 };
        let plane = Plane::new(data, row, row, size.height as usize)?;
        let pixels = if grey {
            Pixels::Grey(plane)
        } else {
            Pixels::Rgb(plane)
        };
        Some(Self { size, pixels })
    }

    pub(super) fn size(&self) -> ImageSize {
        self.size
    }

    /// Columns `columns` of row `y`, converted into `buffer`. Both must lie inside the picture.
    pub(super) fn row<'b>(
        &self,
        y: usize,
        columns: Range<usize>,
        buffer: &'b mut Vec<Rgbx>,
    ) -> &'b [Rgbx] {
        // Two pixels share their chroma: begin with the first of a pair, end with the second.
        let first = columns.start & !1;
        buffer.resize((columns.end - first).next_multiple_of(2), 0);
        match &self.pixels {
            Pixels::Rgb(plane) => rgb(&plane.row(y)[first * 3..columns.end * 3], buffer),
            Pixels::Bgr(plane) => bgr(&plane.row(y)[first * 3..columns.end * 3], buffer),
            Pixels::Grey(plane) => grey(&plane.row(y)[first..columns.end], buffer),
            Pixels::Yuyv(plane) => yuyv(&plane.row(y)[first * 2..], buffer),
            Pixels::Nv12 { luma, chroma } => {
                nv12(
                    &luma.row(y)[first..columns.end],
                    &chroma.row(y / 2)[first..],
                    buffer,
                );
            }
        }
        &buffer[columns.start - first..][..columns.len()]
    }
}

impl<'a> Pixels<'a> {
    fn of(frame: &'a Frame) -> Option<Self> {
        let width = usize::try_from(frame.width).ok()?;
        let height = usize::try_from(frame.height).ok()?;
        let (data, stride) = (frame.data.as_slice(), frame.stride);
        let even = width.checked_next_multiple_of(2)?;
        let plane = |row: usize| Plane::new(data, stride, row, height);
        Some(match frame.format {
            PixelFormat::Rgb3 => Self::Rgb(plane(width.checked_mul(3)?)?),
            PixelFormat::Bgr3 => Self::Bgr(plane(width.checked_mul(3)?)?),
            PixelFormat::Yuyv => Self::Yuyv(plane(even.checked_mul(2)?)?),
            PixelFormat::Grey => Self::Grey(plane(width)?),
            PixelFormat::Nv12 => {
                let luma = plane(width)?;
                let below = data.get(height.checked_mul(stride)?..)?;
                let chroma = Plane::new(below, stride, even, height.div_ceil(2))?;
                Self::Nv12 { luma, chroma }
            }
            PixelFormat::Mjpg => return None,
        })
    }
}

fn rgb(source: &[u8], out: &mut [Rgbx]) {
    for (&[r, g, b], out) in source.as_chunks().0.iter().zip(out) {
        *out = Rgbx::from_le_bytes([r, g, b, 0]);
    }
}

fn bgr(source: &[u8], out: &mut [Rgbx]) {
    for (&[b, g, r], out) in source.as_chunks().0.iter().zip(out) {
        *out = Rgbx::from_le_bytes([r, g, b, 0]);
    }
}

fn grey(source: &[u8], out: &mut [Rgbx]) {
    for (&luma, out) in source.iter().zip(out) {
        *out = Rgbx::from_le_bytes([luma, luma, luma, 0]);
    }
}

fn yuyv(source: &[u8], out: &mut [Rgbx]) {
    for (&quad, out) in source.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        // Shifts of one word, not bytes: so LLVM makes vectors of it.
        let word = u32::from_le_bytes(quad).cast_signed();
        let chroma = Chroma::of((word >> 8) & 0xff, (word >> 24) & 0xff);
        *out = [chroma.rgbx(word & 0xff), chroma.rgbx((word >> 16) & 0xff)];
    }
}

fn nv12(luma: &[u8], chroma: &[u8], out: &mut [Rgbx]) {
    let (pairs, odd) = luma.as_chunks();
    let mut chroma = chroma
        .as_chunks()
        .0
        .iter()
        .map(|&[u, v]| Chroma::of(i32::from(u), i32::from(v)));
    let (out, _) = out.as_chunks_mut();
    let mut out = out.iter_mut();
    for ((&[left, right], chroma), out) in pairs.iter().zip(&mut chroma).zip(&mut out) {
        *out = [chroma.rgbx(i32::from(left)), chroma.rgbx(i32::from(right))];
    }
    if let (&[last], Some(chroma), Some(out)) = (odd, chroma.next(), out.next()) {
        *out = [chroma.rgbx(i32::from(last)), 0];
    }
}

/// What a chroma sample adds to each channel, the rounding included.
#[derive(Clone, Copy)]
struct Chroma {
    r: i32,
    g: i32,
    b: i32,
}

impl Chroma {
    #[inline]
    fn of(u: i32, v: i32) -> Self {
        let (d, e) = (u - 128, v - 128);
        Self {
            r: 409 * e + 128,
            g: 128 - 100 * d - 208 * e,
            b: 516 * d + 128,
        }
    }

    #[inline]
    fn rgbx(self, luma: i32) -> Rgbx {
        let c = 298 * (luma - 16);
        let limit = |value: i32| (value >> 8).clamp(0, 255).cast_unsigned();
        limit(c + self.r) | limit(c + self.g) << 8 | limit(c + self.b) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(format: PixelFormat, width: u32, height: u32, stride: usize, data: Vec<u8>) -> Frame {
        Frame {
            format,
            width,
            height,
            stride,
            data,
            ..Frame::empty()
        }
    }

    fn row(frame: &Frame, y: usize, columns: Range<usize>) -> Vec<u8> {
        let mut buffer = Vec::new();
        let row = Picture::of(frame)
            .unwrap()
            .row(y, columns, &mut buffer)
            .to_vec();
        row.iter()
            .flat_map(|pixel| pixel.to_le_bytes()[..3].to_vec())
            .collect()
    }

    #[test]
    fn reference_colours_come_out_of_limited_range_yuv() {
        // Y, U, V of BT.601 black, white, and saturated red, green and blue.
        for (y, u, v, rgb) in [
            (16, 128, 128, [0, 0, 0]),
            (235, 128, 128, [255, 255, 255]),
            (82, 90, 240, [255, 1, 0]),
            (145, 54, 34, [0, 255, 1]),
            (41, 240, 110, [0, 0, 255]),
        ] {
            assert_eq!(Chroma::of(u, v).rgbx(y).to_le_bytes()[..3], rgb);
        }
    }

    #[test]
    fn yuyv_and_nv12_of_the_same_colours_agree() {
        // Four columns, two rows with the same chroma.
        let (luma, uv) = (
            [[20, 90, 160, 230], [40, 80, 120, 200]],
            [100, 150, 200, 60],
        );
        let mut packed = Vec::new();
        for y in luma {
            packed.extend([y[0], uv[0], y[1], uv[1], y[2], uv[2], y[3], uv[3]]);
        }
        let planar = [luma[0], luma[1], uv].concat();
        let yuyv = frame(PixelFormat::Yuyv, 4, 2, 8, packed);
        let nv12 = frame(PixelFormat::Nv12, 4, 2, 4, planar);
        for y in 0..2 {
            for columns in [0..4, 1..4, 1..3, 2..3, 3..4] {
                assert_eq!(
                    row(&yuyv, y, columns.clone()),
                    row(&nv12, y, columns.clone()),
                    "{y} {columns:?}"
                );
            }
        }
        let whole = row(&yuyv, 1, 0..4);
        assert_eq!(row(&yuyv, 1, 1..3), whole[3..9]);
    }

    #[test]
    fn a_stride_longer_than_a_row_is_skipped() {
        let bgr3 = frame(PixelFormat::Bgr3, 1, 2, 5, vec![3, 2, 1, 9, 9, 6, 5, 4]);
        assert_eq!(
            (row(&bgr3, 0, 0..1), row(&bgr3, 1, 0..1)),
            (vec![1, 2, 3], vec![4, 5, 6])
        );
        let grey = frame(PixelFormat::Grey, 2, 2, 3, vec![1, 2, 9, 3, 4]);
        assert_eq!(row(&grey, 1, 0..2), [3, 3, 3, 4, 4, 4]);
    }

    #[test]
    fn a_picture_that_is_not_whole_is_refused() {
        for (format, stride, need) in [
            (PixelFormat::Rgb3, 12, 3 * 12 + 9),
            (PixelFormat::Bgr3, 9, 36),
            (PixelFormat::Yuyv, 8, 32),
            (PixelFormat::Nv12, 4, 6 * 4),
            (PixelFormat::Grey, 3, 12),
        ] {
            let whole = frame(format, 3, 4, stride, vec![0; need]);
            assert!(Picture::of(&whole).is_ok(), "{format}");
            let short = frame(format, 3, 4, stride, vec![0; need - 1]);
            assert!(
                matches!(Picture::of(&short), Err(PreprocessError::Truncated { .. })),
                "{format}"
            );
            let narrow = frame(format, 3, 4, 2, vec![0; 100]);
            assert!(
                matches!(Picture::of(&narrow), Err(PreprocessError::Truncated { .. })),
                "{format}"
            );
            let none = frame(format, 0, 4, stride, vec![0; need]);
            assert!(
                matches!(Picture::of(&none), Err(PreprocessError::Empty { .. })),
                "{format}"
            );
            let huge = frame(format, u32::MAX, u32::MAX, usize::MAX, vec![0; need]);
            assert!(
                matches!(Picture::of(&huge), Err(PreprocessError::Truncated { .. })),
                "{format}"
            );
        }
    }
}
