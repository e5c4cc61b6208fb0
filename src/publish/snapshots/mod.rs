//! Pictures that teach: frames at which a label changed, or was not sure, are kept beside what was said of them, and a person says
//! later what they really show. Off unless it is wanted, in a thread of its own.
//!
//! [`when`] decides which frames, [`store`] has the folder and its bounds, [`name`] what may be a file's or a label's name. What a person said
//! lies in `labelled/`, in the form that `resnetd-model teach` takes.

pub mod name;
pub mod store;
mod when;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::hearing::Hearing;
use super::hub::Hub;
use super::lock;
use super::pictures::{Pictures, soon};
use super::task::{Stop, Task};
use super::wire::Message;
use crate::ratelimit::RateLimit;
use crate::spec::When;

use store::{Note, Store};
use when::{Moment, Moments};

/// A picture may be in coming for so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Log lines of a disk that is full or gone.
const COMPLAINTS: Duration = Duration::from_secs(600);

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub dir: PathBuf,
    /// Of all pictures and notes, in bytes.
    pub most: u64,
    pub when: When,
}

/// What has been kept, for the page to show.
#[derive(Clone)]
pub struct Snapshots(Arc<Mutex<Store>>);

impl Snapshots {
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        lock(&self.0)
    }
}

/// Keeps pictures until the task is dropped. A folder that is not there, or full, is told and tried again with the next
/// picture.
///
/// # Errors
/// If the system starts no thread.
pub fn start(
    settings: Settings,
    hub: Arc<Hub>,
    pictures: Arc<dyn Pictures>,
) -> std::io::Result<(Task, Snapshots)> {
    let snapshots = Snapshots(Arc::new(Mutex::new(Store::new(
        settings.dir,
        settings.most,
    ))));
    let shared = snapshots.clone();
    let task = Task::start("snapshots", move |stop| {
        run(Moments::new(settings.when), shared, (hub, pictures), stop)
    })?;
    Ok((task, snapshots))
}

async fn run(
    mut moments: Moments,
    snapshots: Snapshots,
    (hub, pictures): (Arc<Hub>, Arc<dyn Pictures>),
    stop: Stop,
) {
    let complaints = Arc::new(Mutex::new(RateLimit::every(COMPLAINTS)));
    let hear = async {
        let mut hearing = Hearing::of(&hub);
        loop {
            let heard = |message: &Message<'_>| {
                if let Some(moment) = moments.hear(message, Instant::now()) {
                    let (snapshots, pictures) = (snapshots.clone(), Arc::clone(&pictures));
                    tokio::spawn(take(moment, snapshots, pictures, Arc::clone(&complaints)));
                }
            };
            hearing.hear(heard).await;
        }
    };
    tokio::select! {
        () = hear => {}
        () = stop.wait() => {}
    }
}

/// Keeps the next picture that comes.
async fn take(
    moment: Moment,
    snapshots: Snapshots,
    pictures: Arc<dyn Pictures>,
    complaints: Arc<Mutex<RateLimit>>,
) {
    let region = moment.region.as_deref();
    let old = pictures.number(&moment.camera);
    let newer = || pictures.part(&moment.camera, region, old);
    let Some(picture) = soon(PATIENCE, newer).await else {
        return;
    };
    let note = Note {
        id: name::id(&moment.camera, region, picture.captured_at),
        camera: moment.camera.clone(),
        region: moment.region.clone(),
        timestamp: picture.captured_at,
        top: moment.top.clone(),
        confidence: moment.confidence,
        because: moment.because,
        label: None,
    };
    let kept = snapshots.lock().keep(&note, &picture.jpeg);
    if let Err(error) = kept
        && let Some(before) = lock(&complaints).allow(Instant::now())
    {
        log::warn!("no snapshot is kept: {error} ({before} more since the last such line)");
    }
}
