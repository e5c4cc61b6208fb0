//! Reading lines from somebody who may send them in pieces, late, or without end.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// What [`Lines::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A line without its newline.
    Line(&'a [u8]),
    /// Nothing complete yet (the reader's timeout has passed).
    Silence,
    End,
}

/// Lines of a bounded length, across timeouts of the reader.
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    longest: usize,
    /// The line in the buffer has been handed out.
    spent: bool,
}

impl<R: Read> Lines<R> {
    pub fn new(reader: R, longest: usize) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            longest,
            spent: false,
        }
    }

    /// The next line. A line that ends with the stream and not with a newline is not complete, and dropped.
    pub fn read(&mut self) -> io::Result<Next<'_>> {
        if std::mem::take(&mut self.spent) {
            self.line.clear();
        }
        loop {
            let room = (self.longest + 1).saturating_sub(self.line.len());
            if room == 0 {
                let message = format!(
                    "a line is longer than {} bytes: this is not resnetd",
                    self.longest
                );
                return Err(io::Error::new(ErrorKind::InvalidData, message));
            }
            match self
                .reader
                .by_ref()
                .take(room as u64)
                .read_until(b'\n', &mut self.line)
            {
                Ok(0) => return Ok(Next::End),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(Next::Silence);
                }
                Err(error) => return Err(error),
            }
            if self.line.ends_with(b"\n") {
                break;
            }
        }
        self.spent = true;
        Ok(Next::Line(
            self.line.strip_suffix(b"\n").unwrap_or(&self.line),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Gives one piece per read; an empty piece is a timeout.
    struct Pieces(VecDeque<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                None => Ok(0),
                Some([]) => Err(ErrorKind::WouldBlock.into()),
                Some(mut piece) => piece.read(buffer),
            }
        }
    }

    #[test]
    fn a_line_in_pieces_is_put_together() {
        let mut lines = Lines::new(Pieces([&b"a\nb"[..], b"", b"c", b"d\n", b"e"].into()), 10);
        assert_eq!(lines.read().unwrap(), Next::Line(b"a"));
        assert_eq!(lines.read().unwrap(), Next::Silence);
        assert_eq!(lines.read().unwrap(), Next::Line(b"bcd"));
        assert_eq!(lines.read().unwrap(), Next::End);
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let mut lines = Lines::new(Pieces([&b"12345\n"[..], b"123", b"456"].into()), 5);
        assert_eq!(lines.read().unwrap(), Next::Line(b"12345"));
        assert_eq!(lines.read().unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
