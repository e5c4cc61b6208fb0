//! The connection: made again with growing pauses whenever it breaks, and each message kept until the broker has acknowledged
//! it. A new connection gets every state anew, since the broker may have forgotten all of them.

use std::collections::VecDeque;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, LastWill, MqttOptions, Outgoing,
    Packet, QoS, TlsConfiguration, Transport,
};
use tokio::sync::Notify;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::compose::Composer;
use super::outbox::{Item, Outbox};
use super::topics::Topics;
use super::{Address, Inside, Settings};
use crate::backoff::Backoff;
use crate::plain_file;
use crate::publish::hearing::Hearing;
use crate::publish::lock;
use crate::publish::pictures::{Pictures, soon};
use crate::publish::sensors::Sensors;
use crate::publish::wire::Message;
use crate::ratelimit::RateLimit;

/// A broker that hears nothing for half as long again tells the others that we are offline.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Messages under way, not acknowledged yet.
const WINDOW: usize = 16;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the machine's sensors are read and told.
const SENSING: Duration = Duration::from_secs(30);
/// A picture of a change may be in coming for so long.
const PICTURE: Duration = Duration::from_secs(2);
/// How long the last messages may take to get out at the end.
const FAREWELL: Duration = Duration::from_millis(400);
/// Log lines of events that were dropped.
const COMPLAINTS: Duration = Duration::from_secs(600);
/// The largest message, a picture: larger than any that is made.
const LARGEST: usize = 2 << 20;
const LARGEST_PASSWORD: u64 = 4096;
const LARGEST_CERTIFICATES: u64 = 1 << 20;
const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

/// Which broker, and as whom.
struct Access {
    broker: Address,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    topics: Topics,
    /// Where Home Assistant announces itself.
    birth: Option<String>,
}

/// What the tasks share.
struct Shared {
    state: Mutex<State>,
    /// There may be something to send, or room for it.
    ready: Notify,
}

struct State {
    outbox: Outbox,
    composer: Composer,
    connected: bool,
    /// Given to the client, the oldest first; and those that are out, by the number that the broker acknowledges.
    given: VecDeque<Item>,
    sent: VecDeque<(u16, Item)>,
}

impl State {
    /// What may be sent now.
    fn next(&mut self) -> Option<Item> {
        if !self.connected || self.given.len() + self.sent.len() >= WINDOW {
            return None;
        }
        let item = self.outbox.take()?;
        self.given.push_back(item.clone());
        Some(item)
    }

    /// The connection is gone: what is not acknowledged is to be sent again.
    fn broke(&mut self) {
        self.connected = false;
        let sent = self.sent.drain(..).map(|(_, item)| item);
        let unacknowledged: Vec<Item> = sent.chain(self.given.drain(..)).collect();
        self.outbox.again(unacknowledged.into_iter());
    }

    fn is_idle(&self) -> bool {
        !self.connected || self.given.is_empty() && self.sent.is_empty()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Publishes until `stop` is ready, and a moment longer; of many devices, many of these may run on one runtime, whose end
/// ends what they have begun.
pub async fn run(settings: Settings, inside: Inside, stop: impl Future<Output = ()>) {
    let topics = Topics::new(&settings.device);
    let composer = Composer::new(
        topics.clone(),
        settings.labels,
        settings.discovery.clone(),
        Arc::clone(&inside.pictures),
    );
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            outbox: Outbox::default(),
            composer,
            connected: false,
            given: VecDeque::new(),
            sent: VecDeque::new(),
        }),
        ready: Notify::new(),
    });
    let access = Access {
        broker: settings.broker,
        username: settings.username,
        password_file: settings.password_file,
        ca_file: settings.ca_file,
        topics,
        birth: settings.discovery.map(|prefix| format!("{prefix}/status")),
    };
    tokio::spawn(hear(Arc::clone(&shared), inside));
    tokio::spawn(sense(Arc::clone(&shared), settings.sensors));
    tokio::select! {
        () = keep_connected(&shared, &access) => {}
        () = farewell(&shared, stop) => {}
    }
}

/// Waits for the end, and then a moment for what is under way. That the connection then breaks makes the broker tell the
/// others that we are offline.
async fn farewell(shared: &Shared, stop: impl Future<Output = ()>) {
    stop.await;
    let idle = async {
        while !shared.lock().is_idle() {
            tokio::time::sleep(FAREWELL / 40).await;
        }
    };
    let _ = tokio::time::timeout(FAREWELL, idle).await;
}

/// Hears every message, for ever.
async fn hear(shared: Arc<Shared>, inside: Inside) {
    let mut hearing = Hearing::of(&inside.hub);
    let (mut dropped, mut complaints) = (0, RateLimit::every(COMPLAINTS));
    loop {
        let heard = |message: &Message<'_>| {
            let mut state = shared.lock();
            let State {
                outbox, composer, ..
            } = &mut *state;
            composer.hear(message, outbox);
            dropped += outbox.dropped();
            if let Message::Change(change) = message
                && composer.pictures_due(&change.camera)
            {
                let camera = change.camera.to_string();
                let pictures = Arc::clone(&inside.pictures);
                tokio::spawn(picture(Arc::clone(&shared), pictures, camera));
            }
        };
        hearing.hear(heard).await;
        if dropped > 0 && complaints.allow(Instant::now()).is_some() {
            log::warn!(
                "the broker is away for too long: {dropped} of the oldest events were dropped"
            );
            dropped = 0;
        }
        shared.ready.notify_one();
    }
}

/// Sends the next picture that comes of a camera.
async fn picture(shared: Arc<Shared>, pictures: Arc<dyn Pictures>, camera: String) {
    let old = pictures.number(&camera);
    if let Some(picture) = soon(PICTURE, || pictures.newest(&camera, old)).await {
        let mut state = shared.lock();
        let topic = state.composer.picture_topic(&camera);
        state.outbox.state(topic, picture.jpeg.to_vec());
        drop(state);
        shared.ready.notify_one();
    }
}

/// Reads the sensors now and then, for ever.
async fn sense(shared: Arc<Shared>, mut sensors: Box<dyn Sensors>) {
    loop {
        let readings = sensors.read();
        {
            let mut state = shared.lock();
            let State {
                outbox, composer, ..
            } = &mut *state;
            composer.sense(&readings, outbox);
        }
        shared.ready.notify_one();
        tokio::time::sleep(SENSING).await;
    }
}

/// Connects again and again, for ever.
async fn keep_connected(shared: &Arc<Shared>, access: &Access) {
    let mut backoff = Backoff::between(FIRST_PAUSE, LONGEST_PAUSE);
    let mut told = String::new();
    loop {
        let (was_connected, reason) = match options(access) {
            Ok(options) => session(shared, access, options).await,
            Err(reason) => (false, reason),
        };
        shared.lock().broke();
        if was_connected {
            backoff.reset();
            told.clear();
        }
        if told != reason {
            log::warn!("{reason}; labels wait for the broker, and this is tried again");
            told = reason;
        }
        tokio::time::sleep(jittered(backoff.pause(Duration::ZERO))).await;
    }
}

/// Half of it and a random part of the other half: those who lost a broker at once do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let part = u32::try_from(random % 1000).unwrap_or(0);
    pause / 2 + pause / 2 * part / 1000
}

/// One connection, until it breaks: whether there was one, and why there is none now.
async fn session(shared: &Arc<Shared>, access: &Access, options: MqttOptions) -> (bool, String) {
    let (client, mut events) = AsyncClient::new(options, 2 * WINDOW);
    let sending = tokio::spawn(send(Arc::clone(shared), client.clone()));
    let mut was_connected = false;
    let reason = loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                was_connected = true;
                let Address { host, port, .. } = &access.broker;
                log::info!("connected to the broker {host}:{port}");
                connected(shared, access, &client);
            }
            Ok(Event::Outgoing(Outgoing::Publish(number))) => {
                let mut state = shared.lock();
                let item = state.given.pop_front();
                state.sent.extend(item.map(|item| (number, item)));
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                shared.lock().sent.retain(|(number, _)| *number != ack.pkid);
                shared.ready.notify_one();
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                // the only subscription is that to Home Assistant's announcements
                if *publish.payload == *ONLINE.as_bytes() {
                    announce_again(shared);
                }
            }
            Ok(_) => {}
            Err(error) => break explain(access, &error),
        }
    };
    sending.abort();
    (was_connected, reason)
}

fn connected(shared: &Shared, access: &Access, client: &AsyncClient) {
    if let Some(birth) = &access.birth
        && let Err(error) = client.try_subscribe(birth, QoS::AtLeastOnce)
    {
        log::warn!("cannot hear of Home Assistant's restarts: {error}");
    }
    let mut state = shared.lock();
    state.connected = true;
    state.outbox.state(access.topics.status(), ONLINE);
    state.outbox.again(std::iter::empty());
    drop(state);
    shared.ready.notify_one();
}

/// Home Assistant has started: it knows nothing of us, unless the broker kept everything.
fn announce_again(shared: &Shared) {
    let mut state = shared.lock();
    let State {
        outbox, composer, ..
    } = &mut *state;
    composer.announce(outbox);
    outbox.again(std::iter::empty());
    drop(state);
    shared.ready.notify_one();
}

/// Gives the client what there is room for.
async fn send(shared: Arc<Shared>, client: AsyncClient) {
    loop {
        shared.ready.notified().await;
        loop {
            let Some(Item {
                topic,
                payload,
                retained,
            }) = shared.lock().next()
            else {
                break;
            };
            if client
                .publish(topic, QoS::AtLeastOnce, retained, payload)
                .await
                .is_err()
            {
                return; // the session is over
            }
        }
    }
}

fn options(access: &Access) -> Result<MqttOptions, String> {
    let Address { host, port, tls } = &access.broker;
    let id = format!("resnetd-{}", access.topics.device());
    let mut options = MqttOptions::new(id, host, *port);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_session(true)
        .set_max_packet_size(LARGEST, LARGEST)
        .set_last_will(LastWill::new(
            access.topics.status(),
            OFFLINE,
            QoS::AtLeastOnce,
            true,
        ));
    if let Some(username) = &access.username {
        let password = access.password_file.as_deref().map(password).transpose()?;
        options.set_credentials(username, password.unwrap_or_default());
    }
    if *tls {
        let config = trust(access.ca_file.as_deref())?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(config))));
    }
    Ok(options)
}

fn password(file: &Path) -> Result<String, String> {
    let text = plain_file::read_text(file, LARGEST_PASSWORD);
    let text = text.map_err(|error| format!("the password file {}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn trust(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let added = match ca_file {
        Some(file) => {
            let failed =
                |error: &dyn std::fmt::Display| format!("the ca_file {}: {error}", file.display());
            let bytes =
                plain_file::read(file, LARGEST_CERTIFICATES).map_err(|error| failed(&error))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
            let found = found.map_err(|error| failed(&error))?;
            roots.add_parsable_certificates(found).0
        }
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(found).0
        }
    };
    if added == 0 {
        let place = ca_file.map_or_else(|| "this system".into(), |file| file.display().to_string());
        return Err(format!(
            "{place} has no certificate of an authority; name one by `ca_file` in [mqtt]"
        ));
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Why there is no connection, and the remedy.
fn explain(access: &Access, error: &ConnectionError) -> String {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    let Address { host, port, .. } = &access.broker;
    let broker = format!("the broker {host}:{port}");
    match error {
        ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized) => {
            format!("{broker} refuses this user: see `username` and `password_file` in [mqtt]")
        }
        ConnectionError::ConnectionRefused(code) => format!("{broker} refuses us: {code:?}"),
        ConnectionError::Tls(error) => {
            format!(
                "{broker}: no trust: {error}; `ca_file` in [mqtt] names an authority of your own"
            )
        }
        ConnectionError::Io(error) if error.to_string().contains("lookup") => {
            let local = if host.ends_with(".local") {
                "; names that end in .local need mDNS, which a static program lacks: use the address"
            } else {
                ""
            };
            format!("{broker} has no address: {error}{local}")
        }
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            format!("{broker} does not answer")
        }
        other => format!("{broker}: {other}"),
    }
}
