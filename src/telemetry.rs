//! What is counted while the daemon works, for whoever publishes figures: by whom it happens, with one addition that
//! waits for nobody. A camera that is not watched any more takes its counts with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// For a number that may also fall.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Frames of one camera.
#[derive(Debug, Default)]
pub struct Frames {
    /// That came from it.
    pub captured: Count,
    /// That were overwritten by newer ones before their turn came.
    pub dropped: Count,
    /// That showed what was classified last, in all parts that are looked at.
    pub still: Count,
    /// That could not be classified.
    pub unreadable: Count,
}

/// All that is counted.
#[derive(Debug)]
pub struct Telemetry {
    begun: Instant,
    /// Milliseconds since then, when the inference loop last turned.
    turned: AtomicU64,
    cameras: Mutex<Vec<(String, Arc<Frames>)>>,
}

impl Telemetry {
    #[must_use]
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            turned: AtomicU64::new(0),
            cameras: Mutex::default(),
        }
    }

    /// The inference loop turns.
    pub fn turn(&self) {
        let milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.turned.store(milliseconds, Ordering::Relaxed);
    }

    /// How long ago it last did.
    #[must_use]
    pub fn since_turn(&self) -> Duration {
        let turned = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(turned)
    }

    /// The counts of a camera that is watched from now on.
    pub fn watch(&self, camera: &str) -> Arc<Frames> {
        let mut cameras = self.lock();
        cameras.retain(|(name, _)| name != camera);
        let frames = Arc::<Frames>::default();
        cameras.push((camera.to_owned(), Arc::clone(&frames)));
        frames
    }

    /// A camera is not watched any more.
    pub fn forget(&self, camera: &str) {
        self.lock().retain(|(name, _)| name != camera);
    }

    /// Of each camera, by name.
    #[must_use]
    pub fn cameras(&self) -> Vec<(String, Arc<Frames>)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Arc<Frames>)>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_counted_while_it_is_watched() {
        let telemetry = Telemetry::new();
        telemetry.watch("a").captured.add(2);
        telemetry.watch("b").captured.add(3);
        let counts = || {
            let cameras = telemetry.cameras().into_iter();
            cameras
                .map(|(name, frames)| (name, frames.captured.get()))
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(), [("a".to_owned(), 2), ("b".to_owned(), 3)]);
        telemetry.forget("a");
        telemetry.watch("b");
        assert_eq!(counts(), [("b".to_owned(), 0)]);
    }

    #[test]
    fn a_loop_that_turned_just_now_did_not_turn_long_ago() {
        let telemetry = Telemetry::new();
        std::thread::sleep(Duration::from_millis(30));
        let before = telemetry.since_turn();
        telemetry.turn();
        assert!(before >= Duration::from_millis(30) && telemetry.since_turn() < before);
    }
}
