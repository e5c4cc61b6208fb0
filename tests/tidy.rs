//! The rules of the house that no compiler holds: who may use whom, where `unsafe` may be, how long a file gets.
//! Each rule is a test; it prints file and line of what breaks it and why the rule exists. To change a rule is to
//! change its table here and the words in docs/ARCHITECTURE.md.

#[path = "tidy/scan.rs"]
mod scan;
#[path = "tidy/tree.rs"]
mod tree;

use std::fs;

use tree::{Source, device_and_workshop, files, from_root, links, read, sources};

/// One row per module (`a::b` for a part of one that has a row of its own): what it may use beside itself.
const ARROWS: &[(&str, &str)] = &[
    // what travels
    ("frame", "label spec"),
    ("label", "frame spec"),
    ("spec", "frame label"),
    ("control", ""),
    ("config", "control cores plain_file spec"),
    // small tools that know no stage
    ("cores", ""),
    ("plain_file", ""),
    ("ratelimit", ""),
    ("backoff", ""),
    ("random", ""),
    ("heap", ""),
    ("telemetry", ""),
    ("lesson", "plain_file"),
    ("adapt", "frame"),
    ("slot", "frame"),
    // the stages
    ("source", "backoff control frame plain_file ratelimit"),
    ("source::fault", "frame random"),
    ("preprocess", "frame spec"),
    ("infer", "bundle cores kernels label spec"),
    ("smooth", "label"),
    (
        "publish",
        "backoff frame label lesson plain_file ratelimit spec telemetry",
    ),
    // beside them
    ("bundle", "plain_file spec"),
    ("kernels", ""),
    // those who know the stages
    (
        "daemon",
        "adapt backoff bundle config frame infer kernels label preprocess publish ratelimit slot smooth source spec telemetry",
    ),
    (
        "cli",
        "adapt bundle config control cores daemon frame heap infer kernels label lesson preprocess publish ratelimit slot smooth source spec",
    ),
    // the workshop and its commands
    (
        "cli::workshop",
        "bundle cli infer lesson model plain_file spec",
    ),
    (
        "model",
        "bundle cores frame infer kernels label plain_file preprocess random source spec",
    ),
    // the programs, and the crate's own file
    (PROGRAM, "cli"),
    (WORKSHOP_PROGRAM, "cli"),
    (PAGES_PROGRAM, "cli"),
    (ROOT, ""),
];
const PROGRAM: &str = "src/main.rs";
const WORKSHOP_PROGRAM: &str = "src/bin/resnetd-model.rs";
const PAGES_PROGRAM: &str = "src/bin/resnetd-pages.rs";
const ROOT: &str = "src/lib.rs";

const STAGES: &[&str] = &["source", "preprocess", "infer", "smooth", "publish"];

/// Where `unsafe` may be written, by the beginning of the path.
const UNSAFE: &[(&str, &str)] = &[
    (
        "src/kernels/",
        "instructions that only some processors have, and unchecked loads in inner loops",
    ),
    ("src/infer/", "the calls of those kernels"),
    ("src/heap.rs", "a setting of the C library's allocator"),
    (
        "src/preprocess/avx2.rs",
        "the call of what is compiled for AVX2, once the processor is known to have it",
    ),
    ("src/source/v4l2", "ioctl and the driver's mapped buffers"),
    (
        "src/source/exec/child",
        "what a child does before it becomes the command",
    ),
    ("src/publish/", "system calls on sockets"),
];

const FORBIDDEN: &[&str] = &[
    ".unwrap()",
    "panic!",
    "todo!",
    "unimplemented!",
    "dbg!",
    "println!",
    "print!",
];

const LONGEST_FILE: usize = 600;
const LARGEST_FILE: u64 = 5 << 20;

fn hold(reason: &str, broken: &[String]) {
    assert!(
        broken.is_empty(),
        "\n{}\nwhy: {reason}\n",
        broken.join("\n")
    );
}

/// True if the path `inner` is `outer` or lies below it.
fn lies_in(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The row of [`ARROWS`] with the longest name that a file lies in.
fn row(file: &Source) -> Option<(&'static str, &'static str)> {
    let module = file.module().join("::");
    ARROWS
        .iter()
        .filter(|(name, _)| file.path == *name || lies_in(&module, name))
        .max_by_key(|(name, _)| name.len())
        .copied()
}

fn forbidden_arrows(file: &Source) -> Vec<String> {
    let Some((row, allowed)) = row(file) else {
        return vec![format!("{}:1: has no row in ARROWS", file.path)];
    };
    let module = file.module();
    let is_program = module.is_empty() && file.path != ROOT;
    let library = is_program.then_some("resnetd");
    let may_use = |path: &str| {
        module.first().is_some_and(|own| lies_in(path, own))
            || allowed.split(' ').any(|other| lies_in(path, other))
    };
    scan::imports(&file.code, module.len(), library)
        .into_iter()
        .map(|import| (import.line, import.path.join("::")))
        .filter(|(_, path)| !may_use(path))
        .map(|(line, path)| {
            format!(
                "{}:{line}: uses crate::{path}; {row} may use: {allowed}",
                file.path
            )
        })
        .collect()
}

fn unsafe_elsewhere(file: &Source) -> Vec<String> {
    if UNSAFE.iter().any(|(place, _)| file.path.starts_with(place)) {
        return Vec::new();
    }
    let words = ["unsafe", "allow(unsafe_code)", "expect(unsafe_code)"];
    let lines = words
        .iter()
        .flat_map(|word| scan::lines_with(&file.code, word));
    lines
        .map(|line| format!("{}:{line}: unsafe code", file.path))
        .collect()
}

fn ways_to_die(file: &Source) -> Vec<String> {
    let lines = FORBIDDEN.iter().flat_map(|word| {
        scan::lines_with(&file.code, word)
            .into_iter()
            .map(move |l| (l, word))
    });
    lines
        .map(|(line, word)| format!("{}:{line}: {word}", file.path))
        .collect()
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let broken: Vec<String> = device_and_workshop()
        .iter()
        .flat_map(forbidden_arrows)
        .collect();
    hold(
        "a part can be read, tested and replaced alone only while it knows few others; ARROWS is the map",
        &broken,
    );
}

/// Arrows of the map from rows that `from` picks to modules that `to` picks.
fn drawn(from: impl Fn(&str) -> bool, to: impl Fn(&str) -> bool) -> Vec<String> {
    let rows = ARROWS.iter().filter(|(name, _)| from(name));
    rows.flat_map(|(name, allowed)| allowed.split(' ').map(move |other| (name, other)))
        .filter(|(_, other)| to(other))
        .map(|(name, other)| format!("tests/tidy.rs: {name} -> {other}"))
        .collect()
}

#[test]
fn the_map_gives_no_stage_another_stage() {
    let stage = |name: &str| STAGES.iter().any(|stage| lies_in(name, stage));
    hold(
        "the order of the stages is known in one place, the daemon; what they share lies in frame, label and spec",
        &drawn(stage, stage),
    );
}

#[test]
fn the_map_keeps_the_workshop_out_of_the_device_program() {
    let device = |name: &str| !lies_in(name, "cli::workshop") && !lies_in(name, "model");
    hold(
        "the device program is built without the feature `tools` and must not need what only the workshop links",
        &drawn(device, |name| lies_in(name, "model")),
    );
}

#[test]
fn a_forbidden_arrow_is_found_however_it_is_written() {
    let breaks = |path: &str, text: &str| forbidden_arrows(&Source::new(path, text)).len();
    assert_eq!(breaks("src/smooth.rs", "use crate::label::Prediction;"), 0);
    assert_eq!(breaks("src/smooth.rs", "use crate::infer::Engine;"), 1);
    assert_eq!(breaks("src/smooth.rs", "use super::infer::Engine;"), 1);
    assert_eq!(
        breaks(
            "src/smooth.rs",
            "// use crate::infer::Engine;\n#[cfg(test)] mod t { use crate::infer::E; }"
        ),
        0
    );
    assert_eq!(
        breaks(
            "src/publish/socket.rs",
            "fn f() { super::super::source::open(); super::wire::x(); }"
        ),
        1
    );
    assert_eq!(
        breaks(
            "src/publish/mod.rs",
            "use crate::{label, smooth::{self, State}, frame::Frame};"
        ),
        2
    );
    assert_eq!(
        breaks(
            "src/kernels/aarch64/dot.rs",
            "use crate::kernels::pack; use crate::frame;"
        ),
        1
    );
    assert_eq!(
        breaks("src/daemon.rs", "use crate::{infer, publish, cli};"),
        1
    );
    assert_eq!(
        breaks("src/cli/run.rs", "let x = crate::model::quantize();"),
        1
    );
    assert_eq!(breaks("src/label.rs", "use crate::*;"), 1);
    assert_eq!(
        breaks("src/main.rs", "use resnetd::cli; use resnetd::daemon;"),
        1
    );
    assert_eq!(
        breaks("src/bin/resnetd-model.rs", "use resnetd::{cli, model};"),
        1
    );
    assert_eq!(breaks("src/stray.rs", ""), 1);
}

#[test]
fn unsafe_code_stays_where_it_is_needed() {
    let broken: Vec<String> = device_and_workshop()
        .iter()
        .flat_map(unsafe_elsewhere)
        .collect();
    hold(
        "few places must be read with suspicion; UNSAFE lists them with their reasons",
        &broken,
    );
}

#[test]
fn unsafe_code_elsewhere_is_found() {
    let breaks = |path: &str, text: &str| unsafe_elsewhere(&Source::new(path, text)).len();
    assert_eq!(
        breaks(
            "src/daemon.rs",
            "#[allow(unsafe_code)]\nfn f() { unsafe { g() } }"
        ),
        2
    );
    assert_eq!(breaks("src/kernels/dot.rs", "unsafe fn f() {}"), 0);
    assert_eq!(breaks("src/source/v4l2/queue.rs", "unsafe fn f() {}"), 0);
    assert_eq!(breaks("src/source/exec.rs", "unsafe fn f() {}"), 1);
}

#[test]
fn nothing_outside_tests_is_written_to_panic() {
    let broken: Vec<String> = device_and_workshop().iter().flat_map(ways_to_die).collect();
    hold(
        "a daemon that watches for months turns what can fail into a state or an error that names the remedy",
        &broken,
    );
}

#[test]
fn a_way_to_die_is_found_and_tests_may_die() {
    let breaks = |text: &str| ways_to_die(&Source::new("src/daemon.rs", text)).len();
    assert_eq!(
        breaks("fn f() { a.unwrap(); b\n  .unwrap(); panic!(\"x\"); todo!() }"),
        4
    );
    assert_eq!(
        breaks(
            "fn f() { a.unwrap_or(1); \"panic!\"; }\n#[cfg(test)]\nmod tests { fn f() { a.unwrap(); } }"
        ),
        0
    );
}

#[test]
fn every_file_opens_with_why_it_exists() {
    let files = sources(&["src", "tests", "benches", "fuzz"]);
    let broken: Vec<String> = files
        .iter()
        .filter(|f| !f.text.starts_with("//! "))
        .map(|f| format!("{}:1: no `//!` line", f.path))
        .collect();
    hold(
        "who opens a file first needs to know why it exists and what it leaves to others",
        &broken,
    );
}

#[test]
fn no_file_grows_too_long_to_read() {
    let files = sources(&["src", "tests", "benches", "fuzz"]);
    let lengths = files.iter().map(|f| (f, f.text.lines().count()));
    let broken: Vec<String> = lengths
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(f, lines)| {
            format!(
                "{}:{LONGEST_FILE}: {lines} lines, at most {LONGEST_FILE}",
                f.path
            )
        })
        .collect();
    hold("a file that is longer holds more than one idea", &broken);
}

#[test]
fn no_build_is_tied_to_one_processor() {
    let flag = ["target", "cpu"].join("-");
    let mut broken = Vec::new();
    for path in files("", "") {
        let name = from_root(&path);
        let described = name.ends_with(".md") || name.starts_with("models/");
        // what is no text sets no flag
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        let lines = text.lines().enumerate();
        let set = lines.filter(|(_, line)| !described && line.contains(&flag));
        broken.extend(set.map(|(i, _)| format!("{name}:{}: {flag}", i + 1)));
    }
    hold(
        "one binary runs on every processor of its architecture; kernels are chosen when it starts",
        &broken,
    );
}

#[test]
fn relative_links_lead_somewhere() {
    let texts = files("", ".md");
    let each = texts.iter().flat_map(|path| {
        links(&read(path))
            .into_iter()
            .map(move |(line, to)| (path, line, to))
    });
    let broken: Vec<String> = each
        .filter(|(path, _, to)| !path.parent().is_some_and(|folder| folder.join(to).exists()))
        .map(|(path, line, to)| format!("{}:{line}: {to} does not exist", from_root(path)))
        .collect();
    hold(
        "a link that leads nowhere costs its reader more than none",
        &broken,
    );
}

#[test]
fn nothing_large_lies_outside_models() {
    let sizes = files("", "")
        .into_iter()
        .map(|path| (from_root(&path), path.metadata().map_or(0, |m| m.len())));
    let broken: Vec<String> = sizes
        .filter(|(name, size)| *size > LARGEST_FILE && !name.starts_with("models/"))
        .map(|(name, size)| format!("{name}:1: {} MiB", size >> 20))
        .collect();
    hold(
        "every clone carries a large file for ever; data lies beside the repository",
        &broken,
    );
}
