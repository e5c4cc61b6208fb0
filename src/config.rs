//! The configuration file (TOML). Its keys have the names of the flags of `resnetd run`, and flags win over it.
//!
//! | key | without it | why |
//! |---|---|---|
//! | `source` | the first camera, else `demo:` | a machine with one camera needs no configuration |
//! | `[[camera]]` with `name` and `source` | one camera named `camera` | for several, in place of `source` |
//! | `[controls]`; inside `[[camera]]` its `controls` | what the camera has | exposure, white balance and so on by the names and values that `resnetd devices --controls` shows: `controls = { auto_exposure = "Manual Mode", exposure_time_absolute = 150, white_balance_automatic = false }` |
//! | `rotate`, `flip`, `fit`; inside `[[camera]]` its own | as the camera gives it, as the network was trained | a camera that hangs upside down: `rotate = 180` (clockwise: 90, 180, 270), `flip = "horizontal"` or `"vertical"` after that; what becomes of a picture that is no square: `fit = "crop"`, `"letterbox"`, `"squash"` |
//! | `[[region]]`, inside `[[camera]]` `[[camera.region]]`, with `name` and `area` | all of the picture | parts that get labels of their own: `area = [left, top, width, height]` in shares of the upright picture; and their own `fit`, `threshold`, `votes`, `smoothing_ms` |
//! | `model` or `models` | the model that comes with the program: in `models/` here, in the source tree of the build, in `/usr/share/resnetd/models` | `models` is a list in order of preference, or a folder |
//! | `socket` | systemd's, `/run/resnetd/`, `$XDG_RUNTIME_DIR`, `/tmp/resnetd-UID/`, the first that works | clients look in the same places |
//! | `threads` | one for each performance core | more only wait for each other; fewer leave cores to other programs |
//! | `smoothing_ms` | 500 | hides single bad frames and is still felt as immediate; 0 turns it off |
//! | `[labels]` | as in the bundle | what labels are to be called: `"tabby" = "cat"`; those that are called the same are one |
//! | `threshold` | none; 0.5 for a model of several labels | how sure a label must be to be told; below it is `unknown` |
//! | `[thresholds]` | `threshold` | of single labels, by their names |
//! | `hysteresis` | 0.2 | a label that is told stays until it is so far below its threshold, as a share: so that it does not flicker there |
//! | `votes` | the average of `smoothing_ms` counts | `votes = [3, 5]`: a label is told that 3 of the last 5 frames had |
//! | `label_dwell_ms` | 0 | a label stays for so long at least |
//! | `target_fps` | as many as the processor can | of each camera, per second: fewer leave time, power and heat to others |
//! | `max_latency_ms` | what it takes | what a frame may take from its preparation to its scores |
//! | `policy` | `"adaptive"` | the model changes when the machine cannot keep up, is short of memory or hot, and back again; `"fixed"`: the one that was chosen at the start stays; `"cascade"`: adaptive, and of two models the faster answers every frame and the better one those of which the faster is not sure |
//! | `cascade_below` | 0.8 | how sure is not sure; `resnetd-model eval --cascade` shows what each value costs and brings |
//! | `dwell_s` | 30 | the least time between two changes of the model: long enough for subscribers not to see it flap |
//! | `still_gate` | false | while nothing changes before a camera its frames need not be classified; off, because whoever compares frame with label expects one for each |
//! | `still_fps` | 5 | how often a still scene is looked at: often enough not to be noticed |
//! | `max_interval_s` | 10 | a still scene is classified again after so long |
//! | `[http]` with `listen` | no page | `listen = "127.0.0.1:8080"`: a page to look at, metrics, health (docs/PAGE.md) |
//! | its `token_file`, `insecure` | only this machine's own programs may look | a `listen` that others can reach needs a token, the password of any user; or `insecure = true` |
//! | its `hosts` | addresses, `localhost` and the machine's name | further names by which a reverse proxy calls it |
//! | its `preview_fps` | 5 | of the moving picture: enough to see what happens, a few percent of a core while somebody looks |
//! | `[mqtt]` with `url` | no broker | `url = "mqtt://HOST"` or `"mqtts://HOST"`: labels, events and Home Assistant's discovery (docs/MQTT.md) |
//! | its `username`, `password_file`, `ca_file` | nobody, the system's authorities | who we are, and whom to trust |
//! | its `device` | the machine's name | what this device is called in topics, unlike all others |
//! | its `labels` | none | labels that get a binary sensor each |
//! | its `discovery` | `"homeassistant"` | Home Assistant's prefix; `""`: nothing is announced |
//! | `[snapshots]` with `dir` | no picture is kept | a folder that is there: pictures to teach from (docs/PAGE.md) |
//! | its `max_mb` | 500 | megabytes: some 5,000 pictures of 640x480; the oldest go that nobody has labelled |
//! | its `when` | `"change"` | a label has changed; `"uncertain"`: it is less than 60 % sure, `"every"`: every ten seconds |
//! | `stale_s` | 5 | longer than a camera needs to adjust itself, short enough to be told while it matters |
//!
//! What a value means beyond its type (does the camera exist?) is found out by whoever uses it.

mod http;
mod mqtt;
mod snapshots;

pub use http::{Address, Http, PreviewFps};
pub use mqtt::{Broker, Mqtt};
pub use snapshots::Snapshots;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::control::Controls;
use crate::cores::Threads;
use crate::plain_file;
use crate::spec::{Area, Fit, Flip, Turn};

/// Larger files are a mistake (a bundle given as `--config`).
const LARGEST: u64 = 1024 * 1024;
/// Of a camera. Each is an inference.
const MOST_REGIONS: usize = 16;
/// As many frames as can vote.
const MOST_VOTES: u32 = 100;

/// The file as it is written. A missing key is None.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub source: Option<String>,
    #[serde(default)]
    pub camera: Vec<Camera>,
    /// Of the camera that `source` (or nobody) names.
    #[serde(default)]
    pub controls: Controls,
    /// Likewise.
    #[serde(default)]
    pub rotate: Turn,
    #[serde(default)]
    pub flip: Flip,
    pub fit: Option<Fit>,
    #[serde(default)]
    pub region: Vec<Region>,
    pub model: Option<PathBuf>,
    pub models: Option<Models>,
    pub socket: Option<PathBuf>,
    pub threads: Option<Threads>,
    pub smoothing_ms: Option<u32>,
    pub threshold: Option<Share>,
    #[serde(default)]
    pub thresholds: BTreeMap<String, Share>,
    pub hysteresis: Option<Share>,
    pub votes: Option<Votes>,
    pub label_dwell_ms: Option<u32>,
    pub stale_s: Option<NonZeroUsize>,
    pub target_fps: Option<Fps>,
    pub max_latency_ms: Option<NonZeroU32>,
    pub policy: Option<Policy>,
    pub cascade_below: Option<Share>,
    /// From a bundle's label to what it is to be called.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub dwell_s: Option<NonZeroUsize>,
    #[serde(default)]
    pub still_gate: bool,
    pub still_fps: Option<Fps>,
    pub max_interval_s: Option<NonZeroUsize>,
    #[serde(default)]
    pub http: Http,
    #[serde(default)]
    pub mqtt: Mqtt,
    #[serde(default)]
    pub snapshots: Snapshots,
}

/// What becomes of the model after the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// It follows what the machine gives.
    #[default]
    Adaptive,
    /// It stays.
    Fixed,
    /// As adaptive, and two models work together.
    Cascade,
}

/// Frames per second, 0.01 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f32")]
pub struct Fps(f32);

/// From 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f32")]
pub struct Share(f32);

/// So many of the last so many frames: 1 to the second, which is 100 at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "[u32; 2]")]
pub struct Votes {
    pub needed: u32,
    pub of: u32,
}

/// One of several cameras.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    pub name: Name,
    pub source: String,
    #[serde(default)]
    pub controls: Controls,
    #[serde(default)]
    pub rotate: Turn,
    #[serde(default)]
    pub flip: Flip,
    pub fit: Option<Fit>,
    #[serde(default)]
    pub region: Vec<Region>,
}

/// A part of a camera's pictures.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub name: Name,
    pub area: Area,
    pub fit: Option<Fit>,
    pub threshold: Option<Share>,
    pub votes: Option<Votes>,
    pub smoothing_ms: Option<u32>,
}

/// What a camera or a region is called in messages: 1 to 64 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

/// Bundles to choose from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of bundles in order of preference, or a folder"
)]
pub enum Models {
    /// In order of preference.
    List(Vec<PathBuf>),
    /// The most accurate first.
    Folder(PathBuf),
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{}:{line}: {message}", .path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("{}: `{first}` and `{second}` exclude each other; remove one", .path.display())]
    Both {
        path: PathBuf,
        first: &'static str,
        second: &'static str,
    },
    #[error("{}: two {what} are named `{name}`; give each its own name", .path.display())]
    SameName {
        path: PathBuf,
        what: &'static str,
        name: String,
    },
    #[error(
        "{}: a camera has {count} regions; {MOST_REGIONS} are possible, each of them is an inference of its own", .path.display()
    )]
    TooManyRegions { path: PathBuf, count: usize },
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason| ConfigError::Unreadable {
            path: path.into(),
            reason,
        };
        let text = plain_file::read_text(path, LARGEST).map_err(unreadable)?;
        Self::parse(path, &text)
    }

    /// Reads and checks the text of a file that is called `path` in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text
                .bytes()
                .take(start)
                .filter(|&byte| byte == b'\n')
                .count();
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            ConfigError::Invalid {
                path: path.into(),
                line,
                message,
            }
        })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let both = |first, second| {
            Err(ConfigError::Both {
                path: path.into(),
                first,
                second,
            })
        };
        if self.model.is_some() && self.models.is_some() {
            return both("model", "models");
        }
        if !self.camera.is_empty() {
            let of_the_only_one = [
                (self.source.is_some(), "source"),
                (!self.controls.is_empty(), "[controls]"),
                (self.rotate != Turn::None, "rotate"),
                (self.flip != Flip::None, "flip"),
                (!self.region.is_empty(), "[[region]]"),
            ];
            if let Some((_, key)) = of_the_only_one.iter().find(|(given, _)| *given) {
                return both(key, "[[camera]]");
            }
        }
        unique(path, "cameras", self.camera.iter().map(|one| &one.name))?;
        let regions = self.camera.iter().map(|camera| &camera.region);
        for regions in regions.chain([&self.region]) {
            if regions.len() > MOST_REGIONS {
                return Err(ConfigError::TooManyRegions {
                    path: path.into(),
                    count: regions.len(),
                });
            }
            unique(
                path,
                "regions of a camera",
                regions.iter().map(|one| &one.name),
            )?;
        }
        Ok(())
    }
}

fn unique<'a>(
    path: &Path,
    what: &'static str,
    names: impl Iterator<Item = &'a Name>,
) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ConfigError::SameName {
                path: path.into(),
                what,
                name: name.0.clone(),
            });
        }
    }
    Ok(())
}

impl Share {
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Share {
    type Error = &'static str;

    fn try_from(share: f32) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err("a share must be 0 to 1")
        }
    }
}

impl TryFrom<[u32; 2]> for Votes {
    type Error = &'static str;

    fn try_from([needed, of]: [u32; 2]) -> Result<Self, Self::Error> {
        if (1..=of).contains(&needed) && of <= MOST_VOTES {
            Ok(Self { needed, of })
        } else {
            Err("votes are like [3, 5]: 3 of the last 5 frames, 100 at most")
        }
    }
}

impl Fps {
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Fps {
    type Error = &'static str;

    fn try_from(fps: f32) -> Result<Self, Self::Error> {
        if (0.01..=1000.0).contains(&fps) {
            Ok(Self(fps))
        } else {
            Err("frames per second must be 0.01 to 1000")
        }
    }
}

impl Name {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if (1..=64).contains(&name.chars().count()) && !name.contains(char::is_control) {
            Ok(Self(name))
        } else {
            Err("a name has 1 to 64 characters and no control characters")
        }
    }
}
