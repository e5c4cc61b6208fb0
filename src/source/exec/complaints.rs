//! What a child writes to its standard error, as lines of our log: bounded in length and number, because a
//! camera program may say something for every frame, for months.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::source::intake::count;

/// The longest line that is kept, in bytes.
const LONGEST: usize = 300;
/// So many lines are logged at once; further ones as time passes.
const BURST: u32 = 20;
/// The time that earns one more line.
const PER_LINE: Duration = Duration::from_secs(3);
/// Reads at most so many pieces at a time: a flood must not keep us from the frames.
const PIECES: usize = 8;

#[derive(Debug)]
pub(super) struct Complaints {
    /// Whose they are.
    name: String,
    line: String,
    last: String,
    allowance: Allowance,
}

impl Complaints {
    pub(super) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            line: String::new(),
            last: String::new(),
            allowance: Allowance {
                left: BURST,
                since: Instant::now(),
                held_back: 0,
            },
        }
    }

    /// The last line that was not empty.
    pub(super) fn last(&self) -> &str {
        if self.line.is_empty() {
            &self.last
        } else {
            &self.line
        }
    }

    /// Reads what is there; false at the end.
    pub(super) fn read(&mut self, from: BorrowedFd<'_>) -> bool {
        let mut piece = [0; 1024];
        for _ in 0..PIECES {
            let read = rustix::io::read(from, &mut piece);
            match count(read.map_err(Into::into)) {
                Ok(None) => return true,
                Ok(Some(0)) | Err(_) => {
                    self.end_line();
                    return false;
                }
                Ok(Some(count)) => self.take(piece.get(..count).unwrap_or_default()),
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    // Progress is often shown by writing over the same line.
                    '\n' | '\r' => self.end_line(),
                    _ if self.line.len() >= LONGEST => {}
                    // Colours and cursor movements are nothing for a log.
                    other if other.is_control() => self.line.push(' '),
                    other => self.line.push(other),
                }
            }
        }
    }

    fn end_line(&mut self) {
        let line = self.line.trim();
        if !line.is_empty() {
            match self.allowance.take(Instant::now()) {
                Some(0) => log::info!("{}: {line}", self.name),
                Some(held_back) => log::info!(
                    "{}: {line} ({held_back} lines before it were left out)",
                    self.name
                ),
                None => {}
            }
            self.last.clear();
            self.last.push_str(line);
        }
        self.line.clear();
    }
}

/// Some lines at once and then one now and then.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When the last of `left` was earned.
    since: Instant,
    held_back: u64,
}

impl Allowance {
    /// Some if this line may be logged: how many were not since the last that was.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.since).as_millis() / PER_LINE.as_millis();
        let earned = u32::try_from(passed).unwrap_or(BURST).min(BURST);
        if earned > 0 {
            self.left = (self.left + earned).min(BURST);
            self.since = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.held_back))
            }
            None => {
                self.held_back += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_cleaned_and_the_last_is_kept() {
        let mut complaints = Complaints::of("child");
        complaints.take(b"one\r\ntwo \x1b[31mred\x1b[0m\n\n");
        assert_eq!(complaints.last(), "two  [31mred [0m");
        complaints.take(&[b'x'; 10_000]);
        assert_eq!(complaints.last().len(), LONGEST);
        complaints.take(b"\nsplit ");
        complaints.take(b"in two\n");
        assert_eq!(complaints.last(), "split in two");
    }

    #[test]
    fn a_flood_is_held_back_and_counted() {
        let start = Instant::now();
        let mut allowance = Allowance {
            left: BURST,
            since: start,
            held_back: 0,
        };
        let told = (0..1000)
            .filter(|_| allowance.take(start).is_some())
            .count();
        assert_eq!(told, BURST as usize);
        assert_eq!(
            allowance.take(start + PER_LINE),
            Some(1000 - u64::from(BURST))
        );
        assert_eq!(allowance.take(start + PER_LINE), None);
        let hour = start + Duration::from_secs(3600);
        let told = (0..1000).filter(|_| allowance.take(hour).is_some()).count();
        assert_eq!(told, BURST as usize);
    }
}
