//! When `resnetd run` reads its configuration again: on SIGHUP, when the file has changed, and when the page wants another
//! model. Flags go on to win over the file. What it asks for is loaded here; the daemon puts it into effect.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::choice::Wants;
use super::model;
use super::run::{Arguments, Opening, Options, camera};
use super::taught;
use crate::adapt::Pace;
use crate::config::Config;
use crate::daemon::{Change, Reload};
use crate::publish::http::teach::Lessons;

/// How often the file is looked at. A change counts once the file has stayed as it is for so long: whoever writes
/// it may not be done.
const LOOK: Duration = Duration::from_secs(1);

pub struct FromFile {
    flags: Arguments,
    running: Options,
    bundles: Bundles,
    hangup: Arc<AtomicBool>,
    lessons: Option<Arc<Lessons>>,
    file: Option<Watched>,
}

impl FromFile {
    /// `running` is what was made of `flags` and the file at the start.
    pub fn new(
        flags: Arguments,
        running: Options,
        (hangup, lessons): (Arc<AtomicBool>, Option<Arc<Lessons>>),
    ) -> Self {
        Self {
            bundles: Bundles::of(&running),
            file: flags.config.clone().map(Watched::new),
            flags,
            running,
            hangup,
            lessons,
        }
    }
}

impl Reload for FromFile {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let changed = self.file.as_mut().is_some_and(|file| file.changed(now));
        self.hangup.swap(false, Ordering::AcqRel) || changed
    }

    fn load(&mut self) -> Result<Change, String> {
        let file = self.flags.config.as_deref().map(Config::load).transpose();
        let file = file.map_err(|error| error.to_string())?;
        let mut wanted = Options::merge(self.flags.clone(), file.unwrap_or_default());
        wanted.follow(self.lessons.as_deref());
        if wanted.socket != self.running.socket {
            log::warn!("the socket stays where it is until the next start");
        }
        let (new, old) = (&wanted, &self.running);
        if (&new.http, &new.mqtt, &new.snapshots) != (&old.http, &old.mqtt, &old.snapshots) {
            log::warn!("[http], [mqtt] and [snapshots] stay as they are until the next start");
        }
        // One that is watched already would be found busy if it were opened once more, and by us.
        let cameras = wanted.cameras.iter().map(|named| {
            let watched = self.running.cameras.iter().any(|known| known.is(named));
            let opening = if watched {
                Opening::Done
            } else {
                Opening::Later
            };
            camera(named, opening)
        });
        let cameras = cameras
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let bundles = Bundles::of(&wanted);
        let choice = if bundles == self.bundles {
            None
        } else {
            let chosen = taught::choose(&wanted, self.lessons.as_deref());
            let chosen = chosen.map_err(|failure| failure.to_string())?;
            wanted.warn_of_unknown_labels(&chosen.model.labels);
            Some(chosen)
        };
        let change = Change {
            choice,
            settings: wanted.settings(),
            cameras,
        };
        (self.running, self.bundles) = (wanted, bundles);
        Ok(change)
    }
}

/// A file that may be written anew.
struct Watched {
    path: PathBuf,
    /// As it was read last.
    read: Option<Stamp>,
    /// As it was when it was looked at last, and when that was.
    seen: Option<Stamp>,
    looked: Instant,
}

impl Watched {
    fn new(path: PathBuf) -> Self {
        let stamp = Stamp::of(&path);
        Self {
            path,
            read: stamp,
            seen: stamp,
            looked: Instant::now(),
        }
    }

    /// True once for each change, when the file has come to rest. A file that is gone is no change.
    fn changed(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        let stamp = Stamp::of(&self.path);
        let rests = stamp == self.seen;
        self.seen = stamp;
        let changed = stamp.is_some() && rests && stamp != self.read;
        if changed {
            self.read = stamp;
        }
        changed
    }
}

/// What differs between two states of a file, as far as can be seen without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    /// None if there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// What decides which model runs and how.
#[derive(Debug, PartialEq)]
struct Bundles {
    candidates: Vec<(PathBuf, Option<Stamp>)>,
    wants: Wants,
}

impl Bundles {
    fn of(options: &Options) -> Self {
        let mut wants = options.wants();
        // What cannot be listed is told when it is loaded.
        let mut paths = model::paths(options.models.as_ref()).unwrap_or_default();
        if paths.len() < 2 || wants.adaptive {
            wants.pace = Pace::default(); // there is no choice, or the governor makes it
        }
        paths.extend(options.taught.clone());
        let stamped = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        };
        Self {
            candidates: paths.into_iter().map(stamped).collect(),
            wants,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_already_is_not_opened_again_and_what_is_new_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let mut flags = Arguments::default();
        flags.config = Some(path.clone());
        // Opening it fails, as opening a camera that we hold ourselves would.
        let text = "model = \"none\"\nsource = \"images:/nowhere\"\n";
        let running = Options::merge(flags.clone(), Config::parse(&path, text).unwrap());
        let mut reload = FromFile::new(flags, running, Default::default());

        fs::write(&path, format!("{text}target_fps = 2.0\n")).unwrap();
        let change = reload.load().unwrap();
        assert_eq!(change.settings.target_fps, Some(2.0));
        assert!(change.choice.is_none() && change.cameras[0].source.is_none());

        fs::write(&path, text.replace("nowhere", "elsewhere")).unwrap();
        let refused = reload.load().err().unwrap();
        assert!(refused.contains("/elsewhere"), "{refused}");
    }
}
