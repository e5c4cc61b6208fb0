//! The seam between what decides and the system: a V4L2 capture device, and the clocks. The kernel is
//! behind it (`kernel`), and in tests a device that misbehaves. Nothing here decides anything.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// What [`Device::poll`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Frame,
    /// Nothing within the timeout.
    Nothing,
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
    /// The highest frame rate at this size; `None` if the driver does not tell.
    fn max_fps(&mut self, fourcc: [u8; 4], width: u32, height: u32) -> Option<f64>;
    /// Asks for a format; the driver takes the nearest it has and says which.
    fn set_format(&mut self, wanted: PixFormat) -> io::Result<PixFormat>;
    /// Asks for a rate, 0.01 to 1000 frames per second; the rate then in force, if the driver tells.
    fn set_fps(&mut self, fps: f64) -> io::Result<Option<f64>>;
    /// Makes and maps up to `count` buffers; how many there are.
    fn make_buffers(&mut self, count: u32) -> io::Result<u32>;
    /// Gives a buffer to the driver to fill.
    fn queue(&mut self, index: u32) -> io::Result<()>;
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
    fn open(&mut self, path: &Path) -> io::Result<Self::Device>;
    fn now(&self) -> Instant;
    /// The clock that buffers are stamped with.
    fn monotonic(&self) -> Duration;
    fn sleep(&mut self, time: Duration);
}
