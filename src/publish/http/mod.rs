//! A page to look at, and what belongs to it, over HTTP: off unless it is wanted, in one thread of its own that hears what
//! the socket's subscribers hear and holds up nobody.
//!
//! [`access`] says who may look, [`server`] accepts and bounds connections, [`routes`] answers a request; [`events`] and
//! [`video`] are answers that go on; [`history`] remembers the last hour, [`metrics`] counts for Prometheus. Nothing here
//! changes what the daemon does.

pub mod access;
mod events;
mod history;
mod metrics;
mod routes;
mod server;
mod video;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::hub::Hub;
use super::pictures::Pictures;
use crate::telemetry::Telemetry;

/// How long the thread may take to end before the process ends without it.
const PATIENCE: Duration = Duration::from_millis(300);

/// What is wanted.
pub struct Settings {
    pub listen: SocketAddr,
    /// What a request must know; `None`: nothing.
    pub token_file: Option<PathBuf>,
    /// Whoever reaches an address that others can reach may look.
    pub insecure: bool,
    /// Further names that this machine is called by: those that a reverse proxy passes on.
    pub hosts: Vec<String>,
    /// Frames per second of each camera's moving picture.
    pub preview_fps: f32,
    pub sensors: Box<dyn Sensors>,
}

/// How the machine feels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Readings {
    /// Of the processor, in degrees Celsius.
    pub celsius: Option<f64>,
    /// Heat or a weak supply slow it down.
    pub slowed: Option<bool>,
    /// Bytes of memory that this process has resident.
    pub resident: Option<u64>,
}

/// Who knows how the machine feels.
pub trait Sensors: Send + Sync {
    fn read(&mut self) -> Readings;
}

/// What is published.
#[derive(Clone)]
pub struct Inside {
    pub hub: Arc<Hub>,
    pub telemetry: Arc<Telemetry>,
    pub pictures: Arc<dyn Pictures>,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(
        "others can reach {0}: name a `token_file` in [http], or say `insecure = true` there if everybody may look"
    )]
    Exposed(SocketAddr),
    #[error("cannot start the thread for HTTP: {0}")]
    Thread(io::Error),
}

/// The thread. When dropped it ends, and all connections with it.
pub struct Http {
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Serves until dropped. An address that is taken and a token that cannot be read are told, and tried again.
    ///
    /// # Errors
    /// If everybody could look and nobody said that they may.
    pub fn start(settings: Settings, inside: Inside) -> Result<Self, HttpError> {
        let open = settings.token_file.is_none() && !settings.insecure;
        if open && !settings.listen.ip().is_loopback() {
            return Err(HttpError::Exposed(settings.listen));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HttpError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = mpsc::sync_channel(1);
        let serve = move || {
            let _ending: SyncSender<()> = ending; // dropped with the thread, also where it panics
            runtime.block_on(server::run(settings, inside, stopped));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new()
            .name("http".into())
            .spawn(serve)
            .map_err(HttpError::Thread)?;
        Ok(Self {
            stop: Some(stop),
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop.take();
        let late = self.ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            log::warn!("the thread for HTTP does not end; not waiting for it");
        } else if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread for HTTP had panicked");
        }
    }
}
