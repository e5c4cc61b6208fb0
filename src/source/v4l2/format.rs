//! Which of a camera's formats, sizes and rates to use. What is asked for comes first; else the cheapest
//! to convert near 640x480, which is enough for a network that looks at 224x224 pixels.

use super::device::{Device, PixFormat, Sizes, Steps};
use crate::frame::{MAX_SIDE, PixelFormat};
use crate::source::uri::V4l2Spec;

/// Usable formats, the cheapest to bring to RGB first; grey last, because the colours are missing.
const BY_COST: [([u8; 4], PixelFormat); 13] = [
    (*b"YUYV", PixelFormat::Yuyv),
    (*b"UYVY", PixelFormat::Uyvy),
    (*b"YVYU", PixelFormat::Yvyu),
    (*b"NV12", PixelFormat::Nv12),
    (*b"NV21", PixelFormat::Nv21),
    (*b"YU12", PixelFormat::Yu12),
    (*b"YV12", PixelFormat::Yv12),
    (*b"RGB3", PixelFormat::Rgb3),
    (*b"BGR3", PixelFormat::Bgr3),
    (*b"RGBP", PixelFormat::Rgbp),
    (*b"MJPG", PixelFormat::Mjpg),
    (*b"JPEG", PixelFormat::Mjpg),
    (*b"GREY", PixelFormat::Grey),
];
const DEFAULT_SIZE: (u32, u32) = (640, 480);
/// Where no rate is wanted, one below this counts as too slow.
const FAST_ENOUGH: f64 = 10.0;

/// Our format for a four-character code, if we can use it.
pub(super) fn usable(fourcc: [u8; 4]) -> Option<PixelFormat> {
    BY_COST
        .iter()
        .find(|(code, _)| *code == fourcc)
        .map(|&(_, format)| format)
}

/// Whether a four-character code is unprocessed sensor data (a Bayer pattern).
pub(super) fn is_raw(fourcc: [u8; 4]) -> bool {
    matches!(
        &fourcc,
        b"BA81"
            | b"GBRG"
            | b"GRBG"
            | b"RGGB"
            | b"BYR2"
            | b"BG10"
            | b"GB10"
            | b"BA10"
            | b"RG10"
            | b"BG12"
            | b"GB12"
            | b"BA12"
            | b"RG12"
            | b"GB16"
            | b"GR16"
            | b"RG16"
            | [b'p', b'B' | b'G' | b'g' | b'R', b'A' | b'C' | b'E', _]
            | [b'P' | b'a' | b'b', _, _, b'8' | b'A' | b'B']
    )
}

/// Four-character codes for a message: `YUYV MJPG`.
pub(super) fn names(fourccs: &[[u8; 4]]) -> String {
    if fourccs.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<_> = fourccs.iter().map(name).collect();
    names.join(" ")
}

/// The highest bit of a code says that the samples are big-endian.
fn name(&[a, b, c, d]: &[u8; 4]) -> String {
    let name = String::from_utf8_lossy(&[a, b, c, d & 0x7f])
        .trim()
        .to_owned();
    if d & 0x80 == 0 { name } else { name + "-BE" }
}

/// What to ask of the driver, or `None` if nothing that it offers (or was asked for) can be used.
pub(super) fn choose(
    device: &mut impl Device,
    offered: &[[u8; 4]],
    spec: &V4l2Spec,
) -> Option<PixFormat> {
    let target = spec.size.unwrap_or(DEFAULT_SIZE);
    let enough = spec.fps.unwrap_or(FAST_ENOUGH) * 0.99;
    let mut best = None;
    for (cost, &(fourcc, format)) in BY_COST.iter().enumerate() {
        if !offered.contains(&fourcc) || spec.format.is_some_and(|wanted| wanted != format) {
            continue;
        }
        let (width, height) = nearest(&device.sizes(fourcc), target);
        let slow = device
            .max_fps(fourcc, width, height)
            .is_some_and(|fps| fps < enough);
        let mut far = distance((width, height), target);
        if spec.size.is_none() && far < 200 {
            far = 0; // Twice as many pixels or half is as good, where nobody asked.
        }
        let score = (slow, far, cost);
        if best.as_ref().is_none_or(|(least, _)| score < *least) {
            best = Some((
                score,
                PixFormat {
                    fourcc,
                    width,
                    height,
                    stride: 0,
                },
            ));
        }
    }
    best.map(|(_, format)| format)
}

/// How far two sizes are apart: the larger area in percent of the smaller, and 0 if they are equal.
fn distance(a: (u32, u32), b: (u32, u32)) -> u64 {
    let area = |(width, height): (u32, u32)| (u64::from(width) * u64::from(height)).max(1);
    let (small, large) = (area(a).min(area(b)), area(a).max(area(b)));
    if a == b {
        0
    } else {
        large.saturating_mul(100) / small
    }
}

fn nearest(offered: &[Sizes], target: (u32, u32)) -> (u32, u32) {
    let sizes = offered.iter().map(|sizes| match *sizes {
        Sizes::One { width, height } => (width, height),
        Sizes::Range { width, height } => (step_to(width, target.0), step_to(height, target.1)),
    });
    let sane =
        sizes.filter(|size| (1..=MAX_SIDE).contains(&size.0) && (1..=MAX_SIDE).contains(&size.1));
    sane.min_by_key(|&size| distance(size, target))
        .unwrap_or(target)
}

/// The highest step that is not above `target`, but within the range.
fn step_to(steps: Steps, target: u32) -> u32 {
    let target = target.min(steps.max).max(steps.min);
    target - (target - steps.min) % steps.step.max(1)
}

/// How the driver's frames are laid out and how long a whole one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next; 0 for JPEG.
    pub stride: usize,
    /// Bytes of a whole frame; for JPEG the fewest.
    pub bytes: usize,
}

impl Layout {
    /// What the driver has fixed, if it makes sense.
    pub(super) fn of(fixed: PixFormat) -> Option<Self> {
        let format = usable(fixed.fourcc)?;
        if !(1..=MAX_SIDE).contains(&fixed.width) || !(1..=MAX_SIDE).contains(&fixed.height) {
            return None;
        }
        let least = format.least_stride(fixed.width);
        let stride = match (format, fixed.stride) {
            (PixelFormat::Mjpg, _) | (_, 0) => least,
            (_, told) => told as usize,
        };
        let bytes = match format {
            PixelFormat::Mjpg => 4,
            _ => format.bytes(fixed.width, fixed.height, stride)?,
        };
        Some(Self {
            format,
            width: fixed.width,
            height: fixed.height,
            stride,
            bytes,
        })
    }
}

/// Whether a frame is a whole JPEG: it begins as one and has an end. (Some cameras pad behind it.)
pub(super) fn is_whole_jpeg(data: &[u8]) -> bool {
    data.starts_with(&[0xff, 0xd8]) && data.windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}
