//! What a bundle says and the stages obey: how pictures must be prepared for it, how its outputs are
//! to be read, and what its classes are called; and what the configuration says of a camera's pictures. Only data; reading
//! and checking is `bundle`'s and `config`'s.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How a picture becomes the network's input. The same as in training, or the labels are worthless:
/// that is why it lives in the bundle and not in a config file.
///
/// The steps are torchvision's `Resize(resize)`, `CenterCrop(crop)`, then `(x / 255 - mean) / std`; with another `fit` the
/// resize is another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The shorter side after resizing, in pixels.
    pub resize: u32,
    /// Side of the square cut from the middle, in pixels: the network's input size.
    pub crop: u32,
    #[serde(default, skip_serializing_if = "Fit::is_crop")]
    pub fit: Fit,
    pub interpolation: Interpolation,
    /// Per channel (R, G, B), of values in `0..=1`.
    pub mean: [f32; 3],
    /// Per channel (R, G, B), of values in `0..=1`.
    pub std: [f32; 3],
    pub channel_order: ChannelOrder,
}

/// How a picture that is no square becomes one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The shorter side becomes `resize`, the longer keeps the aspect and loses its ends (timm's `center`).
    #[default]
    Crop,
    /// The longer side becomes `resize`, and the mean colour fills what is left (timm's `border`).
    Letterbox,
    /// Both sides become `resize` (timm's `squash`).
    Squash,
}

impl Fit {
    fn is_crop(&self) -> bool {
        *self == Self::Crop
    }
}

/// Which part of a camera's pictures is looked at, and which way up they are. The network's business this is not: it
/// differs from camera to camera.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Framing {
    pub turn: Turn,
    pub flip: Flip,
    /// Of the picture as it is after turn and flip.
    pub area: Area,
    /// In place of the one that the network was trained with; then all of the area is seen.
    pub fit: Option<Fit>,
}

/// By how much a picture is turned clockwise to be upright, in degrees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Turn {
    #[default]
    None,
    Right,
    Half,
    Left,
}

impl TryFrom<u32> for Turn {
    type Error = &'static str;

    fn try_from(degrees: u32) -> Result<Self, Self::Error> {
        match degrees {
            0 => Ok(Self::None),
            90 => Ok(Self::Right),
            180 => Ok(Self::Half),
            270 => Ok(Self::Left),
            _ => Err("a picture can be turned by 0, 90, 180 or 270 degrees, clockwise"),
        }
    }
}

impl From<Turn> for u32 {
    fn from(turn: Turn) -> Self {
        match turn {
            Turn::None => 0,
            Turn::Right => 90,
            Turn::Half => 180,
            Turn::Left => 270,
        }
    }
}

/// A picture in a mirror, after its turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flip {
    #[default]
    None,
    /// Left becomes right.
    Horizontal,
    /// Top becomes bottom.
    Vertical,
}

/// When a camera's picture is kept for a person to say what it shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// A label has changed.
    #[default]
    Change,
    /// The frame's most probable class is less than 60 % probable; every ten seconds at most.
    Uncertain,
    /// Every ten seconds.
    Every,
}

/// A rectangle in a picture, in shares of its width and height: not empty, and nothing of it lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "[f32; 4]")]
pub struct Area {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

/// Smaller areas show nothing, in any picture.
const LEAST_SHARE: f32 = 0.001;

impl Area {
    pub const WHOLE: Self = Self {
        left: 0.0,
        top: 0.0,
        right: 1.0,
        bottom: 1.0,
    };

    /// The pixels of a side of `size` from one share of it to the other: one at least.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )] // sizes of pictures, shares of 0 to 1
    fn span(size: u32, from: f32, to: f32) -> Range<u32> {
        // the nearest boundaries between pixels
        let boundary = |share: f32| (f64::from(share) * f64::from(size)).round() as u32;
        let first = boundary(from).min(size.saturating_sub(1));
        first..boundary(to).max(first + 1)
    }

    /// Left, top, width and height.
    #[must_use]
    pub fn shares(&self) -> [f32; 4] {
        [
            self.left,
            self.top,
            self.right - self.left,
            self.bottom - self.top,
        ]
    }

    /// Its columns and rows in a picture of a width and height, none of them 0.
    #[must_use]
    pub fn pixels(&self, width: u32, height: u32) -> (Range<u32>, Range<u32>) {
        (
            Self::span(width, self.left, self.right),
            Self::span(height, self.top, self.bottom),
        )
    }
}

impl Default for Area {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl TryFrom<[f32; 4]> for Area {
    type Error = &'static str;

    /// Of left, top, width and height.
    fn try_from([left, top, width, height]: [f32; 4]) -> Result<Self, Self::Error> {
        let (right, bottom) = (left + width, top + height);
        let inside =
            |from: f32, to: f32| from >= 0.0 && to <= 1.0 + 1e-5 && to - from >= LEAST_SHARE;
        if inside(left, right) && inside(top, bottom) {
            let (right, bottom) = (right.min(1.0), bottom.min(1.0));
            Ok(Self {
                left,
                top,
                right,
                bottom,
            })
        } else {
            Err(
                "an area is [left, top, width, height] in shares of the picture, from 0 to 1, and lies within it",
            )
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Triangle filter, widened when shrinking (antialiased), as Pillow and torchvision do.
    Bilinear,
    /// Catmull and Rom's cubic (a = -0.5), widened likewise: what most of timm's weights were trained with.
    Bicubic,
}

/// The order of the three input channels that the network was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

/// How logits become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// One label per picture.
    Softmax,
    /// Each label for itself (multi-label models).
    Sigmoid,
}
