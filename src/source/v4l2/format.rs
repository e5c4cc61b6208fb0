//! Which of a camera's formats, sizes and rates to use. What is asked for comes first; else the cheapest
//! to convert near 640x480, which is enough for a network that looks at 224x224 pixels.

use v4l::v4l_sys as sys;

use super::device::{Colours, Device, PixFormat, Sizes, Steps};
use crate::frame::{MAX_SIDE, PixelFormat, YuvCoding, YuvMatrix, YuvRange};
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

/// What to ask of the driver, and why that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub format: PixFormat,
    pub why: String,
}

/// One way to run the camera, and what speaks against it.
#[derive(Debug, Clone, Copy)]
struct Mode {
    /// Its place in [`BY_COST`].
    cost: usize,
    size: (u32, u32),
    /// The highest rate, if the driver tells.
    fps: Option<f64>,
}

/// What a mode is measured by.
struct Wish {
    target: (u32, u32),
    /// The size was asked for: it goes before the rate.
    sized: bool,
    fps: f64,
}

/// What to ask of the driver, or `None` if nothing that it offers (or was asked for) can be used.
pub(super) fn choose(
    device: &mut impl Device,
    offered: &[[u8; 4]],
    spec: &V4l2Spec,
) -> Option<Choice> {
    let wish = Wish {
        target: spec.size.unwrap_or(DEFAULT_SIZE),
        sized: spec.size.is_some(),
        fps: spec.fps.unwrap_or(FAST_ENOUGH) * 0.99,
    };
    let mut best: Vec<Mode> = Vec::new();
    for (cost, &(fourcc, format)) in BY_COST.iter().enumerate() {
        if !offered.contains(&fourcc) || spec.format.is_some_and(|wanted| wanted != format) {
            continue;
        }
        let modes = sizes_to_try(&device.sizes(fourcc), wish.target)
            .into_iter()
            .map(|size| Mode {
                cost,
                size,
                fps: device.rates(fourcc, size.0, size.1).fps.first().copied(),
            });
        best.extend(modes.min_by_key(|mode| wish.score(mode)));
    }
    let chosen = *best.iter().min_by_key(|mode| wish.score(mode))?;
    let (fourcc, _) = BY_COST.get(chosen.cost)?;
    let (width, height) = chosen.size;
    Some(Choice {
        format: PixFormat {
            fourcc: *fourcc,
            width,
            height,
            ..PixFormat::default()
        },
        why: why(&best, &chosen, &wish, spec),
    })
}

impl Wish {
    /// The lower the better. Where no size was asked for, speed goes before size, and twice as many pixels
    /// or half is as good. Among equals the cheaper format, then the nearer size.
    fn score(&self, mode: &Mode) -> (u64, u64, usize, u64) {
        let distance = distance(mode.size, self.target);
        let far = if !self.sized && distance < 200 {
            0
        } else {
            distance
        };
        let slow = self.slow(mode);
        let (first, second) = if self.sized { (far, slow) } else { (slow, far) };
        (first, second, mode.cost, distance)
    }

    /// How much too slow, in percent; 0 if fast enough or if nobody knows.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    fn slow(&self, mode: &Mode) -> u64 {
        match mode.fps {
            Some(fps) if fps < self.fps => (100.0 * self.fps / fps.max(0.01)) as u64,
            _ => 0,
        }
    }
}

/// Why this mode, in a few words for the log.
fn why(best: &[Mode], chosen: &Mode, wish: &Wish, spec: &V4l2Spec) -> String {
    let (width, height) = wish.target;
    if spec.format.is_some() {
        return "the format that was asked for".into();
    }
    // `best` holds one mode of each format, the cheapest format first.
    match best {
        [_] => "the only usable format".into(),
        [cheapest, ..] if cheapest.cost == chosen.cost => {
            format!("the cheapest to convert near {width}x{height}")
        }
        [cheaper, ..] => {
            let name = BY_COST
                .get(cheaper.cost)
                .map_or_else(String::new, |(code, _)| name(code));
            let (w, h) = cheaper.size;
            match cheaper.fps {
                Some(fps) if wish.slow(cheaper) > wish.slow(chosen) => {
                    format!("because {name} has only {} fps at {w}x{h}", short(fps))
                }
                _ => format!("because {name} has no size nearer to {width}x{height} than {w}x{h}"),
            }
        }
        [] => String::new(),
    }
}

/// A rate without needless digits: `30`, `7.5`, `29.97`.
pub(super) fn short(fps: f64) -> String {
    let text = format!("{fps:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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

/// The sizes that a format offers, those of a range as near to `target` as its steps allow; `target` itself
/// where the driver does not tell.
fn sizes_to_try(offered: &[Sizes], target: (u32, u32)) -> Vec<(u32, u32)> {
    let sizes = offered.iter().map(|sizes| match *sizes {
        Sizes::One { width, height } => (width, height),
        Sizes::Range { width, height } => (step_to(width, target.0), step_to(height, target.1)),
    });
    let sane =
        sizes.filter(|size| (1..=MAX_SIDE).contains(&size.0) && (1..=MAX_SIDE).contains(&size.1));
    let sane: Vec<_> = sane.collect();
    if sane.is_empty() { vec![target] } else { sane }
}

/// The highest step that is not above `target`, but within the range.
fn step_to(steps: Steps, target: u32) -> u32 {
    let target = target.min(steps.max).max(steps.min);
    target - target.saturating_sub(steps.min) % steps.step.max(1)
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
    pub yuv: YuvCoding,
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
            yuv: coding(fixed.colours),
        })
    }
}

/// How a driver means its YUV, its defaults resolved as the kernel documents them (videodev2.h,
/// `V4L2_MAP_YCBCR_ENC_DEFAULT` and `V4L2_MAP_QUANTIZATION_DEFAULT`). BT.2020 and SMPTE 240M are taken for
/// BT.709, the nearest that we have; values that the kernel may add later for the default.
fn coding(colours: Colours) -> YuvCoding {
    let space_of_709 = matches!(
        colours.space,
        sys::v4l2_colorspace_V4L2_COLORSPACE_REC709
            | sys::v4l2_colorspace_V4L2_COLORSPACE_DCI_P3
            | sys::v4l2_colorspace_V4L2_COLORSPACE_BT2020
            | sys::v4l2_colorspace_V4L2_COLORSPACE_SMPTE240M
    );
    let matrix = match colours.encoding {
        sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709
        | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV709
        | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020
        | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020_CONST_LUM
        | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_SMPTE240M => YuvMatrix::Bt709,
        sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT if space_of_709 => YuvMatrix::Bt709,
        _ => YuvMatrix::Bt601,
    };
    let range = match colours.quantization {
        sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE => YuvRange::Full,
        sys::v4l2_quantization_V4L2_QUANTIZATION_DEFAULT
            if colours.space == sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG =>
        {
            YuvRange::Full
        }
        _ => YuvRange::Limited,
    };
    YuvCoding { matrix, range }
}

/// Whether a frame is a whole JPEG: it begins as one and has an end. (Some cameras pad behind it.)
pub(super) fn is_whole_jpeg(data: &[u8]) -> bool {
    data.starts_with(&[0xff, 0xd8]) && data.windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}
