//! The last messages, each once, for all subscribers: who reads holds a number, not a queue, so that
//! the memory is bounded whatever they do, and what one of them missed is a subtraction.

use std::collections::VecDeque;
use std::sync::Arc;

/// A message with its newline. Shared, because a subscriber may be in the middle of it when the ring goes on.
pub type Line = Arc<Vec<u8>>;

/// What [`Ring::read`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Line(Line),
    /// So many lines are gone; the cursor is at the oldest that is left.
    Missed(u64),
    Nothing,
}

/// A bounded list of lines with their numbers.
#[derive(Debug)]
pub struct Ring {
    lines: VecDeque<Line>,
    capacity: usize,
    /// The number of the next line.
    end: u64,
}

impl Ring {
    pub fn new(capacity: usize) -> Self {
        Self {
            lines: VecDeque::with_capacity(capacity),
            capacity,
            end: 0,
        }
    }

    /// The number of the next line: where a new reader starts.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds the line that `write` puts into an empty buffer. The oldest line's buffer is used again if nobody
    /// holds it any more.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Line {
        let oldest = if self.lines.len() < self.capacity {
            None
        } else {
            self.lines.pop_front()
        };
        let mut line = oldest.unwrap_or_default();
        if Arc::get_mut(&mut line).is_none() {
            line = Arc::default();
        }
        if let Some(buffer) = Arc::get_mut(&mut line) {
            buffer.clear();
            write(buffer);
        }
        self.lines.push_back(Arc::clone(&line));
        self.end += 1;
        line
    }

    /// The line at the cursor, which then moves on.
    pub fn read(&self, cursor: &mut u64) -> Read {
        let start = self.end - self.lines.len() as u64;
        if *cursor < start {
            let missed = start - *cursor;
            *cursor = start;
            return Read::Missed(missed);
        }
        let line = usize::try_from(*cursor - start)
            .ok()
            .and_then(|index| self.lines.get(index));
        let Some(line) = line else {
            return Read::Nothing;
        };
        *cursor += 1;
        Read::Line(Arc::clone(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut Ring, byte: u8) -> Line {
        ring.push(|line| line.push(byte))
    }

    #[test]
    fn a_reader_gets_every_line_once_and_in_order() {
        let mut ring = Ring::new(4);
        let mut cursor = ring.end();
        (1..=3).for_each(|byte| drop(push(&mut ring, byte)));
        for byte in 1..=3 {
            assert_eq!(ring.read(&mut cursor), Read::Line(Arc::new(vec![byte])));
        }
        assert_eq!(ring.read(&mut cursor), Read::Nothing);
    }

    #[test]
    fn a_slow_reader_learns_how_much_it_missed() {
        let mut ring = Ring::new(2);
        let mut cursor = 0;
        (1..=5).for_each(|byte| drop(push(&mut ring, byte)));
        assert_eq!(ring.read(&mut cursor), Read::Missed(3));
        assert_eq!(ring.read(&mut cursor), Read::Line(Arc::new(vec![4])));
    }

    #[test]
    fn buffers_are_used_again_unless_somebody_holds_them() {
        let mut ring = Ring::new(2);
        let held = push(&mut ring, 1);
        let second = Arc::as_ptr(&push(&mut ring, 2));
        push(&mut ring, 3);
        assert_eq!(*held, [1]);
        assert_eq!(Arc::as_ptr(&push(&mut ring, 4)), second);
    }
}
