//! Any pixel format's rows as RGB. Checks once that the picture is whole, so that reading a row of it
//! cannot fail. The arithmetic is in `convert`.
//!
//! How YUV is meant comes with the frame: what a driver says about matrix and range is obeyed, and what it
//! leaves open is V4L2's default for a webcam (sRGB: BT.601, limited range), which is also what nearly all
//! of them send.

use std::ops::Range;

use crate::frame::{Frame, PixelFormat, PlaneLayout, YuvCoding};

use super::convert::{self, Rgbx, Yuv};
use super::{ImageSize, PreprocessError};

#[cfg(test)]
mod tests;

/// An uncompressed picture whose bytes are known to be all there.
pub(super) struct Picture<'a> {
    size: ImageSize,
    format: PixelFormat,
    yuv: Yuv,
    /// Those that the format has; each holds as many whole rows as the picture needs.
    planes: [Plane<'a>; 3],
}

/// Rows of `row` bytes, each `stride` after the one before.
#[derive(Clone, Copy)]
struct Plane<'a> {
    data: &'a [u8],
    stride: usize,
    row: usize,
}

impl<'a> Plane<'a> {
    /// The plane in a frame's bytes, if it is whole.
    fn of(data: &'a [u8], layout: PlaneLayout) -> Option<Self> {
        let data = if layout.rows == 0 {
            &[]
        } else {
            data.get(layout.start..layout.end())?
        };
        Some(Self {
            data,
            stride: layout.stride,
            row: layout.row,
        })
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
        let picture = Self::whole(frame.format, size, frame.stride, &frame.data);
        let mut picture = picture.ok_or(PreprocessError::Truncated {
            format: frame.format,
            width: frame.width,
            height: frame.height,
            stride: frame.stride,
            have: frame.data.len(),
        })?;
        picture.yuv = Yuv::of(frame.yuv);
        Ok(picture)
    }

    /// A picture of tightly packed rows, as a decoder leaves it: 3 bytes a pixel, or 1 if `grey`.
    pub(super) fn packed(size: ImageSize, grey: bool, data: &'a [u8]) -> Option<Self> {
        let format = if grey {
            PixelFormat::Grey
        } else {
            PixelFormat::Rgb3
        };
        Self::whole(format, size, format.least_stride(size.width), data)
    }

    fn whole(format: PixelFormat, size: ImageSize, stride: usize, data: &'a [u8]) -> Option<Self> {
        let [first, second, third] = format.planes(size.width, size.height, stride)?;
        let planes = [
            Plane::of(data, first)?,
            Plane::of(data, second)?,
            Plane::of(data, third)?,
        ];
        let yuv = Yuv::of(YuvCoding::default());
        Some(Self {
            size,
            format,
            yuv,
            planes,
        })
    }

    pub(super) fn size(&self) -> ImageSize {
        self.size
    }

    /// Columns `columns` of row `y`, converted into `buffer`. Both must lie inside the picture.
    #[inline(always)]
    pub(super) fn row<'b>(
        &self,
        y: usize,
        columns: Range<usize>,
        buffer: &'b mut Vec<Rgbx>,
    ) -> &'b [Rgbx] {
        use PixelFormat::{Bgr3, Grey, Mjpg, Nv12, Nv21, Rgb3, Rgbp, Uyvy, Yu12, Yuyv, Yv12, Yvyu};
        // Two pixels share their chroma: begin with the first of a pair, end with the second.
        let first = columns.start & !1;
        buffer.resize((columns.end - first).next_multiple_of(2), 0);
        let [main, second, third] = &self.planes;
        let yuv = self.yuv;
        let bytes = |each: usize| &main.row(y)[first * each..columns.end * each];
        let pairs = || &main.row(y)[first * 2..];
        let interleaved = || second.row(y / 2)[first..].as_chunks().0.iter();
        let apart = |plane: &Plane<'a>| plane.row(y / 2)[first / 2..].iter().copied();
        match self.format {
            Rgb3 => convert::rgb(bytes(3), buffer),
            Bgr3 => convert::bgr(bytes(3), buffer),
            Rgbp => convert::rgb565(bytes(2), buffer),
            Grey => convert::grey(bytes(1), buffer),
            Yuyv => convert::packed::<0, 8, 16, 24>(pairs(), yuv, buffer),
            Yvyu => convert::packed::<0, 24, 16, 8>(pairs(), yuv, buffer),
            Uyvy => convert::packed::<8, 0, 24, 16>(pairs(), yuv, buffer),
            Nv12 => convert::planar(bytes(1), interleaved().map(|&[u, v]| (u, v)), yuv, buffer),
            Nv21 => convert::planar(bytes(1), interleaved().map(|&[v, u]| (u, v)), yuv, buffer),
            Yu12 => convert::planar(bytes(1), apart(second).zip(apart(third)), yuv, buffer),
            Yv12 => convert::planar(bytes(1), apart(third).zip(apart(second)), yuv, buffer),
            // `whole` makes no picture of it.
            Mjpg => {}
        }
        &buffer[columns.start - first..][..columns.len()]
    }
}
