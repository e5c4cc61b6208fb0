//! Labels for a broker (MQTT 3.1.1), and what Home Assistant needs to find them: off unless it is wanted, in one thread of its
//! own that hears what the socket's subscribers hear and holds up nobody.
//!
//! [`topics`] names things, [`compose`] makes messages for the broker of ours, [`discovery`] tells Home Assistant, [`outbox`] holds
//! them while the broker is away, within bounds; [`link`] connects, and sends each until the broker has acknowledged it.

mod compose;
mod discovery;
mod link;
mod outbox;
pub mod topics;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::http::Sensors;
use super::hub::Hub;
use super::pictures::Pictures;

/// How long the thread may take to say farewell before the process ends without it.
const PATIENCE: Duration = Duration::from_millis(800);

/// What is wanted.
pub struct Settings {
    pub broker: Address,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    /// Whom to trust in place of the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// What this device is called at the broker, unlike all others.
    pub device: String,
    /// Labels that get a binary sensor each.
    pub labels: Vec<String>,
    /// Home Assistant's prefix; `None`: nothing is announced to it.
    pub discovery: Option<String>,
    pub sensors: Box<dyn Sensors>,
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// What is published.
#[derive(Clone)]
pub struct Inside {
    pub hub: Arc<Hub>,
    pub pictures: Arc<dyn Pictures>,
}

#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error("cannot start the thread for MQTT: {0}")]
    Thread(io::Error),
}

/// The thread. When dropped it tells the broker that this device is offline, and ends.
pub struct Mqtt {
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Mqtt {
    /// Publishes until dropped. Whatever is wrong with the broker is told, and tried again.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub fn start(settings: Settings, inside: Inside) -> Result<Self, MqttError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(MqttError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = mpsc::sync_channel(1);
        let publish = move || {
            let _ending: SyncSender<()> = ending; // dropped with the thread, also where it panics
            runtime.block_on(link::run(settings, inside, stopped));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new()
            .name("mqtt".into())
            .spawn(publish)
            .map_err(MqttError::Thread)?;
        Ok(Self {
            stop: Some(stop),
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        self.stop.take();
        let late = self.ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if !late
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread for MQTT had panicked");
        }
    }
}
