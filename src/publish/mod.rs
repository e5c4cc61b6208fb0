//! How labels leave the process: a Unix stream socket that any number of programs may read, and beside it publishers that
//! are optional ([`http`], [`mqtt`], [`snapshots`]), which hear what the socket's subscribers hear.
//!
//! [`wire`] is the protocol, [`path`] where the socket is, [`listener`] how it comes and goes, [`hub`] what the
//! rest of the program talks to, [`socket`] the one thread that does the I/O. Publishing never waits
//! for a subscriber: messages go into a ring of bounded size, and who reads too slowly is told what it missed.

mod feed;
mod hearing;
pub mod http;
mod hub;
mod level;
pub mod listener;
pub mod mqtt;
pub mod path;
pub mod pictures;
mod ring;
#[cfg(test)]
mod samples;
pub mod sensors;
pub mod snapshots;
mod socket;
mod subscriber;
mod task;
pub mod wire;

pub use hub::Hub;
pub use socket::Publisher;
pub use task::Task;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a panic left is as good as any state between two messages.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another resnetd already listens on {}; stop it or choose another place with --socket", .0.display())]
    InUse(PathBuf),
    #[error("{} exists and is no socket; remove it or choose another place with --socket", .0.display())]
    NotASocket(PathBuf),
    #[error("the socket's path {} is longer than the {limit} bytes that Unix sockets allow; choose a shorter one with --socket", .path.display())]
    TooLong { path: PathBuf, limit: usize },
    #[error("cannot make the socket {}: {reason}; make its directory writable for this user or choose another place with --socket", .path.display())]
    Bind { path: PathBuf, reason: io::Error },
    #[error("cannot make the socket {}: {reason}; free some room there (`df` and `df -i` show it) or choose another place with --socket", .path.display())]
    Full { path: PathBuf, reason: io::Error },
    #[error("{} must be a directory that belongs to this user and that nobody else may enter; remove it or choose another place with --socket", .0.display())]
    UnsafeDirectory(PathBuf),
    #[error(
        "the socket handed over by systemd cannot be used: {0}; the socket unit needs ListenStream= with a path, and Accept=no"
    )]
    Activation(String),
    #[error("cannot serve the socket: {0}")]
    Serve(io::Error),
    #[error(
        "no resnetd listens on {looked_at}; start it with `resnetd run`, or name its socket with --socket"
    )]
    NobodyListens { looked_at: String },
    #[error("no permission to read {}; add the user to the group `resnetd`", .0.display())]
    Forbidden(PathBuf),
}

impl SocketError {
    /// Why the socket's file could not be made, with the remedy for that.
    fn unmade(path: &Path, reason: io::Error) -> Self {
        let path = path.to_owned();
        match reason.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path, reason },
            _ => Self::Bind { path, reason },
        }
    }
}
