//! What a source hands to the pipeline: one picture as the camera laid it out, and when it was taken.
//!
//! A frame owns its bytes so that it can be swapped from the capture thread to the inference thread
//! without a copy. It is never decoded or converted here: that is `preprocess`, and only for frames
//! that will be classified.

use std::fmt;
use std::ops::Range;
use std::time::{Instant, SystemTime};

/// The longest side of a picture that is accepted from any source, in pixels.
pub const MAX_SIDE: u32 = 8192;

/// A part of a picture as a network sees it: a square of pixels of three bytes, and which of its columns and rows are
/// picture. What lies beside them is border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Square<'a> {
    pub bytes: &'a [u8],
    pub columns: Range<usize>,
    pub rows: Range<usize>,
}

impl<'a> Square<'a> {
    /// All of it is picture.
    #[must_use]
    pub fn full(bytes: &'a [u8]) -> Self {
        let side = (bytes.len() / 3).isqrt();
        Self {
            bytes,
            columns: 0..side,
            rows: 0..side,
        }
    }
}

/// How the bytes of a frame are laid out. Names in messages are V4L2's fourcc codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit R, G, B interleaved.
    Rgb3,
    /// 8-bit B, G, R interleaved.
    Bgr3,
    /// 16 bits a pixel, little-endian: 5 of R (the highest), 6 of G, 5 of B.
    Rgbp,
    /// Packed 4:2:2, Y0 U Y1 V.
    Yuyv,
    /// Packed 4:2:2, Y0 V Y1 U.
    Yvyu,
    /// Packed 4:2:2, U Y0 V Y1.
    Uyvy,
    /// 4:2:0, a plane of Y, then a plane of interleaved U V at half size both ways, same stride.
    Nv12,
    /// As [`Nv12`](Self::Nv12), V before U.
    Nv21,
    /// 4:2:0 (I420), planes of Y, U and V; the last two at half size both ways and with half the stride
    /// (rounded up).
    Yu12,
    /// As [`Yu12`](Self::Yu12), V before U.
    Yv12,
    /// 8-bit luma only.
    Grey,
    /// One JPEG file per frame (V4L2's MJPG and JPEG).
    Mjpg,
}

/// Where one plane of a picture lies in a frame's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaneLayout {
    /// The first byte of its first row.
    pub start: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Bytes of a row that belong to the picture.
    pub row: usize,
    /// How many rows; 0 if there is no such plane.
    pub rows: usize,
}

impl PixelFormat {
    /// Every format, in the order in which messages name them.
    pub const ALL: [Self; 12] = [
        Self::Yuyv,
        Self::Yvyu,
        Self::Uyvy,
        Self::Nv12,
        Self::Nv21,
        Self::Yu12,
        Self::Yv12,
        Self::Rgb3,
        Self::Bgr3,
        Self::Rgbp,
        Self::Grey,
        Self::Mjpg,
    ];

    /// V4L2's four-character code.
    #[must_use]
    pub fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Rgb3 => b"RGB3",
            Self::Bgr3 => b"BGR3",
            Self::Rgbp => b"RGBP",
            Self::Yuyv => b"YUYV",
            Self::Yvyu => b"YVYU",
            Self::Uyvy => b"UYVY",
            Self::Nv12 => b"NV12",
            Self::Nv21 => b"NV21",
            Self::Yu12 => b"YU12",
            Self::Yv12 => b"YV12",
            Self::Grey => b"GREY",
            Self::Mjpg => b"MJPG",
        }
    }

    /// The least stride that rows of `width` pixels need, in bytes; 0 for [`Mjpg`](Self::Mjpg).
    #[must_use]
    pub fn least_stride(self, width: u32) -> usize {
        let width = width as usize;
        match self {
            Self::Rgb3 | Self::Bgr3 => width.saturating_mul(3),
            Self::Rgbp => width.saturating_mul(2),
            Self::Yuyv | Self::Yvyu | Self::Uyvy => width.div_ceil(2).saturating_mul(4),
            Self::Nv12 | Self::Nv21 => width.div_ceil(2).saturating_mul(2),
            Self::Yu12 | Self::Yv12 | Self::Grey => width,
            Self::Mjpg => 0,
        }
    }

    /// The planes of an uncompressed picture, in their order in memory. `None` if `stride` is shorter than
    /// a row, if no memory is as large, and for [`Mjpg`](Self::Mjpg).
    #[must_use]
    pub fn planes(self, width: u32, height: u32, stride: usize) -> Option<[PlaneLayout; 3]> {
        let least = self.least_stride(width);
        if self == Self::Mjpg || stride < least {
            return None;
        }
        let (row, rows) = (width as usize, height as usize);
        let (half_row, half_rows) = (row.div_ceil(2), rows.div_ceil(2));
        let none = (0, 0, 0);
        let shapes = match self {
            Self::Nv12 | Self::Nv21 => [(stride, row, rows), (stride, least, half_rows), none],
            Self::Yu12 | Self::Yv12 => {
                let half = (stride.div_ceil(2), half_row, half_rows);
                [(stride, row, rows), half, half]
            }
            _ => [(stride, least, rows), none, none],
        };
        let (mut planes, mut start) = ([PlaneLayout::default(); 3], 0_usize);
        for (plane, (stride, row, rows)) in planes.iter_mut().zip(shapes) {
            *plane = PlaneLayout {
                start,
                stride,
                row,
                rows,
            };
            start = start.checked_add(stride.checked_mul(rows)?)?;
        }
        Some(planes)
    }

    /// How many bytes an uncompressed picture has, up to the last pixel of its last row. `None` as
    /// [`planes`](Self::planes).
    #[must_use]
    pub fn bytes(self, width: u32, height: u32, stride: usize) -> Option<usize> {
        let planes = self.planes(width, height, stride)?;
        planes
            .iter()
            .filter(|plane| plane.rows > 0)
            .map(PlaneLayout::end)
            .max()
    }
}

impl PlaneLayout {
    /// The byte behind its last row (where it has one).
    #[must_use]
    pub fn end(&self) -> usize {
        // No overflow: `planes` has seen that a whole stride more is possible.
        self.start + self.rows.saturating_sub(1) * self.stride + self.row
    }
}

/// How Y, U and V stand for colours. What a device does not say is V4L2's default: BT.601, limited range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct YuvCoding {
    pub matrix: YuvMatrix,
    pub range: YuvRange,
}

/// The weights of red, green and blue in luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum YuvMatrix {
    /// Webcams, standard definition, JPEG.
    #[default]
    Bt601,
    /// High-definition video (HDMI grabbers).
    Bt709,
}

/// Which values black and white have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum YuvRange {
    /// Black is 16, white 235; chroma 16 to 240.
    #[default]
    Limited,
    /// 0 to 255, as in JPEG.
    Full,
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.fourcc()))
    }
}

/// One captured picture. Made empty once, then refilled by a [`Source`](crate::source::Source), so
/// that its buffer is allocated once.
#[derive(Debug, Clone)]
pub struct Frame {
    pub format: PixelFormat,
    /// Pixels. For [`PixelFormat::Mjpg`] what the device claims; the JPEG's own header decides.
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next (0 for [`PixelFormat::Mjpg`]).
    pub stride: usize,
    /// What the colours of a YUV format mean (a JPEG says so itself).
    pub yuv: YuvCoding,
    pub data: Vec<u8>,
    /// When the picture was taken: on the wire.
    pub captured_at: SystemTime,
    /// The same moment on the monotonic clock: for ages and durations.
    pub captured: Instant,
    /// How long the source needed to hand the frame over once it was there (dequeue, copy, read), in milliseconds.
    pub capture_ms: f32,
    /// Where the picture came from, if it is a file.
    pub file: Option<std::path::PathBuf>,
}

impl Frame {
    /// A frame without a picture, to be filled by a source.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            format: PixelFormat::Rgb3,
            width: 0,
            height: 0,
            stride: 0,
            yuv: YuvCoding::default(),
            data: Vec::new(),
            captured_at: SystemTime::UNIX_EPOCH,
            captured: Instant::now(),
            capture_ms: 0.0,
            file: None,
        }
    }
}
