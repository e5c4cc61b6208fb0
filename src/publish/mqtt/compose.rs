//! From our messages to those for the broker: the label of each camera and region as a state, each change as an event with a
//! number that grows by one, so that who reads them sees a gap.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::discovery::{self, Announcement, Parts};
use super::outbox::Outbox;
use super::topics::Topics;
use crate::publish::pictures::Pictures;
use crate::publish::sensors::Readings;
use crate::publish::wire::{Change, Classification, Message, ModelInfo, State, unix_seconds};

/// A label that stays is told again after so long, because its confidence may have changed.
const LABEL_AGAIN: Duration = Duration::from_secs(10);
/// The least time between two pictures of a camera.
const PICTURE: Duration = Duration::from_secs(5);

/// A camera and a part of its pictures.
type Part = (String, Option<String>);

pub struct Composer {
    topics: Topics,
    labels: Vec<String>,
    /// Home Assistant's prefix.
    discovery: Option<String>,
    pictures: Arc<dyn Pictures>,
    /// When this run began: its events count from 1.
    run: u64,
    sequence: u64,
    model: Option<ModelInfo>,
    cameras: Vec<Camera>,
    told: HashMap<Part, Instant>,
    /// What Home Assistant knows of: each camera and its parts.
    announced: Vec<Parts>,
}

/// What is known of a camera.
struct Camera {
    name: String,
    state: State,
    picture: Option<Instant>,
    frames: u32,
    inference_ms: f32,
    age_ms: f32,
    since: Instant,
}

/// `.../label`
#[derive(Serialize)]
struct Label<'a> {
    label: &'a str,
    confidence: f32,
    /// All that hold, of a model that gives several.
    labels: Vec<&'a str>,
    timestamp: f64,
}

/// `.../event`
#[derive(Serialize)]
struct Event<'a> {
    run: u64,
    sequence: u64,
    camera: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    from: Option<&'a str>,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<&'a str>>,
    confidence: f32,
    timestamp: f64,
}

/// `.../camera`: averages since the last one.
#[derive(Serialize)]
struct Diagnosis {
    state: State,
    frames_per_second: f32,
    inference_ms: Option<f32>,
    age_ms: Option<f32>,
}

/// `.../machine`
#[derive(Serialize)]
struct Machine<'a> {
    version: &'static str,
    model: Option<&'a str>,
    celsius: Option<f64>,
    throttled: Option<bool>,
    resident_mib: Option<u64>,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Writing to memory does not fail, nor do these types.
    serde_json::to_vec(value).unwrap_or_default()
}

fn ten_thousandths(value: f32) -> f32 {
    (value * 1e4).round() / 1e4
}

impl Composer {
    pub fn new(
        topics: Topics,
        labels: Vec<String>,
        discovery: Option<String>,
        pictures: Arc<dyn Pictures>,
    ) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // after 1970
        let run = (unix_seconds(SystemTime::now()) * 1e3) as u64;
        Self {
            topics,
            labels,
            discovery,
            pictures,
            run,
            sequence: 0,
            model: None,
            cameras: Vec::new(),
            told: HashMap::new(),
            announced: Vec::new(),
        }
    }

    pub fn hear(&mut self, message: &Message<'_>, out: &mut Outbox) {
        match message {
            Message::Hello(hello) => {
                self.watch(&hello.cameras, out);
                self.model = Some(hello.model.clone());
                self.announce(out);
            }
            Message::Model(model) => {
                self.model = Some(model.model.clone());
                self.announce(out);
            }
            Message::Status(status) => {
                if let Some(camera) = self.camera(&status.camera) {
                    camera.state = status.state;
                }
                self.diagnose(out);
            }
            Message::Classification(classification) => self.classified(classification, out),
            Message::Change(change) => self.changed(change, out),
            Message::Lagged(_) => {}
        }
    }

    /// Tells Home Assistant what there is, if that is wanted.
    pub fn announce(&mut self, out: &mut Outbox) {
        let Some(prefix) = &self.discovery else {
            return;
        };
        self.announced = self.parts();
        let announcement = Announcement {
            topics: &self.topics,
            model: self.model.as_ref().map_or("", |model| &model.name),
            cameras: &self.announced,
            labels: &self.labels,
        };
        out.state(
            discovery::topic(prefix, &self.topics),
            json(&announcement.payload()),
        );
    }

    fn parts(&self) -> Vec<Parts> {
        let parts = |camera: &Camera| {
            let scene = self.pictures.scene(&camera.name).unwrap_or_default();
            let regions = scene.views.into_iter().map(|view| view.region);
            (camera.name.clone(), regions.collect())
        };
        self.cameras.iter().map(parts).collect()
    }

    /// Tells how the machine feels, and how each camera's frames went since it was told last.
    pub fn sense(&mut self, readings: &Readings, out: &mut Outbox) {
        let machine = Machine {
            version: env!("CARGO_PKG_VERSION"),
            model: self.model.as_ref().map(|model| &*model.name),
            celsius: readings.celsius,
            throttled: readings.slowed,
            resident_mib: readings.resident.map(|bytes| bytes >> 20),
        };
        out.state(self.topics.machine(), json(&machine));
        self.diagnose(out);
        for camera in &mut self.cameras {
            (camera.frames, camera.since) = (0, Instant::now());
        }
    }

    fn diagnose(&self, out: &mut Outbox) {
        for camera in &self.cameras {
            let known = camera.frames > 0;
            #[allow(clippy::cast_precision_loss)] // of half a minute
            let rate = camera.frames as f32 / camera.since.elapsed().as_secs_f32().max(1e-3);
            let tenths = |value: f32| (value * 10.0).round() / 10.0;
            let diagnosis = Diagnosis {
                state: camera.state,
                frames_per_second: tenths(rate),
                inference_ms: known.then_some(tenths(camera.inference_ms)),
                age_ms: known.then_some(tenths(camera.age_ms)),
            };
            out.state(
                self.topics.of(&camera.name, None, "camera"),
                json(&diagnosis),
            );
        }
    }

    /// Cameras whose picture is to be sent now, because their label has changed.
    pub fn pictures_due(&mut self, changed: &str) -> bool {
        let Some(camera) = self.camera(changed) else {
            return false;
        };
        let due = camera.picture.is_none_or(|last| last.elapsed() >= PICTURE);
        if due {
            camera.picture = Some(Instant::now());
        }
        due
    }

    pub fn picture_topic(&self, camera: &str) -> String {
        self.topics.of(camera, None, "picture")
    }

    fn camera(&mut self, name: &str) -> Option<&mut Camera> {
        self.cameras.iter_mut().find(|camera| camera.name == name)
    }

    fn watch(&mut self, names: &[String], out: &mut Outbox) {
        let gone = |camera: &mut Camera| !names.contains(&camera.name);
        for camera in self.cameras.extract_if(.., gone) {
            let begin = self.topics.of(&camera.name, None, "");
            let topics: Vec<String> = out.topics(&begin).cloned().collect();
            topics.into_iter().for_each(|topic| out.state(topic, ""));
            self.told.retain(|(name, _), _| *name != camera.name);
        }
        for name in names {
            if self.camera(name).is_none() {
                self.cameras.push(Camera {
                    name: name.clone(),
                    state: State::Starting,
                    picture: None,
                    frames: 0,
                    inference_ms: 0.0,
                    age_ms: 0.0,
                    since: Instant::now(),
                });
            }
        }
    }

    fn classified(&mut self, classification: &Classification<'_>, out: &mut Outbox) {
        if let Some(camera) = self.camera(&classification.camera) {
            camera.frames += 1;
            #[allow(clippy::cast_precision_loss)] // of half a minute
            let count = camera.frames as f32;
            let average = |mean: &mut f32, new: f32| *mean += (new - *mean) / count;
            average(&mut camera.inference_ms, classification.timing.inference_ms);
            average(&mut camera.age_ms, classification.timing.age_ms);
        }
        let region = classification.region.as_deref();
        let part = (classification.camera.to_string(), region.map(str::to_owned));
        if { self.told.get(&part) }.is_some_and(|told| told.elapsed() < LABEL_AGAIN) {
            return;
        }
        let several = classification.labels.as_deref();
        let labels = several.map(|all| all.iter().map(|scored| &*scored.class).collect());
        let label = Label {
            label: &classification.top,
            confidence: ten_thousandths(classification.confidence),
            labels: labels.unwrap_or_else(|| vec![&*classification.top]),
            timestamp: classification.timestamp,
        };
        self.tell(part, &label, out);
    }

    fn changed(&mut self, change: &Change<'_>, out: &mut Outbox) {
        let region = change.region.as_deref();
        let holding = { change.labels.as_ref() }
            .map(|labels| labels.iter().map(|label| &**label).collect::<Vec<&str>>());
        let label = Label {
            label: &change.to,
            confidence: ten_thousandths(change.confidence),
            labels: holding.clone().unwrap_or_else(|| vec![&*change.to]),
            timestamp: change.timestamp,
        };
        let part = (change.camera.to_string(), region.map(str::to_owned));
        self.tell(part, &label, out);
        self.sequence += 1;
        let event = Event {
            run: self.run,
            sequence: self.sequence,
            camera: &change.camera,
            region,
            from: change.from.as_deref(),
            to: &change.to,
            labels: holding,
            confidence: ten_thousandths(change.confidence),
            timestamp: change.timestamp,
        };
        out.event(
            self.topics.of(&change.camera, region, "event"),
            json(&event),
        );
    }

    fn tell(&mut self, part: Part, label: &Label<'_>, out: &mut Outbox) {
        let topic = self.topics.of(&part.0, part.1.as_deref(), "label");
        out.state(topic, json(label));
        self.told.insert(part, Instant::now());
        // A camera's parts may come, or change, after those who subscribe were told of the camera.
        if self.discovery.is_some() && self.parts() != self.announced {
            self.announce(out);
        }
    }
}

#[cfg(test)]
mod tests;
