//! `resnetd-model prune` as a command: the files that it writes, and what it refuses.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with the tiny network in float and int8, and pictures.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        common::tiny_float()
            .write(&bench.at("float.nnef.tar"))
            .unwrap();
        common::tiny_int8()
            .write(&bench.at("int8.nnef.tar"))
            .unwrap();
        fs::create_dir_all(bench.at("pictures/any")).unwrap();
        for k in 0..16 {
            common::write_png(&bench.at(&format!("pictures/any/{k}.png")), k % 4);
        }
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn model(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_resnetd-model"))
            .current_dir(self.0.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Prunes `bundle` to a target; exit code, standard output and error.
    fn prune(&self, bundle: &str, goal: [&str; 2], more: &[&str]) -> (i32, String, String) {
        let mut arguments = vec!["prune", bundle, "--calib", "pictures", "-o", "out.nnef.tar"];
        arguments.extend(goal);
        arguments.extend(more);
        let output = self.model(&arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

#[test]
fn a_block_is_removed_and_the_way_there_is_told_in_json_and_drawn() {
    let bench = Bench::new();
    // its channels are too few to narrow; the only block that may go is layer2.1
    let goal = ["--target-macs", "19M"];
    let more = [
        "--json",
        "--curve",
        "curve.svg",
        "--safetensors",
        "out.safetensors",
    ];
    let (code, out, error) = bench.prune("float.nnef.tar", goal, &more);
    assert_eq!(code, 0, "{error}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["arch"], "resnet-1-1-1-1");
    assert_eq!(
        (&found["calibrated"], &found["images"]),
        (&8.into(), &8.into())
    );
    // one step takes it to the target
    let points = found["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    assert_eq!(
        (&points[0]["blocks"], &points[1]["blocks"]),
        (&5.into(), &4.into())
    );
    assert_eq!(points[0]["agreement"], 1.0);
    assert_eq!(points[0]["top1"], Value::Null);
    assert!(points[1]["macs"].as_u64() < points[0]["macs"].as_u64());
    let svg = fs::read_to_string(bench.at("curve.svg")).unwrap();
    assert_eq!(svg.matches("<circle").count(), 2);
    let import = ["import", "out.safetensors", "-o", "again.nnef.tar"];
    let imported = bench.model(&import);
    assert!(imported.status.success(), "{imported:?}");
    let left = fs::read_dir(bench.0.path()).unwrap();
    let partial = left.filter(|f| {
        f.as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "partial")
    });
    assert_eq!(partial.count(), 0);
}

#[test]
fn the_table_is_for_people() {
    let bench = Bench::new();
    let (code, out, error) = bench.prune("float.nnef.tar", ["--target-macs", "19M"], &[]);
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with(" multiply-adds   share"), "{out}");
    assert!(out.contains("out.nnef.tar: resnet-1-1-1-1, float"), "{out}");
}

#[test]
fn what_cannot_be_pruned_is_refused_with_the_remedy() {
    let bench = Bench::new();
    let (code, _, error) = bench.prune("int8.nnef.tar", ["--target-macs", "1M"], &[]);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("prune the float bundle"), "{error}");
    let (code, _, error) = bench.prune("float.nnef.tar", ["--target-macs", "1M"], &[]);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("the least possible here is"), "{error}");
    let (code, _, error) = bench.prune("float.nnef.tar", ["--like", "resnet51"], &[]);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("resnet50, resnet101"), "{error}");
    let (code, _, error) = bench.prune("float.nnef.tar", ["--like", "resnet50"], &[]);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("not fewer than it has"), "{error}");
    let (code, ..) = bench.prune("float.nnef.tar", ["--target-macs", "many"], &[]);
    assert_eq!(code, 2);
    assert!(!bench.at("out.nnef.tar").exists());
}

#[test]
fn too_few_pictures_are_said_so() {
    let bench = Bench::new();
    fs::remove_file(bench.at("pictures/any/3.png")).unwrap();
    let (code, _, error) = bench.prune("float.nnef.tar", ["--target-macs", "19M"], &[]);
    assert_eq!(code, 7, "{error}");
    assert!(
        error.contains("15 pictures") && error.contains("needs 16"),
        "{error}"
    );
}
