//! The program with a configuration file that changes, and with SIGHUP: what is new counts, what is wrong does not,
//! and whoever reads the socket stays connected.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here should take, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(60);

struct Daemon {
    folder: TempDir,
    child: Child,
    reader: BufReader<UnixStream>,
}

impl Daemon {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        common::tiny_int8().write(&place("tiny.nnef.tar")).unwrap();
        fs::write(place("c.toml"), config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_resnetd"))
            .current_dir(folder.path())
            .env("RESNETD_LOG", "info")
            .args(["run", "--config", "c.toml", "--socket", "s"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let end = Instant::now() + LONG;
        let stream = loop {
            match UnixStream::connect(place("s")) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self {
            folder,
            child,
            reader: BufReader::new(stream),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As an editor does it: the new file takes the old one's place.
    fn write(&self, config: &str) {
        fs::write(self.path("new"), config).unwrap();
        fs::rename(self.path("new"), self.path("c.toml")).unwrap();
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }

    fn until(&mut self, found: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "it goes on");
            let message = serde_json::from_str(&line).unwrap();
            if found(&message) {
                return message;
            }
        }
    }

    /// Ends it in peace and gives its log.
    fn end(mut self) -> String {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
