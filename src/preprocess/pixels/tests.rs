//! One picture in every format, made from one table: what each format holds of it must come out, and a
//! picture that lacks a byte must not.

use super::*;

/// The table: width, height, and samples of pixel (x, y) as a function, for every format at once.
#[derive(Clone, Copy)]
struct Sample {
    y: u8,
    u: u8,
    v: u8,
}

/// Chroma is the same for two columns and two rows, as 4:2:0 has it.
fn sample(x: usize, y: usize) -> Sample {
    let value = |factor: usize, x: usize, y: usize| {
        u8::try_from((x * factor + y * 31 + factor) % 256).unwrap()
    };
    Sample {
        y: value(37, x, y),
        u: value(59, x / 2, y / 2),
        v: value(83, x / 2, y / 2),
    }
}

const YUV: [PixelFormat; 7] = [
    PixelFormat::Yuyv,
    PixelFormat::Yvyu,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::Nv21,
    PixelFormat::Yu12,
    PixelFormat::Yv12,
];

/// The samples of one row of one plane.
fn plane_row(format: PixelFormat, plane: usize, row: usize, width: usize) -> Vec<u8> {
    use PixelFormat::{Bgr3, Grey, Nv12, Nv21, Rgb3, Rgbp, Uyvy, Yu12, Yuyv, Yv12, Yvyu};
    let columns = |step: usize| (0..width).step_by(step);
    let luma = |x| sample(x, row).y;
    let chroma = |x| sample(x, row * 2);
    let pairs = |order: fn(u8, Sample, u8) -> [u8; 4]| {
        columns(2)
            .flat_map(|x| order(luma(x), sample(x, row), luma(x + 1)))
            .collect()
    };
    let colours =
        |order: fn([u8; 3]) -> Vec<u8>| columns(1).flat_map(|x| order(rgb(x, row))).collect();
    match (format, plane) {
        (Rgb3, _) => colours(|rgb| rgb.to_vec()),
        (Bgr3, _) => colours(|[r, g, b]| vec![b, g, r]),
        (Rgbp, _) => colours(|[r, g, b]| {
            let [r, g, b] = [(r, 3), (g, 2), (b, 3)].map(|(value, bits)| u16::from(value >> bits));
            (r << 11 | g << 5 | b).to_le_bytes().to_vec()
        }),
        (Yuyv, _) => pairs(|left, c, right| [left, c.u, right, c.v]),
        (Yvyu, _) => pairs(|left, c, right| [left, c.v, right, c.u]),
        (Uyvy, _) => pairs(|left, c, right| [c.u, left, c.v, right]),
        (Grey | Nv12 | Nv21 | Yu12 | Yv12, 0) => columns(1).map(luma).collect(),
        (Nv12, _) => columns(2)
            .flat_map(|x| [chroma(x).u, chroma(x).v])
            .collect(),
        (Nv21, _) => columns(2)
            .flat_map(|x| [chroma(x).v, chroma(x).u])
            .collect(),
        (Yu12, 1) | (Yv12, 2) => columns(2).map(|x| chroma(x).u).collect(),
        _ => columns(2).map(|x| chroma(x).v).collect(),
    }
}

/// The colour of a pixel, by the formula in `convert`'s documentation.
fn rgb(x: usize, y: usize) -> [u8; 3] {
    let Sample { y, u, v } = sample(x, y);
    let (c, d, e) = (i32::from(y) - 16, i32::from(u) - 128, i32::from(v) - 128);
    [
        298 * c + 409 * e + 128,
        298 * c - 100 * d - 208 * e + 128,
        298 * c + 516 * d + 128,
    ]
    .map(|value| u8::try_from((value >> 8).clamp(0, 255)).unwrap())
}

/// What a format keeps of a colour.
fn kept(format: PixelFormat, x: usize, y: usize) -> [u8; 3] {
    match format {
        PixelFormat::Grey => [sample(x, y).y; 3],
        PixelFormat::Rgbp => {
            let spread = |value: u8, lost: u32| {
                let (value, most) = (u32::from(value >> lost), 255_u32 >> lost);
                u8::try_from((value * 510 + most) / (2 * most)).unwrap()
            };
            let [r, g, b] = rgb(x, y);
            [spread(r, 3), spread(g, 2), spread(b, 3)]
        }
        _ => rgb(x, y),
    }
}

/// The picture in this format, with rows `gap` bytes further apart than need be, cut behind its last byte.
fn picture(format: PixelFormat, width: u32, height: u32, gap: usize) -> Frame {
    let stride = format.least_stride(width) + gap;
    let planes = format.planes(width, height, stride).unwrap();
    let mut data = vec![0xee; format.bytes(width, height, stride).unwrap()];
    for (number, plane) in planes.iter().enumerate() {
        for row in 0..plane.rows {
            let samples = plane_row(format, number, row, width as usize);
            assert_eq!(samples.len(), plane.row, "{format} plane {number}");
            data[plane.start + row * plane.stride..][..samples.len()].copy_from_slice(&samples);
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

fn row(frame: &Frame, y: usize, columns: Range<usize>) -> Vec<[u8; 3]> {
    let mut buffer = Vec::new();
    let picture = Picture::of(frame).unwrap();
    let row = picture.row(y, columns, &mut buffer).iter();
    row.map(|pixel| {
        let [r, g, b, _] = pixel.to_le_bytes();
        [r, g, b]
    })
    .collect()
}

fn uncompressed() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL
        .into_iter()
        .filter(|format| *format != PixelFormat::Mjpg)
}

#[test]
fn the_same_picture_comes_out_of_every_format() {
    for format in uncompressed() {
        for (width, height) in [(1, 1), (2, 2), (5, 3), (16, 6), (37, 5), (64, 2)] {
            for gap in [0, 2, 7] {
                let frame = picture(format, width, height, gap);
                for y in 0..height as usize {
                    let made: Vec<_> = (0..width as usize).map(|x| kept(format, x, y)).collect();
                    let whole = 0..width as usize;
                    assert_eq!(
                        row(&frame, y, whole),
                        made,
                        "{format} {width}x{height} gap {gap}"
                    );
                }
            }
        }
    }
}

#[test]
fn any_columns_of_a_row_are_those_of_the_whole_row() {
    for format in uncompressed() {
        let frame = picture(format, 11, 3, 1);
        let whole = row(&frame, 2, 0..11);
        for first in 0..11 {
            for end in first + 1..=11 {
                assert_eq!(row(&frame, 2, first..end), whole[first..end], "{format}");
            }
        }
    }
}

#[test]
fn the_coding_of_a_frame_is_obeyed_by_every_yuv_format() {
    use crate::frame::{YuvCoding, YuvMatrix, YuvRange};
    for format in YUV {
        let mut frame = picture(format, 8, 2, 0);
        let usual = row(&frame, 0, 0..8);
        frame.yuv = YuvCoding {
            matrix: YuvMatrix::Bt709,
            range: YuvRange::Full,
        };
        let other = row(&frame, 0, 0..8);
        assert_ne!(other, usual, "{format}");
        let mut yuyv = picture(PixelFormat::Yuyv, 8, 2, 0);
        yuyv.yuv = frame.yuv;
        assert_eq!(other, row(&yuyv, 0, 0..8), "{format}");
    }
}

#[test]
fn a_picture_that_lacks_one_byte_is_refused() {
    for format in uncompressed() {
        for (width, height) in [(1, 1), (3, 4), (4, 3), (16, 16)] {
            for gap in [0, 1, 6] {
                let mut frame = picture(format, width, height, gap);
                assert!(Picture::of(&frame).is_ok(), "{format}");
                frame.data.pop();
                assert!(
                    matches!(Picture::of(&frame), Err(PreprocessError::Truncated { .. })),
                    "{format} {width}x{height} gap {gap}"
                );
            }
        }
    }
}

#[test]
fn a_picture_whose_numbers_make_no_sense_is_refused() {
    for format in PixelFormat::ALL {
        let frame = |width, height, stride| Frame {
            format,
            width,
            height,
            stride,
            data: vec![0; 1000],
            ..Frame::empty()
        };
        let least = format.least_stride(7);
        if least > 0 {
            let narrow = frame(7, 4, least - 1);
            assert!(
                matches!(Picture::of(&narrow), Err(PreprocessError::Truncated { .. })),
                "{format}"
            );
        }
        for (width, height, stride) in [
            (u32::MAX, u32::MAX, usize::MAX),
            (u32::MAX, 1, usize::MAX),
            (7, u32::MAX, 64),
        ] {
            let huge = frame(width, height, stride);
            assert!(
                matches!(Picture::of(&huge), Err(PreprocessError::Truncated { .. })),
                "{format}"
            );
        }
        for (width, height) in [(0, 4), (4, 0), (0, 0)] {
            let none = frame(width, height, 64);
            assert!(
                matches!(Picture::of(&none), Err(PreprocessError::Empty { .. })),
                "{format}"
            );
        }
    }
}
