//! What a bundle says and the stages obey: how pictures must be prepared for it, how its outputs are
//! to be read, and what its classes are called. Only data; reading and checking is `bundle`'s.

use serde::{Deserialize, Serialize};

/// How a picture becomes the network's input. The same as in training, or the labels are worthless:
/// that is why it lives in the bundle and not in a config file.
///
/// The steps are torchvision's `Resize(resize)`, `CenterCrop(crop)`, then `(x / 255 - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The shorter side after resizing, in pixels.
    pub resize: u32,
    /// Side of the square cut from the middle, in pixels: the network's input size.
    pub crop: u32,
    pub interpolation: Interpolation,
    /// Per channel (R, G, B), of values in `0..=1`.
    pub mean: [f32; 3],
    /// Per channel (R, G, B), of values in `0..=1`.
    pub std: [f32; 3],
    pub channel_order: ChannelOrder,
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
