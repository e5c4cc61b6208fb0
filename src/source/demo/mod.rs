//! A source that needs no camera: scenes rendered by our own code, so that a machine without one
//! still shows the whole path from frame to label.
//!
//! Two scenes take turns by hard cuts: a golf ball rolling on grass and a parachute before clouds.
//! The default network was never trained on them, nor on anything rendered: that it names them is
//! a (small) proof that the pipeline prepares pictures as it should.
//!
//! Picture number `n` always has the same bytes, on every processor: integers, f32 in a fixed
//! order, `sqrt` (exact by IEEE 754) and the crate `libm`, nothing else. All motion is a sum of
//! periodic movements of the picture's number, so that it goes on for years without losing
//! precision.
//!
//! Only pictures and their pace are made here. What they show is nobody's business but the
//! tests': [`scene_label`] is not given to the pipeline.

mod canvas;
mod golf;
mod lawn;
mod noise;
mod parachute;

use std::f32::consts::TAU;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::frame::{Frame, PixelFormat};
use crate::source::{Event, Source};
use canvas::{CHANNELS, Canvas, HEIGHT, WIDTH};

/// One picture each fifteenth of a second.
const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 15);

/// The first two scenes last 25 pictures each (1.7 s), so that a run of 60 pictures shows both.
const SHORT: u64 = 25;
/// Later ones last 150 (10 s).
const LONG: u64 = 150;

// What does not change from one picture of a scene to the next, made at its first.
static GOLF: LazyLock<golf::Golf> = LazyLock::new(golf::Golf::new);
static PARACHUTE: LazyLock<parachute::Parachute> = LazyLock::new(parachute::Parachute::new);
static GRAIN: LazyLock<noise::Grain> = LazyLock::new(noise::Grain::new);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    Golf,
    Parachute,
}

fn scene(index: u64) -> Scene {
    let turn = match index.checked_sub(2 * SHORT) {
        None => index / SHORT,
        Some(later) => later / LONG,
    };
    if turn % 2 == 0 {
        Scene::Golf
    } else {
        Scene::Parachute
    }
}

/// What picture `index` shows: `golf ball` or `parachute`, as ImageNet's classes are called.
#[must_use]
pub fn scene_label(index: u64) -> &'static str {
    match scene(index) {
        Scene::Golf => "golf ball",
        Scene::Parachute => "parachute",
    }
}

/// Draws picture `index` into `frame`: 640x480, R G B, without gaps between the rows. Leaves the
/// times of the frame alone.
pub fn render(index: u64, frame: &mut Frame) {
    frame.format = PixelFormat::Rgb3;
    (frame.width, frame.height) = (640, 480);
    frame.stride = WIDTH * CHANNELS;
    frame.data.resize(WIDTH * HEIGHT * CHANNELS, 0);
    frame.file = None;

    let mut canvas = Canvas::new(&mut frame.data);
    match scene(index) {
        Scene::Golf => GOLF.draw(index, &mut canvas),
        Scene::Parachute => PARACHUTE.draw(index, &mut canvas),
    }
    GRAIN.develop(index, exposure(index), &mut frame.data);
}

/// How bright the picture is, in 1/256 and at most 1: a cloud that passes, and the flicker of a
/// camera's own exposure control.
// It stays between 201 and 255.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn exposure(index: u64) -> u16 {
    let gain = 228.0 + 24.0 * wave(index, 310, 0.0) + 3.0 * wave(index, 23, 0.3);
    gain as u16
}

/// A sine of the picture's number: one turn in `period` pictures, started `phase` turns ahead.
fn wave(index: u64, period: u16, phase: f32) -> f32 {
    libm::sinf(angle(index, period) + phase * TAU)
}

/// The picture's number as an angle in `0..TAU` that comes round every `period` pictures.
fn angle(index: u64, period: u16) -> f32 {
    (index % u64::from(period)) as f32 * (TAU / f32::from(period))
}

/// The source `demo:`.
#[derive(Debug)]
pub struct Demo {
    index: u64,
    due: Instant,
}

impl Demo {
    #[must_use]
    pub fn new() -> Self {
        Self {
            index: 0,
            due: Instant::now(),
        }
    }
}

impl Default for Demo {
    fn default() -> Self {
        Self::new()
    }
}

impl Source for Demo {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        let wait = self.due.saturating_duration_since(Instant::now());
        thread::sleep(wait.min(timeout));
        if wait > timeout {
            return Event::Timeout;
        }
        // After a pause (a stopped process, a slow start) it goes on from now, without a burst.
        let now = Instant::now();
        self.due = (self.due + PERIOD).max(now);
        frame.captured = now;
        frame.captured_at = SystemTime::now();
        render(self.index, frame);
        frame.capture_ms = now.elapsed().as_secs_f32() * 1000.0;
        self.index += 1;
        Event::Frame
    }

    fn lossless(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "rendered scenes, no camera".to_owned()
    }
}

#[cfg(test)]
mod tests;
