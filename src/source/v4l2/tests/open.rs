//! Opening a camera: every refusal names its cause, and the mode is the one that was asked for or the cheapest.

use rustix::io::Errno;
use v4l::v4l_sys as sys;

use super::super::*;
use super::fake::Fake;

#[test]
fn each_cause_of_a_failed_opening_has_its_own_error() {
    let message = |call: &'static str, errno| {
        let fake = Fake::new();
        fake.fail(call, &[errno]);
        fake.open()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    for (call, errno, expected) in [
        ("open", Errno::NOENT, "/dev/video7: no such camera"),
        (
            "open",
            Errno::ACCESS,
            "/dev/video7: permission denied; add the user to the group `video`",
        ),
        (
            "open",
            Errno::BUSY,
            "/dev/video7 is in use by another program",
        ),
        (
            "make_buffers",
            Errno::BUSY,
            "/dev/video7 is in use by another program",
        ),
        (
            "set_format",
            Errno::BUSY,
            "/dev/video7 is in use by another program",
        ),
        (
            "start",
            Errno::BUSY,
            "/dev/video7 is in use by another program",
        ),
        (
            "identity",
            Errno::NOTTY,
            "/dev/video7 is not a camera (it is no video device)",
        ),
        (
            "identity",
            Errno::IO,
            "asking what it is failed: Input/output error",
        ),
        (
            "start",
            Errno::NOSPC,
            "starting failed: No space left on device",
        ),
        (
            "queue",
            Errno::INVAL,
            "handing over a buffer failed: Invalid argument",
        ),
    ] {
        let message = message(call, errno);
        assert!(message.contains(expected), "{call}: {message}");
    }
    assert_eq!(
        message("set_fps", Errno::NOTTY),
        "",
        "a rate that cannot be set is no reason to give up"
    );
}

#[test]
fn what_is_no_usable_camera_is_said_to_be_what_it_is() {
    let error = |capabilities, driver: &str, formats: &[[u8; 4]]| {
        let fake = Fake::new();
        fake.world().identity.capabilities = capabilities;
        fake.world().identity.driver = driver.into();
        fake.world().formats = formats.to_vec();
        fake.world().stride = 0;
        if capabilities & sys::V4L2_CAP_IO_MC != 0 {
            fake.fail("start", &[Errno::PIPE]);
        }
        fake.open().err().unwrap()
    };
    let (capture, streaming) = (sys::V4L2_CAP_VIDEO_CAPTURE, sys::V4L2_CAP_STREAMING);
    let multi = sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | streaming;
    assert!(matches!(
        error(multi, "x", &[]),
        SourceError::MultiPlanar(_)
    ));
    let codec = sys::V4L2_CAP_VIDEO_M2M_MPLANE | streaming;
    assert!(matches!(
        error(codec, "x", &[]),
        SourceError::NotACamera { .. }
    ));
    let metadata = sys::V4L2_CAP_META_CAPTURE | streaming;
    assert!(matches!(
        error(metadata, "uvcvideo", &[]),
        SourceError::NotACamera { .. }
    ));
    assert!(matches!(
        error(capture, "x", &[*b"YUYV"]),
        SourceError::NotACamera { .. }
    ));
    let camera = capture | streaming;
    let raw = error(camera, "unicam", &[*b"pBAA", *b"BG10"]);
    assert!(raw.to_string().contains("rpicam-vid"), "{raw}");
    let pipeline = error(camera | sys::V4L2_CAP_IO_MC, "rp1-cfe", &[*b"YUYV"]);
    assert!(
        matches!(pipeline, SourceError::RawOnly { .. }),
        "{pipeline}"
    );
    assert!(matches!(
        error(camera, "x", &[*b"H264"]),
        SourceError::NoUsableFormat { .. }
    ));
    assert!(matches!(
        error(camera, "x", &[]),
        SourceError::NoUsableFormat { .. }
    ));
}

#[test]
fn the_first_camera_is_one_that_works_by_itself() {
    let mut fake = Fake::new();
    let nodes: Vec<_> = ["/dev/video0", "/dev/video1"].map(Into::into).to_vec();
    fake.fail("open", &[Errno::ACCESS]);
    assert_eq!(
        open::first_of(&mut fake, nodes.clone()),
        Some("/dev/video1".into())
    );
    fake.world().identity.capabilities |= sys::V4L2_CAP_IO_MC;
    assert_eq!(open::first_of(&mut fake, nodes), None);
}

/// A format, its sizes and its highest rate.
type Offer<'a> = (&'a [u8; 4], &'a [(u32, u32)], f64);

/// The mode chosen from these.
fn chosen(offers: &[Offer<'_>], spec: &V4l2Spec) -> Result<String, SourceError> {
    let fake = Fake::new();
    {
        let mut world = fake.world();
        world.stride = 0;
        world.formats = offers.iter().map(|(fourcc, ..)| **fourcc).collect();
        for (fourcc, sizes, fps) in offers {
            let sizes = sizes
                .iter()
                .map(|&(width, height)| Sizes::One { width, height });
            world.sizes.insert(**fourcc, sizes.collect());
            world.fps.insert(**fourcc, *fps);
        }
    }
    let camera = fake.open_as(spec)?;
    let description = camera.describe();
    Ok(description
        .strip_prefix("v4l2:/dev/video7 (Fake, fake): ")
        .unwrap()
        .to_owned())
}

#[test]
fn the_cheapest_format_near_640x480_is_chosen_where_nothing_is_asked() {
    let sizes: &[_] = &[(320, 240), (640, 480), (1280, 720)];
    let webcam: &[Offer<'_>] = &[(b"MJPG", sizes, 30.0), (b"YUYV", sizes, 30.0)];
    let any = V4l2Spec::default();
    assert_eq!(chosen(webcam, &any).unwrap(), "YUYV 640x480 at 30 fps");
    let only_large: &[Offer<'_>] = &[(b"YUYV", &[(1920, 1080)], 5.0), (b"MJPG", sizes, 30.0)];
    assert_eq!(chosen(only_large, &any).unwrap(), "MJPG 640x480 at 30 fps");
    let grey: &[Offer<'_>] = &[(b"GREY", sizes, 30.0), (b"H264", sizes, 30.0)];
    assert_eq!(chosen(grey, &any).unwrap(), "GREY 640x480 at 30 fps");
}

#[test]
fn what_is_asked_for_is_chosen_or_its_lack_is_told() {
    let webcam: &[Offer<'_>] = &[
        (b"YUYV", &[(640, 480), (1280, 720)], 10.0),
        (b"MJPG", &[(640, 480), (1280, 720)], 30.0),
    ];
    let spec = |size, fps, format| V4l2Spec {
        size,
        fps,
        format,
        ..V4l2Spec::default()
    };
    let large = Some((1280, 720));
    assert_eq!(
        chosen(webcam, &spec(large, Some(30.0), None)).unwrap(),
        "MJPG 1280x720 at 30 fps"
    );
    assert_eq!(
        chosen(webcam, &spec(large, Some(7.5), None)).unwrap(),
        "YUYV 1280x720 at 7.500 fps"
    );
    let mjpg = Some(PixelFormat::Mjpg);
    assert_eq!(
        chosen(webcam, &spec(None, None, mjpg)).unwrap(),
        "MJPG 640x480 at 30 fps"
    );
    let error = chosen(webcam, &spec(None, None, Some(PixelFormat::Nv12)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not offer the format NV12 (usable here: YUYV MJPG)"),
        "{error}"
    );
}
