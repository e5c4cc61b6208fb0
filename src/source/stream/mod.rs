//! Video as a stream of bytes, from a pipe, a file or a connection: bytes go in, in pieces of any size, and
//! frames come out. No input or output happens here, so that a test or a fuzzer can be the camera.
//!
//! A frame that is not whole is dropped and counted, and reading goes on at the next one. Memory is bounded by
//! [`MAX_FRAME`], and once a stream runs nothing is allocated.

mod buffer;
mod mjpeg;
#[cfg(test)]
mod tests;
mod y4m;

use std::fmt;

use crate::frame::Frame;
use buffer::{Buffer, find};
use mjpeg::Mjpeg;
use y4m::Y4m;

/// The largest frame that is read, in bytes: 3840x2160 pixels of Y4M fit.
pub const MAX_FRAME: usize = 16 << 20;

/// A Y4M stream that cannot be used. JPEG streams have no such: what cannot be used there is a torn frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error(
        "the Y4M stream has the colours {0}, usable are 420 and mono; give ffmpeg the option `-pix_fmt yuv420p`"
    )]
    Colours(String),
    #[error("the Y4M stream is grey of limited range; give ffmpeg the option `-pix_fmt yuv420p`")]
    GreyRange,
    #[error("the Y4M stream has no usable size (`{0}`); 1x1 to 8192x8192 is possible")]
    Size(String),
    #[error(
        "the Y4M stream's frames of {width}x{height} are larger than {} MiB; give ffmpeg the option `-vf scale=1280:-2`",
        MAX_FRAME >> 20
    )]
    TooLarge { width: u32, height: u32 },
}

/// Which kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// JPEG files one after the other, with anything between them.
    Mjpeg,
    /// YUV4MPEG2.
    Y4m,
}

impl Kind {
    /// How a source of this kind is written.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Mjpeg => "mjpeg",
            Self::Y4m => "y4m",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mjpeg => "MJPEG",
            Self::Y4m => "Y4M",
        })
    }
}

/// A stream that is being read: [`push`](Self::push) bytes, then take frames by [`next`](Self::next) until it
/// says that there is none.
#[derive(Debug)]
pub struct Stream {
    buffer: Buffer,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    /// The first frame or header decides.
    Undecided,
    Mjpeg(Mjpeg),
    Y4m(Y4m),
}

impl Reader {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Mjpeg => Self::Mjpeg(Mjpeg::default()),
            Kind::Y4m => Self::Y4m(Y4m::default()),
        }
    }
}

impl Stream {
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            buffer: Buffer::default(),
            reader: Reader::of(kind),
        }
    }

    /// A stream whose first picture or header tells what it is.
    #[must_use]
    pub fn of_any_kind() -> Self {
        Self {
            buffer: Buffer::default(),
            reader: Reader::Undecided,
        }
    }

    /// Which kind it is, once that is known.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self.reader {
            Reader::Undecided => None,
            Reader::Mjpeg(_) => Some(Kind::Mjpeg),
            Reader::Y4m(_) => Some(Kind::Y4m),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// Room for the next bytes, for who can read into it; [`filled`](Self::filled) says how many came.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.space()
    }

    pub fn filled(&mut self, count: usize) {
        self.buffer.filled(count);
    }

    /// Puts the next whole frame into `frame`: its bytes, format and size, not its times. False if more bytes
    /// are needed.
    ///
    /// # Errors
    /// The stream says of itself that it is of a kind that cannot be used; it will say so again.
    pub fn next(&mut self, frame: &mut Frame) -> Result<bool, StreamError> {
        if matches!(self.reader, Reader::Undecided) {
            self.decide();
        }
        match &mut self.reader {
            Reader::Undecided => Ok(false),
            Reader::Mjpeg(reader) => Ok(reader.next(&mut self.buffer, frame)),
            Reader::Y4m(reader) => reader.next(&mut self.buffer, frame),
        }
    }

    /// How many frames were dropped because they were not whole, or how often garbage came between them.
    #[must_use]
    pub fn torn(&self) -> u64 {
        match &self.reader {
            Reader::Undecided => 0,
            Reader::Mjpeg(reader) => reader.torn(),
            Reader::Y4m(reader) => reader.torn(),
        }
    }

    fn decide(&mut self) {
        let bytes = self.buffer.bytes();
        let starts = [(mjpeg::START, Kind::Mjpeg), (y4m::START, Kind::Y4m)];
        let found = starts
            .iter()
            .filter_map(|&(start, kind)| Some((find(bytes, start)?, kind)))
            .min_by_key(|&(at, _)| at);
        match found {
            Some((_, kind)) => self.reader = Reader::of(kind),
            None => {
                let tail = y4m::START.len() - 1;
                let old = bytes.len().saturating_sub(tail);
                self.buffer.discard(old);
            }
        }
    }
}
