//! Why a source could not be opened: one variant per cause that has its own remedy, which the message
//! names. What happens later (a camera that goes away) is an [`Event`](super::Event), not an error.

use std::io;
use std::path::PathBuf;

use super::uri::UriError;
use crate::frame::PixelFormat;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Uri(#[from] UriError),

    #[error("no camera is here; plug one in (`resnetd devices` lists what the kernel sees)")]
    NoCamera,
    #[error("{}: no such camera; `resnetd devices` lists those that are here", .0.display())]
    NoDevice(PathBuf),
    #[error("{} is not a camera ({found}); `resnetd devices` lists the cameras", .path.display())]
    NotACamera { path: PathBuf, found: String },
    #[error("{path} is in use by another program; stop that one (`fuser -v {path}` names it)", path = .0.display())]
    Busy(PathBuf),
    #[error("cannot open {}: permission denied; add the user to the group `{group}` (usermod -aG {group} USER, then log in again)", .path.display())]
    Permission { path: PathBuf, group: String },
    #[error(
        "{} gives only what a CSI camera's sensor sees, unprocessed ({found}); let the camera's own \
         software process it: `exec:rpicam-vid -n -t 0 --codec mjpeg --flush -o -` on a Raspberry Pi",
        .path.display()
    )]
    RawOnly { path: PathBuf, found: String },
    #[error("{} captures in the multi-planar layout only, which is not supported; use the camera stack's own program (rpicam-vid on a Raspberry Pi) or another device node", .0.display())]
    MultiPlanar(PathBuf),
    #[error("{} offers no usable format (it has {offered}; usable are YUYV YVYU UYVY NV12 NV21 YU12 YV12 RGB3 BGR3 RGBP GREY MJPG)", .path.display())]
    NoUsableFormat { path: PathBuf, offered: String },
    #[error(
        "{} does not offer the format {wanted} (usable here: {usable}); name one of those or leave `format=` out",
        .path.display()
    )]
    FormatNotOffered {
        path: PathBuf,
        wanted: PixelFormat,
        usable: String,
    },
    #[error("{}: {trouble}", .path.display())]
    NoSignal {
        path: PathBuf,
        trouble: &'static str,
    },
    #[error("{}: {step} failed: {source}; if this stays, unplug and replug the camera", .path.display())]
    Device {
        path: PathBuf,
        step: &'static str,
        source: io::Error,
    },

    #[error(
        "`{scheme}:-` reads a video from standard input, which is a terminal; pipe one in: `rpicam-vid -n -t 0 --codec mjpeg --flush -o - | resnetd run --source mjpeg:-`"
    )]
    Terminal { scheme: &'static str },
    #[error("cannot read {}: {source}; name a file or pipe that is there and readable", .path.display())]
    Stream { path: PathBuf, source: io::Error },

    #[error("cannot read {}: {source}; name pictures that are there and readable", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is not a usable picture: {why}; give an intact JPEG or PNG file", .path.display())]
    NotAPicture { path: PathBuf, why: String },
    #[error("{}: no .jpg, .jpeg or .png file there; name a picture, or a folder or pattern with some", .0.display())]
    NoPictures(PathBuf),
}
