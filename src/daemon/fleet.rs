//! The capture threads: one per camera, started and stopped while the daemon runs.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::inference::Order;
use super::preview::{Preview, Previews};
use super::view::Introduction;
use super::{Camera, DaemonError, capture, spawn};
use crate::slot::{CameraId, Slots};
use crate::source::Source;

/// How long a camera that is not wanted any more may take to let go of its device, which may be wanted anew.
const LETTING_GO: Duration = Duration::from_secs(3);

pub struct Fleet {
    slots: Arc<Slots>,
    orders: Sender<Order>,
    previews: Arc<Previews>,
    running: Vec<Running>,
}

struct Running {
    camera: CameraId,
    name: String,
    key: String,
    thread: JoinHandle<()>,
}

impl Fleet {
    pub fn new(slots: Arc<Slots>, orders: Sender<Order>, previews: Arc<Previews>) -> Self {
        Self {
            slots,
            orders,
            previews,
            running: Vec::new(),
        }
    }

    /// Makes `wanted` the cameras that are watched. One that is watched already, by name and key, goes on undisturbed.
    pub fn change(&mut self, wanted: Vec<Camera>) -> Result<(), DaemonError> {
        let same = |running: &Running, camera: &Camera| {
            running.name == camera.name && running.key == camera.key
        };
        let unwanted = |running: &mut Running| !wanted.iter().any(|camera| same(running, camera));
        let removed: Vec<Running> = self.running.extract_if(.., unwanted).collect();
        let (mut added, mut kept) = (Vec::new(), Vec::new());
        for camera in wanted {
            let running = self.running.iter().find(|running| same(running, &camera));
            match running {
                Some(running) => {
                    self.previews.look(&camera.name, &camera.looks);
                    kept.push((running.camera, camera.looks));
                }
                None => added.push(camera),
            }
        }
        // Nobody listens only when the inference has ended, and with it all of this.
        let _ = self.orders.send(Order::Looks(kept));
        if removed.is_empty() && added.is_empty() {
            return Ok(());
        }
        for running in &removed {
            self.slots.remove(running.camera);
            self.previews.forget(&running.name);
        }
        wait_for(&removed, LETTING_GO);
        let added: Vec<(CameraId, Camera)> = added
            .into_iter()
            .map(|camera| (self.slots.add(), camera))
            .collect();
        let previews = added
            .iter()
            .map(|(_, camera)| self.previews.watch(&camera.name, &camera.looks));
        let previews: Vec<Arc<Preview>> = previews.collect();
        let _ = self.orders.send(Order::Cameras {
            removed: removed.iter().map(|running| running.camera).collect(),
            added: added.iter().map(introduction).collect(),
        });
        added
            .into_iter()
            .zip(previews)
            .try_for_each(|((id, camera), preview)| self.start(id, camera, preview))
    }

    /// Whether a thread still runs.
    pub fn is_busy(&self) -> bool {
        self.running
            .iter()
            .any(|running| !running.thread.is_finished())
    }

    fn start(
        &mut self,
        id: CameraId,
        camera: Camera,
        preview: Arc<Preview>,
    ) -> Result<(), DaemonError> {
        let (name, key) = (camera.name.clone(), camera.key.clone());
        let slots = Arc::clone(&self.slots);
        let thread = spawn("capture", move || {
            capture::run(id, camera, &slots, &preview);
        })?;
        self.running.push(Running {
            camera: id,
            name,
            key,
            thread,
        });
        Ok(())
    }
}

/// A source that is not open yet is a camera's: files are there or are an error.
fn introduction((camera, about): &(CameraId, Camera)) -> Introduction {
    let source = about.source.as_deref();
    let independent = source.is_some_and(Source::independent);
    Introduction {
        camera: *camera,
        name: about.name.clone(),
        looks: about.looks.clone(),
        live: !independent && !source.is_some_and(Source::lossless),
        independent,
    }
}

fn wait_for(removed: &[Running], patience: Duration) {
    let end = Instant::now() + patience;
    for running in removed {
        while !running.thread.is_finished() {
            if Instant::now() >= end {
                log::warn!("{}: does not end; not waiting for it", running.name);
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
