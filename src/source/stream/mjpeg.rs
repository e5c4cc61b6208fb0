//! Finds the pictures in a stream of JPEG files, whatever stands between them: nothing, padding, the headers of
//! a multipart stream, garbage.
//!
//! A picture's end is found as a decoder would find it, by stepping from segment to segment and through the
//! entropy-coded data: the end marker of a thumbnail inside a segment, a stuffed byte or a restart marker ends
//! nothing. Nothing is decoded: what a picture shows is for `preprocess`.

use super::MAX_FRAME;
use super::buffer::{Buffer, find};
use crate::frame::{Frame, MAX_SIDE, PixelFormat};

/// How a picture begins: its start marker and the first byte of another one.
pub(super) const START: &[u8] = &[0xff, 0xd8, 0xff];

const START_OF_SCAN: u8 = 0xda;

#[derive(Debug, Default)]
pub(super) struct Mjpeg {
    phase: Phase,
    /// The picture begins where the buffer begins; up to here it was understood.
    at: usize,
    /// Where to look for the next picture if this one turns out to be torn: its own end may be missing, so that
    /// what was taken for its last segment holds the beginning of the next.
    resume: usize,
    /// Width and height, once they were met.
    size: Option<(u32, u32)>,
    /// Picture data were met, so that an end marker ends a picture.
    scanned: bool,
    torn: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between pictures.
    #[default]
    Search,
    /// Where a marker must stand.
    Marker,
    /// In entropy-coded data.
    Scan,
}

/// What came of looking at the next bytes.
enum Step {
    /// Further on in the same picture, or in search of one.
    On,
    /// More bytes are needed.
    More,
    /// The picture ends here.
    Whole(usize),
    /// This is no picture, or its end is missing.
    Torn,
}

impl Mjpeg {
    /// Puts the next whole picture into `frame`; false if more bytes are needed.
    pub(super) fn next(&mut self, buffer: &mut Buffer, frame: &mut Frame) -> bool {
        loop {
            let step = match self.phase {
                Phase::Search => self.search(buffer),
                Phase::Marker => self.marker(buffer.bytes()),
                Phase::Scan => self.scan(buffer.bytes()),
            };
            match step {
                Step::Whole(end) => {
                    self.deliver(buffer.bytes().get(..end).unwrap_or_default(), frame);
                    buffer.discard(end);
                    self.phase = Phase::Search;
                    return true;
                }
                Step::Torn => self.give_up(buffer),
                Step::On | Step::More if self.at > MAX_FRAME => self.give_up(buffer),
                Step::On => {}
                Step::More => return false,
            }
        }
    }

    /// How many pictures were dropped because they were not whole.
    pub(super) fn torn(&self) -> u64 {
        self.torn
    }

    fn search(&mut self, buffer: &mut Buffer) -> Step {
        self.at = 0;
        let Some(start) = find(buffer.bytes(), START) else {
            let tail = START.len() - 1;
            buffer.discard(buffer.bytes().len().saturating_sub(tail));
            return Step::More;
        };
        buffer.discard(start);
        self.phase = Phase::Marker;
        (self.size, self.scanned) = (None, false);
        (self.at, self.resume) = (2, 2);
        Step::On
    }

    fn marker(&mut self, bytes: &[u8]) -> Step {
        let marker = match bytes.get(self.at..).unwrap_or_default() {
            [] | [0xff] => return Step::More,
            // A marker may be preceded by any number of these.
            [0xff, 0xff, ..] => {
                self.at += 1;
                return Step::On;
            }
            [0xff, marker, ..] => *marker,
            _ => return Step::Torn,
        };
        match marker {
            0xd8 => {
                self.resume = self.at;
                Step::Torn
            }
            0xd9 if self.scanned => Step::Whole(self.at + 2),
            0x01 | 0xd0..=0xd7 => {
                self.at += 2;
                Step::On
            }
            0x00 | 0x02..=0xbf | 0xd9 => Step::Torn,
            _ => self.segment(bytes, marker),
        }
    }

    /// Steps over a segment that says its own length.
    fn segment(&mut self, bytes: &[u8], marker: u8) -> Step {
        let [high, low, content @ ..] = bytes.get(self.at + 2..).unwrap_or_default() else {
            return Step::More;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // The length itself may be the beginning of the next picture.
        self.resume = self.at + 2;
        let Some(content_length) = length.checked_sub(2) else {
            return Step::Torn;
        };
        // One to four components. Believing a false length here would swallow what follows unseen.
        if marker == START_OF_SCAN && !matches!(content_length, 6 | 8 | 10 | 12) {
            return Step::Torn;
        }
        let Some(content) = content.get(..content_length) else {
            return Step::More;
        };
        self.at += 2 + length;
        match marker {
            // Start of frame; C4, C8 and CC are tables.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                self.size = size(content);
                if self.size.is_none() {
                    return Step::Torn;
                }
            }
            START_OF_SCAN if self.size.is_none() => return Step::Torn,
            START_OF_SCAN => (self.phase, self.scanned) = (Phase::Scan, true),
            _ => {}
        }
        Step::On
    }

    fn scan(&mut self, bytes: &[u8]) -> Step {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let Some(found) = rest.iter().position(|&byte| byte == 0xff) else {
            self.at = bytes.len();
            return Step::More;
        };
        self.at += found;
        match rest.get(found + 1) {
            None => return Step::More,
            // A stuffed byte or a restart marker: the data go on.
            Some(0x00 | 0xd0..=0xd7) => self.at += 2,
            Some(0xff) => self.at += 1,
            Some(_) => {
                self.phase = Phase::Marker;
                self.resume = self.at;
            }
        }
        Step::On
    }

    fn give_up(&mut self, buffer: &mut Buffer) {
        self.torn += 1;
        buffer.discard(self.resume.max(1));
        self.phase = Phase::Search;
        self.at = 0;
    }

    fn deliver(&self, picture: &[u8], frame: &mut Frame) {
        frame.data.clear();
        frame.data.extend_from_slice(picture);
        frame.format = PixelFormat::Mjpg;
        (frame.width, frame.height) = self.size.unwrap_or_default();
        frame.stride = 0;
    }
}

/// Width and height in the content of a start-of-frame segment, if they are possible.
fn size(content: &[u8]) -> Option<(u32, u32)> {
    let &[_precision, h1, h0, w1, w0, ..] = content else {
        return None;
    };
    let width = u32::from(u16::from_be_bytes([w1, w0]));
    let height = u32::from(u16::from_be_bytes([h1, h0]));
    let possible = (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height);
    possible.then_some((width, height))
}
