//! The programs as a person and a script meet them: output, exit codes, one line per mistake.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with the tiny int8 bundle and four pictures.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        common::tiny_int8()
            .write(&folder.path().join("tiny.nnef.tar"))
            .unwrap();
        for k in 0..4 {
            common::write_png(&folder.path().join(format!("{k}.png")), k);
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn resnetd(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resnetd"));
        command
            .current_dir(self.folder.path())
            .env("RESNETD_LOG", "warn")
            .env_remove("RESNETD_ISA");
        command
    }

    /// `resnetd run` on the socket `labels.sock`.
    fn daemon(&self, arguments: &[&str]) -> Child {
        let mut command = self.resnetd();
        command.args(["run", "--model", "tiny.nnef.tar", "--socket", "labels.sock"]);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.resnetd().args(arguments).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The command fails with `code` and one line that holds `word`.
fn fails(output: &Output, code: i32, word: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    let lines: Vec<&str> = error
        .lines()
        .filter(|l| l.starts_with("resnetd: "))
        .collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(lines[0].contains(word), "{error}");
    assert!(
        !error.contains("panicked") && !error.contains("backtrace"),
        "{error}"
    );
}

#[test]
fn every_mistake_has_its_exit_code_and_one_line() {
    let bench = Bench::new();
    std::fs::write(bench.path("no.png"), "not a picture").unwrap();
    std::fs::write(bench.path("bad.toml"), "sorce = \"demo:\"\n").unwrap();
    std::fs::write(
        bench.path("cut.nnef.tar"),
        &common::tiny_int8().bytes()[..5000],
    )
    .unwrap();
    let model = ["--model", "tiny.nnef.tar"];
    let with = |first: &[&str], rest: &[&str]| bench.run(&[first, &model, rest].concat());
    fails(
        &bench.run(&["classify", "--model", "none.nnef.tar", "0.png"]),
        4,
        "none.nnef.tar",
    );
    fails(
        &bench.run(&["classify", "--model", "cut.nnef.tar", "0.png"]),
        4,
        "cut.nnef.tar",
    );
    fails(&bench.run(&["inspect", "0.png"]), 4, "0.png");
    fails(&with(&["classify"], &["no.png"]), 7, "no.png");
    fails(&with(&["classify"], &["gone.png"]), 7, "gone.png");
    fails(&bench.run(&["run", "--config", "bad.toml"]), 3, "sorce");
    fails(
        &with(&["run"], &["--source", "v4l2:/dev/null"]),
        5,
        "/dev/null",
    );
    fails(
        &with(&["run"], &["--source", "v4l2:/dev/video99"]),
        5,
        "/dev/video99",
    );
    fails(&with(&["run"], &["--source", "ftp:x"]), 5, "ftp");
    fails(
        &with(&["run"], &["--source", "images:nowhere"]),
        5,
        "nowhere",
    );
    fails(&with(&["run"], &["--source", "images:no.png"]), 7, "no.png");
    fails(
        &with(
            &["run", "--source", "demo:"],
            &["--socket", "/proc/x/y.sock"],
        ),
        6,
        "/proc/x",
    );
    fails(
        &bench.run(&["watch", "--json", "--socket", "nobody.sock"]),
        6,
        "nobody.sock",
    );
    let forced = bench
        .resnetd()
        .env("RESNETD_ISA", "mmx")
        .args(["bench", "tiny.nnef.tar"])
        .output();
    fails(&forced.unwrap(), 3, "mmx");
}

#[test]
fn models_with_different_labels_cannot_take_each_others_place() {
    let bench = Bench::new();
    let other = common::tiny_int8_named("other", (0..10).map(|n| format!("thing {n}")).collect());
    other.write(&bench.path("other.nnef.tar")).unwrap();
    let run = ["run", "--socket", "s", "--source", "demo:", "--frames", "1"];
    let both = ["--model", "tiny.nnef.tar", "--model", "other.nnef.tar"];
    fails(
        &bench.run(&[&run[..], &both].concat()),
        4,
        "different labels",
    );
}

#[test]
fn a_damaged_bundle_gives_way_to_the_next() {
    let bench = Bench::new();
    let sound = common::tiny_int8();
    std::fs::write(bench.path("cut.nnef.tar"), &sound.bytes()[..5000]).unwrap();
    std::fs::write(
        bench.path("list.toml"),
        "models = [\"cut.nnef.tar\", \"tiny.nnef.tar\"]",
    )
    .unwrap();
    std::fs::write(bench.path("folder.toml"), "models = \".\"").unwrap();
    let run = ["run", "--socket", "s", "--source", "images:0.png"];
    let flags = ["--model", "cut.nnef.tar", "--model", "tiny.nnef.tar"];
    let ways: [&[&str]; 3] = [
        &flags,
        &["--config", "list.toml"],
        &["--config", "folder.toml"],
    ];
    for way in ways {
        let output = bench.run(&[&run, way].concat());
        let error = text(&output.stderr);
        assert!(output.status.success(), "{way:?}: {error}");
        assert!(error.contains("cut.nnef.tar"), "{way:?}: {error}");
    }
    std::fs::remove_file(bench.path("tiny.nnef.tar")).unwrap();
    for way in ways {
        fails(&bench.run(&[&run, way].concat()), 4, ".nnef.tar");
    }
}

#[test]
fn a_file_that_never_ends_is_refused_at_once() {
    let bench = Bench::new();
    let pipe = Command::new("mkfifo").arg(bench.path("pipe.png")).status();
    assert!(pipe.unwrap().success());
    let started = Instant::now();
    for endless in ["/dev/zero", "pipe.png"] {
        let model = ["--model", "tiny.nnef.tar"];
        fails(&bench.run(&["inspect", endless]), 4, endless);
        fails(&bench.run(&["run", "--config", endless]), 3, endless);
        let classified = bench.run(&[&["classify"], &model[..], &[endless]].concat());
        fails(&classified, 7, endless);
    }
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let bench = Bench::new();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let mut classify = bench.resnetd();
    classify.args(["classify", "--model", "tiny.nnef.tar", "0.png", "1.png"]);
    let mut import = Command::new(env!("CARGO_BIN_EXE_resnetd-model"));
    let out = bench.path("float.nnef.tar");
    let weights = common::golden("tiny_resnet.safetensors");
    import.arg("import").arg(weights).arg("-o").arg(&out);
    for mut command in [classify, import] {
        let output = command.stdout(closed()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
    }
    assert!(out.exists());
}

#[test]
fn a_name_that_is_no_utf_8_is_shown_in_json() {
    let bench = Bench::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff.png");
    std::fs::copy(bench.path("0.png"), bench.folder.path().join(name)).unwrap();
    let mut classify = bench.resnetd();
    classify.args(["classify", "--json", "--model", "tiny.nnef.tar"]);
    let output = classify.arg(name).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["file"], "\u{fffd}.png");
}

#[test]
fn one_bad_picture_does_not_hide_the_others() {
    let bench = Bench::new();
    std::fs::write(bench.path("no.png"), "not a picture").unwrap();
    let arguments = [
        "classify",
        "--json",
        "--model",
        "tiny.nnef.tar",
        "0.png",
        "no.png",
        "1.png",
    ];
    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(7));
    let files: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["file"].clone())
        .collect();
    assert_eq!(files, ["0.png", "1.png"]);
}

#[test]
fn every_backend_gives_the_same_bytes() {
    let bench = Bench::new();
    let arguments = [
        "classify",
        "--json",
        "--logits",
        "--model",
        "tiny.nnef.tar",
        "0.png",
        "1.png",
        "2.png",
        "3.png",
    ];
    let run = |isa: &str| {
        let output = bench
            .resnetd()
            .env("RESNETD_ISA", isa)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{isa}: {}", text(&output.stderr));
        output.stdout
    };
    let want = run("scalar");
    assert_eq!(text(&want).lines().count(), 4);
    for isa in resnetd::kernels::dispatch::available() {
        assert_eq!(text(&run(isa.name())), text(&want), "{isa}");
    }
}

#[test]
fn any_sensible_number_of_threads_gives_the_same_bytes_and_others_are_refused() {
    let bench = Bench::new();
    let classify = |threads: &str| {
        let flags = ["--model", "tiny.nnef.tar", "--json", "--logits", "0.png"];
        let command = [&["classify", "--threads", threads], &flags[..]].concat();
        bench.run(&command)
    };
    let want = classify("1");
    assert!(want.status.success() && !want.stdout.is_empty());
    assert_eq!(classify("2").stdout, want.stdout);
    let many = classify("256");
    assert_eq!(many.stdout, want.stdout);
    let warning = text(&many.stderr);
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(
        cores >= 256 || warning.contains("256 threads on"),
        "{warning}"
    );
    for threads in ["0", "10000", "-1", "many"] {
        let refused = classify(threads);
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{error}");
        assert!(threads == "-1" || error.contains("1 to 256"), "{error}");
    }
}

#[test]
fn inspect_counts_and_bench_times() {
    let bench = Bench::new();
    let json = |arguments: &[&str]| -> Value {
        let output = bench.run(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let inspected = json(&["inspect", "--json", "tiny.nnef.tar"]);
    assert_eq!(inspected["arch"], "resnet-1-2-1-1");
    assert!(inspected["params"].as_u64() > Some(10_000), "{inspected}");
    let timed = json(&[
        "bench",
        "--json",
        "--warmup",
        "0",
        "--iters",
        "2",
        "tiny.nnef.tar",
    ]);
    let timed = &timed["bundles"][0];
    for key in [
        "avg_ms",
        "min_ms",
        "p50_ms",
        "p90_ms",
        "p99_ms",
        "fps",
        "rss_mib",
        "threads",
        "gmac_per_s",
    ] {
        assert!(timed[key].as_f64() > Some(0.0), "{key}: {timed}");
    }
    assert!(timed.get("peak_share").is_none() && timed.get("layers").is_none());
}

#[test]
fn bench_shows_each_layer_and_the_share_of_the_peak() {
    let bench = Bench::new();
    let output = bench
        .resnetd()
        .env("RESNETD_ISA", "portable")
        .args([
            "bench",
            "--json",
            "--layers",
            "--peak",
            "--threads",
            "1",
            "--iters",
            "2",
            "tiny.nnef.tar",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let timed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let timed = &timed["bundles"][0];
    assert_eq!(
        (&timed["isa"], &timed["threads"]),
        (&"portable".into(), &1.into())
    );
    assert!(
        timed.get("peak_share").is_none(),
        "the portable backend has no peak: {timed}"
    );
    let inspected = bench.run(&["inspect", "--json", "tiny.nnef.tar"]);
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let names = |value: &Value| -> Vec<Value> {
        let layers = value["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["name"].clone()).collect()
    };
    let mut found = names(timed);
    assert_eq!(found.pop().unwrap(), "(all else)");
    assert_eq!(found, names(&inspected));
    let shares = timed["layers"].as_array().unwrap().iter();
    let sum: f64 = shares.map(|layer| layer["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
}

#[test]
fn bench_compares_int8_with_float_and_draws_both() {
    let bench = Bench::new();
    let float = bench.path("float.nnef.tar");
    common::tiny_float().write(&float).unwrap();
    let compare = ["bench", "--compare", "--iters", "3", "--plot", "times.svg"];
    let output = bench.run(&[&compare[..], &["tiny.nnef.tar", "float.nnef.tar"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0].last(), Some(&"ratio"));
    assert_eq!(
        (rows[1][1], rows[2][1], rows[2][2]),
        ("int8", "f32", "-"),
        "{shown}"
    );
    assert!(
        rows[1..].iter().any(|row| row.last() == Some(&"1.00")),
        "{shown}"
    );
    assert_eq!(text(&output.stderr), "", "a progress line is for terminals");
    let svg = std::fs::read_to_string(bench.path("times.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("(f32)"), "{svg}");
    let nowhere = [
        "bench",
        "--iters",
        "1",
        "--plot",
        "no/x.svg",
        "tiny.nnef.tar",
    ];
    fails(&bench.run(&nowhere), 8, "no/x.svg");
}

#[test]
fn doctor_lists_the_instruction_sets_and_names_what_is_wrong() {
    let bench = Bench::new();
    let doctor = |isa: &str| {
        let mut command = bench.resnetd();
        command.env("RESNETD_ISA", isa).args(["doctor", "--json"]);
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output, report)
    };
    let (output, report) = doctor("scalar");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let isas = report["isas"].as_array().unwrap();
    assert_eq!(isas.len(), resnetd::kernels::Isa::ALL.len());
    assert_eq!(isas[0]["name"], "scalar");
    assert_eq!(
        (&isas[0]["available"], &isas[0]["selected"]),
        (&true.into(), &true.into())
    );
    assert_eq!(report["forced_isa"], "scalar");
    let problems = report["problems"].to_string();
    assert!(problems.contains("unset it"), "{problems}");

    let (output, report) = doctor("mmx");
    fails(&output, 3, "mmx");
    let stops = report["problems"].as_array().unwrap().iter();
    assert!(stops.clone().any(|p| p["stops_run"] == true), "{report}");
    let text_form = bench.run(&["doctor"]);
    assert!(text(&text_form.stdout).contains("instruction sets"));
}

/// Connects as soon as the socket is there.
fn connect(path: &Path) -> UnixStream {
    let started = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(e) if started.elapsed() > Duration::from_secs(20) => panic!("{e}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn a_folder_of_pictures_becomes_a_label_each_on_the_socket() {
    let bench = Bench::new();
    let socket = bench.path("labels.sock");
    let mut daemon = bench.daemon(&["--source", "images:.?fps=2", "--frames", "4"]);
    let stream = connect(&socket);
    let messages: Vec<Value> = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert!(daemon.wait().unwrap().success());
    assert!(!socket.exists(), "the socket outlived the daemon");
    assert_eq!(messages[0]["type"], "hello");
    assert_eq!(messages[0]["model"]["precision"], "int8");
    let classified = messages.iter().filter(|m| m["type"] == "classification");
    // the first may have been classified before we connected; then it was replayed
    assert_eq!(
        classified.clone().next_back().unwrap()["frame_id"],
        4,
        "{messages:?}"
    );
    assert!(classified.count() >= 2, "{messages:?}");
}

#[test]
fn a_signal_ends_the_daemon_within_a_second_and_removes_the_socket() {
    let bench = Bench::new();
    let socket = bench.path("labels.sock");
    let mut daemon = bench.daemon(&["--source", "demo:"]);
    let mut first = String::new();
    BufReader::new(connect(&socket))
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("hello"), "{first}");
    let pid = rustix::process::Pid::from_child(&daemon);
    let told = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert!(
        told.elapsed() < Duration::from_secs(1),
        "took {:?}",
        told.elapsed()
    );
    assert!(!socket.exists(), "the socket outlived the daemon");
}

#[test]
fn the_workshop_goes_from_weights_to_a_measured_bundle() {
    let bench = Bench::new();
    for (class, shade) in ('a'..='j').zip(1u8..) {
        let folder = bench.path("data").join(class.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        for k in 0..53u8 {
            let picture: Vec<u8> = (0..192u8)
                .map(|i| i.wrapping_mul(shade).wrapping_add(k))
                .collect();
            let path = folder.join(format!("{k:02}.png"));
            image::save_buffer(path, &picture, 8, 8, image::ExtendedColorType::Rgb8).unwrap();
        }
    }
    let workshop = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_resnetd-model"))
            .current_dir(bench.folder.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    };
    let weights = common::golden("tiny_resnet.safetensors");
    workshop(&["import", weights.to_str().unwrap(), "-o", "float.nnef.tar"]);
    let report = workshop(&[
        "quantize",
        "float.nnef.tar",
        "--calib",
        "data",
        "--report",
        "-o",
        "int8.nnef.tar",
    ]);
    assert!(
        report.contains("minmax") && report.contains("entropy"),
        "{report}"
    );
    let evaluated = workshop(&[
        "eval",
        "int8.nnef.tar",
        "data",
        "--against",
        "float.nnef.tar",
        "--json",
        "--write",
    ]);
    let evaluated: Value = serde_json::from_str(&evaluated).unwrap();
    assert_eq!(evaluated["images"], 530);
    let predicted: Vec<usize> = serde_json::from_value(evaluated["predicted"].clone()).unwrap();
    let confusion: Vec<Vec<usize>> =
        serde_json::from_value(evaluated["confusion"].clone()).unwrap();
    assert_eq!(predicted.len(), 530);
    for class in 0..confusion.len() {
        let said = predicted.iter().filter(|&&p| p == class).count();
        assert_eq!(said, confusion.iter().map(|row| row[class]).sum::<usize>());
    }
    let inspected: Value =
        serde_json::from_slice(&bench.run(&["inspect", "--json", "int8.nnef.tar"]).stdout).unwrap();
    assert_eq!(inspected["accuracy"]["images"], 530, "{inspected}");
    // a quarter is kept to compare recipes on
    assert_eq!(inspected["quantization"]["images"], 398, "{inspected}");
}
