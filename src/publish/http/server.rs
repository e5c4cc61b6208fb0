//! Accepts connections and bounds them: how many there are, how long a request may be in coming, how large its head is, how
//! long a reader may make us wait. Beside that it hears what is published and remembers it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use super::access::Guard;
use super::history::History;
use super::metrics::Metrics;
use super::teach::Lessons;
use super::{Inside, Settings, routes};
use crate::backoff::Backoff;
use crate::publish::hearing::Hearing;
use crate::publish::lock;
use crate::publish::sensors::{Readings, Sensors};
use crate::publish::task::Stop;
use crate::publish::wire::Message;
use crate::ratelimit::RateLimit;

/// A page takes two, one for events and one for the picture.
const MOST_CONNECTIONS: usize = 256;
/// How long the head of a request may take; also how long a connection may be idle.
const REQUEST: Duration = Duration::from_secs(15);
/// How long a reader may take nothing.
const SLOWEST: Duration = Duration::from_secs(10);
/// Of a request's head, in bytes.
const LARGEST_HEAD: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// Bytes under way to a reader: what is in there is old when it arrives.
const SEND_BUFFER: usize = 128 << 10;
/// How long nobody is accepted after accepting has failed (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// Between two attempts to begin.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the machine's sensors are read.
const SENSING: Duration = Duration::from_secs(10);

/// What all connections share.
pub struct Shared {
    pub inside: Inside,
    pub lessons: Option<Arc<Lessons>>,
    pub guard: Guard,
    pub frame_time: Duration,
    pub metrics: Metrics,
    pub history: Mutex<History>,
    pub readings: Mutex<Readings>,
    /// Changes with every message.
    pub heard: watch::Sender<u64>,
}

/// Until told to stop.
pub async fn run(settings: Settings, inside: Inside, stop: Stop) {
    let serving = tokio::spawn(serve(settings, inside));
    stop.wait().await;
    serving.abort();
}

async fn serve(settings: Settings, inside: Inside) {
    let (listener, guard) = begin(&settings).await;
    let address = listener.local_addr().unwrap_or(settings.listen);
    log::info!("a page to look at: http://{address}/");
    let shared = Arc::new(Shared {
        metrics: Metrics::new(&inside),
        inside,
        lessons: settings.lessons,
        guard,
        frame_time: Duration::try_from_secs_f32(1.0 / settings.preview_fps).unwrap_or(SENSING),
        history: Mutex::default(),
        readings: Mutex::default(),
        heard: watch::Sender::new(0),
    });
    tokio::spawn(sense(Arc::clone(&shared), settings.sensors));
    tokio::spawn(accept(Arc::clone(&shared), listener));
    hear(&shared).await;
}

/// Binds the address, and reads the token; again and again, if need be.
async fn begin(settings: &Settings) -> (TcpListener, Guard) {
    let mut backoff = Backoff::between(FIRST_PAUSE, LONGEST_PAUSE);
    let mut told = String::new();
    loop {
        let reason = match attempt(settings).await {
            Ok(begun) => return begun,
            Err(reason) => reason,
        };
        if reason != told {
            log::error!("no page: {reason}; everything else goes on, and this is tried again");
        }
        told = reason;
        tokio::time::sleep(backoff.pause(Duration::ZERO)).await;
    }
}

async fn attempt(settings: &Settings) -> Result<(TcpListener, Guard), String> {
    let guard = Guard::new(settings.token_file.as_deref(), &settings.hosts);
    let guard = guard.map_err(|error| error.to_string())?;
    let listen = settings.listen;
    let failed = |error| format!("cannot listen on {listen}: {error}");
    Ok((TcpListener::bind(listen).await.map_err(failed)?, guard))
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut refusals = RateLimit::every(Duration::from_secs(10));
    let mut refuse = |why: String| {
        if let Some(before) = refusals.allow(Instant::now()) {
            log::warn!("{why} ({before} more since the last such line)");
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => drop(tokio::spawn(connection(
                    Arc::clone(&shared),
                    stream,
                    permit,
                ))),
                Err(_) => refuse(format!(
                    "somebody who wanted to look was refused: {MOST_CONNECTIONS} connections are open"
                )),
            },
            Err(error) => {
                refuse(format!("cannot accept who wants to look: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, _permit: OwnedSemaphorePermit) {
    // Neither changes what is sent.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(SLOWEST));
    let _looking = shared.metrics.looking();
    let answer = |request| {
        let shared = Arc::clone(&shared);
        async move { routes::answer(&shared, request).await }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .half_close(false)
        .serve_connection(TokioIo::new(Box::pin(stream)), service_fn(answer))
        .await;
    if let Err(error) = served {
        log::debug!("a connection for HTTP ended: {error}");
    }
}

/// Hears every message, for ever.
async fn hear(shared: &Shared) {
    let mut hearing = Hearing::of(&shared.inside.hub);
    loop {
        hearing.hear(|message| shared.remember(message)).await;
        shared
            .heard
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Reads the sensors now and then, for ever.
async fn sense(shared: Arc<Shared>, mut sensors: Box<dyn Sensors>) {
    loop {
        let readings = sensors.read();
        shared.metrics.sense(&readings);
        shared.history().sense(&readings);
        *lock(&shared.readings) = readings;
        tokio::time::sleep(SENSING).await;
    }
}

impl Shared {
    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub fn readings(&self) -> Readings {
        *lock(&self.readings)
    }

    fn remember(&self, message: &Message<'_>) {
        self.metrics.count(message);
        self.history().hear(message);
    }
}
