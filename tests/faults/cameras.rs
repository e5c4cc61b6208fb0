//! Cameras that go wrong, each in its own way, before real preprocessing: the daemon goes on, says what is, counts what it
//! could not use, and shows no label that belongs to another time.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use resnetd::daemon::{Camera, Classified, Classifier, ClassifyError, Options, Totals, Worth};
use resnetd::frame::{Frame, PixelFormat, Square};
use resnetd::label::Prediction;
use resnetd::preprocess::Preprocessor;
use resnetd::publish::wire::{Classification, Message, State};
use resnetd::source::fault::{Fault, Faulty, Plan, scripted, seeded};
use resnetd::source::{Event, Source};
use resnetd::spec::{ChannelOrder, Fit, Framing, Interpolation, Preprocessing};

use crate::fakes::camera;
use crate::harness::{Running, kind};

pub const DARK: u8 = 40;
pub const BRIGHT: u8 = 210;
/// From one frame to the next.
const PAUSE: Duration = Duration::from_millis(4);

/// Flat pictures of these brightnesses, and then the end.
pub struct Lamp {
    values: Box<dyn Iterator<Item = u8> + Send>,
    format: PixelFormat,
    lossless: bool,
}

impl Source for Lamp {
    fn next(&mut self, frame: &mut Frame, _: Duration) -> Event {
        thread::sleep(PAUSE);
        let Some(value) = self.values.next() else {
            return Event::End;
        };
        (frame.width, frame.height, frame.stride) = (32, 24, 96);
        frame.format = self.format;
        frame.data.clear();
        frame.data.resize(32 * 24 * 3, value);
        if self.format == PixelFormat::Mjpg {
            let pixels = std::mem::take(&mut frame.data);
            let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut frame.data);
            encoder
                .encode(&pixels, 32, 24, image::ExtendedColorType::Rgb8)
                .unwrap();
        }
        frame.captured = Instant::now();
        frame.captured_at = SystemTime::now();
        Event::Frame
    }

    fn lossless(&self) -> bool {
        self.lossless
    }

    fn describe(&self) -> String {
        "a lamp".into()
    }
}

/// Begins when the test says so, so that its subscriber sees everything.
struct Gated {
    inner: Box<dyn Source>,
    gate: Receiver<()>,
    open: bool,
}

impl Source for Gated {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        if !self.open && self.gate.recv_timeout(timeout).is_err() {
            return Event::Timeout;
        }
        self.open = true;
        self.inner.next(frame, timeout)
    }

    fn lossless(&self) -> bool {
        self.inner.lossless()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Class 1 is as probable as the picture is bright.
pub struct ByBrightness(Preprocessor);

impl ByBrightness {
    pub fn new() -> Self {
        let spec = Preprocessing {
            resize: 8,
            crop: 8,
            fit: Fit::Crop,
            interpolation: Interpolation::Bilinear,
            mean: [0.5; 3],
            std: [0.5; 3],
            channel_order: ChannelOrder::Rgb,
        };
        Self(Preprocessor::new(&spec).unwrap())
    }
}

impl Classifier for ByBrightness {
    fn classify(
        &mut self,
        frame: &Frame,
        _: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let mut picture = vec![0; self.0.output_len()];
        let size = self.0.run(frame, &mut picture);
        let size = size.map_err(|error| ClassifyError {
            message: error.to_string(),
        })?;
        if !worth(&Square::full(&picture)) {
            return Ok(None);
        }
        let sum: f32 = picture.iter().map(|&byte| f32::from(byte)).sum();
        let bright = sum / 255.0 / 192.0;
        out.probabilities = vec![1.0 - bright, bright];
        Ok(Some(Classified {
            image_width: size.width,
            image_height: size.height,
            preprocess_ms: 0.1,
            inference_ms: 0.1,
            opinion_ms: 0.0,
            speaker: 0,
        }))
    }
}

pub fn lamp(
    values: impl IntoIterator<Item = u8, IntoIter: Send + 'static>,
    format: PixelFormat,
    lossless: bool,
) -> Box<dyn Source> {
    Box::new(Lamp {
        values: Box::new(values.into_iter()),
        format,
        lossless,
    })
}

pub fn gated(inner: Box<dyn Source>, plan: Plan) -> (Sender<()>, Camera) {
    let (open, gate) = mpsc::channel();
    let inner = Box::new(Faulty::new(inner, plan));
    let gated = Gated {
        inner,
        gate,
        open: false,
    };
    (open, camera(Box::new(gated)))
}

/// Everything that is said from the first frame to the end.
struct Story {
    messages: Vec<Message<'static>>,
    totals: Totals,
}

impl Story {
    fn of(source: Box<dyn Source>, plan: Plan, adjust: impl FnOnce(&mut Options)) -> Self {
        let (open, camera) = gated(source, plan);
        Self::of_camera(&open, camera, adjust)
    }

    fn of_camera(open: &Sender<()>, camera: Camera, adjust: impl FnOnce(&mut Options)) -> Self {
        let mut running = Running::start(vec![camera], Box::new(ByBrightness::new()), |options| {
            options.cameras[0].looks[0].saying.smoothing.time_constant = Duration::from_millis(500);
            adjust(options);
        });
        let mut subscriber = running.subscribe();
        open.send(()).unwrap();
        let messages: Vec<_> = std::iter::from_fn(|| subscriber.next()).collect();
        let totals = running.join().unwrap();
        assert!(totals.over, "it ended for another reason");
        let story = Self { messages, totals };
        story.is_sensible();
        story
    }

    /// What must hold whatever the camera does.
    fn is_sensible(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (now, day) = (now.unwrap().as_secs_f64(), 86_400.0);
        let mut streaming = false;
        for message in &self.messages {
            match message {
                Message::Status(status) => streaming = status.state == State::Streaming,
                Message::Classification(one) => {
                    assert!(streaming, "a label without a camera: {one:?}");
                    assert!((now - day..now + day).contains(&one.timestamp), "{one:?}");
                    assert!((0.0..day * 1e3).contains(&f64::from(one.timing.age_ms)));
                    assert!((0.0..=1.0).contains(&one.confidence), "{one:?}");
                }
                Message::Lagged(_) => panic!("the test does not read fast enough"),
                _ => {}
            }
        }
        let told = self.labels().count() as u64;
        let counted: u64 = self.labels().map(|one| one.dropped).sum();
        assert_eq!(told, self.totals.classified);
        let last = self.labels().last().map_or(0, |one| one.frame_id);
        assert_eq!(told + counted, last, "every frame is told or counted");
    }

    fn labels(&self) -> impl Iterator<Item = &Classification<'static>> {
        self.messages.iter().filter_map(|message| match message {
            Message::Classification(one) => Some(one),
            _ => None,
        })
    }

    fn states(&self) -> Vec<State> {
        let states = self.messages.iter().filter_map(|message| match message {
            Message::Status(status) => Some(status.state),
            _ => None,
        });
        states.filter(|&state| state != State::Starting).collect()
    }

    fn changes(&self) -> Vec<String> {
        let changes = self
            .messages
            .iter()
            .filter(|m| matches!(m, Message::Change(_)));
        changes.map(kind).collect()
    }

    /// The first label after the camera was away: of its own frame, or of the time before?
    fn first_after(&self, gap: State) -> &Classification<'static> {
        let is_gap = |m: &Message<'_>| matches!(m, Message::Status(s) if s.state == gap);
        let at = self
            .messages
            .iter()
            .rposition(is_gap)
            .expect("the gap is told");
        let after = self.messages[at..]
            .iter()
            .find_map(|message| match message {
                Message::Classification(one) => Some(one),
                _ => None,
            });
        after.expect("labels come back")
    }
}

/// With smoothing, dark after bright would begin near 0.8.
fn is_of_its_own_time(one: &Classification<'_>) {
    assert_eq!(one.top, "golf ball", "{one:?}");
    assert!(
        (one.confidence - one.predictions[0].confidence).abs() < 0.001,
        "{one:?}"
    );
}

fn bright_then_dark(each: usize) -> impl Iterator<Item = u8> + Send {
    [BRIGHT, DARK]
        .into_iter()
        .flat_map(move |value| std::iter::repeat_n(value, each))
}

#[test]
fn torn_jpegs_are_counted_and_the_others_classified() {
    let torn = [0, 100, 500, 900, 990].map(Fault::Torn);
    let plan = torn
        .into_iter()
        .flat_map(|torn| [Fault::None, torn, Fault::Garbled]);
    let jpegs = lamp(std::iter::repeat_n(BRIGHT, 20), PixelFormat::Mjpg, true);
    let story = Story::of(jpegs, scripted(plan), |_| {});
    assert_eq!(story.totals.classified + story.totals.bad, 20);
    // garbled ones may still be pictures, torn ones never are
    assert!((5..=10).contains(&story.totals.bad), "{:?}", story.totals);
    let torn = |one: &Classification<'_>| [2, 5, 8, 11, 14].contains(&one.frame_id);
    assert!(!story.labels().any(torn), "half a picture got a label");
    assert_eq!(story.labels().last().unwrap().frame_id, 20);
    assert_eq!(story.states(), [State::Streaming, State::Stopping]);
}

#[test]
fn frames_may_change_their_size_and_format_at_any_time() {
    let shapes = [
        (PixelFormat::Rgb3, 16, 12),
        (PixelFormat::Yuyv, 641, 3),
        (PixelFormat::Nv12, 33, 47),
        (PixelFormat::Grey, 1, 1),
        (PixelFormat::Bgr3, 1920, 1080),
        (PixelFormat::Nv12, 2, 2),
        (PixelFormat::Grey, 5, 4000),
    ];
    let plan = shapes.map(|(format, width, height)| Fault::Reshaped(format, width, height));
    let frames = lamp(
        std::iter::repeat_n(BRIGHT, shapes.len()),
        PixelFormat::Rgb3,
        true,
    );
    let story = Story::of(frames, scripted(plan), |_| {});
    assert_eq!(story.totals.bad, 0);
    let sizes: Vec<_> = story
        .labels()
        .map(|one| (one.image.width, one.image.height))
        .collect();
    assert_eq!(sizes, shapes.map(|(_, width, height)| (width, height)));
    assert!(story.labels().all(|one| one.top == "parachute"));
}

#[test]
fn a_stride_that_cannot_be_true_costs_its_frame_only() {
    let plan = [0, 5, 95, 97, usize::MAX / 2, usize::MAX].map(Fault::Stride);
    let frames = lamp(std::iter::repeat_n(BRIGHT, 8), PixelFormat::Rgb3, true);
    let story = Story::of(frames, scripted(plan), |_| {});
    assert_eq!((story.totals.classified, story.totals.bad), (2, 6));
    assert_eq!(story.labels().next().unwrap().dropped, 6);
}

#[test]
fn a_clock_that_jumps_holds_no_label() {
    let hour = Duration::from_secs(3600);
    for jump in [Fault::ClockAhead(hour), Fault::ClockBehind(hour)] {
        let plan = std::iter::repeat_n(Fault::None, 30).chain([jump]);
        let frames = lamp(bright_then_dark(60), PixelFormat::Rgb3, true);
        let story = Story::of(frames, scripted(plan), |options| {
            options.cameras[0].looks[0].saying.smoothing.time_constant = Duration::from_millis(40);
        });
        assert_eq!(story.totals.classified, 120);
        let changes = ["nothing -> parachute", "parachute -> golf ball"];
        assert_eq!(story.changes(), changes, "{jump:?}");
    }
}

#[test]
fn a_camera_that_is_lost_for_a_while_begins_afresh() {
    let plan = std::iter::repeat_n(Fault::None, 50).chain([Fault::Lost; 3]);
    let frames = lamp(bright_then_dark(50), PixelFormat::Rgb3, true);
    let story = Story::of(frames, scripted(plan), |_| {});
    let states = [
        State::Streaming,
        State::CameraLost,
        State::Streaming,
        State::Stopping,
    ];
    assert_eq!(story.states(), states);
    is_of_its_own_time(story.first_after(State::CameraLost));
}

#[test]
fn a_camera_that_falls_silent_is_stale_and_begins_afresh() {
    let plan = std::iter::repeat_n(Fault::None, 50).chain([Fault::Silence; 3]);
    let frames = lamp(bright_then_dark(50), PixelFormat::Rgb3, false);
    let story = Story::of(frames, scripted(plan), |options| {
        options.settings.stale_after = Duration::from_millis(300);
    });
    assert!(
        story.states().contains(&State::Stale),
        "{:?}",
        story.states()
    );
    is_of_its_own_time(story.first_after(State::Stale));
}

#[test]
fn a_panic_in_the_capture_thread_is_a_lost_camera_that_comes_back_each_time() {
    let bright = lamp(std::iter::repeat_n(BRIGHT, 50), PixelFormat::Rgb3, true);
    let faults = std::iter::repeat_n(Fault::None, 50).chain([Fault::Panic]);
    let (open, mut camera) = gated(bright, scripted(faults));
    let mut opened = 0;
    camera.reopen = Box::new(move || {
        opened += 1;
        match opened {
            1 => Err("not there yet".into()),
            2 => std::panic::resume_unwind(Box::new("another surprise, in opening")),
            3 => Ok(Box::new(Faulty::new(
                lamp([DARK; 20], PixelFormat::Rgb3, true),
                scripted(std::iter::repeat_n(Fault::None, 10).chain([Fault::Panic])),
            ))),
            _ => Ok(lamp([DARK; 20], PixelFormat::Rgb3, true)),
        }
    });
    let story = Story::of_camera(&open, camera, |_| {});
    // It panicked, was not there yet, and then opening it panicked: each has its reason.
    let lost = State::CameraLost;
    let back = State::Streaming;
    assert_eq!(
        story.states()[1..],
        [lost, lost, lost, back, lost, back, State::Stopping]
    );
    is_of_its_own_time(story.first_after(State::CameraLost));
    assert_eq!(story.totals.classified, 50 + 10 + 20);
}

#[test]
fn whatever_goes_wrong_the_daemon_goes_on() {
    for (seed, format) in [
        (1, PixelFormat::Mjpg),
        (2, PixelFormat::Rgb3),
        (3, PixelFormat::Rgb3),
    ] {
        let frames = lamp(0..150u8, format, seed != 3);
        let story = Story::of(frames, seeded(seed, 4), |options| {
            options.settings.stale_after = Duration::from_millis(200);
        });
        assert!(story.totals.classified > 40, "{:?}", story.totals);
        assert!(story.totals.bad > 0, "{:?}", story.totals);
        assert!(story.states().contains(&State::CameraLost));
    }
}
