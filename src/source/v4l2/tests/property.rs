//! Any sequence of faults and frames, where the tests by hand know only the sequences that somebody thought of.

use proptest::prelude::*;
use rustix::io::Errno;

use super::super::*;
use super::fake::{Fake, SECOND, Shot, WHOLE};

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
