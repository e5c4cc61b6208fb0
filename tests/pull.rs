//! `resnetd-model pull`, end to end: against a server on this machine that serves files which the test has, and
//! without any.

#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use resnetd::bundle::Bundle;
use resnetd::infer::registry::OPERATORS;
use resnetd::spec::Interpolation;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const CONFIG: &str = r#"{"architecture": "resnet50", "num_classes": 10, "pretrained_cfg": {
    "input_size": [3, 64, 64], "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
    "label_names": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]}}"#;

/// Serves files by their paths, with the headers that the hub sends.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(files: Vec<(&'static str, Vec<u8>)>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.lock().unwrap().push(path.clone());
            let found = files.iter().find(|(known, _)| *known == path);
            let (status, body) = found.map_or(("404 Not Found", &[][..]), |(_, b)| ("200 OK", b));
            let _ = write!(
                &stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"1\"\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
            let _ = (&stream).write_all(body);
        }
    });
    Server { url, asked }
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `resnetd-model pull`, with nothing of this machine's settings.
    fn pull(&self, server: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_resnetd-model"))
            .env_clear()
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env("HF_HOME", self.path("hf"))
            .env("HF_ENDPOINT", server)
            .env("RESNETD_TORCHVISION_URL", server)
            .arg("pull")
            .args(arguments)
            .output()
            .unwrap()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The tiny ResNet without what its file says of itself, as timm's files are.
fn weights() -> Vec<u8> {
    let file = fs::read(common::golden("tiny_resnet.safetensors")).unwrap();
    let (length, rest) = file.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    header.as_object_mut().unwrap().remove("__metadata__");
    let header = header.to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, data].concat()
}

#[test]
fn weights_of_the_hub_become_a_bundle_with_their_preprocessing() {
    let (home, server) = (
        Home::new(),
        serve(vec![
            ("/timm/tiny.test/resolve/main/model.safetensors", weights()),
            ("/timm/tiny.test/resolve/main/config.json", CONFIG.into()),
        ]),
    );
    let arguments = ["timm/tiny.test", "--float", "-o", "tiny.nnef.tar"];
    let output = home.pull(&server.url, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("10 classes, float"));
    let bundle = Bundle::open(&home.path("tiny.nnef.tar"), OPERATORS).unwrap();
    let found = &bundle.manifest;
    let prepared = &found.preprocessing;
    assert_eq!((prepared.resize, prepared.crop), (71, 64));
    assert_eq!(prepared.interpolation, Interpolation::Bicubic);
    assert_eq!((prepared.mean, prepared.std), ([0.5; 3], [0.25; 3]));
    assert_eq!(found.labels[9], "j");
    assert_eq!(found.provenance.source, "timm/tiny.test");

    // again, and nobody is asked: everything lies where Python's library would have put it
    let asked = server.asked.lock().unwrap().len();
    let kept = format!("hf/hub/models--timm--tiny.test/snapshots/{COMMIT}");
    assert_eq!(home.files(&kept).len(), 2);
    fs::remove_file(home.path("tiny.nnef.tar")).unwrap();
    let output = home.pull("http://127.0.0.1:9", &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(server.asked.lock().unwrap().len(), asked);
}

#[test]
fn without_safetensors_the_pytorch_file_is_fetched() {
    let bin = fs::read(common::golden("tiny.pth")).unwrap();
    let (home, server) = (
        Home::new(),
        serve(vec![
            ("/a/b/resolve/main/pytorch_model.bin", bin),
            ("/a/b/resolve/main/config.json", CONFIG.into()),
        ]),
    );
    let output = home.pull(&server.url, &["a/b", "--float", "-o", "b.nnef.tar"]);
    // it is read, and is no ResNet
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("layer1.0.conv1.weight"));
    assert!(!home.path("b.nnef.tar").exists());
}

#[test]
fn what_a_repository_does_not_have_is_not_asked_for_again_without_a_network() {
    let bin = fs::read(common::golden("tiny.pth")).unwrap();
    let (home, server) = (
        Home::new(),
        serve(vec![("/a/b/resolve/main/pytorch_model.bin", bin)]),
    );
    let arguments = ["a/b", "--float", "-o", "b.nnef.tar"];
    let first = home.pull(&server.url, &arguments);
    let asked = server.asked.lock().unwrap().len();
    assert_eq!(asked, 3);
    let again = home.pull("http://127.0.0.1:9", &arguments);
    // what was read both times is no ResNet
    for output in [first, again] {
        assert!(
            text(&output.stderr).contains("layer1.0.conv1.weight"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn without_photographs_the_bundle_is_int8_all_the_same_and_what_that_costs_is_said() {
    let (home, server) = (
        Home::new(),
        serve(vec![
            ("/timm/tiny.test/resolve/main/model.safetensors", weights()),
            ("/timm/tiny.test/resolve/main/config.json", CONFIG.into()),
        ]),
    );
    let output = home.pull(&server.url, &["timm/tiny.test", "-o", "tiny.nnef.tar"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        said.contains("int8, ranges by minmax") && said.contains("--calib"),
        "{said}"
    );
    let bundle = Bundle::open(&home.path("tiny.nnef.tar"), OPERATORS).unwrap();
    let found = bundle.manifest.quantization.unwrap();
    assert_eq!(
        (found.images, &*found.calibration),
        (64, "no pictures: dead leaves")
    );
}

#[test]
fn a_file_that_is_not_torchvisions_is_an_error_and_not_kept() {
    let (home, server) = (
        Home::new(),
        serve(vec![("/resnet50-11ad3fa6.pth", b"something else".to_vec())]),
    );
    let output = home.pull(
        &server.url,
        &["torchvision/resnet50-v2", "--float", "-o", "x.nnef.tar"],
    );
    assert!(!output.status.success());
    let message = text(&output.stderr);
    assert!(
        message.contains("SHA-256") && message.contains("11ad3fa6"),
        "{message}"
    );
    assert_eq!(home.files(".cache/resnetd").len(), 0);
    assert!(!home.path("x.nnef.tar").exists());
    assert_eq!(*server.asked.lock().unwrap(), ["/resnet50-11ad3fa6.pth"]);
}

#[test]
fn who_cannot_be_reached_or_is_not_known_is_named() {
    let home = Home::new();
    for (name, server, word) in [
        (
            "torchvision/resnet18",
            "http://127.0.0.1:9",
            "resnet18-f37072fd.pth",
        ),
        ("timm/nothing", "http://127.0.0.1:9", "timm/nothing"),
        ("torchvision/vgg16", "", "wide_resnet50_2-v2"),
        ("resnet50", "", "OWNER/NAME"),
        ("../../etc/passwd", "", "no weights"),
    ] {
        let output = home.pull(server, &[name, "--float", "-o", "x.nnef.tar"]);
        let message = text(&output.stderr);
        assert!(
            !output.status.success() && message.contains(word),
            "{name}: {message}"
        );
        assert!(!message.contains("panicked"), "{message}");
    }
    assert_eq!(home.files(".cache/resnetd").len(), 0);
}
