//! From a frame as the camera laid it out to the bytes that enter the network: exactly what
//! torchvision's `Resize(resize, antialias=True)` and `CenterCrop(crop)` make of an 8-bit RGB picture
//! with Pillow, bit for bit, because training and calibration used those.
//!
//! Only the rows and columns that the crop needs are converted and resampled, one row at a time.
//! Mean and standard deviation are the first layer's business.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod convert;
mod jpeg;
mod pixels;
mod resample;

use crate::frame::{Frame, PixelFormat};
use crate::spec::{ChannelOrder, Interpolation, Preprocessing};

use pixels::Picture;
use resample::{Plan, Scratch};

/// The largest `resize` and `crop` that are taken from a bundle, in pixels.
const MAX_SIDE: u32 = 8192;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    #[error(
        "the bundle asks for {what} {value}; 1 to {MAX_SIDE} is possible: the bundle is damaged or not for this program"
    )]
    Spec { what: &'static str, value: u32 },
    #[error("the picture is {width}x{height}: there is nothing in it")]
    Empty { width: u32, height: u32 },
    #[error(
        "a {format} picture of {width}x{height} with {stride} bytes a row is not whole: {have} bytes are there"
    )]
    Truncated {
        format: PixelFormat,
        width: u32,
        height: u32,
        stride: usize,
        have: usize,
    },
    #[error("broken JPEG: {0}")]
    Jpeg(String),
    #[error("the network's input holds {have} bytes, the bundle's preprocessing makes {need}")]
    OutputSize { have: usize, need: usize },
}

/// A picture's width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    pub width: u32,
    pub height: u32,
}

/// Prepares pictures as one bundle wants them. Keeps its buffers and the filter's coefficients, so that
/// a stream of equally large pictures allocates nothing (JPEG decoding excepted).
pub struct Preprocessor {
    resize: u32,
    crop: u32,
    filter: Interpolation,
    order: ChannelOrder,
    plan: Option<Plan>,
    scratch: Scratch,
    decoded: Vec<u8>,
}

impl Preprocessor {
    /// # Errors
    /// [`PreprocessError::Spec`] if a size is zero or absurd.
    pub fn new(spec: &Preprocessing) -> Result<Self, PreprocessError> {
        for (what, value) in [("resize", spec.resize), ("crop", spec.crop)] {
            if !(1..=MAX_SIDE).contains(&value) {
                return Err(PreprocessError::Spec { what, value });
            }
        }
        Ok(Self {
            resize: spec.resize,
            crop: spec.crop,
            filter: spec.interpolation,
            order: spec.channel_order,
            plan: None,
            scratch: Scratch::default(),
            decoded: Vec::new(),
        })
    }

    /// How many bytes [`run`](Self::run) writes: `crop * crop * 3`.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.crop as usize * self.crop as usize * 3
    }

    /// Writes the picture's middle, resized, to `out` (rows, columns, then the three channels in the
    /// bundle's order; values `0..=255`) and returns how large the whole picture is.
    ///
    /// # Errors
    /// The picture is empty, not whole or a broken JPEG, or `out` has the wrong length. `out` is then
    /// not to be used.
    pub fn run(&mut self, frame: &Frame, out: &mut [u8]) -> Result<ImageSize, PreprocessError> {
        if out.len() != self.output_len() {
            return Err(PreprocessError::OutputSize {
                have: out.len(),
                need: self.output_len(),
            });
        }
        let picture = match frame.format {
            PixelFormat::Mjpg => jpeg::decode(&frame.data, &mut self.decoded)?,
            _ => Picture::of(frame)?,
        };
        let size = picture.size();
        if self.plan.as_ref().is_none_or(|plan| plan.input() != size) {
            self.plan = Some(Plan::new(size, self.resize, self.crop, self.filter));
        }
        if let Some(plan) = &self.plan {
            plan.run(&picture, &mut self.scratch, out);
        }
        if self.order == ChannelOrder::Bgr {
            out.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
        Ok(size)
    }
}
