//! A page to look at, and what belongs to it, over HTTP: off unless it is wanted, in one thread of its own that hears what
//! the socket's subscribers hear and holds up nobody.
//!
//! [`access`] says who may look, [`server`] accepts and bounds connections, [`routes`] answers a request, [`query`] reads what it asks; [`events`] and
//! [`video`] are answers that go on; [`history`] remembers the last hour, [`metrics`] counts for Prometheus, [`kept`] shows what
//! was kept, [`teach`] lets a person teach from it. Nothing but that changes what the daemon does.

pub mod access;
mod events;
mod history;
mod kept;
mod metrics;
pub mod query;
mod routes;
mod server;
pub mod teach;
mod video;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::hub::Hub;
use super::pictures::Pictures;
use super::sensors::Sensors;
use super::snapshots::Snapshots;
use super::task::Task;
use crate::telemetry::Telemetry;
use teach::Lessons;

/// What is wanted.
pub struct Settings {
    pub listen: SocketAddr,
    /// What a request must know; `None`: nothing.
    pub token_file: Option<PathBuf>,
    /// Whoever reaches an address that others can reach may look.
    pub insecure: bool,
    /// Names that this machine is called by besides `localhost`: its own, and those that a reverse proxy passes on.
    pub hosts: Vec<String>,
    /// Frames per second of each camera's moving picture.
    pub preview_fps: f32,
    pub sensors: Box<dyn Sensors>,
    /// Where new labels are taught, if they can be.
    pub lessons: Option<Arc<Lessons>>,
}

/// What is published.
#[derive(Clone)]
pub struct Inside {
    pub hub: Arc<Hub>,
    pub telemetry: Arc<Telemetry>,
    pub pictures: Arc<dyn Pictures>,
    /// Where pictures are kept.
    pub snapshots: Option<Snapshots>,
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

/// Serves until dropped. An address that is taken and a token that cannot be read are told, and tried again.
///
/// # Errors
/// If everybody could look and nobody said that they may, or the system starts no thread.
pub fn start(settings: Settings, inside: Inside) -> Result<Task, HttpError> {
    let open = settings.token_file.is_none() && !settings.insecure;
    if open && !settings.listen.ip().is_loopback() {
        return Err(HttpError::Exposed(settings.listen));
    }
    Task::start("http", |stop| server::run(settings, inside, stop)).map_err(HttpError::Thread)
}
