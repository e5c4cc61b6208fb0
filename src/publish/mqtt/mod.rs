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

pub use link::run;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::hub::Hub;
use super::pictures::Pictures;
use super::sensors::Sensors;
use super::task::Task;

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

/// Publishes until dropped; the broker then tells the others that this device is offline. Whatever is wrong with the broker is
/// told, and tried again.
///
/// # Errors
/// If the system starts no thread.
pub fn start(settings: Settings, inside: Inside) -> Result<Task, MqttError> {
    Task::start("mqtt", |stop| run(settings, inside, stop.wait())).map_err(MqttError::Thread)
}
