//! How long a camera's frame takes from its own layout to the network's input, on one thread: every format at
//! 1920x1080, JPEG also at 1280x720.
//!
//! ```text
//! cargo bench --bench preprocess           everything
//! cargo bench --bench preprocess -- YUYV   one format
//! ```
//!
//! The picture is a rendered scene of `demo:`, enlarged, with a camera's noise. Its JPEG (quality 75, chroma not
//! subsampled) is on the heavy side of what webcams send: the entropy coding is most of the work, so the time goes
//! with the bytes, which the case names.

use std::fmt;
use std::time::Duration;

use divan::{Bencher, black_box};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ExtendedColorType, ImageBuffer, Rgb};
use resnetd::frame::{Frame, PixelFormat};
use resnetd::preprocess::Preprocessor;
use resnetd::source::{Source, demo::Demo};
use resnetd::spec::{ChannelOrder, Fit, Interpolation, Preprocessing};

fn main() {
    divan::main();
}

type Rgb8 = ImageBuffer<Rgb<u8>, Vec<u8>>;

struct Case(Frame);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = &self.0;
        let kilobytes = frame.data.len() / 1000;
        let (width, height) = (frame.width, frame.height);
        write!(f, "{} {width}x{height} {kilobytes} kB", frame.format)
    }
}

fn scene(width: u32, height: u32) -> Rgb8 {
    let mut frame = Frame::empty();
    Demo::new().next(&mut frame, Duration::from_secs(1));
    let small = Rgb8::from_raw(frame.width, frame.height, frame.data).unwrap_or_default();
    let mut large = resize(&small, width, height, FilterType::Triangle);
    let mut seed = 1_u32;
    for byte in large.iter_mut() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = u8::try_from(seed >> 29).unwrap_or(0);
        *byte = byte.saturating_add(noise);
    }
    large
}

fn jpeg(picture: &Rgb8) -> Vec<u8> {
    let mut data = Vec::new();
    let (width, height) = picture.dimensions();
    let encoded = JpegEncoder::new_with_quality(&mut data, 75).encode(
        picture,
        width,
        height,
        ExtendedColorType::Rgb8,
    );
    assert!(encoded.is_ok(), "{encoded:?}");
    data
}

/// The picture's bytes in turn, for layouts whose time does not depend on what they show.
fn bytes(picture: &Rgb8, format: PixelFormat, stride: usize) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let length = format.bytes(width, height, stride).unwrap_or(0);
    picture.iter().copied().cycle().take(length).collect()
}

fn frame(format: PixelFormat, width: u32, height: u32) -> Case {
    let picture = scene(width, height);
    let stride = format.least_stride(width);
    let data = match format {
        PixelFormat::Mjpg => jpeg(&picture),
        _ => bytes(&picture, format, stride),
    };
    Case(Frame {
        format,
        width,
        height,
        stride,
        data,
        ..Frame::empty()
    })
}

fn cases() -> Vec<Case> {
    let full = PixelFormat::ALL.map(|format| frame(format, 1920, 1080));
    let mut cases = Vec::from(full);
    cases.push(frame(PixelFormat::Mjpg, 1280, 720));
    cases
}

#[divan::bench(args = cases())]
fn preprocess(bencher: Bencher<'_, '_>, case: &Case) {
    let spec = Preprocessing {
        resize: 256,
        crop: 224,
        fit: Fit::Crop,
        interpolation: Interpolation::Bilinear,
        mean: [0.0; 3],
        std: [1.0; 3],
        channel_order: ChannelOrder::Rgb,
    };
    let Ok(mut preprocessor) = Preprocessor::new(&spec) else {
        return;
    };
    let mut out = vec![0; preprocessor.output_len()];
    bencher.bench_local(|| preprocessor.run(black_box(&case.0), black_box(&mut out)));
}
