//! What the driver has fixed, for every format: how long a whole frame is, and which frames are not.

use v4l::v4l_sys as sys;

use super::super::device::{Colours, PixFormat};
use super::super::format::Layout;
use super::super::*;
use super::fake::{Fake, SECOND, Shot, next};
use crate::frame::{YuvCoding, YuvMatrix, YuvRange};

fn fixed(format: PixelFormat, width: u32, height: u32, stride: u32) -> PixFormat {
    PixFormat {
        fourcc: format.fourcc(),
        width,
        height,
        stride,
        ..PixFormat::default()
    }
}

#[test]
fn a_frame_of_every_format_is_as_long_as_the_kernel_documents() {
    use PixelFormat::{Bgr3, Grey, Nv12, Nv21, Rgb3, Rgbp, Uyvy, Yu12, Yuyv, Yv12, Yvyu};
    // 640x480 without padding, and the same with 64 bytes more a row.
    for (format, row, bytes, padded) in [
        (Yuyv, 1280, 614_400, 645_120 - 64),
        (Yvyu, 1280, 614_400, 645_120 - 64),
        (Uyvy, 1280, 614_400, 645_120 - 64),
        (Nv12, 640, 460_800, 506_880 - 64),
        (Nv21, 640, 460_800, 506_880 - 64),
        (Yu12, 640, 460_800, 506_880 - 32),
        (Yv12, 640, 460_800, 506_880 - 32),
        (Rgb3, 1920, 921_600, 952_320 - 64),
        (Bgr3, 1920, 921_600, 952_320 - 64),
        (Rgbp, 1280, 614_400, 645_120 - 64),
        (Grey, 640, 307_200, 337_920 - 64),
    ] {
        for (stride, need) in [(0, bytes), (row, bytes), (row + 64, padded)] {
            let layout = Layout::of(fixed(format, 640, 480, stride)).unwrap();
            assert_eq!(layout.bytes, need, "{format} {stride}");
        }
        assert_eq!(
            Layout::of(fixed(format, 640, 480, row - 1)),
            None,
            "{format}"
        );
        assert_eq!(Layout::of(fixed(format, 0, 480, row)), None, "{format}");
        assert_eq!(
            Layout::of(fixed(format, 640, u32::MAX, row)),
            None,
            "{format}"
        );
    }
}

#[test]
fn a_frame_that_lacks_a_byte_is_dropped_in_every_format() {
    for format in PixelFormat::ALL {
        let Some(bytes) = format.bytes(4, 2, format.least_stride(4)) else {
            continue; // JPEG has its own test
        };
        let fake = Fake::new();
        fake.world().formats = vec![format.fourcc()];
        fake.world().sizes = [(
            format.fourcc(),
            vec![Sizes::One {
                width: 4,
                height: 2,
            }],
        )]
        .into();
        fake.world().stride = 0;
        let mut camera = fake.open().unwrap();
        for (length, event) in [(bytes - 1, Event::Timeout), (bytes, Event::Frame)] {
            fake.shoot_as(Shot {
                at: SECOND / 2,
                data: vec![9; length],
                damaged: false,
                index: None,
            });
            assert_eq!(next(&mut camera).0, event, "{format} {length}");
        }
    }
}

#[test]
fn the_drivers_colours_are_obeyed_and_its_silence_means_the_kernels_default() {
    let coding = |matrix, range| YuvCoding { matrix, range };
    let (bt601, bt709) = (YuvMatrix::Bt601, YuvMatrix::Bt709);
    let (limited, full) = (YuvRange::Limited, YuvRange::Full);
    let srgb = sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB;
    let rec709 = sys::v4l2_colorspace_V4L2_COLORSPACE_REC709;
    let jpeg = sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG;
    for (space, encoding, quantization, expected) in [
        (0, 0, 0, coding(bt601, limited)),
        (srgb, 0, 0, coding(bt601, limited)),
        (rec709, 0, 0, coding(bt709, limited)),
        (jpeg, 0, 0, coding(bt601, full)),
        (
            jpeg,
            0,
            sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE,
            coding(bt601, limited),
        ),
        (
            srgb,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709,
            sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE,
            coding(bt709, full),
        ),
        (
            rec709,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_601,
            0,
            coding(bt601, limited),
        ),
        (99, 99, 99, coding(bt601, limited)),
    ] {
        let colours = Colours {
            space,
            encoding,
            quantization,
        };
        let answer = PixFormat {
            colours,
            ..fixed(PixelFormat::Yuyv, 4, 2, 0)
        };
        assert_eq!(Layout::of(answer).unwrap().yuv, expected, "{colours:?}");
    }
}
