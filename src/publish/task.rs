//! A publisher's thread: runs one future, and ends soon when it is dropped.

use std::future::Future;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

/// How long a thread may take to end before the process ends without it.
const PATIENCE: Duration = Duration::from_millis(800);
/// Threads beside it, for what waits for a disk or a name; they come when they are needed, and go.
const BLOCKING: usize = 4;

/// Becomes ready when the thread is to end.
pub struct Stop(oneshot::Receiver<()>);

impl Stop {
    pub async fn wait(self) {
        let _ = self.0.await; // an error is as good: nobody is left who could say it
    }
}

/// The thread.
pub struct Task {
    name: &'static str,
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Task {
    /// Runs what `work` makes, on a thread of this name that has a runtime of its own.
    ///
    /// # Errors
    /// If the system grants no thread, or none of what a runtime needs.
    pub fn start<F: Future<Output = ()>>(
        name: &'static str,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = mpsc::sync_channel(1);
        let run = move || {
            let _ending: SyncSender<()> = ending; // dropped with the thread, also where it panics
            runtime.block_on(work(Stop(stopped)));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self {
            name,
            stop: Some(stop),
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stop.take();
        let late = self.ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            log::warn!("{} does not end; not waiting for it", self.name);
        } else if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("{} had panicked", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_task_ends_when_it_is_dropped_and_is_waited_for() {
        let ended = Arc::new(AtomicBool::new(false));
        let inside = Arc::clone(&ended);
        let task = Task::start("test", |stop| async move {
            stop.wait().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            inside.store(true, Ordering::Release);
        });
        drop(task.unwrap());
        assert!(ended.load(Ordering::Acquire));
    }
}
