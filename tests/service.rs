//! The files that make a service of the program: that systemd understands the units, how tightly they are fenced, and
//! that every configuration we hand out is one that the program reads. And the service's log lines.

// The helpers here are parts of tests.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use resnetd::config::Config;
use tempfile::TempDir;

/// Tenths; what is left is mostly that it may reach cameras, on this machine and in the network.
const EXPOSURE: &str = "--threshold=16";
const EXAMPLES: [&str; 3] = ["rpicam", "jetson", "rtsp"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Runs systemd-analyze, which is installed if that may be done. None: there is none, and that is said.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let run = || Command::new("systemd-analyze").args(arguments).output();
    if run().is_err() {
        let need = Path::new(env!("CARGO_MANIFEST_DIR")).join("cross/need.sh");
        let _ = Command::new(need).arg("systemd").status();
    }
    let output = run().ok();
    if output.is_none() {
        // Not by eprintln!, which the test harness would keep to itself.
        let _ = writeln!(
            io::stderr(),
            "SKIPPED: the units were not checked: there is no systemd-analyze (package systemd)"
        );
    }
    output
}

/// The units in a folder of their own, with a program that exists here.
fn units() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let service =
        text("resnetd.service").replace("/usr/bin/resnetd", env!("CARGO_BIN_EXE_resnetd"));
    fs::write(folder.path().join("resnetd.service"), service).unwrap();
    for unit in ["resnetd.socket", "resnetd-teach.path"] {
        fs::copy(file(unit), folder.path().join(unit)).unwrap();
    }
    let teach = text("resnetd-teach.service");
    let teach = teach.replace("/usr/bin/resnetd-model", env!("CARGO_BIN_EXE_resnetd"));
    fs::write(folder.path().join("resnetd-teach.service"), teach).unwrap();
    folder
}

fn understood(folder: &TempDir) {
    for unit in [
        "resnetd.service",
        "resnetd.socket",
        "resnetd-teach.path",
        "resnetd-teach.service",
    ] {
        let path = folder.path().join(unit);
        let Some(output) = analyze(&["verify", "--man=no", path.to_str().unwrap()]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Of an unknown key it only warns. What it says of the machine's own units is not ours.
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("resnetd"))
            .collect();
        assert!(output.status.success() && ours.is_empty(), "{unit}: {said}");
    }
}

#[test]
fn systemd_understands_the_units() {
    understood(&units());
}

#[test]
fn systemd_understands_the_unit_with_each_example() {
    for example in EXAMPLES {
        let folder = units();
        let drop_ins = folder.path().join("resnetd.service.d");
        fs::create_dir(&drop_ins).unwrap();
        let name = format!("{example}.conf");
        let copied = drop_ins.join(&name);
        fs::copy(file("examples").join(example).join(&name), copied).unwrap();
        understood(&folder);
    }
}

#[test]
fn the_services_are_fenced_in() {
    for name in ["resnetd.service", "resnetd-teach.service"] {
        let path = file(name);
        let unit = path.to_str().unwrap();
        let asked = ["security", "--offline=true", "--no-pager", EXPOSURE, unit];
        if let Some(output) = analyze(&asked) {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{said}");
            assert!(said.contains("Overall exposure level"), "{said}");
        }
    }
}

#[test]
fn every_example_has_a_configuration_that_is_read() {
    for example in EXAMPLES {
        let name = format!("examples/{example}/resnetd.toml");
        let config = Config::parse(Path::new(&name), &text(&name)).unwrap();
        let source = config.source.unwrap();
        assert!(source.starts_with("exec:"), "{name}");
        assert!(!source.contains('\n'), "{name}: one line for the shell");
        for file in [name, format!("examples/{example}/{example}.conf")] {
            let text = text(&file);
            assert!(
                text.contains("Never ran ") && text.contains("64-bit"),
                "{file}"
            );
        }
    }
}

/// The commented-out settings of the default configuration, each one or each table a file of its own.
fn settings(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        let line = line.strip_prefix('#').unwrap_or_default();
        let header = line.starts_with('[');
        let value = line.split_once(" = ").is_some_and(|(key, _)| is_key(key));
        match found.last_mut() {
            Some(table) if value && in_table => *table += &format!("{line}\n"),
            _ if value || header => found.push(format!("{line}\n")),
            _ => {}
        }
        in_table = header || (value && in_table);
    }
    found
}

fn is_key(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn the_default_configuration_is_read_as_it_is_and_with_every_example_in_it() {
    let path = file("resnetd.toml");
    let text = text("resnetd.toml");
    assert!(Config::parse(&path, &text).unwrap().source.is_some());
    let settings = settings(&text);
    assert!(settings.len() > 6, "{settings:?}");
    for setting in settings {
        let read = Config::parse(&path, &setting);
        assert!(
            read.is_ok_and(|config| config != Config::default()),
            "{setting}"
        );
    }
}

#[test]
fn the_default_configuration_explains_every_key() {
    let text = text("resnetd.toml");
    let error = Config::parse(Path::new("x"), "no_such_key = 1")
        .unwrap_err()
        .to_string();
    let (_, keys) = error.split_once("expected one of ").unwrap();
    let keys: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
    assert!(keys.len() > 5, "{error}");
    for key in keys {
        let mentioned = [format!("{key} = "), format!("[{key}]")]
            .iter()
            .any(|form| text.contains(form));
        assert!(mentioned, "systemd/resnetd.toml does not explain `{key}`");
    }
}

/// What the program says to standard error when it cannot find its configuration.
fn complaint(journal: impl FnOnce(u64, u64) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stderr");
    let stderr = File::create(&path).unwrap();
    let meta = stderr.metadata().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_resnetd"))
        .args(["run", "--config", "/nonexistent/resnetd.toml"])
        .env("JOURNAL_STREAM", journal(meta.dev(), meta.ino()))
        .stderr(stderr)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    fs::read_to_string(path).unwrap()
}

#[test]
fn lines_for_the_journal_carry_their_priority() {
    let journal = complaint(|device, inode| format!("{device}:{inode}"));
    assert!(journal.starts_with("<3>resnetd: "), "{journal}");
    assert!(
        journal.lines().all(|line| line.starts_with('<')),
        "{journal}"
    );
    let elsewhere = complaint(|device, inode| format!("{device}:{}", inode + 1));
    assert!(elsewhere.starts_with("resnetd: "), "{elsewhere}");
}
