//! The preprocessing equals Pillow's and torchvision's, bit for bit. `golden/make_resize.py` made the
//! expected values; the picture's formula stands there and here.

#![allow(clippy::unwrap_used)] // helpers of tests

use resnetd::frame::{Frame, PixelFormat};
use resnetd::preprocess::{ImageSize, PreprocessError, Preprocessor};
use resnetd::spec::{Area, ChannelOrder, Fit, Framing, Interpolation, Preprocessing, Turn};

#[derive(serde::Deserialize)]
struct Case {
    width: u32,
    height: u32,
    resize: u32,
    crop: u32,
    fit: Fit,
    interpolation: Interpolation,
    fnv1a: String,
    middle: [u8; 3],
}

fn picture(width: u32, height: u32) -> Frame {
    let mut data = Vec::new();
    for y in 0..u64::from(height) {
        for x in 0..u64::from(width) {
            for c in 0..3 {
                let noise = (x * 7919 + y * 104_729 + c * 1_299_709) % 251 / 4;
                let edges = (x / 13 + y / 9 + c) % 2 * 90;
                let slope = (x * (c + 1) + y * (3 - c)) / 4 % 103;
                data.push(u8::try_from(noise + edges + slope).unwrap());
            }
        }
    }
    let stride = width as usize * 3;
    Frame {
        format: PixelFormat::Rgb3,
        width,
        height,
        stride,
        data,
        ..Frame::empty()
    }
}

fn spec(resize: u32, crop: u32, channel_order: ChannelOrder) -> Preprocessing {
    let interpolation = Interpolation::Bilinear;
    Preprocessing {
        resize,
        crop,
        fit: Fit::Crop,
        interpolation,
        mean: [0.0; 3],
        std: [1.0; 3],
        channel_order,
    }
}

fn fnv1a(data: &[u8]) -> String {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", data.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn every_golden_picture_is_resized_and_cropped_as_pillow_torchvision_and_timm_do_it() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/resize.json")).unwrap();
    for case in cases {
        let Case {
            width,
            height,
            resize,
            crop,
            fit,
            interpolation,
            ..
        } = case;
        let spec = Preprocessing {
            fit,
            interpolation,
            mean: [0.485, 0.456, 0.406],
            ..spec(resize, crop, ChannelOrder::Rgb)
        };
        let mut preprocessor = Preprocessor::new(&spec).unwrap();
        let mut out = vec![1; preprocessor.output_len()];
        let size = preprocessor.run(&picture(width, height), &mut out).unwrap();
        let name = format!("{width}x{height} to {resize}, {crop}, {fit:?}, {interpolation:?}");
        assert_eq!(size, ImageSize { width, height }, "{name}");
        let side = crop as usize;
        assert_eq!(
            out[(side / 2 * side + side / 2) * 3..][..3],
            case.middle,
            "{name}"
        );
        assert_eq!(fnv1a(&out), case.fnv1a, "{name}");
    }
}

#[test]
fn one_preprocessor_serves_changing_sizes() {
    let mut kept = Preprocessor::new(&spec(64, 56, ChannelOrder::Rgb)).unwrap();
    let mut out = vec![0; kept.output_len()];
    for (width, height) in [(320, 200), (40, 64), (20, 300), (320, 200)] {
        let frame = picture(width, height);
        kept.run(&frame, &mut out).unwrap();
        let mut fresh = vec![0; out.len()];
        Preprocessor::new(&spec(64, 56, ChannelOrder::Rgb))
            .unwrap()
            .run(&frame, &mut fresh)
            .unwrap();
        assert_eq!(out, fresh);
    }
}

#[test]
fn a_bgr_bundle_gets_its_channels_the_other_way_round() {
    let frame = picture(90, 70);
    let run = |order| {
        let mut preprocessor = Preprocessor::new(&spec(40, 32, order)).unwrap();
        let mut out = vec![0; preprocessor.output_len()];
        preprocessor.run(&frame, &mut out).unwrap();
        out
    };
    let mut swapped = run(ChannelOrder::Bgr);
    swapped.chunks_exact_mut(3).for_each(<[u8]>::reverse);
    assert_eq!(swapped, run(ChannelOrder::Rgb));
}

#[derive(serde::Deserialize)]
struct Jpeg {
    name: String,
    jpeg: String,
    rgb: String,
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn jpegs() -> Vec<Jpeg> {
    serde_json::from_str(include_str!("golden/jpeg.json")).unwrap()
}

/// Decodes a 16x16 JPEG; what comes out is the picture itself.
fn decode(data: Vec<u8>) -> Result<Vec<u8>, PreprocessError> {
    let frame = Frame {
        format: PixelFormat::Mjpg,
        width: 640,
        height: 480,
        data,
        ..Frame::empty()
    };
    let mut preprocessor = Preprocessor::new(&spec(16, 16, ChannelOrder::Rgb)).unwrap();
    let mut out = vec![0; preprocessor.output_len()];
    let size = preprocessor.run(&frame, &mut out)?;
    assert_eq!(
        size,
        ImageSize {
            width: 16,
            height: 16
        }
    );
    Ok(out)
}

#[test]
fn jpegs_of_every_kind_are_decoded_as_torchvisions_loader_does_it() {
    for Jpeg { name, jpeg, rgb } in jpegs() {
        let (ours, theirs) = (decode(from_hex(&jpeg)).unwrap(), from_hex(&rgb));
        let apart: u32 = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        let mean = f64::from(apart) / 768.0;
        assert!(mean <= 1.0, "{name}: {mean} apart on average");
    }
}

#[test]
fn a_jpeg_cut_off_anywhere_is_broken() {
    for Jpeg { name, jpeg, .. } in jpegs() {
        let whole = from_hex(&jpeg);
        for length in 0..whole.len() {
            let result = decode(whole[..length].to_vec());
            assert!(
                matches!(result, Err(PreprocessError::Jpeg(_))),
                "{name}, {length} bytes: {result:?}"
            );
        }
        let padded = [whole.as_slice(), &[0; 40]].concat();
        assert!(decode(padded).is_ok(), "{name}");
    }
}

#[test]
fn a_damaged_jpeg_is_an_error_or_a_picture_and_never_a_panic() {
    for Jpeg { jpeg, .. } in jpegs() {
        let whole = from_hex(&jpeg);
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let frame = Frame {
                    format: PixelFormat::Mjpg,
                    data: damaged,
                    ..Frame::empty()
                };
                let mut preprocessor = Preprocessor::new(&spec(8, 8, ChannelOrder::Rgb)).unwrap();
                let _ = preprocessor.run(&frame, &mut [0; 8 * 8 * 3]);
            }
        }
    }
}

/// The part of a picture as a picture of its own.
fn part(frame: &Frame, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> Frame {
    let row = |y: usize| &frame.data[y * frame.stride..][columns.start * 3..columns.end * 3];
    Frame {
        width: u32::try_from(columns.len()).unwrap(),
        height: u32::try_from(rows.len()).unwrap(),
        stride: columns.len() * 3,
        data: rows.flat_map(row).copied().collect(),
        format: PixelFormat::Rgb3,
        ..Frame::empty()
    }
}

#[test]
fn a_region_is_seen_as_a_picture_of_its_own_would_be() {
    let (whole, spec) = (picture(200, 100), spec(40, 32, ChannelOrder::Rgb));
    let mut preprocessor = Preprocessor::new(&spec).unwrap();
    let mut out = vec![0; preprocessor.output_len()];
    let mut expected = out.clone();
    let area = Area::try_from([0.25, 0.5, 0.405, 0.5]).unwrap();
    for fit in [None, Some(Fit::Letterbox), Some(Fit::Squash)] {
        let framing = |area| Framing {
            area,
            fit,
            ..Framing::default()
        };
        preprocessor.decode(&whole).unwrap();
        let (size, square) = preprocessor.view(&whole, &framing(area), &mut out).unwrap();
        let letterbox = fit == Some(Fit::Letterbox);
        assert_eq!(square.columns, 0..32);
        assert_eq!(square.rows, if letterbox { 6..26 } else { 0..32 });
        assert_eq!((size.width, size.height), (200, 100));
        let alone = part(&whole, 50..131, 50..100);
        preprocessor
            .view(&alone, &framing(Area::WHOLE), &mut expected)
            .unwrap();
        assert_eq!(out, expected, "{fit:?}");
    }
}

#[test]
fn a_picture_that_is_turned_looks_as_one_that_was_turned_before() {
    let spec = spec(32, 32, ChannelOrder::Rgb);
    let mut preprocessor = Preprocessor::new(&spec).unwrap();
    let mut out = vec![0; preprocessor.output_len()];
    let mut expected = out.clone();
    let (upright, side) = (picture(32, 32), 32);
    preprocessor.run(&upright, &mut expected).unwrap();
    // the camera lies on its left side: what is on top was on its right
    let mut lying = upright.clone();
    for y in 0..side {
        for x in 0..side {
            let pixel = &upright.data[(y * side + x) * 3..][..3];
            lying.data[((side - 1 - x) * side + y) * 3..][..3].copy_from_slice(pixel);
        }
    }
    let framing = Framing {
        turn: Turn::Right,
        ..Framing::default()
    };
    preprocessor.view(&lying, &framing, &mut out).unwrap();
    assert_eq!(out, expected);
}
