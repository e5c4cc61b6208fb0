//! Opening a camera: who it is, what it offers, buffers, start; and what it means when a step fails.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use v4l::v4l_sys as sys;

use super::controls;
use super::device::{Control, Device, Identity, Rates, Sizes, System};
use super::format::{self, Choice, Layout};
use super::kernel::{self, Kernel};
use super::retry;
use crate::frame::PixelFormat;
use crate::source::SourceError;
use crate::source::uri::V4l2Spec;

/// Buffers that the driver fills in turn: one being read, the others so that none is missed meanwhile.
const BUFFERS: u32 = 4;

/// The rate to ask for where none is wanted: what an earlier program left may be anything.
const DEFAULT_FPS: f64 = 30.0;

/// A camera that delivers frames.
pub(super) struct Stream<D> {
    pub device: D,
    pub layout: Layout,
    /// How many buffers there are.
    pub buffers: u32,
    /// The node that was opened.
    pub path: PathBuf,
    identity: Identity,
    fps: Option<f64>,
    /// Why this format and size.
    why: String,
}

impl<D> Stream<D> {
    pub(super) fn describe(&self) -> String {
        let Layout {
            format,
            width,
            height,
            ..
        } = self.layout;
        let rate = self.fps.map(|fps| format!(", {} fps", format::short(fps)));
        let Identity { card, driver, .. } = &self.identity;
        format!(
            "{card} ({driver}) at {}: {format} {width}x{height}{}, {}",
            self.path.display(),
            rate.unwrap_or_default(),
            self.why
        )
    }
}

/// Opens the camera that is asked for and starts it; where none is named, the first that starts.
pub(super) fn stream<S: System>(
    system: &mut S,
    spec: &V4l2Spec,
) -> Result<Stream<S::Device>, SourceError> {
    match &spec.device {
        Some(path) => stream_at(system, path, spec),
        None => first_stream(system, spec),
    }
}

/// If there is none, the error is that of the first camera that failed; nodes that are none say nothing.
fn first_stream<S: System>(
    system: &mut S,
    spec: &V4l2Spec,
) -> Result<Stream<S::Device>, SourceError> {
    let mut first_error = None;
    for path in system.nodes() {
        match stream_at(system, &path, spec) {
            Ok(stream) => return Ok(stream),
            Err(error @ (SourceError::NotACamera { .. } | SourceError::NoDevice(_))) => {
                log::debug!("passed over: {error}");
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or(SourceError::NoCamera))
}

fn stream_at<S: System>(
    system: &mut S,
    path: &Path,
    spec: &V4l2Spec,
) -> Result<Stream<S::Device>, SourceError> {
    let (mut device, identity) = identify(system, path)?;
    let Agreed { layout, fps, why } = negotiate(&mut device, path, spec)?;
    let failed = |step| move |error| classify(path, step, error);
    let buffers = retry(|| device.make_buffers(BUFFERS)).map_err(failed("making buffers"))?;
    if buffers == 0 {
        return Err(failed("making buffers")(io::Error::other(
            "the driver gave none",
        )));
    }
    for index in 0..buffers {
        retry(|| device.queue(index)).map_err(failed("handing over a buffer"))?;
    }
    retry(|| device.start()).map_err(|error| {
        if needs_camera_stack(&identity) && is_pipeline_error(&error) {
            let found = format!("driver {} did not start: {error}", identity.driver);
            return SourceError::RawOnly {
                path: path.to_owned(),
                found,
            };
        }
        match (classify(path, "starting", error), device.no_signal()) {
            (SourceError::Device { path, .. }, Some(trouble)) => {
                SourceError::NoSignal { path, trouble }
            }
            (error, _) => error,
        }
    })?;
    // Of the running camera: some forget what was set before.
    for warning in controls::set(&mut device, &spec.controls) {
        log::warn!("{}: {warning}", path.display());
    }
    Ok(Stream {
        device,
        layout,
        buffers,
        path: path.to_owned(),
        identity,
        fps,
        why,
    })
}

/// Opens the node and makes sure that it is a camera that we can use.
fn identify<S: System>(system: &mut S, path: &Path) -> Result<(S::Device, Identity), SourceError> {
    let mut device =
        retry(|| system.open(path)).map_err(|error| classify(path, "opening", error))?;
    let identity =
        retry(|| device.identity()).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOTTY | Errno::INVAL) => not_a_camera(path, "it is no video device"),
            _ => classify(path, "asking what it is", error),
        })?;
    let can = |capability: u32| identity.capabilities & capability != 0;
    if can(sys::V4L2_CAP_VIDEO_M2M | sys::V4L2_CAP_VIDEO_M2M_MPLANE) {
        return Err(not_a_camera(
            path,
            &format!("{} is a codec or converter", identity.card),
        ));
    }
    if !can(sys::V4L2_CAP_VIDEO_CAPTURE) {
        if can(sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE) {
            return Err(SourceError::MultiPlanar(path.to_owned()));
        }
        return Err(not_a_camera(
            path,
            &format!("this node of {} does not capture video", identity.card),
        ));
    }
    if !can(sys::V4L2_CAP_STREAMING) {
        return Err(not_a_camera(
            path,
            &format!("{} cannot stream", identity.card),
        ));
    }
    Ok((device, identity))
}

fn not_a_camera(path: &Path, found: &str) -> SourceError {
    SourceError::NotACamera {
        path: path.to_owned(),
        found: found.to_owned(),
    }
}

/// What was agreed with the driver.
struct Agreed {
    layout: Layout,
    fps: Option<f64>,
    why: String,
}

/// Agrees with the driver on format, size and rate.
fn negotiate(
    device: &mut impl Device,
    path: &Path,
    spec: &V4l2Spec,
) -> Result<Agreed, SourceError> {
    let offered =
        retry(|| device.formats()).map_err(|error| classify(path, "listing formats", error))?;
    let Choice {
        format: wanted,
        why,
    } = format::choose(device, &offered, spec)
        .ok_or_else(|| unusable(&offered, path, spec.format))?;
    let fixed = retry(|| device.set_format(wanted))
        .map_err(|error| classify(path, "setting the format", error))?;
    let layout = Layout::of(fixed).ok_or_else(|| SourceError::NoUsableFormat {
        path: path.to_owned(),
        offered: format!(
            "{} {}x{}",
            format::names(&[fixed.fourcc]),
            fixed.width,
            fixed.height
        ),
    })?;
    if let Some((width, height)) = spec.size
        && (layout.width, layout.height) != (width, height)
    {
        let Layout {
            width: w,
            height: h,
            ..
        } = layout;
        log::warn!(
            "{}: {width}x{height} is not offered; using {w}x{h}",
            path.display()
        );
    }
    // A camera that does not let its rate be set works all the same.
    let fps = retry(|| device.set_fps(spec.fps.unwrap_or(DEFAULT_FPS))).unwrap_or_else(|error| {
        log::debug!("{}: frame rate: {error}", path.display());
        None
    });
    Ok(Agreed { layout, fps, why })
}

/// Why none of the offered formats will do.
fn unusable(offered: &[[u8; 4]], path: &Path, wanted: Option<PixelFormat>) -> SourceError {
    let (path, names) = (path.to_owned(), format::names(offered));
    if !offered.is_empty() && offered.iter().all(|&fourcc| format::is_raw(fourcc)) {
        return SourceError::RawOnly {
            path,
            found: format!("formats {names}"),
        };
    }
    let usable = offered
        .iter()
        .copied()
        .filter(|&fourcc| format::usable(fourcc).is_some());
    let usable: Vec<_> = usable.collect();
    match wanted {
        Some(wanted) if !usable.is_empty() => SourceError::FormatNotOffered {
            path,
            wanted,
            usable: format::names(&usable),
        },
        _ => SourceError::NoUsableFormat {
            path,
            offered: names,
        },
    }
}

fn classify(path: &Path, step: &'static str, error: io::Error) -> SourceError {
    let path = path.to_owned();
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::NXIO) => {
            SourceError::NoDevice(path)
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            let group = kernel::group_of(&path);
            SourceError::Permission { path, group }
        }
        Some(Errno::BUSY) => SourceError::Busy(path),
        _ => SourceError::Device {
            path,
            step,
            source: error,
        },
    }
}

/// Whether the node is one end of a pipeline that other software must set up (CSI cameras).
fn needs_camera_stack(identity: &Identity) -> bool {
    identity.capabilities & sys::V4L2_CAP_IO_MC != 0 || identity.driver.contains("unicam")
}

fn is_pipeline_error(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::PIPE | Errno::NOLINK)
    )
}

/// A video node as `resnetd devices` shows it.
#[derive(Debug)]
pub struct Listed {
    pub path: PathBuf,
    /// What the device calls itself, or empty if it could not be asked.
    pub card: String,
    pub driver: String,
    /// What it offers, or why it cannot be used.
    pub offers: Result<Offers, SourceError>,
}

/// What a camera can do.
#[derive(Debug, Default)]
pub struct Offers {
    /// Those first that we can use.
    pub formats: Vec<OfferedFormat>,
    pub controls: Vec<Control>,
}

#[derive(Debug)]
pub struct OfferedFormat {
    /// Four-character code.
    pub name: String,
    pub usable: bool,
    pub sizes: Vec<OfferedSize>,
}

#[derive(Debug)]
pub struct OfferedSize {
    pub size: Sizes,
    /// Of a range of sizes those of the largest.
    pub rates: Rates,
}

/// All video nodes of the machine.
#[must_use]
pub fn list() -> Vec<Listed> {
    Kernel
        .nodes()
        .into_iter()
        .map(|path| look_at(&mut Kernel, path))
        .collect()
}

/// Whether there is a camera that can be used without setting anything up. One that the user may not open is
/// passed over with a warning.
#[must_use]
pub fn has_camera() -> bool {
    any_camera(&mut Kernel)
}

pub(super) fn any_camera(system: &mut impl System) -> bool {
    for path in system.nodes() {
        match look_at(system, path).offers {
            Ok(_) => return true,
            Err(error @ SourceError::Permission { .. }) => log::warn!("passed over: {error}"),
            Err(error) => log::debug!("passed over: {error}"),
        }
    }
    false
}

pub(super) fn look_at(system: &mut impl System, path: PathBuf) -> Listed {
    let (mut device, identity) = match identify(system, &path) {
        Ok(found) => found,
        Err(error) => {
            return Listed {
                path,
                card: String::new(),
                driver: String::new(),
                offers: Err(error),
            };
        }
    };
    let offers = offers(&mut device, &identity, &path);
    Listed {
        path,
        card: identity.card,
        driver: identity.driver,
        offers,
    }
}

fn offers(
    device: &mut impl Device,
    identity: &Identity,
    path: &Path,
) -> Result<Offers, SourceError> {
    let mut offered =
        retry(|| device.formats()).map_err(|error| classify(path, "listing formats", error))?;
    if needs_camera_stack(identity) {
        let found = format!("driver {}", identity.driver);
        return Err(SourceError::RawOnly {
            path: path.to_owned(),
            found,
        });
    }
    if !offered
        .iter()
        .any(|&fourcc| format::usable(fourcc).is_some())
    {
        return Err(unusable(&offered, path, None));
    }
    offered.sort_by_key(|&fourcc| format::usable(fourcc).is_none());
    let formats = offered
        .into_iter()
        .map(|fourcc| offered_format(device, fourcc))
        .collect();
    Ok(Offers {
        formats,
        controls: device.controls(),
    })
}

fn offered_format(device: &mut impl Device, fourcc: [u8; 4]) -> OfferedFormat {
    let sizes = device.sizes(fourcc).into_iter().map(|size| {
        let (width, height) = match size {
            Sizes::One { width, height } => (width, height),
            Sizes::Range { width, height } => (width.max, height.max),
        };
        let rates = device.rates(fourcc, width, height);
        OfferedSize { size, rates }
    });
    OfferedFormat {
        name: format::names(&[fourcc]),
        usable: format::usable(fourcc).is_some(),
        sizes: sizes.collect(),
    }
}
