//! HTTP's chunked transfer coding, undone: `SIZE;whatever CRLF data CRLF`, until a size of zero.

/// The longest chunk that is believed, in bytes.
const MAX_CHUNK: u64 = 1 << 40;
/// The longest line with a size, extensions included.
const MAX_LINE: u32 = 4096;

#[derive(Debug, Default)]
pub(super) struct Chunked {
    phase: Phase,
    /// Of the chunk; while its line is read what of it was read.
    left: u64,
    /// How long the current line is.
    line: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Size,
    /// What follows the size in its line.
    Extension,
    Data,
    /// The line's end behind the data.
    DataEnd,
    /// After the last chunk; what follows does not matter.
    Over,
}

impl Chunked {
    /// Gives the data in `bytes` to `take`; false if this is no chunked coding.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) -> bool {
        while let [first, rest @ ..] = bytes {
            match self.phase {
                Phase::Over => return true,
                Phase::Data => {
                    let count = bytes
                        .len()
                        .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    let (data, after) = bytes.split_at(count);
                    take(data);
                    self.left -= count as u64;
                    if self.left == 0 {
                        self.phase = Phase::DataEnd;
                    }
                    bytes = after;
                    continue;
                }
                Phase::DataEnd => match first {
                    b'\r' => {}
                    b'\n' => (self.phase, self.line) = (Phase::Size, 0),
                    _ => return false,
                },
                Phase::Size | Phase::Extension => {
                    if !self.size_line(*first) {
                        return false;
                    }
                }
            }
            bytes = rest;
        }
        true
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn size_line(&mut self, byte: u8) -> bool {
        let first = self.line == 0;
        self.line += 1;
        let digit = char::from(byte).to_digit(16);
        match (self.phase, digit, byte) {
            (Phase::Size, Some(digit), _) => self.left = self.left << 4 | u64::from(digit),
            // A line needs at least one digit.
            _ if first => return false,
            (_, _, b'\n') if self.left == 0 => self.phase = Phase::Over,
            (_, _, b'\n') => self.phase = Phase::Data,
            (Phase::Size, _, b'\r' | b' ' | b'\t' | b';') => self.phase = Phase::Extension,
            (Phase::Extension, _, _) => {}
            _ => return false,
        }
        self.left <= MAX_CHUNK && self.line <= MAX_LINE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Option<(Vec<u8>, bool)> {
        let mut chunked = Chunked::default();
        let mut data = Vec::new();
        for piece in pieces {
            if !chunked.push(piece, |bytes| data.extend_from_slice(bytes)) {
                return None;
            }
        }
        Some((data, chunked.is_over()))
    }

    #[test]
    fn chunks_are_joined() {
        let whole = b"4;name=\"x\"\r\nWiki\r\n5 \r\npedia\r\n0\r\nTrailer: y\r\n\r\n";
        assert_eq!(decode(&[whole]), Some((b"Wikipedia".to_vec(), true)));
        assert_eq!(decode(&[b"3\nabc\n"]), Some((b"abc".to_vec(), false)));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"x\r\n",
            b"2\r\nabc",
            b"fffffffffffff\r\n",
            b"-1\r\n",
        ] {
            assert_eq!(decode(&[bytes]), None, "{bytes:?}");
        }
        assert_eq!(decode(&[b"1;", &[b'x'; 5000]]), None);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_data(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), cut in any::<prop::sample::Index>()) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend(format!("{:x}\r\n", chunk.len()).bytes());
                coded.extend_from_slice(chunk);
                coded.extend(b"\r\n");
            }
            coded.extend(b"0\r\n\r\n");
            let (first, second) = coded.split_at(cut.index(coded.len()));
            prop_assert_eq!(decode(&[first, second]), Some((chunks.concat(), true)));
        }
    }
}
