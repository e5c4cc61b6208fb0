//! The seam between what decides and the system: a V4L2 capture device, and the clocks. The kernel is
//! behind it (`kernel`), and in tests a device that misbehaves. Nothing here decides anything.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What [`Device::poll`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Frame,
    /// Nothing within the timeout.
    Nothing,
    /// The picture that comes in has another size now (a grabber's new signal).
    Changed,
    /// An error or hang-up, with or without frames.
    Trouble,
}

/// A device's answer to who it is.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    pub card: String,
    pub driver: String,
    /// `V4L2_CAP_*` of this node.
    pub capabilities: u32,
}

/// A picture format as the driver fixed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PixFormat {
    pub fourcc: [u8; 4],
    pub width: u32,
    pub height: u32,
    /// Bytes from one row to the next; 0 if the driver does not say.
    pub stride: u32,
    /// Only in the driver's answer.
    pub colours: Colours,
}

/// `V4L2_COLORSPACE_*`, `V4L2_YCBCR_ENC_*` and `V4L2_QUANTIZATION_*`, not checked; 0 is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Colours {
    pub space: u32,
    pub encoding: u32,
    pub quantization: u32,
}

/// Frame sizes that a device offers for one format, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    One { width: u32, height: u32 },
    Range { width: Steps, height: Steps },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    pub min: u32,
    pub max: u32,
    pub step: u32,
}

/// Frame rates that a device offers for one format and size, in frames per second; none if it does not tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rates {
    /// The fastest first.
    pub fps: Vec<f64>,
    /// `fps` are the ends of a range, and all between them is possible.
    pub range: bool,
}

/// A setting of a camera, such as its exposure time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub id: u32,
    /// As the driver writes it: `White Balance, Automatic`.
    pub name: String,
    pub kind: ControlKind,
    pub min: i32,
    pub max: i32,
    pub step: i32,
    pub default: i32,
    /// None if it cannot be read.
    pub value: Option<i32>,
    pub read_only: bool,
    /// Another control, an automatic mode, governs it now.
    pub inactive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlKind {
    Number,
    Switch,
    Menu(Vec<Menu>),
    Bits,
    Button,
    /// Of a type that we do not set.
    Other,
}

/// An item of a menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    pub index: u32,
    pub text: String,
}

impl ControlKind {
    /// A mode governs whether other controls can be set.
    #[must_use]
    pub fn is_mode(&self) -> bool {
        matches!(self, Self::Switch | Self::Menu(_))
    }
}

/// A buffer that the driver has filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// As the driver says: not checked.
    pub index: u32,
    /// Bytes of picture in it; not checked.
    pub bytes: u32,
    /// The driver says that its content may be damaged.
    pub damaged: bool,
    /// On the monotonic clock; `None` if the driver used another one.
    pub taken: Option<Duration>,
}

/// An open capture device. Errors are the kernel's; `EINTR` may come from any of them.
pub trait Device: Send {
    fn identity(&mut self) -> io::Result<Identity>;
    /// The four-character codes that it offers.
    fn formats(&mut self) -> io::Result<Vec<[u8; 4]>>;
    /// Empty if the driver does not tell.
    fn sizes(&mut self, fourcc: [u8; 4]) -> Vec<Sizes>;
    fn rates(&mut self, fourcc: [u8; 4], width: u32, height: u32) -> Rates;
    /// Asks for a format; the driver takes the nearest it has and says which.
    fn set_format(&mut self, wanted: PixFormat) -> io::Result<PixFormat>;
    /// Asks for a rate, 0.01 to 1000 frames per second; the rate then in force, if the driver tells.
    fn set_fps(&mut self, fps: f64) -> io::Result<Option<f64>>;
    /// Those that are there; values are as they are now.
    fn controls(&mut self) -> Vec<Control>;
    fn set_control(&mut self, id: u32, value: i32) -> io::Result<()>;
    /// What the driver says is wrong with the signal that comes in, if it knows.
    fn no_signal(&mut self) -> Option<&'static str>;
    /// Makes and maps up to `count` buffers; how many there are.
    fn make_buffers(&mut self, count: u32) -> io::Result<u32>;
    /// Gives a buffer to the driver to fill.
    fn queue(&mut self, index: u32) -> io::Result<()>;
    /// Starts the stream, and asks to be told by [`Ready::Changed`] of another picture size.
    fn start(&mut self) -> io::Result<()>;
    fn poll(&mut self, timeout: Duration) -> io::Result<Ready>;
    /// The oldest filled buffer, or `None` if there is none now.
    fn dequeue(&mut self) -> io::Result<Option<Filled>>;
    /// Copies the first `bytes` bytes of a dequeued buffer; false if there is no such buffer or it is shorter.
    fn copy(&self, index: u32, bytes: usize, into: &mut Vec<u8>) -> bool;
}

/// What a source needs of the machine beside the device.
pub trait System: Send {
    type Device: Device;
    /// The video nodes that there are now, in the order of their numbers.
    fn nodes(&self) -> Vec<PathBuf>;
    fn open(&mut self, path: &Path) -> io::Result<Self::Device>;
    fn now(&self) -> Instant;
    /// The clock that buffers are stamped with.
    fn monotonic(&self) -> Duration;
    fn sleep(&mut self, time: Duration);
}
