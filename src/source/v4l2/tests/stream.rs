//! What an open camera may do to a frame or to the stream, one misdeed to a test.

use rustix::io::Errno;

use super::super::*;
use super::fake::{Fake, SECOND, Shot, WHOLE, next};

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
    assert_eq!(camera.backoff.pause(Duration::ZERO), FIRST_PAUSE);
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
fn a_silent_grabber_says_that_no_signal_comes_in() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.world().no_signal = Some("no signal comes in");
    for _ in 0..9 {
        assert_eq!(next(&mut camera).0, Event::Timeout);
    }
    let why = "no usable frame for 10 seconds: no signal comes in";
    assert_eq!(next(&mut camera).0, Event::Lost(why.into()));
}

#[test]
fn a_picture_of_another_size_is_met_by_opening_again() {
    let fake = Fake::new();
    let mut camera = fake.open().unwrap();
    fake.world().changed = true;
    let why = "the picture that comes in has changed its size";
    fake.shoot(Duration::ZERO, 1);
    assert_eq!(next(&mut camera).0, Event::Lost(why.into()));
    let size = |width, height| Sizes::One { width, height };
    fake.world().sizes.insert(*b"GREY", vec![size(2, 2)]);
    fake.world().stride = 2;
    fake.world().shots.clear();
    fake.shoot(SECOND / 2, 3);
    let (event, frame) = next(&mut camera);
    assert_eq!((event, frame.width, frame.data.len()), (Event::Frame, 2, 4));
    assert!(camera.describe().contains("GREY 2x2"));
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
