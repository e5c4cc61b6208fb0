//! Whatever a camera says about its picture, preprocessing answers with an error or with a picture made
//! of nothing but the pixels that are in it.

#![allow(clippy::unwrap_used)] // helpers of tests

use proptest::prelude::*;

use resnetd::frame::{Frame, PixelFormat};
use resnetd::preprocess::Preprocessor;
use resnetd::spec::{ChannelOrder, Fit, Interpolation, Preprocessing};

use PixelFormat::{Bgr3, Grey, Mjpg, Rgb3};

fn preprocessor(resize: u32, crop: u32) -> Preprocessor {
    let (interpolation, channel_order) = (Interpolation::Bilinear, ChannelOrder::Rgb);
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    let spec = Preprocessing {
        resize,
        crop,
        fit: Fit::Crop,
        interpolation,
        mean,
        std,
        channel_order,
    };
    Preprocessor::new(&spec).unwrap()
}

fn output(frame: &Frame, resize: u32, crop: u32) -> Option<Vec<u8>> {
    let mut preprocessor = preprocessor(resize, crop);
    let mut out = vec![0xaa; preprocessor.output_len()];
    let size = preprocessor.run(frame, &mut out).ok()?;
    if frame.format != Mjpg {
        assert_eq!((size.width, size.height), (frame.width, frame.height));
    }
    Some(out)
}

fn any_format() -> impl Strategy<Value = PixelFormat> {
    proptest::sample::select(PixelFormat::ALL.to_vec())
}

/// A whole picture whose bytes inside are `inside` in turn, and those between and behind the rows `outside`.
fn picture(format: PixelFormat, size: (u32, u32), gap: usize, inside: &[u8], outside: u8) -> Frame {
    let (width, height) = size;
    let stride = format.least_stride(width) + gap;
    let planes = format.planes(width, height, stride).unwrap();
    let mut data = vec![outside; format.bytes(width, height, stride).unwrap() + gap];
    let mut bytes = inside.iter().copied().cycle();
    for plane in planes {
        for row in 0..plane.rows {
            let row = &mut data[plane.start + row * plane.stride..][..plane.row];
            row.iter_mut()
                .zip(&mut bytes)
                .for_each(|(slot, byte)| *slot = byte);
        }
    }
    Frame {
        format,
        width,
        height,
        stride,
        data,
        ..Frame::empty()
    }
}

proptest! {
    #[test]
    fn no_claim_about_a_picture_makes_a_panic(
        format in any_format(),
        width in prop_oneof![0_u32..70, Just(u32::MAX)],
        height in prop_oneof![0_u32..70, Just(u32::MAX)],
        stride in prop_oneof![0_usize..300, Just(usize::MAX)],
        data in proptest::collection::vec(any::<u8>(), 0..9000),
        resize in 1_u32..40,
        crop in 1_u32..40,
    ) {
        let frame = Frame { format, width, height, stride, data, ..Frame::empty() };
        output(&frame, resize, crop);
    }

    #[test]
    fn bytes_outside_of_the_picture_do_not_matter(
        format in any_format().prop_filter("laid out in rows", |format| *format != Mjpg),
        size in (1_u32..60, 1_u32..60),
        gap in 0_usize..9,
        inside in proptest::collection::vec(any::<u8>(), 1..500),
        resize in 1_u32..70,
        crop in 1_u32..70,
    ) {
        let dark = output(&picture(format, size, gap, &inside, 0), resize, crop);
        let bright = output(&picture(format, size, gap, &inside, 255), resize, crop);
        prop_assert!(dark.is_some());
        prop_assert_eq!(dark, bright);
    }

    #[test]
    fn what_comes_out_lies_between_the_darkest_and_the_brightest_that_went_in(
        format in proptest::sample::select(vec![Rgb3, Bgr3, Grey]),
        size in (1_u32..200, 1_u32..200),
        inside in proptest::collection::vec(50_u8..60, 1..500),
        resize in 20_u32..70,
        crop in 1_u32..90,
    ) {
        let out = output(&picture(format, size, 0, &inside, 0), resize, crop).unwrap();
        let padded = crop > resize;
        prop_assert!(out.iter().all(|&byte| (50..60).contains(&byte) || (padded && byte == 0)));
        let middle = (crop / 2 * crop + crop / 2) as usize * 3;
        prop_assert_ne!(out[middle], 0, "the middle is never padding");
    }

    #[test]
    fn one_colour_stays_that_colour(
        size in (1_u32..300, 1_u32..300), colour: [u8; 3], resize in 8_u32..300,
    ) {
        let out = output(&picture(Rgb3, size, 0, &colour, 0), resize, 8).unwrap();
        prop_assert!(out.chunks_exact(3).all(|pixel| pixel == colour));
    }
}
