//! How the daemon takes its socket and leaves it: one left behind, one in use, a stop, a thread that is stuck.

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use resnetd::daemon::{self, DaemonError};
use resnetd::frame::Frame;
use resnetd::publish::SocketError;
use resnetd::publish::wire::State;
use resnetd::source::{Event, Source};

use crate::fakes::{ByByte, Steady, Stuck, camera, fill, scripted};
use crate::harness::{Running, Subscriber, options};

#[test]
fn the_run_ends_after_the_frames_that_were_asked_for() {
    let steady = Steady {
        pause: Duration::from_millis(1),
        count: 0,
    };
    let mut running = Running::start(
        vec![camera(Box::new(steady))],
        Box::new(ByByte),
        |options| {
            options.frames = Some(7);
        },
    );
    assert_eq!(running.join().unwrap().classified, 7);
}

#[test]
fn a_stop_ends_within_a_second_and_removes_the_socket() {
    let (_acts, source) = scripted(false);
    let mut running = Running::with(source);
    let mut subscriber = running.subscribe();
    let begin = Instant::now();
    running.stop().unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert!(!running.path().exists());
    subscriber.until_state(State::Stopping);
    assert_eq!(subscriber.next(), None);
}

#[test]
fn a_stop_waits_neither_for_a_stuck_inference_nor_for_a_stuck_camera() {
    struct Deaf;
    impl Source for Deaf {
        fn next(&mut self, frame: &mut Frame, _: Duration) -> Event {
            if frame.data.is_empty() {
                return fill(frame, 0);
            }
            loop {
                thread::park();
            }
        }
        fn lossless(&self) -> bool {
            false
        }
        fn describe(&self) -> String {
            "deaf".into()
        }
    }
    let mut running = Running::start(vec![camera(Box::new(Deaf))], Box::new(Stuck), |_| {});
    running.subscribe().until_state(State::Streaming);
    let begin = Instant::now();
    running.stop().unwrap();
    assert!(
        begin.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begin.elapsed()
    );
    assert!(!running.path().exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_refused() {
    let (_acts, source) = scripted(false);
    let running = Running::start(vec![camera(source)], Box::new(ByByte), |options| {
        drop(UnixListener::bind(options.socket.as_ref().unwrap()).unwrap());
    });
    let path = running.path();
    let (_more_acts, second) = scripted(false);
    let refused = daemon::run(
        options(path.clone(), vec![camera(second)], Box::new(ByByte)),
        &AtomicBool::new(false),
    );
    let Err(DaemonError::Socket(SocketError::InUse(named))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(named, path);
    Subscriber::to(&path).kinds(1);
    drop(running);
    assert!(!path.exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let path = directory.path().join("file/s");
    let (_acts, source) = scripted(false);
    let refused = daemon::run(
        options(path.clone(), vec![camera(source)], Box::new(ByByte)),
        &AtomicBool::new(false),
    );
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains(path.to_str().unwrap()) && message.contains("--socket"),
        "{message}"
    );
}
