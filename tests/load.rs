//! Other programs take the processor, and give it back: the model steps down and comes back, as a subscriber sees. In a
//! file of its own, because the load would be felt by every other test.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use common::daemon::{Daemon, models};

/// For each core.
const BUSY: usize = 6;

fn model(daemon: &mut Daemon) -> Value {
    daemon.until(|message| message["type"] == "model")
}

const CONFIG: &str = "models = [\"large.nnef.tar\", \"small.nnef.tar\"]\nsource = \"demo:\"\nthreads = 1\ndwell_s = 1\n";

/// What ResNet50 takes here, in milliseconds.
fn usual() -> f64 {
    let config = format!("{CONFIG}max_latency_ms = 1\n");
    let mut daemon = Daemon::in_folder(models(), &config, &[]);
    let model = model(&mut daemon);
    daemon.end();
    assert_eq!(model["model"]["name"], "small", "{model}");
    model["others"][0]["avg_ms"].as_f64().unwrap()
}

#[test]
fn load_makes_it_step_down_and_a_subscriber_sees_it_come_back() {
    let config = format!("{CONFIG}max_latency_ms = {:.0}\n", 3.0 * usual() + 20.0);
    let mut daemon = Daemon::in_folder(models(), &config, &[]);
    let start = model(&mut daemon);
    assert_eq!(start["model"]["name"], "resnet50-imagenette", "{start}");
    let over = AtomicBool::new(false);
    let cores = thread::available_parallelism().unwrap().get();
    let down = thread::scope(|scope| {
        for _ in 0..BUSY * cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    black_box((0..10_000u64).map(black_box).sum::<u64>());
                }
            });
        }
        let down = model(&mut daemon);
        over.store(true, Ordering::Relaxed);
        down
    });
    assert_eq!(down["reason"], "load", "{down}");
    assert_eq!(down["model"]["name"], "small", "{down}");
    assert!(
        down["detail"].as_str().unwrap().contains("a picture takes"),
        "{down}"
    );
    let up = model(&mut daemon);
    assert_eq!(up["reason"], "recovered", "{up}");
    assert_eq!(up["model"]["name"], "resnet50-imagenette", "{up}");
    daemon.end();
}
