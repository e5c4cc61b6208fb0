//! A camera's thread: asks its source for frames and leaves them in the camera's slot. Whatever the source
//! does, a panic included, this thread goes on until it is told to stop or the source has ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::{Camera, Reopen, panic_text};
use crate::frame::Frame;
use crate::slot::{Keep, Notice, Put, Slots};
use crate::source::{Event, Source};

/// How long a source may take before it is asked whether it should still try.
const WAIT: Duration = Duration::from_millis(250);
/// How long a lost camera is left alone before it is asked again.
const LOST_PAUSE: Duration = Duration::from_millis(200);
/// Pauses between attempts to open a source that panicked grow from here...
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// ... to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Captures until the source ends or `slots` are stopped.
pub fn run(index: usize, camera: Camera, slots: &Slots) {
    let Camera {
        name,
        mut source,
        mut reopen,
    } = camera;
    let mut frame = Frame::empty();
    let mut pause = FIRST_PAUSE;
    while !slots.stopped() {
        // The source is given up after a panic and the frame refilled, so no broken state is seen.
        let next = catch_unwind(AssertUnwindSafe(|| source.next(&mut frame, WAIT)));
        match next {
            Ok(Event::Frame) => {
                pause = FIRST_PAUSE;
                deliver(index, &mut frame, keep(source.as_ref()), slots);
            }
            Ok(Event::Timeout) => {}
            Ok(Event::Lost(reason)) => {
                slots.tell(index, Notice::Lost(reason));
                slots.pause(LOST_PAUSE);
            }
            Ok(Event::End) => {
                slots.tell(index, Notice::End);
                break;
            }
            Err(panic) => {
                let reason = format!("its source failed: {}", panic_text(panic.as_ref()));
                slots.tell(index, Notice::Lost(reason));
                discard(&name, source);
                match open_again(&name, &mut reopen, &mut pause, slots) {
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

fn deliver(index: usize, frame: &mut Frame, keep: Keep, slots: &Slots) {
    while slots.put(index, frame, keep, WAIT) == Put::Full {}
}

/// None if everything is to stop.
fn open_again(
    name: &str,
    reopen: &mut Reopen,
    pause: &mut Duration,
    slots: &Slots,
) -> Option<Box<dyn Source>> {
    while !slots.pause(*pause) {
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        match catch_unwind(AssertUnwindSafe(&mut *reopen)) {
            Ok(Ok(source)) => return Some(source),
            Ok(Err(reason)) => log::info!("{name}: cannot be opened again yet: {reason}"),
            Err(panic) => log::error!("{name}: opening failed: {}", panic_text(panic.as_ref())),
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
