//! Where pictures come from. A source fills frames and says when its device is gone; it neither
//! decodes nor converts, and knows nothing of what happens to a frame.

pub mod demo;

use std::time::Duration;

use crate::frame::Frame;

mod error;
pub mod exec;
#[cfg(any(test, feature = "tools"))]
pub mod fault;
mod glob;
pub mod http;
pub mod images;
mod intake;
pub mod pipe;
mod png;
mod steps;
pub mod stream;
pub mod uri;
pub mod v4l2;

pub use error::SourceError;
pub use uri::SourceSpec;

/// Anything that yields pictures. Everything that can vanish is a state: a lost camera is an
/// [`Event::Lost`], again and again while it is gone, and the source itself tries to come back.
pub trait Source: Send {
    /// Waits for the next picture, at most `timeout`, and puts it into `frame` (reusing its buffer).
    fn next(&mut self, frame: &mut Frame, timeout: Duration) -> Event;

    /// True if every frame must be classified (files); false if the newest frame wins (cameras).
    fn lossless(&self) -> bool;

    /// True if each picture stands for itself, so that labels are not smoothed over time.
    fn independent(&self) -> bool {
        false
    }

    /// One line for the log: what it is and which mode was chosen.
    fn describe(&self) -> String;
}

/// What [`Source::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `frame` holds a new picture.
    Frame,
    /// Nothing within the timeout; the source is still there.
    Timeout,
    /// The device is gone (why, for the log and the status message); ask again, it may come back.
    Lost(String),
    /// There was a last picture, and it has been delivered.
    End,
}

/// Opens what `spec` names.
///
/// # Errors
/// The device or file cannot be used; the message says why and what to do.
pub fn open(spec: &SourceSpec) -> Result<Box<dyn Source>, SourceError> {
    Ok(match spec {
        SourceSpec::V4l2(spec) => Box::new(v4l2::open(spec)?),
        SourceSpec::Stream(kind, input) => Box::new(pipe::Pipe::open(input, *kind)?),
        SourceSpec::Exec(command) => Box::new(exec::Exec::new(command)),
        SourceSpec::Http(url) => Box::new(http::Http::new(url.clone())),
        SourceSpec::Images(spec) => Box::new(images::Images::open(spec)?),
        SourceSpec::First(controls) if v4l2::has_camera() => {
            Box::new(v4l2::open(&uri::V4l2Spec {
                controls: controls.clone(),
                ..Default::default()
            })?)
        }
        SourceSpec::First(_) | SourceSpec::Demo => Box::new(demo::Demo::new()),
    })
}
