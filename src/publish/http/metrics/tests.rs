//! What Prometheus reads, of messages and counts that are made up.

use std::sync::Arc;

use super::*;
use crate::publish::Hub;
use crate::publish::pictures::Blind;
use crate::publish::samples::{self, hello, model};
use crate::telemetry::Telemetry;

fn metrics() -> (Metrics, Arc<Telemetry>) {
    let telemetry = Arc::new(Telemetry::new());
    let inside = Inside {
        hub: Arc::new(Hub::new(&["a".into()], &model(Reason::Start)).unwrap()),
        telemetry: Arc::clone(&telemetry),
        pictures: Arc::new(Blind),
        snapshots: None,
    };
    (Metrics::new(&inside), telemetry)
}

fn status(state: State) -> Message<'static> {
    samples::status("a", 1.0, state)
}

fn has(metrics: &Metrics, line: &str) -> bool {
    metrics.text().lines().any(|one| one == line)
}

#[test]
fn a_camera_that_is_lost_and_comes_back_is_counted_once_each() {
    let (metrics, _) = metrics();
    for state in [
        State::Starting,
        State::Streaming,
        State::CameraLost,
        State::CameraLost,
        State::Streaming,
    ] {
        metrics.count(&status(state));
    }
    for line in [
        "resnetd_camera_losses_total{camera=\"a\"} 1",
        "resnetd_camera_reconnects_total{camera=\"a\"} 1",
        "resnetd_camera_streaming{camera=\"a\"} 1",
    ] {
        assert!(has(&metrics, line), "{}", metrics.text());
    }
}

#[test]
fn counts_of_a_camera_that_is_watched_anew_begin_anew() {
    let (metrics, telemetry) = metrics();
    telemetry.watch("a").captured.add(5);
    assert!(has(
        &metrics,
        "resnetd_frames_captured_total{camera=\"a\"} 5"
    ));
    telemetry.watch("a").captured.add(2);
    assert!(has(
        &metrics,
        "resnetd_frames_captured_total{camera=\"a\"} 2"
    ));
}

#[test]
fn nothing_is_told_of_a_camera_that_has_gone() {
    let (metrics, _) = metrics();
    metrics.count(&status(State::Streaming));
    metrics.count(&hello(&["a", "b"]));
    assert!(metrics.text().contains("camera=\"a\""));
    metrics.count(&hello(&["b"]));
    assert!(!metrics.text().contains("camera=\"a\""));
}

#[test]
fn the_start_is_no_switch_of_the_model_and_only_one_runs() {
    let (metrics, _) = metrics();
    metrics.count(&Message::Model(model(Reason::Start)));
    assert!(!metrics.text().contains("switches_total{"));
    metrics.count(&Message::Model(model(Reason::Heat)));
    assert!(has(
        &metrics,
        "resnetd_model_switches_total{reason=\"heat\"} 1"
    ));
    assert_eq!(metrics.text().matches("resnetd_model_info{").count(), 1);
}
