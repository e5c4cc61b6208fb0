//! What goes wrong around a daemon that must not stop: cameras that lie, tear or vanish, subscribers in masses, a machine
//! without room. Cameras and subscribers here are a library's; `limits` runs the program itself, because limits are a process's.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)] // other tests use the rest
#[path = "../socket/fakes.rs"]
mod fakes;
#[allow(dead_code)] // as above
#[path = "../socket/harness.rs"]
mod harness;

mod cameras;
mod flood;
mod limits;
mod process;
mod watchdog;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by tests that measure: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
