//! What a source hands to the pipeline: one picture as the camera laid it out, and when it was taken.
//!
//! A frame owns its bytes so that it can be swapped from the capture thread to the inference thread
//! without a copy. It is never decoded or converted here: that is `preprocess`, and only for frames
//! that will be classified.

use std::fmt;
use std::time::{Instant, SystemTime};

/// The longest side of a picture that is accepted from any source, in pixels.
pub const MAX_SIDE: u32 = 8192;

/// How the bytes of a frame are laid out. Names in messages are V4L2's fourcc codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit R, G, B interleaved.
    Rgb3,
    /// 8-bit B, G, R interleaved.
    Bgr3,
    /// Packed 4:2:2, Y0 U Y1 V.
    Yuyv,
    /// 4:2:0, a plane of Y, then a plane of interleaved U V at half size both ways, same stride.
    Nv12,
    /// 8-bit luma only.
    Grey,
    /// One JPEG file per frame (V4L2's MJPG and JPEG).
    Mjpg,
}

impl PixelFormat {
    /// V4L2's four-character code.
    #[must_use]
    pub fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Rgb3 => b"RGB3",
            Self::Bgr3 => b"BGR3",
            Self::Yuyv => b"YUYV",
            Self::Nv12 => b"NV12",
            Self::Grey => b"GREY",
            Self::Mjpg => b"MJPG",
        }
    }
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
            data: Vec::new(),
            captured_at: SystemTime::UNIX_EPOCH,
            captured: Instant::now(),
            capture_ms: 0.0,
            file: None,
        }
    }
}
