//! Cameras that are not V4L2, as the program meets them: a real ffmpeg as the child that dies and returns, video
//! from a pipe and a file, a network camera that breaks off. `make test` installs ffmpeg.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here should take on a busy machine, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(60);
const CAMERA: &str = "exec:ffmpeg -nostdin -loglevel warning -re -f lavfi -i testsrc=size=320x240:rate=10 -pix_fmt yuvj420p -f mjpeg -q:v 3 -";

/// A running `resnetd run` with the tiny network.
struct Daemon {
    folder: TempDir,
    process: Child,
}

impl Daemon {
    fn start(source: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = resnetd(&folder, source).stderr(Stdio::inherit()).spawn();
        Self {
            process: process.unwrap(),
            folder,
        }
    }

    fn subscribe(&self) -> BufReader<UnixStream> {
        let path = self.folder.path().join("s");
        let mut stream = UnixStream::connect(&path);
        wait_until(|| {
            stream = UnixStream::connect(&path);
            stream.is_ok()
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        BufReader::new(stream)
    }

    /// The children of all its threads.
    fn children(&self) -> Vec<String> {
        let tasks = format!("/proc/{}/task", self.process.id());
        let tasks = fs::read_dir(tasks).unwrap().flatten();
        let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
        let lists: String = lists.map(Result::unwrap_or_default).collect();
        lists.split_whitespace().map(str::to_owned).collect()
    }

    /// The child, once there is exactly one.
    fn child(&self) -> String {
        wait_until(|| self.children().len() == 1);
        self.children().remove(0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn resnetd(folder: &TempDir, source: &str) -> Command {
    common::tiny_int8()
        .write(&folder.path().join("tiny.nnef.tar"))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_resnetd"));
    command
        .current_dir(folder.path())
        .env("RESNETD_LOG", "info")
        .args(["run", "--model", "tiny.nnef.tar", "--socket", "s"])
        .args(["--source", source])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "warning"])
        .args(arguments)
        .output()
        .expect("ffmpeg is missing: run cross/need.sh ffmpeg");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "it never came to pass");
        thread::sleep(Duration::from_millis(5));
    }
}

fn message(reader: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// Reads on to the message of this type and, for a status, this state.
fn until(reader: &mut BufReader<UnixStream>, kind: &str, state: &str) -> Value {
    let end = Instant::now() + LONG;
    loop {
        assert!(Instant::now() < end, "no {kind} {state}");
        let message = message(reader);
        if message["type"] == kind && (state.is_empty() || message["state"] == state) {
            return message;
        }
    }
}

fn signal(name: &str, pid: &str) {
    let done = Command::new("kill").args([name, pid]).status().unwrap();
    assert!(done.success());
}

fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Kills ffmpeg again and again, each time after it has streamed for `steady`.
fn kill_and_see_it_return(times: usize, steady: Duration) {
    let daemon = Daemon::start(CAMERA);
    let mut reader = daemon.subscribe();
    until(&mut reader, "status", "streaming");
    until(&mut reader, "classification", "");
    for _ in 0..times {
        let begin = Instant::now();
        while begin.elapsed() < steady {
            until(&mut reader, "classification", "");
        }
        signal("-KILL", &daemon.child());
        let lost = until(&mut reader, "status", "camera_lost");
        let detail = lost["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("ffmpeg was killed by signal 9"),
            "{detail}"
        );
        until(&mut reader, "status", "streaming");
        until(&mut reader, "classification", "");
    }
}

#[test]
fn a_killed_ffmpeg_is_a_lost_camera_and_comes_back() {
    kill_and_see_it_return(3, Duration::ZERO);
}

#[test]
#[ignore = "takes a minute; part of make test-all"]
fn an_ffmpeg_that_is_killed_ten_times_comes_back_ten_times() {
    kill_and_see_it_return(10, Duration::from_millis(5500));
}

#[test]
fn no_child_outlives_us_however_we_end() {
    for how in ["-KILL", "-TERM"] {
        let mut daemon = Daemon::start(CAMERA);
        until(&mut daemon.subscribe(), "classification", "");
        let child = daemon.child();
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap();
        assert_eq!(name, "ffmpeg\n");
        signal(how, &daemon.process.id().to_string());
        daemon.process.wait().unwrap();
        wait_until(|| !is_running(&child));
    }
}

/// Runs to the end and gives what was logged.
fn run_to_the_end(source: &str, input: Option<Vec<u8>>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = resnetd(&folder, source);
    command.stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut process = command.spawn().unwrap();
    if let Some(input) = input {
        process.stdin.take().unwrap().write_all(&input).unwrap();
    }
    let output = process.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    log
}

const PICTURES: [&str; 6] = [
    "-f",
    "lavfi",
    "-i",
    "testsrc=size=160x120:rate=25",
    "-frames:v",
    "40",
];

#[test]
fn a_pipe_loses_no_frame_and_its_end_is_a_good_end() {
    let mjpeg = ffmpeg(&[&PICTURES[..], &["-f", "mjpeg", "-"]].concat());
    let log = run_to_the_end("mjpeg:-", Some(mjpeg));
    assert!(
        log.contains("ended after 40 frames (0 could not be classified)"),
        "{log}"
    );
}

#[test]
fn y4m_from_ffmpeg_is_read_in_each_kind_that_is_claimed() {
    for format in ["yuv420p", "yuvj420p", "gray"] {
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("video.y4m");
        let video = ["-pix_fmt", format, "-f", "yuv4mpegpipe", "-"];
        fs::write(&file, ffmpeg(&[&PICTURES[..], &video].concat())).unwrap();
        let log = run_to_the_end(&format!("y4m:{}", file.display()), None);
        assert!(
            log.contains("ended after 40 frames (0 could not be classified)"),
            "{format}: {log}"
        );
    }
}

#[test]
fn a_network_camera_that_breaks_off_is_lost_and_comes_back() {
    let picture = ffmpeg(&[&PICTURES[..4], &["-frames:v", "1", "-f", "mjpeg", "-"]].concat());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(
                b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n",
            );
            for _ in 0..10 {
                let head = format!("--b\r\nContent-Length: {}\r\n\r\n", picture.len());
                let _ = socket.write_all(&[head.as_bytes(), &picture, b"\r\n"].concat());
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let daemon = Daemon::start(&format!("http://127.0.0.1:{port}/"));
    let mut reader = daemon.subscribe();
    for _ in 0..2 {
        until(&mut reader, "status", "streaming");
        let lost = until(&mut reader, "status", "camera_lost");
        assert_eq!(lost["detail"], "the camera ended the connection");
    }
    until(&mut reader, "classification", "");
}
