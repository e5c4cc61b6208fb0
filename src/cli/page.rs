//! From the configuration to the page, the broker and the folder of pictures that the daemon publishes to beside the socket, and
//! what of this machine they show.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::machine;
use crate::adapt::sensors::Sensors;
use crate::config::{self, Broker, Http, Mqtt, PreviewFps};
use crate::lesson::Room;
use crate::publish::http;
use crate::publish::http::teach::Lessons;
use crate::publish::mqtt;
use crate::publish::sensors::{self, Readings};
use crate::publish::snapshots;

/// Without a better wish.
const PREVIEW_FPS: f32 = 5.0;
/// Of kept pictures.
const MOST_MB: u32 = 500;
/// Where Home Assistant looks unless told otherwise.
const DISCOVERY: &str = "homeassistant";

/// What is wanted, if a page is.
#[must_use]
pub fn settings(http: &Http, lessons: Option<&Arc<Lessons>>) -> Option<http::Settings> {
    let listen = http.listen?;
    let own = machine::name().into_iter();
    let own = own.flat_map(|name| [format!("{name}.local"), name]);
    Some(http::Settings {
        listen: listen.get(),
        token_file: http.token_file.clone(),
        insecure: http.insecure,
        hosts: own.chain(http.hosts.iter().cloned()).collect(),
        preview_fps: http.preview_fps.map_or(PREVIEW_FPS, PreviewFps::get),
        sensors: Box::new(Machine(Sensors::from_environment())),
        lessons: lessons.cloned(),
    })
}

/// The service's state directory, if it has one: what systemd gives it.
#[must_use]
pub fn room() -> Option<Room> {
    let listed = std::env::var_os("STATE_DIRECTORY").filter(|list| !list.is_empty())?;
    let list = listed.into_encoded_bytes();
    // several are separated by colons; the unit has one
    let first = list.split(|&byte| byte == b':').next()?.to_vec();
    Some(Room::new(PathBuf::from(OsString::from_vec(first))))
}

/// The broker, if one is wanted.
#[must_use]
pub fn broker(mqtt: &Mqtt) -> Option<mqtt::Settings> {
    let Broker { host, port, tls } = mqtt.url.clone()?;
    let device = mqtt.device.clone().or_else(machine::name);
    let discovery = mqtt.discovery.clone();
    Some(mqtt::Settings {
        broker: mqtt::Address { host, port, tls },
        username: mqtt.username.clone(),
        password_file: mqtt.password_file.clone(),
        ca_file: mqtt.ca_file.clone(),
        device: device.unwrap_or_else(|| "resnetd".into()),
        labels: mqtt.labels.clone(),
        discovery: Some(discovery.unwrap_or_else(|| DISCOVERY.into()))
            .filter(|prefix| !prefix.is_empty()),
        sensors: Box::new(Machine(Sensors::from_environment())),
    })
}

/// The kept pictures, if any are wanted.
#[must_use]
pub fn snapshots(wanted: &config::Snapshots) -> Option<snapshots::Settings> {
    let most = wanted.max_mb.map_or(MOST_MB, NonZeroU32::get);
    Some(snapshots::Settings {
        dir: wanted.dir.clone()?,
        most: u64::from(most) * 1_000_000,
        when: wanted.when,
    })
}

struct Machine(Sensors);

impl sensors::Sensors for Machine {
    fn read(&mut self) -> Readings {
        let gauge = self.0.gauge();
        Readings {
            celsius: gauge.celsius,
            slowed: gauge.slowed,
            resident: machine::resident(),
        }
    }
}
