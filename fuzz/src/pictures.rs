//! Pictures: files, JPEG frames, and uncompressed frames whose driver says anything about them.

use std::path::Path;

use resnetd::frame::{Frame, PixelFormat, YuvCoding, YuvMatrix, YuvRange};
use resnetd::preprocess::Preprocessor;
use resnetd::source::images;
use resnetd::spec::{ChannelOrder, Fit, Interpolation, Preprocessing};

/// Larger pictures only take longer.
const MOST_BYTES: usize = 1 << 18;

fn preprocessor(resize: u32, crop: u32, channel_order: ChannelOrder) -> Preprocessor {
    let spec = Preprocessing {
        resize,
        crop,
        fit: Fit::Crop,
        interpolation: Interpolation::Bilinear,
        mean: [0.5; 3],
        std: [0.5; 3],
        channel_order,
    };
    Preprocessor::new(&spec).expect("sizes that any network may have")
}

fn prepare(frame: &Frame, mut preprocessor: Preprocessor) -> bool {
    let mut out = vec![0; preprocessor.output_len()];
    let size = preprocessor.run(frame, &mut out);
    if let Ok(size) = size {
        assert!(size.width > 0 && size.height > 0);
    }
    size.is_ok()
}

/// A frame of a camera that sends JPEG.
pub fn jpeg(bytes: &[u8]) -> bool {
    let frame = Frame {
        format: PixelFormat::Mjpg,
        data: bytes.to_vec(),
        ..Frame::empty()
    };
    prepare(&frame, preprocessor(32, 28, ChannelOrder::Rgb))
}

/// A file that is said to be a picture.
pub fn picture(bytes: &[u8]) -> bool {
    images::decode(Path::new("picture"), bytes.to_vec())
        .is_ok_and(|frame| prepare(&frame, preprocessor(32, 28, ChannelOrder::Rgb)))
}

/// An uncompressed frame: the first twelve bytes say what the driver claims, the rest is repeated as its data.
pub fn pixels(bytes: &[u8]) -> bool {
    let Some((&[format, order, w0, w1, h0, h1, s0, s1, d0, d1, resize, crop], data)) =
        bytes.split_first_chunk()
    else {
        return false;
    };
    let number = |low, high| u16::from_le_bytes([low, high]);
    let length = usize::from(number(d0, d1)) * 16;
    let mut frame = Frame {
        format: PixelFormat::ALL[usize::from(format) % PixelFormat::ALL.len()],
        width: number(w0, w1).into(),
        height: number(h0, h1).into(),
        stride: number(s0, s1).into(),
        data: data
            .iter()
            .copied()
            .cycle()
            .take(length.min(MOST_BYTES))
            .collect(),
        yuv: YuvCoding {
            matrix: if order & 4 == 0 {
                YuvMatrix::Bt601
            } else {
                YuvMatrix::Bt709
            },
            range: if order & 8 == 0 {
                YuvRange::Limited
            } else {
                YuvRange::Full
            },
        },
        ..Frame::empty()
    };
    if order & 2 != 0 {
        // what a sound driver would say, so that whole pictures are tried too
        frame.stride = frame.format.least_stride(frame.width) + usize::from(s0);
        let whole = frame.format.bytes(frame.width, frame.height, frame.stride);
        frame
            .data
            .resize(MOST_BYTES.min(whole.unwrap_or_default()), 7);
    }
    let order = if order & 1 == 0 {
        ChannelOrder::Rgb
    } else {
        ChannelOrder::Bgr
    };
    let (resize, crop) = (u32::from(resize).max(1), u32::from(crop).max(1));
    prepare(&frame, preprocessor(resize.max(crop), crop, order))
}
