//! What Prometheus reads (text format 0.0.4; docs/METRICS.md): names, units and labels by its conventions. Labels of metrics are
//! cameras, regions, states and reasons, of which there are as many as the configuration names, never what a camera shows.

use std::sync::Mutex;
use std::time::SystemTime;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::Inside;
use crate::publish::lock;
use crate::publish::sensors::Readings;
use crate::publish::wire::{Classification, Message, Reason, State, unix_seconds};

/// Of a stage, in seconds: from what a fast processor needs to what a slow one does.
const STAGE: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0,
];
const STAGES: [&str; 3] = ["capture", "preprocess", "inference"];

/// Every metric.
pub struct Metrics {
    inside: Inside,
    registry: Registry,
    captured: IntCounterVec,
    dropped: IntCounterVec,
    still: IntCounterVec,
    unreadable: IntCounterVec,
    classifications: IntCounterVec,
    changes: IntCounterVec,
    stages: [HistogramVec; 3],
    age: HistogramVec,
    streaming: IntGaugeVec,
    losses: IntCounterVec,
    reconnects: IntCounterVec,
    subscribers: IntGauge,
    lagged: IntCounter,
    looking: IntGauge,
    model: IntGaugeVec,
    switches: IntCounterVec,
    celsius: Gauge,
    slowed: IntGauge,
    resident: Gauge,
    turned: Gauge,
    /// Cameras and regions that labels name.
    known: Mutex<Vec<(String, String)>>,
}

/// Counts one who looks, until dropped.
pub struct Looking(IntGauge);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Makes metrics and registers them. Names are ours, and each is used once: nothing can fail.
struct Maker(Registry);

impl Maker {
    fn keep<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> C {
        let metric = made.unwrap_or_else(|error| unreachable!("{error}"));
        if let Err(error) = self.0.register(Box::new(metric.clone())) {
            unreachable!("{error}");
        }
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.keep(Gauge::new(name, help))
    }

    fn count(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn counts(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(STAGE.to_vec());
        self.keep(HistogramVec::new(opts, &["camera"]))
    }
}

impl Metrics {
    pub fn new(inside: &Inside) -> Self {
        let make = Maker(Registry::new());
        let frames = |name: &str, help: &str| make.counters(name, help, &["camera"]);
        let stage = |name: &str| {
            let help = format!("What {name} takes of each frame.");
            make.histogram(&format!("resnetd_{name}_seconds"), &help)
        };
        let build = GaugeVec::new(
            Opts::new("resnetd_build_info", "Which resnetd this is: always 1."),
            &["version"],
        );
        let version = env!("CARGO_PKG_VERSION");
        make.keep(build).with_label_values(&[version]).set(1.0);
        let start = "Unix time at which it began to publish metrics.";
        make.gauge("resnetd_start_time_seconds", start)
            .set(unix_seconds(SystemTime::now()));
        Self {
            captured: frames(
                "resnetd_frames_captured_total",
                "Frames that came from a camera.",
            ),
            dropped: frames(
                "resnetd_frames_dropped_total",
                "Frames that were overwritten by newer ones before their turn came.",
            ),
            still: frames(
                "resnetd_frames_still_total",
                "Frames that were passed over because nothing had changed.",
            ),
            unreadable: frames(
                "resnetd_frames_unreadable_total",
                "Frames that could not be classified.",
            ),
            classifications: make.counters(
                "resnetd_classifications_total",
                "Parts of frames that were classified.",
                &["camera", "region"],
            ),
            changes: make.counters(
                "resnetd_label_changes_total",
                "Changes of the label that holds.",
                &["camera", "region"],
            ),
            stages: STAGES.map(stage),
            age: make.histogram(
                "resnetd_frame_age_seconds",
                "From a frame's capture to the publication of its labels.",
            ),
            streaming: make.counts(
                "resnetd_camera_streaming",
                "Whether frames come from a camera.",
                &["camera"],
            ),
            losses: frames(
                "resnetd_camera_losses_total",
                "How often a camera was lost or fell silent.",
            ),
            reconnects: frames(
                "resnetd_camera_reconnects_total",
                "How often a lost camera came back.",
            ),
            subscribers: make.count("resnetd_subscribers", "Programs that read the socket."),
            lagged: make.counter(
                "resnetd_lagged_messages_total",
                "Messages that readers did not get because they were too slow.",
            ),
            looking: make.count("resnetd_http_connections", "Open connections for HTTP."),
            model: make.counts(
                "resnetd_model_info",
                "The model that runs: its value is 1.",
                &["model", "arch", "precision"],
            ),
            switches: make.counters(
                "resnetd_model_switches_total",
                "Changes of the model or of its effort, by their reason.",
                &["reason"],
            ),
            celsius: make.gauge("resnetd_temperature_celsius", "Of the processor."),
            slowed: make.count(
                "resnetd_throttled",
                "Whether the processor is slowed down by heat or a weak supply.",
            ),
            resident: make.gauge("resnetd_resident_memory_bytes", "Memory that is resident."),
            turned: make.gauge(
                "resnetd_loop_idle_seconds",
                "Since the inference loop last turned; it does ten times a second when it waits.",
            ),
            known: Mutex::default(),
            inside: inside.clone(),
            registry: make.0,
        }
    }

    /// Somebody looks, until what is returned is dropped.
    pub fn looking(&self) -> Looking {
        self.looking.inc();
        Looking(self.looking.clone())
    }

    pub fn count(&self, message: &Message<'_>) {
        match message {
            Message::Classification(classification) => self.classified(classification),
            Message::Change(change) => {
                let region = change.region.as_deref().unwrap_or_default();
                self.changes
                    .with_label_values(&[&change.camera, region])
                    .inc();
            }
            Message::Status(status) => self.state(&status.camera, status.state),
            Message::Model(model) => {
                self.model.reset();
                let info = &model.model;
                let labels = [&info.name, &info.arch, &info.precision];
                self.model.with_label_values(&labels).set(1);
                if model.reason == Reason::Start {
                    return;
                }
                let reason = format!("{:?}", model.reason).to_lowercase();
                self.switches.with_label_values(&[&reason]).inc();
            }
            Message::Hello(hello) => self.forget_all_but(&hello.cameras),
            Message::Lagged(_) => {}
        }
    }

    /// What is told of cameras that are not watched any more, and of regions, which may be others now, begins anew.
    fn forget_all_but(&self, cameras: &[String]) {
        let mut known = lock(&self.known);
        let gone = known.extract_if(.., |(camera, _)| !cameras.contains(camera));
        for (camera, region) in gone {
            // Of labels that were never used there is nothing to remove.
            let of_camera = [&*camera];
            for counters in [
                &self.captured,
                &self.dropped,
                &self.still,
                &self.unreadable,
                &self.losses,
                &self.reconnects,
            ] {
                let _ = counters.remove_label_values(&of_camera);
            }
            for histogram in self.stages.iter().chain([&self.age]) {
                let _ = histogram.remove_label_values(&of_camera);
            }
            let _ = self.streaming.remove_label_values(&of_camera);
            for counters in [&self.classifications, &self.changes] {
                let _ = counters.remove_label_values(&[&*camera, &*region]);
            }
        }
    }

    /// A camera and region that something is told of.
    fn know(&self, camera: &str, region: &str) {
        let mut known = lock(&self.known);
        if !known
            .iter()
            .any(|(one, part)| one == camera && part == region)
        {
            known.push((camera.to_owned(), region.to_owned()));
        }
    }

    pub fn sense(&self, readings: &Readings) {
        if let Some(celsius) = readings.celsius {
            self.celsius.set(celsius);
        }
        if let Some(slowed) = readings.slowed {
            self.slowed.set(slowed.into());
        }
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        if let Some(resident) = readings.resident {
            self.resident.set(resident as f64);
        }
    }

    /// All of them as text.
    pub fn text(&self) -> String {
        for (camera, frames) in self.inside.telemetry.cameras() {
            let set = |counters: &IntCounterVec, value: u64| {
                let counter = counters.with_label_values(&[&camera]);
                if value < counter.get() {
                    counter.reset();
                }
                counter.inc_by(value - counter.get());
            };
            set(&self.captured, frames.captured.get());
            set(&self.dropped, frames.dropped.get());
            set(&self.still, frames.still.get());
            set(&self.unreadable, frames.unreadable.get());
        }
        let hub = &self.inside.hub;
        let subscribers = i64::try_from(hub.subscribers.get()).unwrap_or(i64::MAX);
        self.subscribers.set(subscribers);
        self.lagged
            .inc_by(hub.missed.get().saturating_sub(self.lagged.get()));
        self.turned
            .set(self.inside.telemetry.since_turn().as_secs_f64());
        let mut text = Vec::new();
        // Writing to memory does not fail, and every metric has a name.
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        debug_assert!(encoded.is_ok(), "{encoded:?}");
        String::from_utf8(text).unwrap_or_default()
    }

    fn classified(&self, classification: &Classification<'_>) {
        let camera = &*classification.camera;
        let region = classification.region.as_deref().unwrap_or_default();
        self.know(camera, region);
        self.classifications
            .with_label_values(&[camera, region])
            .inc();
        let timing = &classification.timing;
        let times = [timing.capture_ms, timing.preprocess_ms, timing.inference_ms];
        let seen = |histogram: &HistogramVec, milliseconds: f32| {
            histogram
                .with_label_values(&[camera])
                .observe(f64::from(milliseconds) * 1e-3);
        };
        self.stages
            .iter()
            .zip(times)
            .for_each(|(stage, time)| seen(stage, time));
        seen(&self.age, timing.age_ms);
    }

    fn state(&self, camera: &str, state: State) {
        self.know(camera, "");
        let streaming = self.streaming.with_label_values(&[camera]);
        let losses = self.losses.with_label_values(&[camera]);
        let reconnects = self.reconnects.with_label_values(&[camera]);
        match state {
            State::Streaming => {
                if losses.get() > 0 && streaming.get() == 0 {
                    reconnects.inc();
                }
                streaming.set(1);
            }
            State::CameraLost | State::Stale => {
                if streaming.get() == 1 {
                    losses.inc();
                }
                streaming.set(0);
            }
            State::Starting | State::Stopping => streaming.set(0),
        }
    }
}

#[cfg(test)]
mod tests;
