//! A source that goes wrong as it is told: it wraps another one and damages what that one delivers. For tests only,
//! which say by a [`Plan`] what happens when, or leave it to a seed; the shipped program does not contain it.
//!
//! What the daemon makes of a fault is the daemon's business.

use std::iter;
use std::panic;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{Event, Source};
use crate::frame::{Frame, PixelFormat, PlaneLayout};
use crate::random::Random;

/// U and V of grey.
const NO_COLOUR: u8 = 128;

/// What goes wrong with one call of [`Source::next`]. Those about a frame do nothing where the wrapped source
/// delivers none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Only this share of the bytes arrives, in thousandths.
    Torn(u16),
    /// A stretch of bytes in the middle is noise.
    Garbled,
    /// From now on another picture: flat, of this format and size, with the value of the frame's first byte.
    Reshaped(PixelFormat, u32, u32),
    /// The driver states another distance between rows than its bytes have.
    Stride(usize),
    /// The frame's clocks are ahead by this much.
    ClockAhead(Duration),
    /// The frame's clocks are behind by this much.
    ClockBehind(Duration),
    /// The device is gone.
    Lost,
    /// The device is there and delivers nothing.
    Silence,
    /// The driver's library gives up.
    Panic,
}

/// One fault for each call, as they come.
pub type Plan = Box<dyn Iterator<Item = Fault> + Send>;

/// These faults one after the other, and nothing wrong after them.
pub fn scripted(faults: impl IntoIterator<Item = Fault, IntoIter: Send + 'static>) -> Plan {
    Box::new(faults.into_iter().chain(iter::repeat(Fault::None)))
}

/// A fault of any kind but panics about every `one_in` calls, the same ones for the same seed.
#[must_use]
pub fn seeded(seed: u64, one_in: u64) -> Plan {
    let mut random = Random::new(seed);
    Box::new(iter::from_fn(move || {
        let is_sound = !random.bits().is_multiple_of(one_in.max(1));
        Some(if is_sound {
            Fault::None
        } else {
            any(&mut random)
        })
    }))
}

fn any(random: &mut Random) -> Fault {
    let side = |random: &mut Random| 1 + u32::from(random.byte());
    let time = |random: &mut Random| Duration::from_millis(random.bits() % 10_000_000);
    match random.byte() % 8 {
        0 => Fault::Torn(u16::from(random.byte()) * 3),
        1 => Fault::Garbled,
        2 => Fault::Reshaped(PixelFormat::Rgb3, side(random), side(random)),
        3 => Fault::Stride(random.byte().into()),
        4 => Fault::ClockAhead(time(random)),
        5 => Fault::ClockBehind(time(random)),
        6 => Fault::Lost,
        _ => Fault::Silence,
    }
}

/// The source that goes wrong.
pub struct Faulty {
    inner: Box<dyn Source>,
    plan: Plan,
    shape: Option<(PixelFormat, u32, u32)>,
}

impl Faulty {
    #[must_use]
    pub fn new(inner: Box<dyn Source>, plan: Plan) -> Self {
        Self {
            inner,
            plan,
            shape: None,
        }
    }
}

impl Source for Faulty {
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event {
        let fault = self.plan.next().unwrap_or(Fault::None);
        match fault {
            Fault::Lost => return Event::Lost("pulled out by a test".into()),
            Fault::Silence => {
                thread::sleep(timeout);
                return Event::Timeout;
            }
            // No hook of the process hears of it: a test's output stays readable.
            Fault::Panic => panic::resume_unwind(Box::new("a driver's surprise")),
            Fault::Reshaped(format, width, height) => self.shape = Some((format, width, height)),
            _ => {}
        }
        let event = self.inner.next(frame, timeout);
        if event == Event::Frame {
            if let Some((format, width, height)) = self.shape {
                reshape(frame, format, width, height);
            }
            damage(frame, fault);
        }
        event
    }

    fn lossless(&self) -> bool {
        self.inner.lossless()
    }

    fn independent(&self) -> bool {
        self.inner.independent()
    }

    fn describe(&self) -> String {
        format!("{}, with faults", self.inner.describe())
    }
}

fn damage(frame: &mut Frame, fault: Fault) {
    let length = frame.data.len();
    match fault {
        Fault::Torn(share) => frame.data.truncate(length * usize::from(share) / 1000),
        Fault::Garbled => {
            let mut random = Random::new(length as u64);
            let middle = frame.data.iter_mut().skip(length / 3).take(length / 3);
            middle.for_each(|byte| *byte = random.byte());
        }
        Fault::Stride(stride) => frame.stride = stride,
        Fault::ClockAhead(by) => shift(frame, |now| now.checked_add(by), |now| now.checked_add(by)),
        Fault::ClockBehind(by) => {
            shift(frame, |now| now.checked_sub(by), |now| now.checked_sub(by));
        }
        _ => {}
    }
}

fn shift(
    frame: &mut Frame,
    instant: impl Fn(Instant) -> Option<Instant>,
    time: impl Fn(SystemTime) -> Option<SystemTime>,
) {
    frame.captured = instant(frame.captured).unwrap_or(frame.captured);
    frame.captured_at = time(frame.captured_at).unwrap_or(frame.captured_at);
}

/// As a driver does after a change of mode: another format, another size.
fn reshape(frame: &mut Frame, format: PixelFormat, width: u32, height: u32) {
    let value = frame.data.first().copied().unwrap_or_default();
    let stride = format.least_stride(width);
    let planes = format.planes(width, height, stride).unwrap_or_default();
    (frame.format, frame.width, frame.height, frame.stride) = (format, width, height, stride);
    frame.data.clear();
    frame.data.resize(planes[0].end(), value);
    let interleaved = match format {
        PixelFormat::Yuyv | PixelFormat::Yvyu => Some(1),
        PixelFormat::Uyvy => Some(0),
        _ => None,
    };
    if let Some(first) = interleaved {
        frame
            .data
            .iter_mut()
            .skip(first)
            .step_by(2)
            .for_each(|byte| *byte = NO_COLOUR);
    }
    let all = planes
        .iter()
        .map(PlaneLayout::end)
        .max()
        .unwrap_or_default();
    frame.data.resize(all, NO_COLOUR);
}
