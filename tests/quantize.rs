//! `resnetd-model quantize` as a command: pictures that are few, loose, broken or empty, and the ways to say how.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use resnetd::bundle::Bundle;
use resnetd::infer::registry::OPERATORS;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with the tiny float network and pictures.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let float = bench.at("float.nnef.tar");
        common::tiny_float().write(&float).unwrap();
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// So many pictures of 8x8 in a folder, no two of them alike.
    fn pictures(&self, folder: &str, count: u8) {
        fs::create_dir_all(self.at(folder)).unwrap();
        for k in 0..count {
            let picture: Vec<u8> = (0..192u8)
                .map(|i| i.wrapping_mul(k | 1).wrapping_add(k))
                .collect();
            let path = self.at(&format!("{folder}/{k}.png"));
            image::save_buffer(path, &picture, 8, 8, image::ExtendedColorType::Rgb8).unwrap();
        }
    }

    /// Exit code, standard output and error of `quantize float.nnef.tar ... -o int8.nnef.tar`.
    fn quantize(&self, more: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_resnetd-model"))
            .current_dir(self.0.path())
            .args(["quantize", "float.nnef.tar", "-o", "int8.nnef.tar"])
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap();
        (code, text(&output.stdout), text(&output.stderr))
    }

    fn json(&self, more: &[&str]) -> Value {
        let (code, out, err) = self.quantize(&[more, &["--json"]].concat());
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    }

    fn refused(&self, more: &[&str]) -> String {
        let (code, _, err) = self.quantize(more);
        assert_ne!(code, 0);
        assert!(!self.at("int8.nnef.tar").exists());
        err
    }
}

#[test]
fn frames_that_lie_loose_in_a_folder_will_do_and_broken_ones_are_counted() {
    let bench = Bench::new();
    bench.pictures("frames", 40);
    fs::write(bench.at("frames/0broken.jpg"), "no picture").unwrap();
    let found = bench.json(&["--calib", "frames"]);
    // of 41 a quarter is kept to compare recipes on
    assert_eq!(found["compared_on"], 10, "{found}");
    assert_eq!(
        (&found["images"], &found["skipped"]),
        (&30.into(), &1.into()),
        "{found}"
    );
    assert_eq!(found["recipes"].as_array().unwrap().len(), 9);
    let (_, out, err) = bench.quantize(&["--calib", "frames"]);
    assert!(out.contains("on 30 pictures, 1 skipped"), "{out}");
    assert!(
        err.contains("0broken.jpg skipped") && err.contains("30 pictures are few"),
        "{err}"
    );
}

#[test]
fn with_very_few_pictures_nothing_is_compared_and_that_is_said() {
    let bench = Bench::new();
    bench.pictures("frames", 5);
    let (code, out, err) = bench.quantize(&["--calib", "frames"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("on 5 pictures; too few to compare recipes on"),
        "{out}"
    );
    assert!(err.contains("5 pictures are few"), "{err}");
}

#[test]
fn pictures_that_say_nothing_are_refused_and_leave_no_file() {
    let bench = Bench::new();
    fs::create_dir(bench.at("empty")).unwrap();
    let error = bench.refused(&["--calib", "empty"]);
    assert!(error.contains("no JPEG or PNG"), "{error}");
    fs::create_dir(bench.at("dark")).unwrap();
    for k in 0..3 {
        let path = bench.at(&format!("dark/{k}.png"));
        image::save_buffer(path, &[k; 192], 8, 8, image::ExtendedColorType::Rgb8).unwrap();
    }
    let error = bench.refused(&["--calib", "dark"]);
    assert!(error.contains("one colour"), "{error}");
    bench.pictures("broken", 8);
    for k in 0..2 {
        fs::write(bench.at(&format!("broken/x{k}.png")), "no picture").unwrap();
    }
    let error = bench.refused(&["--calib", "broken"]);
    assert!(error.contains("2 of 10 pictures cannot be read"), "{error}");
}

#[test]
fn a_pipe_in_place_of_an_archive_is_not_waited_for() {
    let bench = Bench::new();
    let made = Command::new("mkfifo").arg(bench.at("pipe.tar")).status();
    assert!(made.unwrap().success());
    let error = bench.refused(&["--calib", "pipe.tar"]);
    assert!(error.contains("not a plain file"), "{error}");
}

#[test]
fn an_archive_of_loose_pictures_is_read_too() {
    let bench = Bench::new();
    bench.pictures("frames", 4);
    let mut archive = tar::Builder::new(fs::File::create(bench.at("frames.tar")).unwrap());
    archive.append_dir_all("", bench.at("frames")).unwrap();
    archive.finish().unwrap();
    assert_eq!(bench.json(&["--calib", "frames.tar"])["images"], 4);
}

#[test]
fn without_pictures_made_up_ones_are_measured_and_always_the_same() {
    let bench = Bench::new();
    let found = bench.json(&["--data-free"]);
    assert_eq!(
        (&found["method"], &found["images"]),
        (&"minmax, bias corrected".into(), &64.into())
    );
    let first = fs::read(bench.at("int8.nnef.tar")).unwrap();
    bench.json(&["--data-free"]);
    assert!(first == fs::read(bench.at("int8.nnef.tar")).unwrap());
    let bundle = Bundle::open(&bench.at("int8.nnef.tar"), OPERATORS).unwrap();
    let said = bundle.manifest.quantization.unwrap().calibration;
    assert!(said.contains("no pictures"), "{said}");
}

#[test]
fn a_layer_stays_float_and_time_is_bounded_where_that_is_asked_for() {
    let bench = Bench::new();
    bench.pictures("frames", 40);
    let kept = "layer1_0_conv1";
    let found = bench.json(&[
        "--calib",
        "frames",
        "--minutes",
        "0.001",
        "--keep-float",
        kept,
    ]);
    assert!(found["recipes"].as_array().unwrap().len() < 9, "{found}");
    let bundle = Bundle::open(&bench.at("int8.nnef.tar"), OPERATORS).unwrap();
    assert!(bundle.manifest.quantization.is_some());
    let whole = bench.json(&["--calib", "frames"]);
    assert_eq!(whole["recipes"].as_array().unwrap().len(), 9, "{whole}");
    fs::remove_file(bench.at("int8.nnef.tar")).unwrap();
    let error = bench.refused(&["--calib", "frames", "--keep-float", "layer9"]);
    assert!(error.contains("no layer layer9"), "{error}");
}
