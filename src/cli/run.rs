//! `resnetd run`: the daemon. Here flags and the configuration file become one set of options, and the
//! options become what the daemon is made of.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Failure;
use super::cascade;
use super::choice::Wants;
use super::console::Console;
use super::looks;
use super::page;
use super::relabel::Names;
use super::reload::FromFile;
use super::taught;
use super::view::Screen;
use crate::adapt::{governor, still};
use crate::config::{Address, Broker, Config, Fps, Http, Models, Mqtt, Policy, Share, Snapshots};
use crate::control::Controls;
use crate::cores::Threads;
use crate::daemon::{self, Camera, Look, Settings, Work};
use crate::publish::http::teach::Lessons;
use crate::publish::path::Places;
use crate::source::{self, SourceError, SourceSpec};

/// The camera's name when there is only one and nobody named it.
const ONLY_CAMERA: &str = "camera";
/// See the table in [`crate::config`].
const STALE_AFTER: Duration = Duration::from_secs(5);
/// What a shell reports for a program that ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

const EXAMPLES: &str = "\
Examples:
  resnetd run                                   the first camera, else rendered scenes
  resnetd run --source demo: --frames 60        60 rendered frames, then a summary
  resnetd run --source v4l2:/dev/video1?size=1280x720
  resnetd run --source 'exec:rpicam-vid -n -t 0 --codec mjpeg --flush -o -'
  resnetd run --source http://192.168.1.20:8080/stream.mjpg
  ffmpeg -i video.mp4 -f mjpeg -q:v 3 - | resnetd run --source mjpeg:-
  resnetd run --config /etc/resnetd/resnetd.toml
  resnetd run --http 127.0.0.1:8080             also a page to look at

Labels are shown on a terminal and published on the socket; `resnetd watch` reads it.
A camera that the configuration names may be away: it is watched when it comes. The configuration is
read again when it changes and on SIGHUP (which also looks for a new model); one with a mistake changes
nothing.
RESNETD_LOG sets what is logged (error, warn, info, debug; default info).";

/// Watches cameras and publishes what they show.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Configuration file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where pictures come from: v4l2:DEVICE (v4l2: for the first camera), exec:COMMAND (its output is MJPEG or
    /// Y4M), http://HOST/PATH, mjpeg:FILE, y4m:FILE (- is standard input), images:PATH, demo: [default: the first
    /// camera, else demo:]
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// Model to use; given several times, the first that is fast enough
    #[arg(long = "model", value_name = "BUNDLE")]
    models: Vec<PathBuf>,
    /// Where to make the socket [default: /run/resnetd/, $XDG_RUNTIME_DIR or /tmp/resnetd-UID/]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How many threads run the network [default: one for each performance core]
    #[arg(long, value_name = "N")]
    threads: Option<Threads>,
    /// Address and port of a page to look at, as 127.0.0.1:8080 [default: no page]
    #[arg(long, value_name = "ADDR")]
    http: Option<Address>,
    /// Broker that labels go to, as mqtt://HOST or mqtts://HOST [default: none]
    #[arg(long, value_name = "URL")]
    mqtt: Option<Broker>,
    /// End after so many classified frames, with a summary
    #[arg(long, value_name = "N")]
    frames: Option<NonZeroU64>,
}

/// What flags and file together ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub cameras: Vec<Named>,
    /// None: the model that comes with the program.
    pub models: Option<Models>,
    /// Goes before them.
    pub taught: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub threads: Threads,
    frames: Option<u64>,
    stale_after: Duration,
    target_fps: Option<f32>,
    max_latency: Option<Duration>,
    policy: Policy,
    cascade_below: f32,
    names: Names,
    dwell: Duration,
    still: Option<still::Settings>,
    pub http: Http,
    pub mqtt: Mqtt,
    pub snapshots: Snapshots,
}

/// A camera as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    /// None: the first camera, else `demo:`.
    pub uri: Option<String>,
    pub controls: Controls,
    /// Named by the configuration, so that it may come later; one that a flag names must be there.
    pub configured: bool,
    /// What is looked at in its pictures; one at least.
    pub looks: Vec<Look>,
}

impl Named {
    /// The same camera, whatever is looked at in its pictures.
    pub fn is(&self, other: &Self) -> bool {
        (&self.name, &self.uri, &self.controls) == (&other.name, &other.uri, &other.controls)
    }
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let flags = arguments.clone();
    let config = arguments
        .config
        .as_deref()
        .map(Config::load)
        .transpose()?
        .unwrap_or_default();
    let mut options = Options::merge(arguments, config);
    let stop = stop_on_signals()?;
    let screen = Screen::of_stdout();
    let hangup = hangup(screen)?;
    // whoever names a model by a flag wants that one
    let room = page::room().filter(|_| flags.models.is_empty());
    let lessons = room.map(|room| Arc::new(Lessons::new(room, Arc::clone(&hangup))));
    options.follow(lessons.as_deref());
    let choice = taught::choose(&options, lessons.as_deref())?;
    options.warn_of_unknown_labels(&choice.model.labels);
    let cameras = options
        .cameras
        .iter()
        .map(|named| {
            let opening = if named.configured {
                Opening::Later
            } else {
                Opening::Now
            };
            camera(named, opening)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let console = console(screen, &options)?;
    let http = page::settings(&options.http, lessons.as_ref());
    let reload = FromFile::new(flags, options.clone(), (hangup, lessons));
    let outcome = daemon::run(
        daemon::Options {
            cameras,
            choice,
            settings: options.settings(),
            socket: options.socket,
            places: Places::from_environment(),
            frames: options.frames,
            observer: console.as_ref().map(Console::observer),
            http,
            mqtt: page::broker(&options.mqtt),
            snapshots: page::snapshots(&options.snapshots),
            reload: Some(Box::new(reload)),
        },
        &stop,
    );
    if let Some(console) = console {
        console.finish();
    }
    let totals = outcome?;
    log::info!(
        "ended after {} frames ({} could not be classified)",
        totals.classified,
        totals.bad
    );
    if totals.over && totals.classified == 0 {
        return Err(nothing_classified(&options.cameras));
    }
    Ok(())
}

/// All sources are over and not one frame was a picture.
fn nothing_classified(cameras: &[Named]) -> Failure {
    let sources: Vec<&str> = cameras
        .iter()
        .map(|camera| camera.uri.as_deref().unwrap_or(&camera.name))
        .collect();
    Failure::Input(format!(
        "{}: no picture could be classified; give intact JPEG or PNG files, or a video that is MJPEG or Y4M",
        sources.join(", ")
    ))
}

/// Who opens a camera's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// [`camera`]: it must be there.
    Now,
    /// Its own thread, if it is something that may come and go and so need not be there now; else [`camera`].
    Later,
    /// Nobody: the daemon watches it and will leave it alone.
    Done,
}

/// What the daemon is to watch.
pub fn camera(named: &Named, opening: Opening) -> Result<Camera, SourceError> {
    let spec = SourceSpec::asked(named.uri.as_deref(), &named.controls)?;
    let open_here = match opening {
        Opening::Now => true,
        Opening::Later => !spec.may_vanish(),
        Opening::Done => false,
    };
    let source = open_here.then(|| source::open(&spec)).transpose()?;
    Ok(Camera {
        name: named.name.clone(),
        key: format!("{spec:?}"),
        looks: named.looks.clone(),
        source,
        reopen: Box::new(move || source::open(&spec).map_err(|error| error.to_string())),
    })
}

impl Options {
    /// Flags win.
    pub fn merge(flags: Arguments, file: Config) -> Self {
        let flagged = flags.source.is_some();
        let saying = looks::saying(&file);
        let mut cameras: Vec<Named> = Vec::new();
        if !flagged {
            cameras.extend(file.camera.into_iter().map(|camera| Named {
                looks: looks::of(
                    (camera.rotate, camera.flip, camera.fit.or(file.fit)),
                    &camera.region,
                    &saying,
                ),
                name: camera.name.as_str().to_owned(),
                uri: Some(camera.source),
                controls: camera.controls,
                configured: true,
            }));
        }
        if cameras.is_empty() {
            cameras.push(Named {
                looks: looks::of((file.rotate, file.flip, file.fit), &file.region, &saying),
                name: ONLY_CAMERA.into(),
                uri: flags.source.or(file.source),
                controls: file.controls,
                configured: !flagged,
            });
        }
        let models = Some(flags.models)
            .filter(|models| !models.is_empty())
            .map(Models::List);
        let single = file.model.map(|model| Models::List(vec![model]));
        Self {
            cameras,
            models: models.or(single).or(file.models),
            taught: None,
            socket: flags.socket.or(file.socket),
            threads: flags
                .threads
                .or(file.threads)
                .unwrap_or_else(Threads::suggested),
            frames: flags.frames.map(NonZeroU64::get),
            stale_after: file.stale_s.map_or(STALE_AFTER, seconds),
            target_fps: file.target_fps.map(Fps::get),
            max_latency: { file.max_latency_ms }.map(|ms| Duration::from_millis(ms.get().into())),
            policy: file.policy.unwrap_or_default(),
            cascade_below: file.cascade_below.map_or(cascade::BELOW, Share::get),
            names: file.labels,
            dwell: file
                .dwell_s
                .map_or(governor::Settings::default().dwell, seconds),
            still: file
                .still_gate
                .then(|| still_settings(file.still_fps, file.max_interval_s)),
            http: Http {
                listen: flags.http.or(file.http.listen),
                ..file.http
            },
            mqtt: Mqtt {
                url: flags.mqtt.or(file.mqtt.url),
                ..file.mqtt
            },
            snapshots: file.snapshots,
        }
    }

    /// Lets what was taught here go before the models.
    pub fn follow(&mut self, lessons: Option<&Lessons>) {
        self.taught = lessons.and_then(Lessons::active);
    }

    /// The part that the daemon follows in its work.
    pub fn settings(&self) -> Settings {
        Settings {
            stale_after: self.stale_after,
            target_fps: self.target_fps,
            max_latency: self.max_latency,
            dwell: self.dwell,
            still: self.still,
        }
    }

    pub fn warn_of_unknown_labels(&self, labels: &[String]) {
        let looks = self.cameras.iter().flat_map(|camera| &camera.looks);
        let unknown = looks::unknown(looks, labels);
        if !unknown.is_empty() {
            log::warn!(
                "[thresholds]: the model does not say {}",
                unknown.join(", ")
            );
        }
    }

    /// What is asked of a model.
    pub fn wants(&self) -> Wants {
        let looks = self.cameras.iter().map(|camera| camera.looks.len());
        Wants {
            threads: self.threads,
            pace: self.settings().pace(Work::of(looks)),
            adaptive: self.policy != Policy::Fixed,
            cascade: (self.policy == Policy::Cascade).then_some(self.cascade_below),
            names: self.names.clone(),
        }
    }
}

fn seconds(count: NonZeroUsize) -> Duration {
    Duration::from_secs(count.get() as u64)
}

fn still_settings(fps: Option<Fps>, interval: Option<NonZeroUsize>) -> still::Settings {
    let usual = still::Settings::default();
    still::Settings {
        look: fps.map_or(usual.look, |fps| Duration::from_secs_f32(1.0 / fps.get())),
        max_interval: interval.map_or(usual.max_interval, seconds),
    }
}

/// True once SIGINT or SIGTERM has come; the second one ends the process at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::Internal(format!("cannot listen for signals: {error}")))?;
    }
    Ok(stop)
}

/// True when SIGHUP has come, to be set back by who sees it. At a terminal SIGHUP means that the terminal has gone,
/// and ends the program as it ends others.
fn hangup(screen: Screen) -> Result<Arc<AtomicBool>, Failure> {
    let hangup = Arc::new(AtomicBool::new(false));
    if !screen.terminal {
        signal_hook::flag::register(SIGHUP, Arc::clone(&hangup))
            .map_err(|error| Failure::Internal(format!("cannot listen for signals: {error}")))?;
    }
    Ok(hangup)
}

/// For a person at a terminal, and for a run that ends by itself; a service's labels go over the socket.
fn console(screen: Screen, options: &Options) -> Result<Option<Console>, Failure> {
    if !screen.terminal && options.frames.is_none() {
        return Ok(None);
    }
    let failed = |error| Failure::Internal(format!("cannot start the console: {error}"));
    Console::start(screen).map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn file(text: &str) -> Config {
        Config::parse(Path::new("test"), text).unwrap()
    }

    fn named(name: &str, uri: Option<&str>, configured: bool) -> Named {
        Named {
            name: name.into(),
            uri: uri.map(Into::into),
            controls: Controls::new(),
            configured,
            looks: vec![Look::default()],
        }
    }

    #[test]
    fn without_anything_there_is_one_camera() {
        let options = Options::merge(Arguments::default(), Config::default());
        assert_eq!(options.cameras, [named("camera", None, true)]);
        assert_eq!(options.models, None);
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Arguments {
            source: Some("demo:".into()),
            models: vec!["flag".into()],
            socket: Some("/flag".into()),
            threads: Some(Threads::ONE),
            ..Arguments::default()
        };
        let text = "model = \"file\"\nsocket = \"/file\"\nthreads = 3\n[[camera]]\nname = \"a\"\nsource = \"x\"\n";
        let options = Options::merge(flags, file(text));
        assert_eq!(options.cameras, [named("camera", Some("demo:"), false)]);
        assert_eq!(options.models, Some(Models::List(vec!["flag".into()])));
        assert_eq!(options.socket, Some("/flag".into()));
        assert_eq!(options.threads, Threads::ONE);
    }

    #[test]
    fn the_file_counts_where_no_flag_is_given() {
        let text = "models = \"folder\"\nthreads = 3\nsmoothing_ms = 0\ntarget_fps = 2.5\nstale_s = 9\n[[camera]]\nname = \"a\"\nsource = \"x\"\n";
        let options = Options::merge(Arguments::default(), file(text));
        assert!(options.cameras[0].is(&named("a", Some("x"), true)));
        assert_eq!(options.models, Some(Models::Folder("folder".into())));
        assert_eq!(options.threads.to_string(), "3");
        assert_eq!(
            (options.stale_after, options.target_fps),
            (Duration::from_secs(9), Some(2.5))
        );
        assert_eq!(options.still, None);
    }

    #[test]
    fn the_still_gate_is_off_unless_it_is_wanted() {
        let still = |text: &str| Options::merge(Arguments::default(), file(text)).still;
        assert_eq!(still("still_fps = 2.0\n"), None);
        assert_eq!(
            still("still_gate = true\n"),
            Some(still::Settings::default())
        );
        let set = still("still_gate = true\nstill_fps = 2.0\nmax_interval_s = 60\n").unwrap();
        assert_eq!(
            (set.look, set.max_interval),
            (Duration::from_millis(500), Duration::from_secs(60))
        );
    }
}
