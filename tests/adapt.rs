//! The program chooses its model by what the machine gives, says why, and follows the machine while it runs.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::daemon::{Daemon, models};

const BOTH: &str = "models = [\"large.nnef.tar\", \"small.nnef.tar\"]\nsource = \"demo:\"\n";

fn first_model(daemon: &mut Daemon) -> Value {
    daemon.until(|message| message["type"] == "model")
}

#[test]
fn the_first_model_that_is_fast_enough_is_taken_and_the_others_cost_is_told() {
    for (limit, name, other) in [
        (60_000, "resnet50-imagenette", "small"),
        (15, "small", "resnet50-imagenette"),
    ] {
        let config = format!("{BOTH}threads = 1\nmax_latency_ms = {limit}\n");
        let mut daemon = Daemon::in_folder(models(), &config, &[]);
        let model = first_model(&mut daemon);
        assert_eq!(model["model"]["name"], name, "{model}");
        let detail = model["detail"].as_str().unwrap();
        assert!(detail.contains("fast enough"), "{model}");
        assert_eq!(model["others"][0]["name"], other, "{model}");
        assert!(
            model["others"][0]["avg_ms"].as_f64().unwrap() > 0.0,
            "{model}"
        );
        assert!(
            model["others"][0]["rss_mib"].as_f64().unwrap() > 1.0,
            "{model}"
        );
        daemon.end();
    }
}

#[test]
fn an_impossible_target_is_missed_by_the_fastest_and_that_is_said() {
    let config = format!("{BOTH}threads = 1\ntarget_fps = 1000\n");
    let mut daemon = Daemon::in_folder(models(), &config, &[]);
    let model = first_model(&mut daemon);
    let detail = model["detail"].as_str().unwrap();
    assert!(
        detail.contains("none of the models is fast enough"),
        "{model}"
    );
    daemon.until(|message| message["type"] == "classification");
    let log = daemon.end();
    assert!(log.contains("none of the models is fast enough"), "{log}");
}

#[test]
fn a_limit_on_memory_that_only_the_small_model_fits_makes_it_run() {
    let machine = tempfile::tempdir().unwrap();
    // ResNet50 is taken to need 65 MiB
    write(machine.path(), "proc/meminfo", "MemAvailable: 61440 kB\n");
    let root = machine.path().to_str().unwrap();
    let mut daemon = Daemon::in_folder(models(), BOTH, &[("RESNETD_SENSORS", root)]);
    assert_eq!(first_model(&mut daemon)["model"]["name"], "small");
    let log = daemon.end();
    assert!(log.contains("large.nnef.tar: it takes 6"), "{log}");
}

#[test]
fn heat_makes_it_step_down_and_a_subscriber_sees_it_come_back() {
    let machine = tempfile::tempdir().unwrap();
    let zone = "sys/class/thermal/thermal_zone0";
    let degrees = |degrees: u32| {
        let text = format!("{degrees}000\n");
        write(machine.path(), &format!("{zone}/temp"), &text);
    };
    for (file, text) in [
        ("type", "cpu-thermal\n"),
        ("trip_point_0_type", "passive\n"),
        ("trip_point_0_temp", "85000\n"),
    ] {
        write(machine.path(), &format!("{zone}/{file}"), text);
    }
    write(machine.path(), "proc/meminfo", "MemAvailable: 8000000 kB\n");
    degrees(50);
    let root = machine.path().to_str().unwrap();
    let config = format!("{BOTH}dwell_s = 1\n");
    let mut daemon = Daemon::in_folder(models(), &config, &[("RESNETD_SENSORS", root)]);
    assert_eq!(first_model(&mut daemon)["reason"], "start");
    degrees(84);
    let model = first_model(&mut daemon);
    assert_eq!(model["reason"], "heat", "{model}");
    assert_eq!(model["model"]["name"], "small", "{model}");
    daemon.until(|message| message["model"] == "small");
    degrees(50);
    let model = first_model(&mut daemon);
    assert_eq!(model["reason"], "recovered", "{model}");
    assert_eq!(model["model"]["name"], "resnet50-imagenette", "{model}");
    daemon.end();
}

#[test]
fn in_a_cascade_the_better_model_is_asked_where_the_faster_is_not_sure() {
    for (below, speaker) in [("1.0", "resnet50-imagenette"), ("0.0", "small")] {
        let config = format!("{BOTH}policy = \"cascade\"\ncascade_below = {below}\n");
        let mut daemon = Daemon::in_folder(models(), &config, &[]);
        let model = first_model(&mut daemon);
        assert_eq!(model["model"]["name"], "small+resnet50-imagenette");
        assert_eq!(model["others"][0]["name"], "small", "{model}");
        for _ in 0..3 {
            let said = daemon.until(|message| message["type"] == "classification");
            assert_eq!(said["model"], speaker, "{said}");
        }
        daemon.end();
    }
}

#[test]
fn a_cascade_for_which_there_is_no_time_is_its_faster_model() {
    let config = format!("{BOTH}policy = \"cascade\"\ncascade_below = 1.0\nmax_latency_ms = 15\n");
    let mut daemon = Daemon::in_folder(models(), &config, &[]);
    let model = first_model(&mut daemon);
    assert_eq!(model["model"]["name"], "small+resnet50-imagenette");
    for _ in 0..3 {
        let said = daemon.until(|message| message["type"] == "classification");
        assert_eq!(said["model"], "small", "{said}");
    }
    daemon.end();
}

#[test]
fn labels_are_called_what_the_configuration_says_and_models_are_compared_by_that() {
    let folder = models();
    let labels = ["ball", "fish", "ball 2"].map(String::from);
    let names = (3..10).map(|i| format!("other {i}"));
    let all = labels.into_iter().chain(names).collect();
    let odd = common::tiny_int8_named("odd", all);
    odd.write(&folder.path().join("odd.nnef.tar")).unwrap();
    let config = "model = \"odd.nnef.tar\"\nsource = \"demo:\"\n[labels]\n\"ball 2\" = \"ball\"\n";
    let mut daemon = Daemon::in_folder(folder, config, &[]);
    let model = first_model(&mut daemon);
    assert_eq!(model["model"]["labels"], 9, "{model}");
    let said = daemon.until(|message| message["type"] == "classification");
    for one in said["predictions"].as_array().unwrap() {
        assert_ne!(one["class"], "ball 2", "{said}");
    }
    daemon.end();
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}
