//! From a frame as the camera laid it out to the bytes that enter the network: exactly what
//! torchvision's `Resize(resize, antialias=True)` and `CenterCrop(crop)` make of an 8-bit RGB picture
//! with Pillow, bit for bit, because training and calibration used those.
//!
//! Only the rows and columns that the crop needs are converted and resampled, one row at a time.
//! Mean and standard deviation are the first layer's business.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod convert;
mod framing;
mod jpeg;
mod pixels;
mod reduce;
mod resample;

pub use reduce::Reducer;

use crate::frame::{Frame, PixelFormat, Square};
use crate::spec::{ChannelOrder, Fit, Framing, Preprocessing};

use framing::Window;
use jpeg::Decoded;
use pixels::Picture;
use resample::{Plan, Scratch, Target};

/// So many parts of pictures may be looked at in turns without planning anew: 16 regions of 16 cameras.
const MOST_PLANS: usize = 256;
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
    target: Target,
    /// What the network takes for nothing at all.
    mean: [u8; 3],
    order: ChannelOrder,
    /// Those that were made last, each with what it is for.
    plans: Vec<(Window, Target, Plan)>,
    scratch: Scratch,
    decoded: Decoded,
    seen: [f32; 4],
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
            target: Target {
                fit: spec.fit,
                resize: spec.resize,
                crop: spec.crop,
                filter: spec.interpolation,
                fill: [0; 3],
            },
            mean: mean(spec),
            order: spec.channel_order,
            plans: Vec::new(),
            scratch: Scratch::default(),
            decoded: Decoded::default(),
            seen: [0.0, 0.0, 1.0, 1.0],
        })
    }

    /// How many bytes [`run`](Self::run) writes: `crop * crop * 3`.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.target.crop as usize * self.target.crop as usize * 3
    }

    /// Writes the picture's middle, resized, to `out` (rows, columns, then the three channels in the
    /// bundle's order; values `0..=255`) and returns how large the whole picture is.
    ///
    /// # Errors
    /// The picture is empty, not whole or a broken JPEG, or `out` has the wrong length. `out` is then
    /// not to be used.
    pub fn run(&mut self, frame: &Frame, out: &mut [u8]) -> Result<ImageSize, PreprocessError> {
        self.decode(frame)?;
        let (size, _) = self.view(frame, &Framing::default(), out)?;
        Ok(size)
    }

    /// Decodes a frame, if that is to be done, for [`view`](Self::view).
    ///
    /// # Errors
    /// It is a broken JPEG.
    pub fn decode(&mut self, frame: &Frame) -> Result<(), PreprocessError> {
        match frame.format {
            PixelFormat::Mjpg => self.decoded.read(&frame.data),
            _ => Ok(()),
        }
    }

    /// As [`run`](Self::run), of a part of the frame that was [decoded](Self::decode) last; the size is that of the
    /// whole picture, upright. With what was written, and where in it there is picture.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub fn view<'o>(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        out: &'o mut [u8],
    ) -> Result<(ImageSize, Square<'o>), PreprocessError> {
        if out.len() != self.output_len() {
            return Err(PreprocessError::OutputSize {
                have: out.len(),
                need: self.output_len(),
            });
        }
        let picture = match frame.format {
            PixelFormat::Mjpg => self.decoded.picture()?,
            _ => Picture::of(frame)?,
        };
        let window = framing::window(picture.size(), framing);
        let target = self.target(framing.fit);
        let place = planned(&mut self.plans, window, target);
        let mut inside = (0..0, 0..0);
        if let Some((_, _, plan)) = self.plans.get(place) {
            plan.run(&picture, &mut self.scratch, out);
            inside = plan.inside();
            self.seen = framing::upright_share(plan.shown(picture.size()), framing);
        }
        let (columns, rows) = framing::turn(out, self.target.crop as usize, inside, framing);
        if self.order == ChannelOrder::Bgr {
            out.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
        let square = Square {
            bytes: out,
            columns,
            rows,
        };
        Ok((framing::upright(picture.size(), framing.turn), square))
    }

    /// Where the square of the last [`view`](Self::view) is in the upright picture: left, top, width and height in shares
    /// of it. With a border it reaches beyond.
    #[must_use]
    pub fn seen(&self) -> [f32; 4] {
        self.seen
    }

    /// With another fit than the bundle's all of the picture's part is to be seen. Beside a picture torchvision's
    /// `CenterCrop` has black, timm's `CenterCropOrPad` the mean.
    fn target(&self, wanted: Option<Fit>) -> Target {
        let usual = self.target;
        let (fit, resize) = match wanted {
            Some(fit) if fit != usual.fit => (fit, usual.crop),
            _ => (usual.fit, usual.resize),
        };
        let fill = match fit {
            Fit::Letterbox => self.mean,
            Fit::Crop | Fit::Squash => usual.fill,
        };
        Target {
            fit,
            resize,
            fill,
            ..usual
        }
    }
}

/// Where the plan for this is.
fn planned(plans: &mut Vec<(Window, Target, Plan)>, window: Window, target: Target) -> usize {
    let same = |(for_window, for_target, _): &(Window, Target, Plan)| {
        *for_window == window && *for_target == target
    };
    plans.iter().position(same).unwrap_or_else(|| {
        if plans.len() >= MOST_PLANS {
            plans.remove(0);
        }
        let plan = Plan::new(&window, &target);
        plans.push((window, target, plan));
        plans.len() - 1
    })
}

/// The mean colour in bytes, as timm rounds it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // limited by the types
fn mean(spec: &Preprocessing) -> [u8; 3] {
    spec.mean.map(|mean| (mean * 255.0).round_ties_even() as u8)
}
