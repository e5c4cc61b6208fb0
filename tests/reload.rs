//! The program with a configuration file that changes, and with SIGHUP: what is new counts, what is wrong does not,
//! and whoever reads the socket stays connected.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use common::daemon::Daemon;

fn is(message: &Value, kind: &str, camera: &str) -> bool {
    message["type"] == kind && message["camera"] == camera
}

#[test]
fn a_camera_that_is_away_at_the_start_is_a_state_and_a_new_configuration_replaces_it() {
    let model = "model = \"tiny.nnef.tar\"\n";
    let away = "[[camera]]\nname = \"away\"\nsource = \"v4l2:/dev/video99\"\n";
    let here = "[[camera]]\nname = \"here\"\nsource = \"demo:\"\n";
    let mut daemon = Daemon::start(&format!("{model}{away}"));
    let lost = daemon.until(|m| m["state"] == "camera_lost");
    assert!(
        lost["detail"].as_str().unwrap().contains("/dev/video99"),
        "{lost}"
    );

    daemon.write(&format!("{model}smothing_ms = 3\n{here}"));
    std::thread::sleep(Duration::from_millis(2500));
    daemon.write(&format!("{model}{here}"));
    daemon.until(|m| is(m, "status", "away") && m["state"] == "stopping");
    let hello = daemon.until(|m| m["type"] == "hello");
    assert_eq!(hello["cameras"], serde_json::json!(["here"]));
    daemon.until(|m| is(m, "classification", "here"));
    let log = daemon.end();
    assert!(
        log.contains("not reloaded") && log.contains("smothing_ms"),
        "{log}"
    );
}

/// Resident memory in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_model_that_was_replaced_leaves_no_memory_behind() {
    let bundle =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/resnet50-imagenette.nnef.tar");
    let config = |name: &str| {
        format!("model = \"{name}\"\nsource = \"demo:\"\ntarget_fps = 5.0\nthreads = 1\n")
    };
    let mut daemon = Daemon::start(&config("tiny.nnef.tar"));
    for name in ["a.nnef.tar", "b.nnef.tar"] {
        std::os::unix::fs::symlink(&bundle, daemon.path(name)).unwrap();
    }
    let mut first = 0;
    for turn in 0..8 {
        daemon.write(&config(["a.nnef.tar", "b.nnef.tar"][turn % 2]));
        daemon.signal("HUP");
        daemon.until(|m| m["type"] == "model" && m["reason"] == "config");
        daemon.until(|m| is(m, "classification", "camera"));
        if turn == 1 {
            first = resident(&daemon);
        }
    }
    let last = resident(&daemon);
    assert!(last < first + 8 * 1024, "{first} KiB became {last} KiB");
    daemon.end();
}

#[test]
fn sighup_takes_the_bundle_that_lies_there_now_unless_it_is_damaged() {
    let mut daemon =
        Daemon::start("model = \"tiny.nnef.tar\"\nsource = \"demo:\"\ntarget_fps = 20.0\n");
    daemon.until(|m| is(m, "classification", "camera"));
    let whole = fs::read(daemon.path("tiny.nnef.tar")).unwrap();
    fs::write(daemon.path("damaged"), &whole[..whole.len() / 2]).unwrap();
    fs::rename(daemon.path("damaged"), daemon.path("tiny.nnef.tar")).unwrap();
    daemon.signal("HUP");
    std::thread::sleep(Duration::from_millis(1000));
    fs::write(daemon.path("whole"), &whole).unwrap();
    fs::rename(daemon.path("whole"), daemon.path("tiny.nnef.tar")).unwrap();
    daemon.signal("HUP");
    let model = daemon.until(|m| m["type"] == "model" && m["reason"] == "config");
    assert_eq!(model["model"]["name"], "tiny");
    daemon.until(|m| is(m, "classification", "camera"));
    let log = daemon.end();
    assert!(log.contains("not reloaded"), "{log}");
}
