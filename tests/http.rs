//! The page and what belongs to it, as a browser, Prometheus and somebody who means harm see them: over TCP, from a
//! process that runs on rendered scenes.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::web::{LONG, TOKEN, address, ask, bearer, config, connect, get, raw, serving};
use serde_json::Value;

#[test]
fn the_page_asks_nobody_else_for_anything() {
    let (_daemon, address) = serving("");
    let mut bytes = 0;
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/draw.js", "text/javascript"),
        ("/kept.js", "text/javascript"),
        ("/teach.js", "text/javascript"),
    ] {
        let answer = get(&address, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.head.contains(&format!("content-type: {kind}")),
            "{}",
            answer.head
        );
        assert!(
            answer
                .head
                .contains("content-security-policy: default-src 'none'")
        );
        assert!(!answer.head.contains("access-control-allow"));
        let text = answer.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("://"), "{path} names another address");
        bytes += text.len();
    }
    assert!(bytes < 100 << 10, "{bytes} bytes");
}

#[test]
fn the_state_is_what_a_subscriber_of_the_socket_knows_and_more() {
    let (mut daemon, address) = serving("");
    daemon.until(|message| message["frame_id"].as_u64() > Some(20));
    let state = get(&address, "/state").json();
    let kinds: Vec<&str> = { state["messages"].as_array().unwrap() }
        .iter()
        .map(|message| message["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["hello", "model", "status", "classification"]);
    let camera = &state["cameras"][0];
    assert!(camera["captured"].as_u64() >= Some(20), "{camera}");
    assert_eq!(camera["scene"]["rotate"], 0);
    let timeline = &state["history"]["timelines"][0];
    assert!(timeline["labels"][0]["label"].is_string(), "{timeline}");
    assert!(state["history"]["charts"][0]["intervals"][0]["frames"].as_u64() > Some(0));
    assert!(state["resident_bytes"].as_u64() > Some(1 << 20));
}

#[test]
fn events_are_the_sockets_messages_and_go_on() {
    let (_daemon, address) = serving("");
    let mut answer = get(&address, "/events");
    assert!(
        answer.head.contains("content-type: text/event-stream"),
        "{}",
        answer.head
    );
    let mut seen = Vec::new();
    let mut line = String::new();
    while seen.iter().filter(|kind| *kind == "classification").count() < 5 {
        line.clear();
        assert!(answer.reader.read_line(&mut line).unwrap() > 0);
        if let Some(data) = line.strip_prefix("data: ") {
            let message: Value = serde_json::from_str(data).unwrap();
            seen.push(message["type"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen[..3], ["hello", "model", "status"]);
}

#[test]
fn a_picture_is_a_jpeg_and_a_moving_one_many() {
    let (_daemon, address) = serving("preview_fps = 20.0\n");
    let answer = get(&address, "/snapshot.jpg");
    assert!(answer.head.contains("content-type: image/jpeg"));
    let picture = image::load_from_memory(&answer.body()).unwrap();
    assert_eq!((picture.width(), picture.height()), (640, 480));

    let mut answer = get(&address, "/stream.mjpg?camera=camera");
    let mut part = || {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(answer.reader.read_line(&mut line).unwrap() > 0);
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" && length > 0 {
                let mut jpeg = vec![0; length];
                answer.reader.read_exact(&mut jpeg).unwrap();
                return image::load_from_memory(&jpeg).unwrap();
            }
        }
    };
    assert_ne!(part(), part());
    assert_eq!(get(&address, "/stream.mjpg?camera=other").status, 404);
}

#[test]
fn why_a_label_is_said_is_a_map_of_the_last_features() {
    let (_daemon, address) = serving("");
    let why = get(&address, "/why").json();
    let (rows, columns) = (
        why["rows"].as_u64().unwrap(),
        why["columns"].as_u64().unwrap(),
    );
    assert_eq!(
        why["values"].as_array().unwrap().len() as u64,
        rows * columns
    );
    let other = get(&address, "/why?class_id=0").json();
    assert_eq!(other["class_id"], 0);
    let scene = get(&address, "/state").json()["cameras"][0]["scene"].clone();
    let seen: Vec<f64> = { scene["views"][0]["seen"].as_array().unwrap() }
        .iter()
        .map(|share| share.as_f64().unwrap())
        .collect();
    // the middle of 640 x 480, as the tiny network crops it
    assert!(
        (seen[0] + seen[2] / 2.0 - 0.5).abs() < 0.01 && (seen[2] / seen[3] - 0.75).abs() < 0.01,
        "{seen:?}"
    );
    assert_eq!(get(&address, "/why?class_id=99").status, 503);
}

#[test]
fn metrics_count_what_happens_and_health_says_that_the_loop_turns() {
    let (mut daemon, address) = serving("");
    let value = |text: &str, name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or(0.0, |line| {
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
    };
    let before = get(&address, "/metrics").text();
    daemon.until(|message| message["frame_id"].as_u64() > Some(40));
    let answer = get(&address, "/metrics");
    assert!(
        answer.head.contains("text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let after = answer.text();
    for name in [
        "resnetd_frames_captured_total{camera=\"camera\"}",
        "resnetd_classifications_total{camera=\"camera\",region=\"\"}",
        "resnetd_inference_seconds_count{camera=\"camera\"}",
        "resnetd_inference_seconds_sum{camera=\"camera\"}",
    ] {
        assert!(value(&after, name) > value(&before, name), "{name}");
    }
    assert_eq!(value(&after, "resnetd_subscribers"), 1.0);
    assert_eq!(
        value(&after, "resnetd_camera_streaming{camera=\"camera\"}"),
        1.0
    );
    assert_eq!(value(&after, "resnetd_model_info{arch="), 1.0);
    assert_eq!(get(&address, "/healthz").status, 200);
}

#[test]
fn nothing_can_be_changed_and_nothing_else_is_there() {
    let (_daemon, address) = serving("");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(
            ask(&address, method, "/state", "Content-Length: 0\r\n").status,
            405,
            "{method}"
        );
    }
    for path in [
        "/etc/passwd",
        "/../../etc/passwd",
        "/page.css/",
        "//state",
        "/%2e%2e/state",
        "/index.html",
    ] {
        assert_eq!(get(&address, path).status, 404, "{path}");
    }
    let head = ask(&address, "HEAD", "/state", "");
    assert_eq!((head.status, head.body().len()), (200, 0));
    assert_eq!(get(&address, "/stream.mjpg?camera=%ff").status, 400);
}

#[test]
fn other_sites_and_other_names_are_refused() {
    let (_daemon, address) = serving("hosts = [\"camera.example\"]\n");
    let named = |host: &str| {
        let request = format!("GET /state HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        raw(&address, request.as_bytes()).status
    };
    assert_eq!(named("evil.example"), 421);
    assert_eq!(named("camera.example"), 200);
    assert_eq!(named("localhost:1234"), 200);
    let from = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n";
    assert_eq!(ask(&address, "GET", "/stream.mjpg", from).status, 403);
    let without = b"GET /state HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&address, without).status, 421);
}

#[test]
fn with_a_token_only_who_knows_it_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let (_daemon, address) = serving(&format!("token_file = \"{}\"\n", file.display()));
    let with = |headers: &str| ask(&address, "GET", "/state", headers);
    let refused = with("");
    assert_eq!(refused.status, 401);
    assert!(
        refused.head.contains("www-authenticate: Basic"),
        "{}",
        refused.head
    );
    assert_eq!(with("Authorization: Bearer something else\r\n").status, 401);
    assert_eq!(
        with(&format!("Authorization: Bearer {TOKEN}\r\n")).status,
        200
    );
    assert_eq!(get(&address, "/").status, 401);
    assert_eq!(get(&address, "/metrics").status, 401);
}

#[test]
fn an_address_that_others_reach_needs_a_token_or_a_word() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_resnetd"))
            .args(["run", "--source", "demo:", "--frames", "1"])
            .args(["--socket", "/tmp/resnetd-test-http-exposed"])
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, log) = run(&["--http", "0.0.0.0:0"]);
    assert_eq!(code, Some(3), "{log}");
    assert!(
        log.contains("token_file") && log.contains("insecure = true"),
        "{log}"
    );
    assert_eq!(run(&["--http", "nowhere"]).0, Some(2));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "[http]\nlisten = \"0.0.0.0:0\"\ninsecure = true\n").unwrap();
    let (code, log) = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_busy_port_stops_nothing_and_is_tried_again() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let mut daemon = Daemon::start(&config(&address, ""));
    daemon.until(|message| message["type"] == "classification");
    drop(busy);
    assert_eq!(get(&address, "/healthz").status, 200);
    let log = daemon.end();
    let told = format!("no page: cannot listen on {address}");
    assert!(
        log.contains(&told) && log.contains("everything else goes on"),
        "{log}"
    );
}

#[test]
fn a_missing_token_stops_nothing_and_is_tried_again() {
    let address = address();
    let mut daemon = Daemon::start(&config(&address, "token_file = \"token\"\n"));
    daemon.until(|message| message["type"] == "classification");
    std::fs::write(daemon.path("token"), TOKEN).unwrap();
    assert_eq!(ask(&address, "GET", "/healthz", &bearer()).status, 200);
    let log = daemon.end();
    assert!(log.contains("no page: the token file token"), "{log}");
}

#[test]
fn absurd_requests_are_refused_and_the_next_one_is_answered() {
    let (_daemon, address) = serving("");
    let long = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nX: {}\r\n\r\n",
        "x".repeat(20 << 10)
    );
    assert_eq!(raw(&address, long.as_bytes()).status, 431);
    let many = "X: 1\r\n".repeat(100);
    assert_eq!(ask(&address, "GET", "/", &many).status, 431);
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = connect(&address);
        stream.write_all(rubbish).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{answer:?}"
        );
    }
    let smuggled = format!(
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /state HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    );
    let mut stream = connect(&address);
    stream.write_all(smuggled.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("\"version\""));
    assert_eq!(get(&address, "/healthz").status, 200);
}

#[test]
fn neither_many_who_look_nor_those_who_do_not_read_hold_up_the_socket() {
    let (mut daemon, address) = serving("preview_fps = 30.0\n");
    let mut readers = Vec::new();
    for n in 0..280 {
        let path = if n % 5 == 0 { "stream.mjpg" } else { "events" };
        let mut stream = TcpStream::connect(&address).unwrap();
        // those beyond the limit are closed at once
        let _ =
            stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
        readers.push(stream);
    }
    let begun = Instant::now();
    let first = daemon.until(|message| message["type"] == "classification");
    let more = first["frame_id"].as_u64().unwrap() + 60;
    daemon.until(|message| message["frame_id"].as_u64() >= Some(more));
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    drop(readers);
    let end = Instant::now() + LONG;
    while TcpStream::connect(&address).is_err() {
        assert!(Instant::now() < end);
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(get(&address, "/healthz").status, 200);
    let log = daemon.end();
    assert!(log.contains("256 connections are open"), "{log}");
}
