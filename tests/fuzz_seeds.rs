//! Every input that the fuzz targets begin with, and every one that was once a find, through the same functions: so that
//! what was fixed stays fixed without a fuzzer. What libFuzzer makes of them is `make fuzz`'s business.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed
#![allow(dead_code)] // one function is another's helper

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

const TARGETS: &[(&str, fn(&[u8]) -> bool)] = &[
    ("bundle", targets::bundle),
    ("config", targets::config),
    ("graph", targets::graph),
    ("http", targets::http),
    ("jpeg", targets::jpeg),
    ("mjpeg", targets::mjpeg),
    ("nnef", targets::nnef),
    ("onnx", targets::onnx),
    ("page", targets::page),
    ("picture", targets::picture),
    ("pixels", targets::pixels),
    ("pth", targets::pth),
    ("safetensors", targets::safetensors),
    ("uri", targets::uri),
    ("watch", targets::watch),
    ("y4m", targets::y4m),
];
/// Larger ones are no seeds.
const LARGEST: u64 = 4096;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_target_takes_its_seeds() {
    for (name, target) in TARGETS {
        let seeds = folder().join("seeds").join(name);
        let mut useful = 0;
        for seed in names(&seeds) {
            let path = seeds.join(&seed);
            assert!(
                path.metadata().unwrap().len() <= LARGEST,
                "{seed} is too large"
            );
            let made = target(&fs::read(path).unwrap());
            println!("{name}/{seed}: {}", if made { "read" } else { "refused" });
            useful += usize::from(made);
        }
        assert!(useful > 0, "the seeds of {name} lead nowhere");
        target(b"");
    }
}

#[test]
fn every_target_is_here() {
    let known: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder().join("seeds")), known);
    let programs: Vec<String> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&folder().join("fuzz_targets")), programs);
}
