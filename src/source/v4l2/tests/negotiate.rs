//! Which mode is chosen, on the mode tables of cameras as people have them.

use super::super::*;
use super::fake::Fake;

type Size = (u32, u32);
/// Sizes with the rates that each has.
type Modes = &'static [(Size, &'static [f64])];
/// A camera: its formats in the order in which it lists them.
type Camera = &'static [([u8; 4], Modes)];

const TO_30: &[f64] = &[30.0, 24.0, 20.0, 15.0, 10.0, 7.5, 5.0];

/// A Logitech C920: USB 2, so uncompressed pictures become slow as they grow.
const C920: Camera = &[
    (
        *b"YUYV",
        &[
            ((160, 120), TO_30),
            ((320, 240), TO_30),
            ((640, 480), TO_30),
            ((800, 600), &[24.0, 20.0, 15.0, 10.0, 7.5, 5.0]),
            ((1280, 720), &[10.0, 7.5, 5.0]),
            ((1920, 1080), &[5.0]),
        ],
    ),
    (*b"H264", &[((1920, 1080), TO_30)]),
    (
        *b"MJPG",
        &[
            ((320, 240), TO_30),
            ((640, 480), TO_30),
            ((800, 600), TO_30),
            ((1280, 720), TO_30),
            ((1920, 1080), TO_30),
        ],
    ),
];

/// A camera for 10 euros: VGA, and more only as MJPG.
const TEN_EUROS: Camera = &[
    (
        *b"MJPG",
        &[
            ((640, 480), &[30.0, 25.0]),
            ((352, 288), &[30.0]),
            ((1280, 720), &[30.0]),
        ],
    ),
    (
        *b"YUYV",
        &[
            ((640, 480), &[30.0]),
            ((352, 288), &[30.0]),
            ((1280, 720), &[5.0]),
        ],
    ),
];

/// Uncompressed 640x480 only at 5 frames per second.
const SLOW_YUYV: Camera = &[
    (*b"YUYV", &[((640, 480), &[5.0]), ((160, 120), &[30.0])]),
    (*b"MJPG", &[((640, 480), &[30.0]), ((1280, 720), &[30.0])]),
];

/// A platform's own camera interface, which names no rates.
const NV12_ONLY: Camera = &[(
    *b"NV12",
    &[((1920, 1080), &[]), ((1280, 720), &[]), ((640, 360), &[])],
)];

/// The second node of a laptop's camera for face recognition.
const INFRARED: Camera = &[(*b"GREY", &[((340, 340), &[15.0]), ((640, 360), &[15.0])])];

/// A capture stick that enlarges and shrinks what comes in.
const HDMI_STICK: Camera = &[
    (
        *b"YUYV",
        &[
            ((1920, 1080), &[5.0]),
            ((1280, 720), &[10.0]),
            ((720, 480), &[30.0]),
        ],
    ),
    (
        *b"MJPG",
        &[
            ((1920, 1080), &[60.0, 30.0]),
            ((1280, 720), &[60.0]),
            ((720, 480), &[60.0]),
        ],
    ),
];

fn fake(camera: Camera) -> Fake {
    let fake = Fake::new();
    let mut world = fake.world();
    world.stride = 0;
    world.formats = camera.iter().map(|(fourcc, _)| *fourcc).collect();
    for &(fourcc, modes) in camera {
        let sizes = modes
            .iter()
            .map(|&((width, height), _)| Sizes::One { width, height });
        world.sizes.insert(fourcc, sizes.collect());
        for &((width, height), fps) in modes {
            world.rates.insert((fourcc, width, height), fps.to_vec());
        }
    }
    drop(world);
    fake
}

/// The description without the camera's name. The fake is as fast as it is asked to be.
fn chosen(fake: &Fake, uri: &str) -> Result<String, SourceError> {
    let uri = format!("v4l2:/dev/video7{uri}");
    let Ok(crate::source::SourceSpec::V4l2(spec)) = uri.parse() else {
        panic!("{uri}");
    };
    let description = fake.open_as(&spec)?.describe();
    let rest = description.strip_prefix("Fake (fake) at /dev/video7: ");
    Ok(rest.unwrap().to_owned())
}

#[test]
fn each_camera_gets_the_mode_that_suits_it_and_the_reason_is_told() {
    let near = |size: &str| format!("the cheapest to convert near {size}");
    for (camera, uri, mode, why) in [
        (C920, "", "YUYV 640x480, 30 fps", near("640x480")),
        (C920, "?fps=15", "YUYV 640x480, 15 fps", near("640x480")),
        (
            C920,
            "?size=1280x720",
            "YUYV 1280x720, 30 fps",
            near("1280x720"),
        ),
        (
            C920,
            "?size=1280x720&fps=30",
            "MJPG 1280x720, 30 fps",
            "because YUYV has only 10 fps at 1280x720".into(),
        ),
        (
            C920,
            "?size=1280x720&fps=7.5",
            "YUYV 1280x720, 7.5 fps",
            near("1280x720"),
        ),
        (
            C920,
            "?size=1920x1080",
            "MJPG 1920x1080, 30 fps",
            "because YUYV has only 5 fps at 1920x1080".into(),
        ),
        // 60 has neither; the faster is taken.
        (C920, "?fps=60", "YUYV 640x480, 60 fps", near("640x480")),
        (
            C920,
            "?format=MJPG",
            "MJPG 640x480, 30 fps",
            "the format that was asked for".into(),
        ),
        (TEN_EUROS, "", "YUYV 640x480, 30 fps", near("640x480")),
        (
            TEN_EUROS,
            "?size=1280x720",
            "MJPG 1280x720, 30 fps",
            "because YUYV has only 5 fps at 1280x720".into(),
        ),
        (
            TEN_EUROS,
            "?size=352x288",
            "YUYV 352x288, 30 fps",
            near("352x288"),
        ),
        (
            SLOW_YUYV,
            "",
            "MJPG 640x480, 30 fps",
            "because YUYV has no size nearer to 640x480 than 160x120".into(),
        ),
        (
            NV12_ONLY,
            "",
            "NV12 640x360, 30 fps",
            "the only usable format".into(),
        ),
        (
            NV12_ONLY,
            "?size=1920x1080",
            "NV12 1920x1080, 30 fps",
            "the only usable format".into(),
        ),
        (
            INFRARED,
            "",
            "GREY 640x360, 30 fps",
            "the only usable format".into(),
        ),
        (HDMI_STICK, "", "YUYV 720x480, 30 fps", near("640x480")),
        (
            HDMI_STICK,
            "?size=1920x1080&fps=60",
            "MJPG 1920x1080, 60 fps",
            "because YUYV has only 5 fps at 1920x1080".into(),
        ),
        (
            HDMI_STICK,
            "?fps=60",
            "MJPG 720x480, 60 fps",
            "because YUYV has only 30 fps at 720x480".into(),
        ),
    ] {
        assert_eq!(
            chosen(&fake(camera), uri).unwrap(),
            format!("{mode}, {why}"),
            "{uri}"
        );
    }
}

#[test]
fn a_range_of_sizes_is_met_at_the_nearest_step() {
    // vivid's webcam, scaled; and a driver whose steps miss.
    let steps = |min, max, step| Steps { min, max, step };
    for (width, height, uri, mode) in [
        (steps(16, 3840, 2), steps(16, 2160, 2), "", "UYVY 640x480"),
        (
            steps(16, 3840, 2),
            steps(16, 2160, 2),
            "?size=1280x720",
            "UYVY 1280x720",
        ),
        (
            steps(48, 1000, 16),
            steps(32, 600, 32),
            "?size=1280x720",
            "UYVY 992x576",
        ),
        (
            steps(2, 640, 0),
            steps(2, 480, 0),
            "?size=333x221",
            "UYVY 333x221",
        ),
        // A driver that contradicts itself.
        (steps(640, 2, 3), steps(480, 2, 7), "", "UYVY 640x480"),
    ] {
        let fake = Fake::new();
        fake.world().formats = vec![*b"UYVY"];
        fake.world().stride = 0;
        fake.world()
            .sizes
            .insert(*b"UYVY", vec![Sizes::Range { width, height }]);
        let expected = format!("{mode}, 30 fps, the only usable format");
        assert_eq!(chosen(&fake, uri).unwrap(), expected);
    }
}

#[test]
fn a_format_that_is_not_there_is_refused_with_those_that_are() {
    let error = chosen(&fake(C920), "?format=NV12").unwrap_err().to_string();
    assert!(
        error.contains("does not offer the format NV12 (usable here: YUYV MJPG)"),
        "{error}"
    );
}

#[test]
fn every_format_that_we_claim_can_be_chosen() {
    for format in PixelFormat::ALL {
        let fake = Fake::new();
        fake.world().formats = vec![*b"H264", format.fourcc()];
        fake.world().stride = 0;
        let mode = chosen(&fake, "").unwrap();
        assert!(mode.starts_with(&format.to_string()), "{mode}");
    }
}
