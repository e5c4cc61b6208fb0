//! The system calls on a V4L2 capture device.
//!
//! Ours rather than crate v4l's streams, because those panic when a device goes away badly or gives values
//! that they do not know; from that crate come the kernel's types, numbers and the ioctl itself.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use v4l::v4l_sys as sys;
use v4l::v4l2::{self, vidioc};

use super::device::{
    Colours, Control, Device, Filled, Identity, PixFormat, Rates, Ready, Sizes, Steps, System,
};
use super::mapping::Mapping;

mod controls;
mod signal;

/// The running kernel.
pub struct Kernel;

impl System for Kernel {
    type Device = Camera;

    fn nodes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let number = entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("video")?
                    .parse()
                    .ok()?;
                Some((number, entry.path()))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    fn open(&mut self, path: &Path) -> io::Result<Camera> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, FileMode::empty())?;
        Ok(Camera {
            buffers: Vec::new(),
            file,
        })
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn monotonic(&self) -> Duration {
        let time = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The group whose members may open `path`, as far as it can be found out.
pub fn group_of(path: &Path) -> String {
    let group = fs::metadata(path).ok().and_then(|node| {
        let groups = fs::read_to_string("/etc/group").ok()?;
        let gid = node.gid().to_string();
        let line = groups
            .lines()
            .find(|line| line.split(':').nth(2) == Some(&gid))?;
        line.split(':').next().map(str::to_owned)
    });
    group
        .filter(|name| name != "root")
        .unwrap_or_else(|| "video".to_owned())
}

const CAPTURE: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
const MMAP: u32 = sys::v4l2_memory_V4L2_MEMORY_MMAP;
/// Bounds on what is asked of a driver that never ends a list.
const MAX_FORMATS: u32 = 64;
const MAX_SIZES: u32 = 256;
const MAX_RATES: u32 = 64;

/// An open V4L2 device node. Closing it (dropping) stops the stream and frees the buffers in the kernel.
pub struct Camera {
    // Before the file: unmapped, then closed.
    buffers: Vec<Mapping>,
    file: OwnedFd,
}

/// Plain numbers in a C layout for which all bits zero is a value: the V4L2 argument types used here.
///
/// # Safety
/// Implement it for such types only.
#[allow(unsafe_code)]
unsafe trait Argument: Sized {
    fn zeroed() -> Self {
        // SAFETY: all bits zero is a value of the type, by this trait's contract.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! arguments {
    ($($name:ident)*) => { $(
        // SAFETY: bindgen's translation of a kernel struct of integers, arrays and unions of them, and
        // pointers (raw, so null is a value).
        #[allow(unsafe_code)]
        unsafe impl Argument for sys::$name {}
    )* };
}
arguments! {
    v4l2_capability v4l2_fmtdesc v4l2_frmsizeenum v4l2_frmivalenum v4l2_format v4l2_streamparm
    v4l2_requestbuffers v4l2_buffer v4l2_queryctrl v4l2_querymenu v4l2_control v4l2_input
    v4l2_event_subscription v4l2_event
}

impl Camera {
    /// Calls the driver with the argument that `request` is made for.
    #[allow(unsafe_code)]
    fn ioctl<T: Copy>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        // The number holds its argument's size, which is how much the kernel reads and writes.
        let size = usize::try_from((request >> 16) & 0x3fff).unwrap_or(0);
        if size != size_of::<T>() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let argument: *mut T = argument;
        // SAFETY: the pointer is to a live, exclusively borrowed T of the size that the kernel reads and
        // writes, as checked above. T is one of the types of `arguments!` or an integer, for which all
        // bits that the kernel may write are a value. With the single-planar buffer type and mapped
        // memory, the only ones used, the kernel follows no pointer inside it.
        unsafe { v4l2::ioctl(self.file.as_raw_fd(), request, argument.cast()) }
    }

    fn buffer(index: u32) -> sys::v4l2_buffer {
        sys::v4l2_buffer {
            index,
            type_: CAPTURE,
            memory: MMAP,
            ..Argument::zeroed()
        }
    }

    fn map(&self, index: u32) -> io::Result<Mapping> {
        let mut buffer = Self::buffer(index);
        self.ioctl(vidioc::VIDIOC_QUERYBUF, &mut buffer)?;
        // SAFETY: every variant of the union is an integer or a raw pointer; `offset` is the one that
        // QUERYBUF fills for memory-mapped buffers.
        #[allow(unsafe_code)]
        let offset = unsafe { buffer.m.offset };
        Mapping::new(&self.file, u64::from(offset), buffer.length as usize)
    }
}

impl Device for Camera {
    fn identity(&mut self) -> io::Result<Identity> {
        let mut answer = sys::v4l2_capability::zeroed();
        self.ioctl(vidioc::VIDIOC_QUERYCAP, &mut answer)?;
        let own = answer.capabilities & sys::V4L2_CAP_DEVICE_CAPS != 0;
        let capabilities = if own {
            answer.device_caps
        } else {
            answer.capabilities
        };
        Ok(Identity {
            card: text(&answer.card),
            driver: text(&answer.driver),
            capabilities,
        })
    }

    fn formats(&mut self) -> io::Result<Vec<[u8; 4]>> {
        let mut found = Vec::new();
        for index in 0..MAX_FORMATS {
            let mut answer = sys::v4l2_fmtdesc {
                index,
                type_: CAPTURE,
                ..Argument::zeroed()
            };
            match self.ioctl(vidioc::VIDIOC_ENUM_FMT, &mut answer) {
                Ok(()) => found.push(answer.pixelformat.to_le_bytes()),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn sizes(&mut self, fourcc: [u8; 4]) -> Vec<Sizes> {
        let mut found = Vec::new();
        let pixel_format = u32::from_le_bytes(fourcc);
        for index in 0..MAX_SIZES {
            let mut answer = sys::v4l2_frmsizeenum {
                index,
                pixel_format,
                ..Argument::zeroed()
            };
            if self
                .ioctl(vidioc::VIDIOC_ENUM_FRAMESIZES, &mut answer)
                .is_err()
            {
                break;
            }
            found.push(sizes(&answer));
        }
        found
    }

    fn rates(&mut self, fourcc: [u8; 4], width: u32, height: u32) -> Rates {
        let pixel_format = u32::from_le_bytes(fourcc);
        let mut found = Rates::default();
        for index in 0..MAX_RATES {
            let mut answer = sys::v4l2_frmivalenum {
                index,
                pixel_format,
                width,
                height,
                ..Argument::zeroed()
            };
            let asked = self.ioctl(vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut answer);
            if asked.is_err() || found.range {
                break;
            }
            add_rates(&answer, &mut found);
        }
        found.fps.sort_by(|a, b| b.total_cmp(a));
        found
    }

    fn set_format(&mut self, wanted: PixFormat) -> io::Result<PixFormat> {
        let mut argument = sys::v4l2_format {
            type_: CAPTURE,
            ..Argument::zeroed()
        };
        argument.fmt.pix.width = wanted.width;
        argument.fmt.pix.height = wanted.height;
        argument.fmt.pix.pixelformat = u32::from_le_bytes(wanted.fourcc);
        argument.fmt.pix.field = sys::v4l2_field_V4L2_FIELD_NONE;
        // Says that we know the fields behind it, which are about colours.
        argument.fmt.pix.priv_ = sys::V4L2_PIX_FMT_PRIV_MAGIC;
        self.ioctl(vidioc::VIDIOC_S_FMT, &mut argument)?;
        // SAFETY: the variants are integers; `pix` is the one of the capture type, which was asked for.
        #[allow(unsafe_code)]
        let pix = unsafe { argument.fmt.pix };
        let fourcc = pix.pixelformat.to_le_bytes();
        Ok(PixFormat {
            fourcc,
            width: pix.width,
            height: pix.height,
            stride: pix.bytesperline,
            colours: colours(&pix),
        })
    }

    fn set_fps(&mut self, fps: f64) -> io::Result<Option<f64>> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // 0.01 to 1000, as promised
        let denominator = (fps * 1000.0).round() as u32;
        let mut argument = sys::v4l2_streamparm {
            type_: CAPTURE,
            ..Argument::zeroed()
        };
        argument.parm.capture.timeperframe = sys::v4l2_fract {
            numerator: 1000,
            denominator,
        };
        self.ioctl(vidioc::VIDIOC_S_PARM, &mut argument)?;
        // SAFETY: the variants are integers; `capture` is the one of the type that was asked for.
        #[allow(unsafe_code)]
        let capture = unsafe { argument.parm.capture };
        let told = capture.capability & sys::V4L2_CAP_TIMEPERFRAME != 0;
        Ok(if told {
            rate(capture.timeperframe)
        } else {
            None
        })
    }

    fn controls(&mut self) -> Vec<Control> {
        controls::list(self)
    }

    fn set_control(&mut self, id: u32, value: i32) -> io::Result<()> {
        controls::set(self, id, value)
    }

    fn no_signal(&mut self) -> Option<&'static str> {
        signal::trouble(self)
    }

    fn make_buffers(&mut self, count: u32) -> io::Result<u32> {
        let mut request = sys::v4l2_requestbuffers {
            count,
            type_: CAPTURE,
            memory: MMAP,
            ..Argument::zeroed()
        };
        self.ioctl(vidioc::VIDIOC_REQBUFS, &mut request)?;
        for index in 0..request.count.min(count) {
            let mapping = self.map(index)?;
            self.buffers.push(mapping);
        }
        Ok(request.count.min(count))
    }

    fn queue(&mut self, index: u32) -> io::Result<()> {
        self.ioctl(vidioc::VIDIOC_QBUF, &mut Self::buffer(index))
    }

    fn start(&mut self) -> io::Result<()> {
        signal::watch(self);
        let mut kind: std::os::raw::c_int = CAPTURE.cast_signed();
        self.ioctl(vidioc::VIDIOC_STREAMON, &mut kind)
    }

    fn poll(&mut self, timeout: Duration) -> io::Result<Ready> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut wait = [PollFd::new(&self.file, PollFlags::IN | PollFlags::PRI)];
        if rustix::event::poll(&mut wait, Some(&timeout))? == 0 {
            return Ok(Ready::Nothing);
        }
        let found = wait[0].revents();
        let trouble = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        Ok(
            if found.intersects(PollFlags::PRI) && signal::changed(self) {
                Ready::Changed
            } else if found.intersects(trouble) {
                Ready::Trouble
            } else if found.intersects(PollFlags::IN) {
                Ready::Frame
            } else {
                Ready::Nothing
            },
        )
    }

    fn dequeue(&mut self) -> io::Result<Option<Filled>> {
        let mut buffer = Self::buffer(0);
        match self.ioctl(vidioc::VIDIOC_DQBUF, &mut buffer) {
            Ok(()) => Ok(Some(filled(&buffer))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn copy(&self, index: u32, bytes: usize, into: &mut Vec<u8>) -> bool {
        self.buffers
            .get(index as usize)
            .is_some_and(|buffer| buffer.copy(bytes, into))
    }
}

fn filled(buffer: &sys::v4l2_buffer) -> Filled {
    let clock = buffer.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK;
    let seconds = u64::try_from(buffer.timestamp.tv_sec).unwrap_or(0);
    let micros = u64::try_from(buffer.timestamp.tv_usec).unwrap_or(0);
    let taken = Duration::from_secs(seconds) + Duration::from_micros(micros);
    Filled {
        index: buffer.index,
        bytes: buffer.bytesused,
        damaged: buffer.flags & sys::V4L2_BUF_FLAG_ERROR != 0,
        taken: (clock == sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC).then_some(taken),
    }
}

fn sizes(answer: &sys::v4l2_frmsizeenum) -> Sizes {
    if answer.type_ == sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
        // SAFETY: the variants are integers; `discrete` is the one of this type.
        #[allow(unsafe_code)]
        let one = unsafe { answer.__bindgen_anon_1.discrete };
        return Sizes::One {
            width: one.width,
            height: one.height,
        };
    }
    // SAFETY: the variants are integers; `stepwise` is the one of the two other types.
    #[allow(unsafe_code)]
    let range = unsafe { answer.__bindgen_anon_1.stepwise };
    Sizes::Range {
        width: Steps {
            min: range.min_width,
            max: range.max_width,
            step: range.step_width,
        },
        height: Steps {
            min: range.min_height,
            max: range.max_height,
            step: range.step_height,
        },
    }
}

fn add_rates(answer: &sys::v4l2_frmivalenum, found: &mut Rates) {
    if answer.type_ == sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
        // SAFETY: both variants of the union are fractions of integers; `discrete` is the one of this type.
        #[allow(unsafe_code)]
        let interval = unsafe { answer.__bindgen_anon_1.discrete };
        found.fps.extend(rate(interval));
        return;
    }
    // SAFETY: as above; `stepwise` is the one of the two other types.
    #[allow(unsafe_code)]
    let interval = unsafe { answer.__bindgen_anon_1.stepwise };
    found.fps.extend(rate(interval.min));
    found.fps.extend(rate(interval.max));
    found.range = true;
}

fn colours(pix: &sys::v4l2_pix_format) -> Colours {
    let mut colours = Colours {
        space: pix.colorspace,
        ..Colours::default()
    };
    if pix.priv_ == sys::V4L2_PIX_FMT_PRIV_MAGIC {
        // SAFETY: both variants of the union are the same integer.
        #[allow(unsafe_code)]
        let encoding = unsafe { pix.__bindgen_anon_1.ycbcr_enc };
        colours.encoding = encoding;
        colours.quantization = pix.quantization;
    }
    colours
}

/// Frames per second of an interval in seconds.
fn rate(interval: sys::v4l2_fract) -> Option<f64> {
    let known = interval.numerator != 0 && interval.denominator != 0;
    known.then(|| f64::from(interval.denominator) / f64::from(interval.numerator))
}

/// A C string in a fixed field, whatever bytes the driver put there.
fn text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}
