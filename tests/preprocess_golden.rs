//! The preprocessing equals Pillow's and torchvision's, bit for bit. `golden/make_resize.py` made the
//! expected values; the picture's formula stands there and here.

use resnetd::frame::{Frame, PixelFormat};
use resnetd::preprocess::{ImageSize, Preprocessor};
use resnetd::spec::{ChannelOrder, Interpolation, Preprocessing};

#[derive(serde::Deserialize)]
struct Case {
    width: u32,
    height: u32,
    resize: u32,
    crop: u32,
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
fn every_golden_picture_is_resized_and_cropped_as_pillow_does_it() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/resize.json")).unwrap();
    for case in cases {
        let Case {
            width,
            height,
            resize,
            crop,
            ..
        } = case;
        let mut preprocessor = Preprocessor::new(&spec(resize, crop, ChannelOrder::Rgb)).unwrap();
        let mut out = vec![1; preprocessor.output_len()];
        let size = preprocessor.run(&picture(width, height), &mut out).unwrap();
        let name = format!("{width}x{height} to {resize}, {crop}");
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
