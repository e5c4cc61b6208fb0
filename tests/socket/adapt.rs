//! The model follows the machine: as a subscriber sees it, on a machine of files.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use resnetd::adapt::Cost;
use resnetd::adapt::sensors::Sensors;
use resnetd::daemon::{Classified, Classifier, ClassifyError, Known, Model, Others, Shelf, Worth};
use resnetd::frame::Frame;
use resnetd::label::Prediction;
use resnetd::publish::wire::{Message, Reason};
use resnetd::spec::Framing;

use crate::fakes::{ByByte, Steady, camera, model};
use crate::harness::{Running, Subscriber};

const NAMES: [&str; 2] = ["large", "small"];

/// How slow and how hot the machine is.
struct Machine {
    root: tempfile::TempDir,
    /// Milliseconds of an inference of the large model; the small one takes half.
    slowness: Arc<AtomicU32>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            root: tempfile::tempdir().unwrap(),
            slowness: Arc::new(AtomicU32::new(40)),
        };
        machine.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal");
        machine.write(
            "sys/class/thermal/thermal_zone0/trip_point_0_type",
            "passive\n",
        );
        machine.write(
            "sys/class/thermal/thermal_zone0/trip_point_0_temp",
            "85000\n",
        );
        machine.degrees(50);
        machine.free_mib(1000);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // whole, or the daemon may read half of it
        let beside = path.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, path).unwrap();
    }

    fn degrees(&self, degrees: u32) {
        let text = format!("{degrees}000\n");
        self.write("sys/class/thermal/thermal_zone0/temp", &text);
    }

    fn free_mib(&self, mib: u64) {
        let text = format!("MemAvailable: {} kB\n", mib * 1024);
        self.write("proc/meminfo", &text);
    }

    fn start(&self, broken: Option<usize>) -> (Running, Subscriber) {
        let shelf = FakeShelf {
            slowness: Arc::clone(&self.slowness),
            broken,
        };
        let source = Steady {
            pause: Duration::from_millis(20),
            count: 0,
        };
        let cameras = vec![camera(Box::new(source))];
        let running = Running::start(cameras, Box::new(ByByte), |options| {
            options.settings.dwell = Duration::from_secs(1);
            options.settings.max_latency = Some(Duration::from_millis(100));
            options.choice.model = shelf.model(0);
            options.choice.others = Some(Others {
                models: [(0, 40, 90), (1, 20, 60)].map(known).to_vec(),
                shelf: Box::new(shelf),
                present: 0,
                sensors: Sensors::below(self.path()),
            });
        });
        let subscriber = running.subscribe();
        (running, subscriber)
    }

    fn path(&self) -> &Path {
        self.root.path()
    }
}

fn known((index, ms, mib): (usize, u64, u64)) -> Known {
    Known {
        name: NAMES[index].into(),
        cost: Some(Cost {
            inference: Duration::from_millis(ms),
            resident: mib << 20,
            opinion: Duration::ZERO,
        }),
        measured: true,
    }
}

struct FakeShelf {
    slowness: Arc<AtomicU32>,
    broken: Option<usize>,
}

impl FakeShelf {
    fn model(&self, index: usize) -> Model {
        let mut model = model(Box::new(Slow {
            slowness: Arc::clone(&self.slowness),
            share: if index == 0 { 1.0 } else { 0.5 },
        }));
        model.info.name = NAMES[index].into();
        model.speakers = vec![NAMES[index].into()];
        model
    }
}

impl Shelf for FakeShelf {
    fn load(&mut self, model: usize) -> Result<Model, String> {
        if self.broken == Some(model) {
            return Err(format!("{} is broken", NAMES[model]));
        }
        Ok(self.model(model))
    }
}

/// Says that it takes as long as the machine is slow.
struct Slow {
    slowness: Arc<AtomicU32>,
    share: f32,
}

impl Classifier for Slow {
    fn classify(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let classified = ByByte.classify(frame, framing, worth, out)?;
        #[allow(clippy::cast_precision_loss)] // milliseconds
        let slowness = self.slowness.load(Ordering::Relaxed) as f32;
        Ok(classified.map(|classified| Classified {
            inference_ms: slowness * self.share,
            ..classified
        }))
    }
}

/// The next change of the model: its name, why, and the details.
fn next_model(subscriber: &mut Subscriber) -> (String, Reason, String) {
    let message = subscriber.until(|message| matches!(message, Message::Model(_)));
    let Message::Model(model) = message else {
        panic!("that is what was waited for")
    };
    (model.model.name, model.reason, model.detail)
}

#[test]
fn load_brings_the_small_model_and_calm_the_large_one_again() {
    let machine = Machine::new();
    let (_running, mut subscriber) = machine.start(None);
    assert_eq!(next_model(&mut subscriber).1, Reason::Start);
    machine.slowness.store(150, Ordering::Relaxed);
    let (name, reason, detail) = next_model(&mut subscriber);
    assert_eq!((name.as_str(), reason), ("small", Reason::Load));
    assert!(detail.contains("a picture takes 150 ms"), "{detail}");
    let spoken = subscriber.until(|message| matches!(message, Message::Classification(_)));
    assert!(matches!(spoken, Message::Classification(one) if one.model == "small"));
    machine.slowness.store(40, Ordering::Relaxed);
    let (name, reason, _) = next_model(&mut subscriber);
    assert_eq!((name.as_str(), reason), ("large", Reason::Recovered));
}

#[test]
fn heat_is_told_with_its_degrees_and_ends_in_idle_time() {
    let machine = Machine::new();
    let (_running, mut subscriber) = machine.start(None);
    next_model(&mut subscriber);
    machine.degrees(84);
    let (name, reason, detail) = next_model(&mut subscriber);
    assert_eq!((name.as_str(), reason), ("small", Reason::Heat));
    assert!(detail.contains("84 degrees"), "{detail}");
    let (name, reason, detail) = next_model(&mut subscriber);
    assert_eq!((name.as_str(), reason), ("small", Reason::Heat));
    assert!(detail.contains("half of the time is left idle"), "{detail}");
    machine.degrees(50);
    let (_, reason, detail) = next_model(&mut subscriber);
    assert_eq!(reason, Reason::Recovered);
    assert!(detail.contains("all of the time"), "{detail}");
    assert_eq!(next_model(&mut subscriber).0, "large");
}

#[test]
fn where_memory_is_short_the_model_goes_before_the_next_comes() {
    let machine = Machine::new();
    let (_running, mut subscriber) = machine.start(None);
    next_model(&mut subscriber);
    machine.free_mib(10);
    let (name, reason, detail) = next_model(&mut subscriber);
    assert_eq!((name.as_str(), reason), ("small", Reason::Memory));
    assert!(detail.contains("10 MiB"), "{detail}");
    machine.free_mib(70);
    let (name, reason, _) = next_model(&mut subscriber);
    assert_eq!((name.as_str(), reason), ("large", Reason::Recovered));
}

#[test]
fn a_model_that_does_not_load_leaves_the_one_before_running() {
    let machine = Machine::new();
    let (running, mut subscriber) = machine.start(Some(1));
    next_model(&mut subscriber);
    machine.free_mib(10);
    // it had to go, and is back
    let (name, _, detail) = next_model(&mut subscriber);
    assert_eq!(name, "large");
    assert!(detail.contains("small is broken"), "{detail}");
    let spoken = subscriber.until(|message| matches!(message, Message::Classification(_)));
    assert!(matches!(spoken, Message::Classification(one) if one.model == "large"));
    drop(running);
}
