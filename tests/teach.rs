//! `resnetd-model teach` on classes that the network never saw: drawn by the test, learned, recognized by `resnetd
//! classify`; and on folders as people have them.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::drawings::{draw, save};
use resnetd::random::Random;
use serde_json::Value;
use tempfile::TempDir;

const CLASSES: [&str; 4] = ["checkers", "discs", "lying stripes", "standing stripes"];

/// A folder of folders of drawings.
struct Lesson {
    place: TempDir,
    random: Random,
}

impl Lesson {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("shapes")).unwrap();
        Self {
            place,
            random: Random::new(11),
        }
    }

    /// With the golden network, which is fast and has learned nothing.
    fn tiny() -> Self {
        let lesson = Self::new();
        let bundle = common::tiny_int8();
        bundle.write(&lesson.at("tiny.nnef.tar")).unwrap();
        lesson
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// `count` new pictures of a class in its folder: JPEGs and PNGs.
    fn add(&mut self, class: &str, count: usize) {
        let folder = self.at("shapes").join(class);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..count {
            let end = if i % 3 == 0 { "png" } else { "jpg" };
            save(
                &folder.join(format!("{i:02}.{end}")),
                &draw(class, &mut self.random),
            );
        }
    }

    fn teach(&self, base: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_resnetd-model"))
            .current_dir(self.place.path())
            .env("RESNETD_LOG", "warn")
            .args(["teach", "--base"])
            .arg(base)
            .args(["shapes", "-o", "taught.nnef.tar"])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn teach_tiny(&self, arguments: &[&str]) -> Output {
        self.teach(&self.at("tiny.nnef.tar"), arguments)
    }

    /// What the taught bundle says of a new picture: each label's confidence.
    fn classify(&mut self, class: &str) -> Vec<(String, f64)> {
        save(&self.at("new.png"), &draw(class, &mut self.random));
        let output = Command::new(env!("CARGO_BIN_EXE_resnetd"))
            .current_dir(self.place.path())
            .args([
                "classify",
                "--json",
                "--model",
                "taught.nnef.tar",
                "new.png",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", error(&output));
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        let predictions = line["predictions"].as_array().unwrap().iter();
        predictions
            .map(|p| {
                let class = p["class"].as_str().unwrap().to_owned();
                (class, p["confidence"].as_f64().unwrap())
            })
            .collect()
    }
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", error(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn trained() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/resnet50-imagenette.nnef.tar")
}

/// The command fails with `code` and one line that holds `words`, and leaves no bundle.
fn refused(lesson: &Lesson, output: &Output, code: i32, words: &[&str]) {
    let error = error(output);
    assert_eq!(output.status.code(), Some(code), "{error}");
    let line = error.lines().last().unwrap();
    for word in words {
        assert!(line.contains(word), "{word} is not in: {error}");
    }
    assert!(!lesson.at("taught.nnef.tar").exists());
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn shapes_that_the_network_never_saw_are_learned_and_recognized() {
    let mut lesson = Lesson::new();
    for class in CLASSES {
        lesson.add(class, 20);
    }
    // the same drawing, saved once more; and what is no picture
    let discs = lesson.at("shapes/discs");
    let picture = image::open(discs.join("00.png")).unwrap();
    picture.to_rgb8().save(discs.join("00 copy.jpg")).unwrap();
    fs::write(discs.join("broken.jpg"), "no picture").unwrap();
    let output = lesson.teach(&trained(), &["--json"]);
    let found = json(&output);
    assert!(found["top1"].as_f64().unwrap() > 0.9, "{found}");
    assert_eq!(
        (&found["images"], &found["skipped"]),
        (&81.into(), &1.into())
    );
    assert_eq!(found["folds"], 5);
    assert!(
        found["changed_by_rounding"].as_u64().unwrap() <= 1,
        "{found}"
    );
    assert!(error(&output).contains("broken.jpg"), "{}", error(&output));
    let warnings = found["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let near = "2 of 81 pictures are nearly the same";
    assert!(warnings[0].as_str().unwrap().contains(near), "{warnings:?}");
    let labels: Vec<&Value> = { found["classes"].as_array().unwrap().iter() }
        .map(|c| &c["label"])
        .collect();
    assert_eq!(labels, CLASSES);
    let mut right = 0;
    for class in CLASSES.repeat(3) {
        right += usize::from(lesson.classify(class)[0].0 == class);
    }
    assert!(right >= 11, "{right} of 12 new pictures");
}

#[test]
fn a_picture_in_several_folders_teaches_several_labels() {
    let mut lesson = Lesson::new();
    lesson.add("discs", 14);
    lesson.add("lying stripes", 14);
    for i in 0..14 {
        let both = draw("both", &mut lesson.random);
        let first = lesson.at("shapes/discs").join(format!("both{i}.png"));
        save(&first, &both);
        let second = lesson.at("shapes/lying stripes").join(format!("x{i}.png"));
        if i % 2 == 0 {
            fs::hard_link(&first, &second).unwrap();
        } else {
            std::os::unix::fs::symlink(&first, &second).unwrap();
        }
        let none = draw("nothing", &mut lesson.random);
        save(&lesson.at("shapes").join(format!("none{i}.png")), &none);
    }
    let found = json(&lesson.teach(&trained(), &["--multi-label", "--json"]));
    assert_eq!(found["images"], 14 * 4);
    for class in found["classes"].as_array().unwrap() {
        assert_eq!(class["images"], 28);
        assert!(class["precision"].as_f64().unwrap() > 0.85, "{found}");
        assert!(class["recall"].as_f64().unwrap() > 0.85, "{found}");
    }
    let sure = |said: &[(String, f64)]| said.iter().filter(|(_, c)| *c > 0.5).count();
    assert_eq!(sure(&lesson.classify("both")), 2);
    assert_eq!(sure(&lesson.classify("nothing")), 0);
    let discs = lesson.classify("discs");
    assert_eq!((sure(&discs), &*discs[0].0), (1, "discs"));
}

#[test]
fn the_same_folder_gives_the_same_bytes_and_the_bundle_says_where_it_comes_from() {
    let mut lesson = Lesson::tiny();
    for class in &CLASSES[..2] {
        lesson.add(class, 5);
    }
    let taught = |lesson: &Lesson| {
        let output = lesson.teach_tiny(&[]);
        assert!(output.status.success(), "{}", error(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("precision") && text.contains("10 pictures"),
            "{text}"
        );
        fs::read(lesson.at("taught.nnef.tar")).unwrap()
    };
    let first = taught(&lesson);
    assert!(first == taught(&lesson));
    let output = Command::new(env!("CARGO_BIN_EXE_resnetd"))
        .args(["inspect", "--json"])
        .arg(lesson.at("taught.nnef.tar"))
        .output();
    let about = json(&output.unwrap());
    assert_eq!(about["name"], "taught");
    assert_eq!(about["labels"], serde_json::json!(CLASSES[..2]));
    assert_eq!(
        about["accuracy"]["data"],
        "shapes, by 5-fold cross-validation"
    );
    assert_eq!(about["accuracy"]["images"], 10);
    let source = about["provenance"]["source"].as_str().unwrap();
    assert!(
        source.starts_with("tiny (") && source.ends_with("taught on shapes"),
        "{source}"
    );
}

#[test]
fn too_few_classes_or_pictures_are_refused_by_name() {
    let mut lesson = Lesson::tiny();
    refused(
        &lesson,
        &lesson.teach_tiny(&[]),
        7,
        &["shapes", "no JPEG or PNG"],
    );
    lesson.add("discs", 3);
    refused(&lesson, &lesson.teach_tiny(&[]), 7, &["only one class"]);
    refused(
        &lesson,
        &lesson.teach_tiny(&["--multi-label"]),
        7,
        &["without discs"],
    );
    fs::create_dir(lesson.at("shapes/empty")).unwrap();
    lesson.add("checkers", 1);
    let words = ["checkers (1)", "empty (0)", "add some"];
    refused(&lesson, &lesson.teach_tiny(&[]), 7, &words);
    // two files, one picture
    fs::remove_dir(lesson.at("shapes/empty")).unwrap();
    let checkers = lesson.at("shapes/checkers");
    fs::copy(checkers.join("00.png"), checkers.join("01.png")).unwrap();
    refused(&lesson, &lesson.teach_tiny(&[]), 7, &["checkers (1)"]);
    // most of the files are none
    for i in 0..3 {
        fs::write(checkers.join(format!("b{i}.jpg")), "no picture").unwrap();
    }
    refused(
        &lesson,
        &lesson.teach_tiny(&[]),
        7,
        &["3 of 8 pictures cannot be read"],
    );
}

#[test]
fn pictures_that_contradict_each_other_and_rare_classes_are_told_of() {
    let mut lesson = Lesson::tiny();
    lesson.add("discs", 24);
    lesson.add("checkers", 2);
    let discs = lesson.at("shapes/discs");
    let checkers = lesson.at("shapes/checkers");
    fs::copy(discs.join("03.png"), checkers.join("wrong.png")).unwrap();
    let found = json(&lesson.teach_tiny(&["--json"]));
    let warnings = found["warnings"].to_string();
    assert!(
        warnings.contains("several classes' folders") && warnings.contains("wrong.png"),
        "{warnings}"
    );
    assert!(
        warnings.contains("discs has 23 pictures, checkers only 2"),
        "{warnings}"
    );
    assert_eq!((&found["images"], &found["folds"]), (&25.into(), &2.into()));
    fs::remove_file(lesson.at("taught.nnef.tar")).unwrap();
    for i in [0, 6, 9] {
        let name = format!("{i:02}.png");
        fs::copy(discs.join(&name), checkers.join(format!("again{name}"))).unwrap();
    }
    refused(&lesson, &lesson.teach_tiny(&[]), 7, &["--multi-label"]);
}

#[test]
fn only_an_int8_bundle_can_be_taught() {
    let mut lesson = Lesson::tiny();
    lesson.add("discs", 2);
    lesson.add("checkers", 2);
    let float = lesson.at("float.nnef.tar");
    common::tiny_float().write(&float).unwrap();
    let output = lesson.teach(&float, &[]);
    refused(
        &lesson,
        &output,
        4,
        &["float.nnef.tar", "resnetd-model quantize"],
    );
}
