//! The state machine against a camera that misbehaves, in its own time.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rustix::io::Errno;
use v4l::v4l_sys as sys;

use super::device::{Identity, PixFormat};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// The fake's pictures: 4x2 GREY.
const WHOLE: u32 = 8;

/// One frame that the camera will have.
#[derive(Debug, Clone)]
struct Shot {
    at: Duration,
    data: Vec<u8>,
    damaged: bool,
    /// Lies about the buffer.
    index: Option<u32>,
}

/// The camera and the machine, shared by the test and the source.
struct World {
    start: Instant,
    time: Duration,
    identity: Identity,
    formats: Vec<[u8; 4]>,
    sizes: BTreeMap<[u8; 4], Vec<Sizes>>,
    fps: BTreeMap<[u8; 4], f64>,
    stride: u32,
    /// Set by the last `set_format`.
    fixed: PixFormat,
    shots: VecDeque<Shot>,
    queued: VecDeque<u32>,
    contents: Vec<Vec<u8>>,
    hung_up: bool,
    /// Errors that the named call will give, in turn.
    faults: BTreeMap<&'static str, VecDeque<Errno>>,
    opened: Vec<Duration>,
}

impl World {
    fn fault(&mut self, call: &'static str) -> io::Result<()> {
        match self.faults.get_mut(call).and_then(VecDeque::pop_front) {
            Some(errno) => Err(errno.into()),
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn new() -> Self {
        let capabilities = sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_STREAMING;
        Self(Arc::new(Mutex::new(World {
            start: Instant::now(),
            time: 100 * SECOND,
            identity: Identity {
                card: "Fake".into(),
                driver: "fake".into(),
                capabilities,
            },
            formats: vec![*b"GREY"],
            sizes: BTreeMap::from([(
                *b"GREY",
                vec![Sizes::One {
                    width: 4,
                    height: 2,
                }],
            )]),
            fps: BTreeMap::new(),
            stride: 4,
            fixed: PixFormat::default(),
            shots: VecDeque::new(),
            queued: VecDeque::new(),
            contents: Vec::new(),
            hung_up: false,
            faults: BTreeMap::new(),
            opened: Vec::new(),
        })))
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn fail(&self, call: &'static str, errnos: &[Errno]) {
        self.world().faults.entry(call).or_default().extend(errnos);
    }

    /// A picture of bytes `value`, `after` from now.
    fn shoot(&self, after: Duration, value: u8) {
        self.shoot_as(Shot {
            at: after,
            data: vec![value; 8],
            damaged: false,
            index: None,
        });
    }

    fn shoot_as(&self, mut shot: Shot) {
        let mut world = self.world();
        shot.at += world.time;
        world.shots.push_back(shot);
    }

    fn open(&self) -> Result<Capture<Fake>, SourceError> {
        self.open_as(&V4l2Spec::default())
    }

    fn open_as(&self, spec: &V4l2Spec) -> Result<Capture<Fake>, SourceError> {
        Capture::open(
            self.clone(),
            &V4l2Spec {
                device: "/dev/video7".into(),
                ..spec.clone()
            },
        )
    }
}

impl System for Fake {
    type Device = Fake;

    fn open(&mut self, _path: &Path) -> io::Result<Fake> {
        let mut world = self.world();
        let time = world.time;
        world.opened.push(time);
        world.fault("open")?;
        world.queued.clear();
        world.hung_up = false;
        Ok(self.clone())
    }

    fn now(&self) -> Instant {
        let world = self.world();
        world.start + world.time
    }

    fn monotonic(&self) -> Duration {
        self.world().time
    }

    fn sleep(&mut self, time: Duration) {
        self.world().time += time;
    }
}

impl Device for Fake {
    fn identity(&mut self) -> io::Result<Identity> {
        self.world().fault("identity")?;
        Ok(self.world().identity.clone())
    }

    fn formats(&mut self) -> io::Result<Vec<[u8; 4]>> {
        self.world().fault("formats")?;
        Ok(self.world().formats.clone())
    }

    fn sizes(&mut self, fourcc: [u8; 4]) -> Vec<Sizes> {
        self.world().sizes.get(&fourcc).cloned().unwrap_or_default()
    }

    fn max_fps(&mut self, fourcc: [u8; 4], _width: u32, _height: u32) -> Option<f64> {
        self.world().fps.get(&fourcc).copied()
    }

    fn set_format(&mut self, wanted: PixFormat) -> io::Result<PixFormat> {
        let mut world = self.world();
        world.fault("set_format")?;
        world.fixed = PixFormat {
            stride: world.stride,
            ..wanted
        };
        Ok(world.fixed)
    }

    fn set_fps(&mut self, fps: f64) -> io::Result<Option<f64>> {
        self.world().fault("set_fps")?;
        Ok(Some(fps))
    }

    fn make_buffers(&mut self, count: u32) -> io::Result<u32> {
        let mut world = self.world();
        world.fault("make_buffers")?;
        world.contents = vec![Vec::new(); count as usize];
        Ok(count)
    }

    fn queue(&mut self, index: u32) -> io::Result<()> {
        let mut world = self.world();
        world.fault("queue")?;
        if world.queued.contains(&index) || index as usize >= world.contents.len() {
            return Err(Errno::INVAL.into());
        }
        world.queued.push_back(index);
        Ok(())
    }

    fn start(&mut self) -> io::Result<()> {
        self.world().fault("start")
    }

    fn poll(&mut self, timeout: Duration) -> io::Result<Ready> {
        let mut world = self.world();
        world.fault("poll")?;
        let until = world.time + timeout;
        let next = world
            .shots
            .front()
            .map(|shot| shot.at)
            .filter(|at| *at <= until);
        world.time = world.time.max(next.unwrap_or(until));
        Ok(match next {
            _ if world.hung_up => Ready::Trouble,
            Some(_) => Ready::Frame,
            None => Ready::Nothing,
        })
    }

    fn dequeue(&mut self) -> io::Result<Option<Filled>> {
        let mut world = self.world();
        world.fault("dequeue")?;
        let time = world.time;
        if world.queued.is_empty() || world.shots.front().is_none_or(|shot| shot.at > time) {
            return Ok(None);
        }
        let (Some(shot), Some(index)) = (world.shots.pop_front(), world.queued.pop_front()) else {
            return Ok(None);
        };
        let bytes = u32::try_from(shot.data.len()).unwrap();
        world.contents[index as usize] = shot.data;
        let index = shot.index.unwrap_or(index);
        Ok(Some(Filled {
            index,
            bytes,
            damaged: shot.damaged,
            taken: Some(shot.at),
        }))
    }

    fn copy(&self, index: u32, bytes: usize, into: &mut Vec<u8>) -> bool {
        let world = self.world();
        let Some(data) = world
            .contents
            .get(index as usize)
            .and_then(|data| data.get(..bytes))
        else {
            return false;
        };
        into.clear();
        into.extend_from_slice(data);
        true
    }
}

fn next(camera: &mut Capture<Fake>) -> (Event, Frame) {
    let mut frame = Frame::empty();
    let event = camera.next(&mut frame, SECOND);
    (event, frame)
}

#[test]
fn the_newest_frame_wins_and_every_buffer_goes_back() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    for value in [1, 2, 3] {
        fake.shoot(Duration::ZERO, value);
    }
    fake.shoot(SECOND / 2, 4);
    let (event, frame) = next(&mut camera);
    assert_eq!((event, frame.data), (Event::Frame, vec![3; 8]));
    assert_eq!(
        (frame.format, frame.width, frame.height, frame.stride),
        (PixelFormat::Grey, 4, 2, 4)
    );
    assert_eq!(fake.world().queued.len(), 4);
    assert_eq!(next(&mut camera).1.data, [4; 8]);
    assert_eq!(fake.world().queued.len(), 4);
}

#[test]
fn no_frame_in_time_is_a_timeout_and_a_signal_is_nothing() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    let before = fake.world().time;
    fake.fail("poll", &[Errno::INTR, Errno::INTR]);
    assert_eq!(next(&mut camera).0, Event::Timeout);
    assert_eq!(fake.world().time - before, SECOND);
    fake.shoot(SECOND / 2, 5);
    fake.fail("poll", &[Errno::INTR]);
    fake.fail("dequeue", &[Errno::INTR]);
    fake.fail("queue", &[Errno::INTR]);
    assert_eq!(next(&mut camera).0, Event::Frame);
}

#[test]
fn an_unplugged_camera_is_lost_and_comes_back_with_growing_pauses() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.shoot(Duration::ZERO, 1);
    fake.fail("dequeue", &[Errno::NODEV]);
    fake.fail("open", &[Errno::NOENT, Errno::NOENT, Errno::BUSY]);
    fake.world().shots.clear();
    fake.shoot(Duration::ZERO, 1);
    let (event, _) = next(&mut camera);
    assert!(
        matches!(&event, Event::Lost(why) if why.contains("fetching a frame failed")),
        "{event:?}"
    );

    let mut causes = Vec::new();
    while fake.world().opened.len() < 5 {
        let before = fake.world().time;
        let (event, _) = next(&mut camera);
        assert!(fake.world().time - before <= SECOND);
        match event {
            Event::Lost(why) => causes.push(why),
            other => assert_eq!(other, Event::Frame),
        }
    }
    assert!(
        causes[0].contains("/dev/video7: no such camera"),
        "{causes:?}"
    );
    assert!(
        causes
            .iter()
            .any(|why| why.contains("in use by another program")),
        "{causes:?}"
    );
    let opened = fake.world().opened.clone();
    let pauses: Vec<_> = opened
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis())
        .collect();
    assert_eq!(pauses, [250, 500, 1000, 2000]);
    // With a frame the pauses start over.
    fake.shoot(SECOND, 2);
    assert_eq!(next(&mut camera).0, Event::Frame);
    assert_eq!(camera.pause, FIRST_PAUSE);
}

#[test]
fn pauses_have_a_limit() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.world().hung_up = true;
    fake.fail("open", &[Errno::NOENT; 12]);
    while fake.world().opened.len() < 12 {
        assert!(matches!(next(&mut camera).0, Event::Lost(_)));
    }
    let opened = fake.world().opened.clone();
    assert_eq!(opened[11] - opened[10], LONGEST_PAUSE);
}

#[test]
fn trouble_is_told_after_the_last_good_frame() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.shoot(Duration::ZERO, 1);
    fake.world().hung_up = true;
    assert_eq!(next(&mut camera).0, Event::Frame);
    assert_eq!(
        next(&mut camera).0,
        Event::Lost("the device reports an error".into())
    );
}

#[test]
fn a_buffer_that_does_not_exist_is_no_panic() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.shoot_as(Shot {
        at: Duration::ZERO,
        data: vec![1; 8],
        damaged: false,
        index: Some(4),
    });
    assert_eq!(
        next(&mut camera).0,
        Event::Lost("the driver named buffer 4 of 4".into())
    );
    // Another one's buffer, which the driver has: giving it back fails.
    let mut camera = fake.open().unwrap();
    fake.shoot_as(Shot {
        at: Duration::ZERO,
        data: vec![1; 8],
        damaged: false,
        index: Some(2),
    });
    assert!(matches!(next(&mut camera).0, Event::Lost(_)));
}

#[test]
fn damaged_and_truncated_frames_are_dropped() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    let bad = |data: Vec<u8>, damaged| Shot {
        at: Duration::ZERO,
        data,
        damaged,
        index: None,
    };
    fake.shoot(Duration::ZERO, 1);
    fake.shoot_as(bad(vec![2; 8], true));
    fake.shoot_as(bad(vec![3; 7], false));
    fake.shoot_as(bad(vec![], false));
    let (event, frame) = next(&mut camera);
    assert_eq!((event, frame.data), (Event::Frame, vec![1; 8]));
    fake.shoot_as(bad(vec![4; 8], true));
    assert_eq!(next(&mut camera).0, Event::Timeout);
    assert_eq!(camera.bad_frames, 4);
    assert_eq!(fake.world().queued.len(), 4);
}

#[test]
fn a_camera_without_a_usable_frame_for_long_is_opened_again() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    for second in 0..9 {
        fake.shoot_as(Shot {
            at: second * SECOND,
            data: vec![1; 8],
            damaged: true,
            index: None,
        });
    }
    for _ in 0..9 {
        assert_eq!(next(&mut camera).0, Event::Timeout);
    }
    assert_eq!(
        next(&mut camera).0,
        Event::Lost("no usable frame for 10 seconds".into())
    );
}

#[test]
fn a_driver_that_announces_frames_and_has_none_does_not_keep_us_spinning() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.shoot(Duration::ZERO, 1);
    let taken = std::mem::take(&mut fake.world().queued);
    assert_eq!(next(&mut camera).0, Event::Timeout);
    fake.world().queued = taken;
    assert_eq!(next(&mut camera).0, Event::Frame);
}

#[test]
fn frames_carry_the_drivers_time_if_it_can_be_true() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.shoot(Duration::ZERO, 1);
    fake.world().time += Duration::from_millis(80);
    let (_, frame) = next(&mut camera);
    assert_eq!(
        camera.system.now() - frame.captured,
        Duration::from_millis(80)
    );
    let age = SystemTime::now().duration_since(frame.captured_at).unwrap();
    assert!((80..2000).contains(&age.as_millis()), "{age:?}");

    let filled = |taken| Filled {
        index: 0,
        bytes: WHOLE,
        damaged: false,
        taken,
    };
    let time = fake.world().time;
    for unlikely in [None, Some(time + SECOND), Some(time - 60 * SECOND)] {
        let mut frame = Frame::empty();
        stamp(
            &mut frame,
            filled(unlikely),
            camera.system.now(),
            &camera.system,
        );
        assert_eq!(frame.captured, camera.system.now());
    }
}

#[test]
fn the_drivers_stride_is_used_and_padding_behind_the_last_row_is_not_needed() {
    let fake = Fake::new();
    fake.world().stride = 16;
    let mut camera = fake.open().unwrap();
    fake.shoot_as(Shot {
        at: Duration::ZERO,
        data: vec![1; 20],
        damaged: false,
        index: None,
    });
    let (event, frame) = next(&mut camera);
    assert_eq!(
        (event, frame.stride, frame.data.len()),
        (Event::Frame, 16, 20)
    );
}

#[test]
fn half_a_jpeg_is_dropped_and_a_padded_one_is_not() {
    let fake = Fake::new();
    fake.world().formats = vec![*b"MJPG"];
    let mut camera = fake.open().unwrap();
    let shot = |data: &[u8]| Shot {
        at: Duration::ZERO,
        data: data.to_vec(),
        damaged: false,
        index: None,
    };
    fake.shoot_as(shot(&[0xff, 0xd8, 0xff, 1, 2, 3]));
    assert_eq!(next(&mut camera).0, Event::Timeout);
    fake.shoot_as(shot(&[1, 2, 3, 4, 0xff, 0xd9]));
    assert_eq!(next(&mut camera).0, Event::Timeout);
    fake.shoot_as(shot(&[0xff, 0xd8, 0xff, 1, 0xff, 0xd9, 0, 0]));
    let (event, frame) = next(&mut camera);
    assert_eq!(
        (event, frame.format, frame.data.len()),
        (Event::Frame, PixelFormat::Mjpg, 8)
    );
    assert_eq!(camera.bad_frames, 2);
}

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

#[derive(Debug, Clone)]
enum Happening {
    Shot {
        after: u64,
        length: usize,
        damaged: bool,
        index: Option<u32>,
    },
    Fault(&'static str, Errno),
    HangUp,
    Next {
        timeout: u64,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    let calls = [
        "open",
        "identity",
        "set_format",
        "make_buffers",
        "queue",
        "start",
        "poll",
        "dequeue",
    ];
    let errnos = [
        Errno::INTR,
        Errno::NODEV,
        Errno::IO,
        Errno::INVAL,
        Errno::BUSY,
        Errno::ACCESS,
    ];
    let index = prop_oneof![9 => Just(None), 1 => (0_u32..9).prop_map(Some)];
    prop_oneof![
        4 => (0_u64..3000, 6_usize..10, any::<bool>(), index)
            .prop_map(|(after, length, damaged, index)| Happening::Shot { after, length, damaged, index }),
        2 => (proptest::sample::select(calls.to_vec()), proptest::sample::select(errnos.to_vec()))
            .prop_map(|(call, errno)| Happening::Fault(call, errno)),
        1 => Just(Happening::HangUp),
        5 => (0_u64..4000).prop_map(|timeout| Happening::Next { timeout }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_waiting_ends_buffers_are_kept_and_the_camera_comes_back(
        happenings in proptest::collection::vec(happening(), 1..60)
    ) {
        let fake = Fake::new();
        let mut camera = fake.open().unwrap();
        let mut frame = Frame::empty();
        for happening in happenings {
            match happening {
                Happening::Shot { after, length, damaged, index } => {
                    let at = Duration::from_millis(after);
                    fake.shoot_as(Shot { at, data: vec![7; length], damaged, index });
                }
                Happening::Fault(call, errno) => fake.fail(call, &[errno]),
                Happening::HangUp => fake.world().hung_up = true,
                Happening::Next { timeout } => {
                    let timeout = Duration::from_millis(timeout);
                    let before = fake.world().time;
                    let event = camera.next(&mut frame, timeout);
                    prop_assert!(fake.world().time - before <= timeout);
                    if event == Event::Frame {
                        prop_assert_eq!(&frame.data, &vec![7; WHOLE as usize]);
                    }
                    let streaming = matches!(camera.state, State::Streaming { .. });
                    prop_assert_eq!(streaming, !matches!(event, Event::Lost(_)));
                    if streaming {
                        prop_assert_eq!(fake.world().queued.len(), 4);
                    }
                }
            }
        }
        fake.world().faults.clear();
        fake.world().shots.clear();
        let mut seconds = 0;
        loop {
            fake.shoot(Duration::ZERO, 7);
            if camera.next(&mut frame, SECOND) == Event::Frame {
                break;
            }
            seconds += 1;
            prop_assert!(seconds < 20);
        }
    }
}
