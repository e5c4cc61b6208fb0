//! Many devices in one process: each with a name, a hub and the publishing code of `resnetd --mqtt`, fed with a recorded stream of
//! labels in place of cameras and inference. `make fleet` runs it against a cluster; docs/FLEET.md says what came of it.
//!
//! When the time is over it prints how many changes each device has published, as one JSON object, and goes on sending what is
//! still under way until its input is closed.

use std::collections::BTreeMap;
use std::future;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use resnetd::publish::Hub;
use resnetd::publish::mqtt::{self, Address, Inside, Settings};
use resnetd::publish::pictures::Blind;
use resnetd::publish::sensors::{Readings, Sensors};
use resnetd::publish::wire::{Message, Model, unix_seconds};
use tokio::time::{Instant, sleep_until};

const CAMERA: &str = "front";

#[derive(Parser)]
struct Arguments {
    /// How many devices
    #[arg(long)]
    devices: u32,
    /// For how many seconds their labels change
    #[arg(long)]
    seconds: u32,
    /// Ports of the brokers on this machine; devices take them in turn
    #[arg(long = "port", required = true)]
    ports: Vec<u16>,
    /// What `resnetd watch --json` has said
    #[arg(long)]
    stream: PathBuf,
}

/// A message, and when it came after the first.
struct Recorded {
    after: Duration,
    message: Message<'static>,
}

struct Recording {
    model: Model,
    messages: Vec<Recorded>,
}

/// A machine at 50 degrees.
struct Mild;

impl Sensors for Mild {
    fn read(&mut self) -> Readings {
        Readings {
            celsius: Some(50.0),
            slowed: Some(false),
            resident: Some(60 << 20),
        }
    }
}

fn read(arguments: &Arguments) -> io::Result<Recording> {
    let text = std::fs::read_to_string(&arguments.stream)?;
    let (mut model, mut messages, mut first) = (None, Vec::new(), None);
    for line in text.lines() {
        // what is kept lives as long as this program
        let message: Message<'static> = serde_json::from_str(Box::leak(line.into()))?;
        let timestamp = match &message {
            Message::Model(chosen) => {
                model = Some(chosen.clone());
                continue;
            }
            Message::Change(change) => change.timestamp,
            Message::Classification(classification) => classification.timestamp,
            _ => continue,
        };
        let first = *first.get_or_insert(timestamp);
        let after = Duration::try_from_secs_f64(timestamp - first).unwrap_or_default();
        messages.push(Recorded { after, message });
    }
    let none = || io::Error::other("the stream has no model, or no message");
    let model = model.filter(|_| messages.len() > 1).ok_or_else(none)?;
    Ok(Recording { model, messages })
}

/// As it is said now, of our camera.
fn now(message: &Message<'static>) -> Message<'static> {
    let (mut message, timestamp) = (message.clone(), unix_seconds(SystemTime::now()));
    match &mut message {
        Message::Change(change) => {
            (change.camera, change.timestamp) = (CAMERA.into(), timestamp);
        }
        Message::Classification(said) => {
            (said.camera, said.timestamp) = (CAMERA.into(), timestamp);
        }
        _ => {}
    }
    message
}

/// Says what was recorded, again and again from `start` on until `end`: how many changes there were.
async fn replay(hub: Arc<Hub>, recording: Arc<Recording>, start: Instant, end: Instant) -> u64 {
    let last = recording
        .messages
        .last()
        .map_or(Duration::ZERO, |m| m.after);
    // until the next round's first change takes the place of the last one
    let length = last + Duration::from_secs(1);
    let mut changes = 0;
    for round in 0.. {
        for recorded in &recording.messages {
            let due = start + length * round + recorded.after;
            if due >= end {
                return changes;
            }
            sleep_until(due).await;
            hub.publish(&now(&recorded.message));
            changes += u64::from(matches!(recorded.message, Message::Change(_)));
        }
    }
    changes
}

async fn fleet(arguments: &Arguments, recording: Recording) -> io::Result<BTreeMap<String, u64>> {
    let recording = Arc::new(recording);
    let length = recording
        .messages
        .last()
        .map_or(Duration::ZERO, |m| m.after);
    let begun = Instant::now();
    let end = begun + Duration::from_secs(arguments.seconds.into());
    let mut replays = Vec::new();
    for (number, port) in (0..arguments.devices).zip(arguments.ports.iter().cycle()) {
        let device = format!("d{number:06}");
        let hub = Arc::new(Hub::new(&[CAMERA.into()], &recording.model)?);
        let settings = Settings {
            broker: Address {
                host: "127.0.0.1".into(),
                port: *port,
                tls: false,
            },
            username: None,
            password_file: None,
            ca_file: None,
            device: device.clone(),
            labels: Vec::new(),
            discovery: None,
            sensors: Box::new(Mild),
        };
        let inside = Inside {
            hub: Arc::clone(&hub),
            pictures: Arc::new(Blind),
        };
        tokio::spawn(mqtt::run(settings, inside, future::pending()));
        // their labels do not change all at once
        let start = begun + length * number / arguments.devices;
        let replay = replay(hub, Arc::clone(&recording), start, end);
        replays.push((device, tokio::spawn(replay)));
    }
    let mut changes = BTreeMap::new();
    for (device, replay) in replays {
        changes.insert(device, replay.await.map_err(io::Error::other)?);
    }
    Ok(changes)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    env_logger::Builder::new().parse_default_env().init();
    let arguments = Arguments::parse();
    let recording = read(&arguments)?;
    let changes = fleet(&arguments, recording).await?;
    let mut out = io::stdout();
    serde_json::to_writer(&mut out, &changes)?;
    writeln!(out)?;
    let closed = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
    closed.await.map_err(io::Error::other)?.map(drop)
}
