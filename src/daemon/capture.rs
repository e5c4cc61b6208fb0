//! A camera's thread: asks its source for frames and leaves them in the camera's slot. Whatever the source
//! does, a panic included, this thread goes on until it is told to stop or the source has ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::preview::Preview;
use super::{Camera, Reopen, panic_text};
use crate::backoff::Backoff;
use crate::frame::Frame;
use crate::slot::{CameraId, Keep, Notice, Put, Slots};
use crate::source::{Event, Source};

/// How long a source may take before it is asked whether it should still try.
const WAIT: Duration = Duration::from_millis(250);
/// How long a lost camera is left alone before it is asked again.
const LOST_PAUSE: Duration = Duration::from_millis(200);

/// Captures until the source ends or the camera is not wanted any more.
pub fn run(id: CameraId, camera: Camera, slots: &Slots, preview: &Preview) {
    let Camera {
        name,
        source,
        mut reopen,
        ..
    } = camera;
    let mut frame = Frame::empty();
    let mut backoff = Backoff::new();
    let at_once = Duration::ZERO;
    let opened = source.or_else(|| open(id, &mut reopen, at_once, &mut backoff, slots));
    let Some(mut source) = opened else {
        return;
    };
    log::info!("{name}: {}", source.describe());
    while !slots.stopped(id) {
        // The source is given up after a panic and the frame refilled, so no broken state is seen.
        let next = catch_unwind(AssertUnwindSafe(|| source.next(&mut frame, WAIT)));
        match next {
            Ok(Event::Frame) => {
                backoff.reset();
                preview.offer(&frame);
                deliver(id, &mut frame, keep(source.as_ref()), slots);
            }
            Ok(Event::Timeout) => {}
            Ok(Event::Lost(reason)) => {
                slots.tell(id, Notice::Lost(reason));
                slots.pause(id, LOST_PAUSE);
            }
            Ok(Event::End) => {
                slots.tell(id, Notice::End);
                break;
            }
            Err(panic) => {
                let reason = format!("its source failed: {}", panic_text(panic.as_ref()));
                slots.tell(id, Notice::Lost(reason));
                discard(&name, source);
                let pause = backoff.pause(Duration::ZERO);
                match open(id, &mut reopen, pause, &mut backoff, slots) {
                    Some(opened) => source = opened,
                    None => return,
                }
            }
        }
    }
    discard(&name, source);
}

/// What the source wants done with a frame that nobody has taken yet.
pub fn keep(source: &dyn Source) -> Keep {
    if source.lossless() {
        Keep::Every
    } else {
        Keep::Newest
    }
}

fn deliver(id: CameraId, frame: &mut Frame, keep: Keep, slots: &Slots) {
    while slots.put(id, frame, keep, WAIT) == Put::Full {}
}

/// Opens the source after `pause`, and again with growing pauses until it is there. None if it is not wanted any more.
fn open(
    id: CameraId,
    reopen: &mut Reopen,
    mut pause: Duration,
    backoff: &mut Backoff,
    slots: &Slots,
) -> Option<Box<dyn Source>> {
    while !slots.pause(id, pause) {
        pause = backoff.pause(Duration::ZERO);
        match catch_unwind(AssertUnwindSafe(&mut *reopen)) {
            Ok(Ok(source)) => return Some(source),
            Ok(Err(reason)) => slots.tell(id, Notice::Lost(reason)),
            Err(panic) => {
                let reason = format!("opening it failed: {}", panic_text(panic.as_ref()));
                slots.tell(id, Notice::Lost(reason));
            }
        }
    }
    None
}

/// Closing a device may panic too (crate v4l does when the driver refuses).
fn discard(name: &str, source: Box<dyn Source>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(move || drop(source))) {
        log::warn!("{name}: closing failed: {}", panic_text(panic.as_ref()));
    }
}
