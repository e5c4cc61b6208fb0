//! Cameras and classifiers that do what a test tells them, so that no test needs a device or a network.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use resnetd::daemon::{Camera, Classified, Classifier, ClassifyError, Model, Worth};
use resnetd::frame::{Frame, Square};
use resnetd::label::Prediction;
use resnetd::publish::wire::ModelInfo;
use resnetd::source::{Event, Source};
use resnetd::spec::{Activation, Framing};

use crate::harness::whole;

/// What the fake source does next.
#[derive(Debug, Clone)]
pub enum Act {
    /// A picture of the class.
    Frame(u8),
    /// A picture that cannot be classified.
    Torn,
    Lose,
    Panic,
    End,
}

/// Does what comes through a channel.
pub struct Scripted {
    pub acts: Receiver<Act>,
    pub lossless: bool,
}

impl Source for Scripted {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        match self.acts.recv_timeout(timeout) {
            Ok(Act::Frame(class)) => fill(frame, class),
            Ok(Act::Torn) => fill(frame, u8::MAX),
            Ok(Act::Lose) => Event::Lost("unplugged".into()),
            Ok(Act::Panic) => panic!("a driver's surprise"),
            Ok(Act::End) => Event::End,
            Err(_) => Event::Timeout,
        }
    }

    fn lossless(&self) -> bool {
        self.lossless
    }

    fn describe(&self) -> String {
        "scripted".into()
    }
}

/// A picture every `pause`, the class changing every 50.
pub struct Steady {
    pub pause: Duration,
    pub count: usize,
}

impl Source for Steady {
    fn next(&mut self, frame: &mut Frame, _timeout: Duration) -> Event {
        thread::sleep(self.pause);
        self.count += 1;
        fill(frame, u8::from(self.count / 50 % 2 == 1))
    }

    fn lossless(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "steady".into()
    }
}

pub fn fill(frame: &mut Frame, class: u8) -> Event {
    frame.data.clear();
    frame.data.push(class);
    frame.captured = Instant::now();
    frame.captured_at = SystemTime::now();
    Event::Frame
}

/// The frame's byte is its class.
pub struct ByByte;

impl Classifier for ByByte {
    fn classify(
        &mut self,
        frame: &Frame,
        _: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let class = frame.data[0];
        if class == u8::MAX {
            return Err(ClassifyError {
                message: "torn".into(),
            });
        }
        if !worth(&Square::full(&picture(class))) {
            return Ok(None);
        }
        out.probabilities.clear();
        out.probabilities
            .extend((0..2u8).map(|id| if id == class { 0.9 } else { 0.1 }));
        Ok(Some(Classified {
            image_width: 4,
            image_height: 3,
            preprocess_ms: 0.5,
            inference_ms: 1.0,
            opinion_ms: 0.0,
            speaker: 0,
        }))
    }
}

/// What the network would see: something that is brighter by class.
fn picture(class: u8) -> [u8; 28 * 28 * 3] {
    let mut picture = [100; 28 * 28 * 3];
    picture[..600].fill(100 + 40 * class);
    picture
}

/// An inference that never ends.
pub struct Stuck;

impl Classifier for Stuck {
    fn classify(
        &mut self,
        _: &Frame,
        _: &Framing,
        _: Worth,
        _: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        loop {
            thread::park();
        }
    }
}

pub fn model(classifier: Box<dyn Classifier>) -> Model {
    labelled(["golf ball", "parachute"], classifier)
}

pub fn labelled(labels: [&str; 2], classifier: Box<dyn Classifier>) -> Model {
    let labels = labels.map(String::from);
    let info = ModelInfo {
        name: "fake".into(),
        arch: "resnet50".into(),
        precision: "int8".into(),
        labels: labels.len(),
    };
    Model {
        classifier,
        info,
        labels: Arc::new(labels),
        activation: Activation::Softmax,
        speakers: vec!["fake".into()],
        detail: String::new(),
        others: Vec::new(),
    }
}

pub fn camera(source: Box<dyn Source>) -> Camera {
    named("front", source)
}

pub fn named(name: &str, source: Box<dyn Source>) -> Camera {
    Camera {
        name: name.into(),
        key: "fake".into(),
        looks: whole(),
        source: Some(source),
        reopen: Box::new(|| Err("not again".into())),
    }
}

pub fn scripted(lossless: bool) -> (Sender<Act>, Box<dyn Source>) {
    let (send, acts) = mpsc::channel();
    (send, Box::new(Scripted { acts, lossless }))
}
