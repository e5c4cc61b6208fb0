//! The signal behind a capture device: whether one comes in, and whether it has changed (HDMI grabbers and
//! other video inputs). Cameras have neither, and drivers that cannot tell are taken at their word.

use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::{Argument, Camera};

/// Crate v4l lacks these: `_IOW('V', 90, struct v4l2_event_subscription)` and `_IOR('V', 89, struct v4l2_event)`.
const SUBSCRIBE_EVENT: vidioc::_IOC_TYPE =
    request(1, 90, size_of::<sys::v4l2_event_subscription>());
const DQEVENT: vidioc::_IOC_TYPE = request(2, 89, size_of::<sys::v4l2_event>());
/// More events than the kernel keeps for us.
const MAX_EVENTS: usize = 64;

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // 32 bits, whatever the C library calls them
const fn request(direction: u32, number: u32, size: usize) -> vidioc::_IOC_TYPE {
    (direction << 30 | (size as u32) << 16 | (b'V' as u32) << 8 | number) as vidioc::_IOC_TYPE
}

/// Asks for an event when the signal changes. Most drivers have none, which is an error that says nothing.
pub(super) fn watch(camera: &Camera) {
    let mut wanted = sys::v4l2_event_subscription {
        type_: sys::V4L2_EVENT_SOURCE_CHANGE,
        ..Argument::zeroed()
    };
    if let Err(error) = camera.ioctl(SUBSCRIBE_EVENT, &mut wanted) {
        log::debug!("no news of a changed signal: {error}");
    }
}

/// Takes the waiting events; whether one of them says that the signal has changed.
pub(super) fn changed(camera: &Camera) -> bool {
    let mut changed = false;
    for _ in 0..MAX_EVENTS {
        let mut event = sys::v4l2_event::zeroed();
        if camera.ioctl(DQEVENT, &mut event).is_err() {
            break;
        }
        changed |= event.type_ == sys::V4L2_EVENT_SOURCE_CHANGE;
    }
    changed
}

/// What is wrong with the signal at the chosen input.
pub(super) fn trouble(camera: &Camera) -> Option<&'static str> {
    let mut chosen: std::os::raw::c_int = 0;
    camera.ioctl(vidioc::VIDIOC_G_INPUT, &mut chosen).ok()?;
    let mut input = sys::v4l2_input {
        index: u32::try_from(chosen).ok()?,
        ..Argument::zeroed()
    };
    camera.ioctl(vidioc::VIDIOC_ENUMINPUT, &mut input).ok()?;
    let has = |flags: u32| input.status & flags != 0;
    if has(sys::V4L2_IN_ST_NO_POWER) {
        Some("its input has no power")
    } else if has(sys::V4L2_IN_ST_NO_SIGNAL | sys::V4L2_IN_ST_NO_CARRIER) {
        Some("no signal comes in; check the cable and what it leads to")
    } else if has(sys::V4L2_IN_ST_NO_SYNC | sys::V4L2_IN_ST_NO_H_LOCK | sys::V4L2_IN_ST_NO_V_LOCK) {
        Some("the signal that comes in cannot be read; try another resolution at its sender")
    } else {
        None
    }
}
