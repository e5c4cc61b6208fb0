//! Reads YUV4MPEG2 (what `ffmpeg -f yuv4mpegpipe` writes): a line that says size and colours, then frames of
//! that size, each behind a line `FRAME`.
//!
//! Nothing in a frame says where it ends. While each is followed by the next one's line, frames are handed over
//! as soon as they are there. After anything else (garbage, lost bytes) a line `FRAME` is believed only if
//! another one stands where its frame must end.

use super::buffer::{Buffer, find};
use super::{MAX_FRAME, StreamError};
use crate::frame::{Frame, MAX_SIDE, PixelFormat, YuvCoding, YuvRange};

/// How a stream begins.
pub(super) const START: &[u8] = b"YUV4MPEG2 ";
const FRAME: &[u8] = b"FRAME";
/// The longest line that is read, in bytes.
const MAX_LINE: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Y4m {
    phase: Phase,
    lost: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum Phase {
    /// No header yet.
    #[default]
    Search,
    /// A frame's line, or another header, must come next.
    Frames(Layout),
    /// Garbage came instead.
    Lost(Layout),
}

/// What a header says of every frame behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    format: PixelFormat,
    range: YuvRange,
    width: u32,
    height: u32,
    /// Of one frame.
    bytes: usize,
}

/// What stands at the beginning of the bytes.
enum Line {
    /// A line that begins as it must; the byte behind it.
    Ends(usize),
    /// It cannot be told yet.
    Unknown,
    Other,
}

impl Y4m {
    /// Puts the next frame into `frame`; false if more bytes are needed.
    pub(super) fn next(
        &mut self,
        buffer: &mut Buffer,
        frame: &mut Frame,
    ) -> Result<bool, StreamError> {
        loop {
            let found = match self.phase {
                Phase::Search => self.header(buffer)?,
                Phase::Frames(layout) => self.frame(layout, buffer, frame),
                Phase::Lost(layout) => self.find_again(layout, buffer, frame),
            };
            match found {
                Some(Found::Frame) => return Ok(true),
                Some(Found::Something) => {}
                None => return Ok(false),
            }
        }
    }

    /// How often the frames were lost sight of.
    pub(super) fn torn(&self) -> u64 {
        self.lost
    }

    /// Looks for the header, over whatever stands before it.
    fn header(&mut self, buffer: &mut Buffer) -> Result<Option<Found>, StreamError> {
        let Some(start) = find(buffer.bytes(), START) else {
            let tail = START.len() - 1;
            buffer.discard(buffer.bytes().len().saturating_sub(tail));
            return Ok(None);
        };
        buffer.discard(start);
        match line(buffer.bytes(), START) {
            Line::Ends(end) => {
                let text = buffer.bytes().get(..end).unwrap_or_default();
                self.phase = Phase::Frames(layout(text)?);
                buffer.discard(end);
            }
            Line::Other => buffer.discard(1),
            Line::Unknown => return Ok(None),
        }
        Ok(Some(Found::Something))
    }

    fn frame(&mut self, layout: Layout, buffer: &mut Buffer, frame: &mut Frame) -> Option<Found> {
        let bytes = buffer.bytes();
        match frame_line(bytes) {
            Line::Unknown => None,
            Line::Ends(start) => {
                let end = start + layout.bytes;
                layout.deliver(bytes.get(start..end)?, frame);
                buffer.discard(end);
                Some(Found::Frame)
            }
            Line::Other => {
                self.phase = match line(bytes, START) {
                    Line::Unknown => return None,
                    Line::Ends(_) => Phase::Search,
                    Line::Other => {
                        self.lost += 1;
                        Phase::Lost(layout)
                    }
                };
                Some(Found::Something)
            }
        }
    }

    /// Looks for a frame that is followed by another one, or for a header.
    fn find_again(
        &mut self,
        layout: Layout,
        buffer: &mut Buffer,
        frame: &mut Frame,
    ) -> Option<Found> {
        let may_begin = |&byte: &u8| byte == FRAME[0] || byte == START[0];
        let garbage = buffer.bytes().iter().position(may_begin);
        buffer.discard(garbage.unwrap_or(usize::MAX));
        let bytes = buffer.bytes();
        match (frame_line(bytes), line(bytes, START)) {
            (_, Line::Ends(_)) => self.phase = Phase::Search,
            (Line::Ends(start), _) => {
                let end = start + layout.bytes;
                let next = bytes.get(end..).unwrap_or_default();
                match frame_line(next) {
                    Line::Unknown => return None,
                    Line::Other => buffer.discard(1),
                    Line::Ends(_) => {
                        layout.deliver(bytes.get(start..end)?, frame);
                        buffer.discard(end);
                        self.phase = Phase::Frames(layout);
                        return Some(Found::Frame);
                    }
                }
            }
            (Line::Other, Line::Other) => buffer.discard(1),
            _ => return None,
        }
        Some(Found::Something)
    }
}

enum Found {
    Frame,
    /// Look again.
    Something,
}

impl Layout {
    fn deliver(&self, pixels: &[u8], frame: &mut Frame) {
        frame.data.clear();
        frame.data.extend_from_slice(pixels);
        frame.format = self.format;
        (frame.width, frame.height) = (self.width, self.height);
        frame.stride = self.width as usize;
        frame.yuv = YuvCoding {
            range: self.range,
            ..YuvCoding::default()
        };
    }
}

/// The line `FRAME`, with or without parameters.
fn frame_line(bytes: &[u8]) -> Line {
    match bytes.get(FRAME.len()) {
        None | Some(b'\n' | b' ') => line(bytes, FRAME),
        Some(_) => Line::Other,
    }
}

/// A line of printable characters that begins with `beginning`.
fn line(bytes: &[u8], beginning: &[u8]) -> Line {
    let begun = bytes.len().min(beginning.len());
    if bytes.get(..begun) != beginning.get(..begun) {
        return Line::Other;
    }
    let text = bytes.get(..MAX_LINE.min(bytes.len())).unwrap_or_default();
    match text.iter().position(|byte| !(b' '..=b'~').contains(byte)) {
        Some(at) if text.get(at) == Some(&b'\n') => Line::Ends(at + 1),
        None if text.len() < MAX_LINE => Line::Unknown,
        _ => Line::Other,
    }
}

fn layout(header: &[u8]) -> Result<Layout, StreamError> {
    let text = String::from_utf8_lossy(header);
    let (mut width, mut height) = (None, None);
    let mut colours = "420";
    let mut range = "";
    for word in text.split_ascii_whitespace().skip(1) {
        if let Some(value) = word.strip_prefix("XCOLORRANGE=") {
            range = value;
        } else if let Some(value) = word.strip_prefix('W') {
            width = value.parse().ok();
        } else if let Some(value) = word.strip_prefix('H') {
            height = value.parse().ok();
        } else if let Some(value) = word.strip_prefix('C') {
            colours = value;
        }
    }
    let side = |side: Option<u32>| side.filter(|side| (1..=MAX_SIDE).contains(side));
    let (Some(width), Some(height)) = (side(width), side(height)) else {
        return Err(StreamError::Size(text.trim_end().to_owned()));
    };
    let format = format(colours)?;
    let range = match (format, range) {
        // Grey is taken to reach from 0 to 255.
        (PixelFormat::Grey, "LIMITED") => return Err(StreamError::GreyRange),
        (_, "FULL") => YuvRange::Full,
        _ => YuvRange::Limited,
    };
    let bytes = format.bytes(width, height, width as usize);
    let bytes = bytes.filter(|&bytes| bytes <= MAX_FRAME);
    Ok(Layout {
        format,
        range,
        width,
        height,
        bytes: bytes.ok_or(StreamError::TooLarge { width, height })?,
    })
}

/// The variants of 420 differ in where chroma is sampled, by less than a pixel.
fn format(colours: &str) -> Result<PixelFormat, StreamError> {
    match colours {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(PixelFormat::Yu12),
        "mono" => Ok(PixelFormat::Grey),
        other => Err(StreamError::Colours(other.to_owned())),
    }
}
