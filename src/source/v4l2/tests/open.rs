//! Opening a camera: every refusal names its cause.

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
    fake.fail("open", &[Errno::ACCESS]);
    assert!(open::any_camera(&mut fake));
    fake.world().identity.capabilities |= sys::V4L2_CAP_IO_MC;
    assert!(!open::any_camera(&mut fake));
}

#[test]
fn where_no_camera_is_named_it_is_the_first_that_starts() {
    let mut fake = Fake::new();
    let first = V4l2Spec::default();
    // The first node is in use.
    fake.fail("start", &[Errno::BUSY]);
    let stream = open::stream(&mut fake, &first).ok().unwrap();
    assert_eq!(stream.path.to_str(), Some("/dev/video1"));

    fake.fail("start", &[Errno::BUSY, Errno::BUSY]);
    let busy = open::stream(&mut fake, &first).err().unwrap();
    assert!(
        busy.to_string().starts_with("/dev/video0 is in use"),
        "{busy}"
    );

    fake.world().identity.capabilities = 0;
    let none = open::stream(&mut fake, &first).err().unwrap();
    assert!(matches!(none, SourceError::NoCamera), "{none}");
}

#[test]
fn a_grabber_without_a_signal_says_so() {
    let fake = Fake::new();
    fake.world().no_signal = Some("no signal comes in");
    fake.fail("start", &[Errno::NOLINK]);
    let error = fake.open().err().unwrap();
    assert_eq!(error.to_string(), "/dev/video7: no signal comes in");
    fake.fail("start", &[Errno::BUSY]);
    assert!(matches!(fake.open(), Err(SourceError::Busy(_))));
}
