//! Subscribers that are slow, rude or too many, and what the others notice of them: nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use resnetd::publish::wire::Message;

use crate::fakes::{Act, Steady, scripted};
use crate::harness::{Running, Subscriber, kind, wait_until};

/// How one of the subscribers that deserve no sympathy behaves until told to end.
fn misbehave(path: &Path, how: usize, end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        let mut stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let pause = |ms| thread::sleep(Duration::from_millis(ms));
        match how % 4 {
            // Never reads.
            0 => wait_until(|| end.load(Ordering::Acquire)),
            // Reads a byte now and then.
            1 => {
                while !end.load(Ordering::Acquire)
                    && stream.read(&mut [0u8; 1]).is_ok_and(|n| n == 1)
                {
                    pause(100);
                }
            }
            // Goes away in the middle of a line.
            2 => {
                let _ = stream.read(&mut [0u8; 100]);
                pause(5);
            }
            // Sends as much as it can.
            _ => {
                let garbage = vec![b'x'; 64 * 1024];
                while !end.load(Ordering::Acquire) && stream.write(&garbage).is_ok() {}
                pause(20);
            }
        }
    }
}

#[test]
fn nobody_is_disturbed_by_subscribers_that_misbehave() {
    const MESSAGES: usize = 300;
    let steady = Steady {
        pause: Duration::from_millis(5),
        count: 0,
    };
    let running = Running::with(Box::new(steady));
    let end = Arc::new(AtomicBool::new(false));
    let bad: Vec<JoinHandle<()>> = (0..16)
        .map(|how| {
            let (path, end) = (running.path(), Arc::clone(&end));
            thread::spawn(move || misbehave(&path, how, &end))
        })
        .collect();
    let healthy: Vec<JoinHandle<Vec<f64>>> = (0..4)
        .map(|_| {
            let mut subscriber = running.subscribe();
            thread::spawn(move || follow(&mut subscriber, MESSAGES))
        })
        .collect();
    for thread in healthy {
        let mut delays = thread.join().unwrap();
        delays.sort_by(f64::total_cmp);
        // Of all but the last hundredth, which belongs to whatever else this machine does.
        let worst = delays[delays.len() * 99 / 100];
        assert!(worst < 0.05, "{:.1} ms", worst * 1e3);
    }
    end.store(true, Ordering::Release);
    bad.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Reads on and sees that nothing is missing; the delays from capture to here, in seconds.
fn follow(subscriber: &mut Subscriber, messages: usize) -> Vec<f64> {
    let mut last: Option<u64> = None;
    let mut delays = Vec::new();
    while delays.len() < messages {
        match subscriber.next().expect("the stream goes on") {
            Message::Classification(one) => {
                if let Some(last) = last {
                    assert_eq!(
                        one.frame_id,
                        last + 1 + one.dropped,
                        "every frame is told or counted"
                    );
                }
                last = Some(one.frame_id);
                let now = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap();
                delays.push(now.as_secs_f64() - one.timestamp);
            }
            Message::Lagged(lagged) => panic!("{} missed", lagged.missed),
            _ => {}
        }
    }
    // The first is the state of things when it came, and as old as that is.
    delays.split_off(1)
}

#[test]
fn who_does_not_read_is_told_how_much_it_missed() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut lazy = running.subscribe();
    let mut eager = running.subscribe();
    let frames = 3000;
    for _ in 0..frames {
        acts.send(Act::Frame(0)).unwrap();
    }
    eager.until(|message| kind(message) == format!("{frames} golf ball"));

    let mut expected = 1;
    let mut lagged = 0;
    while expected <= frames {
        match lazy.next().expect("the stream goes on") {
            Message::Classification(one) => {
                assert_eq!(one.frame_id, expected);
                expected += 1;
            }
            Message::Lagged(gap) => {
                lagged += 1;
                expected += gap.missed;
            }
            _ => {}
        }
    }
    assert!(lagged > 0);
}

#[test]
fn more_subscribers_than_allowed_are_closed_and_the_others_served() {
    let (acts, source) = scripted(true);
    let running = Running::with(source);
    let mut first = running.subscribe();
    let mut all: Vec<Subscriber> = (0..270).map(|_| running.subscribe()).collect();
    acts.send(Act::Frame(0)).unwrap();
    first.until(|message| kind(message) == "1 golf ball");
    let refused = all.iter_mut().rev().take(5);
    assert!(
        refused
            .map(Subscriber::next)
            .all(|message| message.is_none())
    );
    drop(all);
    wait_until(|| Subscriber::to(&running.path()).next().is_some());
}
