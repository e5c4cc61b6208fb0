//! The one place that knows the order source, frame, preprocess, infer, smooth, publish; and how the whole
//! starts and stops.
//!
//! One capture thread per camera ([`capture`], [`fleet`]), one inference thread ([`inference`], [`view`]), one thread
//! that publishes, one that looks for changes of what is wanted ([`reload`]) and of what the machine gives ([`adapt`]), and
//! the calling thread, which only watches over them: so that a stop is quick and removes the socket even if a device or an inference hangs.

mod adapt;
mod capture;
mod fleet;
mod inference;
mod look;
mod preview;
mod reload;
mod service;
mod view;

pub use adapt::{Choice, Known, Others, Shelf, others};
pub use look::{Look, Saying};
pub use reload::{Change, Reload};

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::adapt::{Pace, governor, still};
use crate::frame::{Frame, Square};
use crate::infer::ActivationMap;
use crate::label::{Labels, Prediction};
use crate::publish::http;
use crate::publish::listener::Listener;
use crate::publish::mqtt;
use crate::publish::path::Places;
use crate::publish::pictures::Pictures;
use crate::publish::snapshots;
use crate::publish::wire::{self, Message, ModelInfo, State};
use crate::publish::{Hub, Publisher, SocketError, Task};
use crate::slot::Slots;
use crate::source::Source;
use crate::spec::{Activation, Framing};
use crate::telemetry::Telemetry;
use adapt::{Adapter, Pulse};
use fleet::Fleet;
use inference::Inference;
use look::Meaning;
use preview::Previews;
use reload::Reloading;
use view::Outlet;

/// How soon a stop is noticed.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// How long threads may take to end before the process ends without them.
const PATIENCE: Duration = Duration::from_millis(500);
/// Frames per second that are kept for those who look, where nobody can.
const PREVIEW_FPS: f32 = 1.0;

/// Says of a prepared picture, as the network would see it, whether it is worth an inference.
pub type Worth<'a> = &'a mut dyn FnMut(&Square) -> bool;

/// Turns frames into scores: preprocessing and inference.
pub trait Classifier: Send {
    /// Does what is to be done once with a frame, whatever parts of it are classified then: decodes it.
    fn begin(&mut self, frame: &Frame) -> Result<(), ClassifyError> {
        let _ = frame;
        Ok(())
    }

    /// Puts the scores of a part of `frame`, which was begun last, into `out`, whose buffers are used again; nothing
    /// where `worth` said no.
    fn classify(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError>;

    /// What of the upright picture was looked at last: left, top, width and height in shares of it.
    fn seen(&self) -> [f32; 4] {
        [0.0, 0.0, 1.0, 1.0]
    }

    /// Where in what was looked at last the score of a class comes from; `None` if that is not known of this network.
    fn map(&self, class_id: usize) -> Option<ActivationMap> {
        let _ = class_id;
        None
    }

    /// How fast it has to be from now on.
    fn pace(&mut self, pace: Pace) {
        let _ = pace;
    }

    /// From now on to leave half of the processor alone, or not.
    fn spare(&mut self, half: bool) {
        let _ = half;
    }
}

impl Model {
    fn meaning(&self) -> Meaning {
        Meaning {
            labels: self.labels.clone(),
            activation: self.activation,
        }
    }
}

/// What besides the scores is known of a classified frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classified {
    /// Size of the picture itself in pixels, which for a JPEG the frame does not know.
    pub image_width: u32,
    pub image_height: u32,
    pub preprocess_ms: f32,
    pub inference_ms: f32,
    /// Of that, what a further network took that was asked for its opinion.
    pub opinion_ms: f32,
    /// Which of the model's networks gave the answer.
    pub speaker: usize,
}

/// This frame cannot be classified (a torn JPEG); the next one may well be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClassifyError {
    pub message: String,
}

/// What classifies, and what its answers mean.
pub struct Model {
    pub classifier: Box<dyn Classifier>,
    pub info: ModelInfo,
    pub labels: Labels,
    pub activation: Activation,
    /// The names of those of which one answers, as [`Classified::speaker`] counts them; one at least.
    pub speakers: Vec<String>,
    /// Why this one and no other, for a person.
    pub detail: String,
    /// What those would cost that do not run.
    pub others: Vec<wire::OtherModel>,
}

/// Opens a camera's source, also again after it has panicked; the error says why that failed.
pub type Reopen = Box<dyn FnMut() -> Result<Box<dyn Source>, String> + Send>;

/// A camera to watch.
pub struct Camera {
    pub name: String,
    /// What is watched and how: with the same name and key it is the same camera.
    pub key: String,
    /// What is looked at in its pictures; one at least.
    pub looks: Vec<Look>,
    /// None if its own thread is to open it, and to try again until it is there. Not for files.
    pub source: Option<Box<dyn Source>>,
    pub reopen: Reopen,
}

/// What is done with what the cameras show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// A camera that delivers nothing for this long is told to be stale.
    pub stale_after: Duration,
    /// At most so many frames per second of each camera are classified; 0.01 to 1000.
    pub target_fps: Option<f32>,
    /// What a frame may take from its preparation to its scores.
    pub max_latency: Option<Duration>,
    /// The least time between two switches of the model.
    pub dwell: Duration,
    /// Frames that show what was classified last are passed over; `None`: each one is classified.
    pub still: Option<still::Settings>,
}

impl Settings {
    /// The least time between two frames of a camera.
    fn interval(&self) -> Duration {
        self.target_fps.map_or(Duration::ZERO, |fps| {
            Duration::try_from_secs_f32(1.0 / fps).unwrap_or_default()
        })
    }

    /// What one inference may take, so that each of the cameras gets what is wanted.
    #[must_use]
    pub fn pace(&self, work: Work) -> Pace {
        Pace {
            turn: self.target_fps.map(|_| self.interval() / work.all.max(1)),
            latency: self.max_latency.map(|most| most / work.most.max(1)),
        }
    }

    fn wishes(&self, work: Work) -> governor::Settings {
        governor::Settings {
            longest: self.pace(work).longest(),
            dwell: self.dwell,
        }
    }
}

/// How many inferences there are to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// For one frame of each camera.
    pub all: u32,
    /// For one frame of the camera that has most.
    pub most: u32,
}

impl Work {
    /// Of cameras in whose pictures so many parts are looked at.
    #[must_use]
    pub fn of(looks: impl IntoIterator<Item = usize>) -> Self {
        looks.into_iter().fold(Self::default(), |work, looks| {
            let looks = u32::try_from(looks).unwrap_or(u32::MAX);
            Self {
                all: work.all.saturating_add(looks),
                most: work.most.max(looks),
            }
        })
    }
}

/// Gets every classification, change and status as it is published, in the inference thread: it must not block.
pub type Observer = Box<dyn FnMut(&Message<'_>) + Send>;

/// All that a daemon is made of.
pub struct Options {
    pub cameras: Vec<Camera>,
    pub choice: Choice,
    /// Where the socket shall be; None leaves it to systemd and [`Places`].
    pub socket: Option<PathBuf>,
    pub places: Places,
    pub settings: Settings,
    /// End after so many classified frames.
    pub frames: Option<u64>,
    pub observer: Option<Observer>,
    /// The page and what belongs to it, if wanted.
    pub http: Option<http::Settings>,
    /// A broker, likewise.
    pub mqtt: Option<mqtt::Settings>,
    /// A folder of pictures, likewise.
    pub snapshots: Option<snapshots::Settings>,
    /// Knows when something else is wanted.
    pub reload: Option<Box<dyn Reload>>,
}

/// What was done until the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub classified: u64,
    /// Frames that could not be classified.
    pub bad: u64,
    /// Every source has ended by itself.
    pub over: bool,
}

/// Why the daemon could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Http(#[from] http::HttpError),
    #[error(transparent)]
    Mqtt(#[from] mqtt::MqttError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("a thread failed beyond repair ({0}); please report this with the lines above")]
    Panicked(String),
}

/// Runs until `stop` is set, the last source has ended or `frames` are classified.
pub fn run(mut options: Options, stop: &AtomicBool) -> Result<Totals, DaemonError> {
    let names: Vec<String> = options
        .cameras
        .iter()
        .map(|camera| camera.name.clone())
        .collect();
    let listener = Listener::open(options.socket.as_deref(), &options.places)?;
    let socket = listener
        .path()
        .map_or("the socket of systemd".into(), |path| {
            path.display().to_string()
        });
    let start = message_of(&options.choice.model, wire::Reason::Start);
    let hub = Arc::new(Hub::new(&names, &start).map_err(SocketError::Serve)?);
    let publisher = Publisher::start(Arc::clone(&hub), listener)?;
    let fps = { options.http.as_ref() }.map_or(PREVIEW_FPS, |http| http.preview_fps);
    let (telemetry, previews) = (Arc::<Telemetry>::default(), Arc::new(Previews::new(fps)));
    let beside = beside(&mut options, &hub, &telemetry, &previews)?;
    let what = format!(
        "model {}, labels on {socket}",
        options.choice.model.info.name
    );
    log::info!("{what}");

    let threads = Threads::start(options, &hub, (telemetry, previews))?;
    service::ready(&what);
    let outcome = threads.watch(stop, &publisher);
    service::stopping();
    for name in hub.cameras() {
        hub.publish(&view::status(&name, State::Stopping, None));
    }
    drop(beside);
    drop(publisher);
    outcome
}

/// Starts the publishers beside the socket that are wanted; they run until they are dropped.
fn beside(
    options: &mut Options,
    hub: &Arc<Hub>,
    telemetry: &Arc<Telemetry>,
    previews: &Arc<Previews>,
) -> Result<Vec<Task>, DaemonError> {
    let pictures = || Arc::clone(previews) as Arc<dyn Pictures>;
    let (mut tasks, mut kept) = (Vec::new(), None);
    if let Some(settings) = options.snapshots.take() {
        let started = snapshots::start(settings, Arc::clone(hub), pictures());
        let (task, snapshots) = started.map_err(DaemonError::Thread)?;
        tasks.push(task);
        kept = Some(snapshots);
    }
    if let Some(settings) = options.mqtt.take() {
        let inside = mqtt::Inside {
            hub: Arc::clone(hub),
            pictures: pictures(),
        };
        tasks.push(mqtt::start(settings, inside)?);
    }
    if let Some(settings) = options.http.take() {
        let inside = http::Inside {
            hub: Arc::clone(hub),
            telemetry: Arc::clone(telemetry),
            pictures: pictures(),
            snapshots: kept,
        };
        tasks.push(http::start(settings, inside)?);
    }
    Ok(tasks)
}

/// Says which model runs.
fn message_of(model: &Model, reason: wire::Reason) -> wire::Model {
    wire::Model {
        timestamp: wire::unix_seconds(SystemTime::now()),
        model: model.info.clone(),
        reason,
        detail: model.detail.clone(),
        others: model.others.clone(),
    }
}

/// The threads that work.
struct Threads {
    slots: Arc<Slots>,
    fleet: Arc<Mutex<Fleet>>,
    outcome: Receiver<Result<Totals, DaemonError>>,
}

impl Threads {
    fn start(
        options: Options,
        hub: &Arc<Hub>,
        (telemetry, previews): (Arc<Telemetry>, Arc<Previews>),
    ) -> Result<Self, DaemonError> {
        let slots = Arc::new(Slots::new());
        let (orders, received) = mpsc::channel();
        let Choice { model, others } = options.choice;
        let work = Work::of(options.cameras.iter().map(|camera| camera.looks.len()));
        let pulse = Arc::new(Pulse::default());
        let mut fleet = Fleet::new(Arc::clone(&slots), orders.clone(), Arc::clone(&previews));
        fleet.change(options.cameras)?;
        let (ended, outcome) = mpsc::sync_channel(1);
        let out = Outlet {
            hub: Arc::clone(hub),
            observer: options.observer,
            telemetry,
            previews,
        };
        let inference = Inference::new(
            model,
            options.settings,
            options.frames,
            Arc::clone(&slots),
            out,
            (received, Arc::clone(&pulse)),
        );
        let wanted = (&options.settings, work);
        let adapter =
            others.map(|others| Adapter::new(others, wanted, Arc::clone(&pulse), orders.clone()));
        let infer = move || {
            let done = catch_unwind(AssertUnwindSafe(|| inference.run()));
            // Nobody to tell: the watching thread has given up on us.
            let _ =
                ended.send(done.map_err(|panic| DaemonError::Panicked(panic_text(panic.as_ref()))));
        };
        let threads = Self {
            slots: Arc::clone(&slots),
            fleet: Arc::new(Mutex::new(fleet)),
            outcome,
        };
        let changes = Reloading {
            slots,
            orders,
            fleet: Arc::clone(&threads.fleet),
            pulse,
            adapter,
        };
        let reload = options.reload;
        let started = spawn("infer", infer)
            .and_then(|_| spawn("changes", move || changes.run(reload)).map(drop));
        started.inspect_err(|_| threads.slots.stop())?;
        Ok(threads)
    }

    /// Waits for the end, and then for the threads, but not for ever.
    fn watch(self, stop: &AtomicBool, publisher: &Publisher) -> Result<Totals, DaemonError> {
        let mut outcome = None;
        while outcome.is_none() && !stop.load(Ordering::Acquire) {
            outcome = self.wait(HEARTBEAT);
            if outcome.is_none() && !publisher.is_alive() {
                outcome = Some(Err(DaemonError::Panicked("publishing".into())));
            }
        }
        self.slots.stop();
        let end = Instant::now() + PATIENCE;
        let outcome = outcome.or_else(|| self.wait(PATIENCE)).unwrap_or_else(|| {
            log::warn!("an inference is still running; not waiting for it");
            Ok(Totals::default())
        });
        while self.captures() {
            if Instant::now() >= end {
                log::warn!("a camera does not answer; not waiting for it");
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        outcome
    }

    /// Whether a capture thread still runs; not if that cannot be seen now, because a reload waits for one.
    fn captures(&self) -> bool {
        self.fleet.try_lock().is_ok_and(|fleet| fleet.is_busy())
    }

    fn wait(&self, time: Duration) -> Option<Result<Totals, DaemonError>> {
        match self.outcome.recv_timeout(time) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(DaemonError::Panicked("no result".into())))
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, DaemonError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(DaemonError::Thread)
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".into())
}
