//! A camera and a clock that the tests govern, behind the seam that the kernel is behind in earnest.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use v4l::v4l_sys as sys;

use super::super::device::{Identity, PixFormat, Rates};
use super::super::*;

pub const SECOND: Duration = Duration::from_secs(1);
/// The fake's pictures: 4x2 GREY.
pub const WHOLE: u32 = 8;

/// One frame that the camera will have.
#[derive(Debug, Clone)]
pub struct Shot {
    pub at: Duration,
    pub data: Vec<u8>,
    pub damaged: bool,
    /// Lies about the buffer.
    pub index: Option<u32>,
}

/// The camera and the machine, shared by the test and the source.
pub struct World {
    pub start: Instant,
    pub time: Duration,
    pub identity: Identity,
    pub formats: Vec<[u8; 4]>,
    pub sizes: BTreeMap<[u8; 4], Vec<Sizes>>,
    /// By format and size.
    pub rates: BTreeMap<([u8; 4], u32, u32), Vec<f64>>,
    pub controls: Vec<Control>,
    /// Ids and values in the order in which they were set.
    pub set_controls: Vec<(u32, i32)>,
    pub no_signal: Option<&'static str>,
    /// The picture that comes in has another size now.
    pub changed: bool,
    pub stride: u32,
    /// Set by the last `set_format`.
    pub fixed: PixFormat,
    pub shots: VecDeque<Shot>,
    pub queued: VecDeque<u32>,
    pub contents: Vec<Vec<u8>>,
    pub hung_up: bool,
    /// Errors that the named call will give, in turn.
    pub faults: BTreeMap<&'static str, VecDeque<Errno>>,
    pub opened: Vec<Duration>,
    /// What lies in `/dev`.
    pub nodes: Vec<PathBuf>,
}

impl World {
    fn fault(&mut self, call: &'static str) -> io::Result<()> {
        match self.faults.get_mut(call).and_then(VecDeque::pop_front) {
            Some(errno) => Err(errno.into()),
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
pub struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub fn new() -> Self {
        let capabilities = sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_STREAMING;
        Self(Arc::new(Mutex::new(World {
            start: Instant::now(),
            time: 100 * SECOND,
            identity: Identity {
                card: "Fake".into(),
                driver: "fake".into(),
                capabilities,
            },
            formats: vec![*b"GREY"],
            sizes: BTreeMap::from([(
                *b"GREY",
                vec![Sizes::One {
                    width: 4,
                    height: 2,
                }],
            )]),
            rates: BTreeMap::new(),
            controls: Vec::new(),
            set_controls: Vec::new(),
            no_signal: None,
            changed: false,
            stride: 4,
            fixed: PixFormat::default(),
            shots: VecDeque::new(),
            queued: VecDeque::new(),
            contents: Vec::new(),
            hung_up: false,
            faults: BTreeMap::new(),
            opened: Vec::new(),
            nodes: ["/dev/video0", "/dev/video1"].map(Into::into).to_vec(),
        })))
    }

    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn fail(&self, call: &'static str, errnos: &[Errno]) {
        self.world().faults.entry(call).or_default().extend(errnos);
    }

    /// A picture of bytes `value`, `after` from now.
    pub fn shoot(&self, after: Duration, value: u8) {
        self.shoot_as(Shot {
            at: after,
            data: vec![value; 8],
            damaged: false,
            index: None,
        });
    }

    pub fn shoot_as(&self, mut shot: Shot) {
        let mut world = self.world();
        shot.at += world.time;
        world.shots.push_back(shot);
    }

    pub fn open(&self) -> Result<Capture<Fake>, SourceError> {
        self.open_as(&V4l2Spec::default())
    }

    pub fn open_as(&self, spec: &V4l2Spec) -> Result<Capture<Fake>, SourceError> {
        Capture::open(
            self.clone(),
            &V4l2Spec {
                device: Some("/dev/video7".into()),
                ..spec.clone()
            },
        )
    }
}

impl System for Fake {
    type Device = Fake;

    fn nodes(&self) -> Vec<PathBuf> {
        self.world().nodes.clone()
    }

    fn open(&mut self, _path: &Path) -> io::Result<Fake> {
        let mut world = self.world();
        let time = world.time;
        world.opened.push(time);
        world.fault("open")?;
        world.queued.clear();
        world.hung_up = false;
        world.changed = false;
        Ok(self.clone())
    }

    fn now(&self) -> Instant {
        let world = self.world();
        world.start + world.time
    }

    fn monotonic(&self) -> Duration {
        self.world().time
    }

    fn sleep(&mut self, time: Duration) {
        self.world().time += time;
    }
}

impl Device for Fake {
    fn identity(&mut self) -> io::Result<Identity> {
        self.world().fault("identity")?;
        Ok(self.world().identity.clone())
    }

    fn formats(&mut self) -> io::Result<Vec<[u8; 4]>> {
        self.world().fault("formats")?;
        Ok(self.world().formats.clone())
    }

    fn sizes(&mut self, fourcc: [u8; 4]) -> Vec<Sizes> {
        self.world().sizes.get(&fourcc).cloned().unwrap_or_default()
    }

    fn rates(&mut self, fourcc: [u8; 4], width: u32, height: u32) -> Rates {
        let fps = self.world().rates.get(&(fourcc, width, height)).cloned();
        Rates {
            fps: fps.unwrap_or_default(),
            range: false,
        }
    }

    fn controls(&mut self) -> Vec<Control> {
        self.world().controls.clone()
    }

    /// As a camera does it: while the control named `... Auto ...` is not 1, numbers are refused.
    fn set_control(&mut self, id: u32, value: i32) -> io::Result<()> {
        let mut world = self.world();
        world.fault("set_control")?;
        let kind = |control: &&Control| control.id == id && control.kind == ControlKind::Number;
        let automatic =
            |control: &Control| control.name.contains("Auto") && control.value != Some(1);
        if world.controls.iter().any(|control| kind(&control))
            && world.controls.iter().any(automatic)
        {
            return Err(Errno::ACCESS.into());
        }
        for control in world.controls.iter_mut().filter(|control| control.id == id) {
            control.value = Some(value);
        }
        world.set_controls.push((id, value));
        Ok(())
    }

    fn no_signal(&mut self) -> Option<&'static str> {
        self.world().no_signal
    }

    fn set_format(&mut self, wanted: PixFormat) -> io::Result<PixFormat> {
        let mut world = self.world();
        world.fault("set_format")?;
        world.fixed = PixFormat {
            stride: world.stride,
            ..wanted
        };
        Ok(world.fixed)
    }

    fn set_fps(&mut self, fps: f64) -> io::Result<Option<f64>> {
        self.world().fault("set_fps")?;
        Ok(Some(fps))
    }

    fn make_buffers(&mut self, count: u32) -> io::Result<u32> {
        let mut world = self.world();
        world.fault("make_buffers")?;
        world.contents = vec![Vec::new(); count as usize];
        Ok(count)
    }

    fn queue(&mut self, index: u32) -> io::Result<()> {
        let mut world = self.world();
        world.fault("queue")?;
        if world.queued.contains(&index) || index as usize >= world.contents.len() {
            return Err(Errno::INVAL.into());
        }
        world.queued.push_back(index);
        Ok(())
    }

    fn start(&mut self) -> io::Result<()> {
        self.world().fault("start")
    }

    fn poll(&mut self, timeout: Duration) -> io::Result<Ready> {
        let mut world = self.world();
        world.fault("poll")?;
        let until = world.time + timeout;
        let next = world
            .shots
            .front()
            .map(|shot| shot.at)
            .filter(|at| *at <= until);
        world.time = world.time.max(next.unwrap_or(until));
        Ok(match next {
            _ if world.changed => Ready::Changed,
            _ if world.hung_up => Ready::Trouble,
            Some(_) => Ready::Frame,
            None => Ready::Nothing,
        })
    }

    fn dequeue(&mut self) -> io::Result<Option<Filled>> {
        let mut world = self.world();
        world.fault("dequeue")?;
        let time = world.time;
        if world.queued.is_empty() || world.shots.front().is_none_or(|shot| shot.at > time) {
            return Ok(None);
        }
        let (Some(shot), Some(index)) = (world.shots.pop_front(), world.queued.pop_front()) else {
            return Ok(None);
        };
        let bytes = u32::try_from(shot.data.len()).unwrap();
        world.contents[index as usize] = shot.data;
        let index = shot.index.unwrap_or(index);
        Ok(Some(Filled {
            index,
            bytes,
            damaged: shot.damaged,
            taken: Some(shot.at),
        }))
    }

    fn copy(&self, index: u32, bytes: usize, into: &mut Vec<u8>) -> bool {
        let world = self.world();
        let Some(data) = world
            .contents
            .get(index as usize)
            .and_then(|data| data.get(..bytes))
        else {
            return false;
        };
        into.clear();
        into.extend_from_slice(data);
        true
    }
}

pub fn next(camera: &mut Capture<Fake>) -> (Event, Frame) {
    let mut frame = Frame::empty();
    let event = camera.next(&mut frame, SECOND);
    (event, frame)
}
