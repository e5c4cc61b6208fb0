//! Bytes that were read and are not understood yet. Grows to what the largest frame needs and is then used
//! again: nothing is allocated once a stream runs.

/// How much room a read gets at least, in bytes.
const CHUNK: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Those that count are `begin..end`.
    begin: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.begin..self.end).unwrap_or_default()
    }

    /// Forgets the first `count` bytes (all, if there are fewer).
    pub(super) fn discard(&mut self, count: usize) {
        self.begin = self.begin.saturating_add(count).min(self.end);
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
    }

    /// Room behind the bytes, to be written to and then made known by [`filled`](Self::filled).
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.reserve(CHUNK);
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    pub(super) fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Makes room for `count` more: by moving the bytes to the front if that half is free, else by growing, so
    /// that each byte is moved at most once or twice.
    fn reserve(&mut self, count: usize) {
        if self.bytes.len() - self.end >= count {
            return;
        }
        if self.begin >= self.bytes.len() / 2 {
            self.bytes.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        if self.bytes.len() - self.end < count {
            let enough = (self.end + count).max(self.bytes.len() * 2);
            self.bytes.resize(enough, 0);
        }
    }
}

/// Where `what` begins in `bytes`.
pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_out_in_order_and_memory_stays_bounded() {
        let mut buffer = Buffer::default();
        let (mut next, mut seen) = (0u8, 0u8);
        for round in 0..10_000 {
            let bytes: Vec<u8> = (0..round % 700)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            if round % 2 == 0 {
                buffer.push(&bytes);
            } else {
                buffer.space()[..bytes.len()].copy_from_slice(&bytes);
                buffer.filled(bytes.len());
            }
            let taken = buffer.bytes().len().saturating_sub(round % 50);
            for &byte in &buffer.bytes()[..taken] {
                seen = seen.wrapping_add(1);
                assert_eq!(byte, seen);
            }
            buffer.discard(taken);
        }
        assert!(buffer.bytes.len() <= 4 * CHUNK, "{}", buffer.bytes.len());
    }
}
