//! What one subscriber has been sent, byte by byte. Knows no socket and no thread: it writes into
//! whatever it is given until that would block.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use super::feed::Feed;
use super::ring::{Line, Read};

/// Lines for one subscriber before the others get their turn.
const LINES_PER_TURN: usize = 64;
/// What a subscriber may send per second. Nothing is expected of it; more is a mistake or an attack.
const INPUT_PER_SECOND: usize = 64 * 1024;

/// How far [`Subscriber::send`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Everything,
    /// The other side does not read at present.
    Blocked,
    /// There is more, but it is the next one's turn.
    Partly,
}

#[derive(Debug)]
pub struct Subscriber {
    feed: Feed,
    /// The line that is on its way, and how much of it is out. No other line starts before its end.
    sending: Option<(Line, usize)>,
    input_since: Instant,
    input: usize,
}

impl Subscriber {
    pub fn new(welcome: VecDeque<Line>, cursor: u64, now: Instant) -> Self {
        Self {
            feed: Feed::new((welcome, cursor)),
            sending: None,
            input_since: now,
            input: 0,
        }
    }

    /// Writes what is due; `read` gives the live line at a cursor. An error means that the other side is gone.
    pub fn send(
        &mut self,
        out: &mut impl Write,
        mut read: impl FnMut(&mut u64) -> Read,
    ) -> io::Result<Sent> {
        for _ in 0..LINES_PER_TURN {
            let live = || Some((self.feed.next(&mut read)?, 0));
            let next = self.sending.take().or_else(live);
            let Some((line, mut at)) = next else {
                return Ok(Sent::Everything);
            };
            let outcome = write_on(out, &line, &mut at);
            if at < line.len() {
                self.sending = Some((line, at));
            }
            if !outcome? {
                return Ok(Sent::Blocked);
            }
        }
        Ok(Sent::Partly)
    }

    /// Counts what it sent; false once it is too much.
    pub fn may_send(&mut self, bytes: usize, now: Instant) -> bool {
        if now.saturating_duration_since(self.input_since) >= Duration::from_secs(1) {
            self.input_since = now;
            self.input = 0;
        }
        self.input = self.input.saturating_add(bytes);
        self.input <= INPUT_PER_SECOND
    }
}

/// Writes on from `at`. True if the line is out, false if the other side does not read.
fn write_on(out: &mut impl Write, line: &[u8], at: &mut usize) -> io::Result<bool> {
    while let Some(rest) = line.get(*at..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => *at += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::ring::Ring;
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Takes as many bytes as it has room for.
    #[derive(Default)]
    struct Pipe {
        room: usize,
        received: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= count;
            self.received.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_subscriber_sends_is_bounded_per_second() {
        let start = Instant::now();
        let mut subscriber = Subscriber::new(VecDeque::new(), 0, start);
        assert!(subscriber.may_send(INPUT_PER_SECOND, start));
        assert!(!subscriber.may_send(1, start));
        assert!(subscriber.may_send(1, start + Duration::from_secs(1)));
    }

    #[test]
    fn one_subscriber_cannot_keep_the_thread_for_itself() {
        let mut subscriber = Subscriber::new(VecDeque::new(), 0, Instant::now());
        let mut pipe = Pipe {
            room: usize::MAX,
            ..Pipe::default()
        };
        let endless = |_: &mut u64| Read::Line(Arc::new(vec![b'\n']));
        assert_eq!(subscriber.send(&mut pipe, endless).unwrap(), Sent::Partly);
        assert_eq!(pipe.received.len(), LINES_PER_TURN);
    }

    #[test]
    fn a_pipe_that_closed_is_an_error() {
        let mut subscriber =
            Subscriber::new([Arc::new(b"hello\n".to_vec())].into(), 0, Instant::now());
        assert!(
            subscriber
                .send(&mut [0u8; 0].as_mut_slice(), |_| Read::Nothing)
                .is_err()
        );
    }

    proptest! {
        /// However slowly it reads: it gets whole lines, in order, and each is received or counted as missed.
        #[test]
        fn lines_arrive_whole_and_in_order_or_are_counted(steps in prop::collection::vec((0usize..4, 0usize..40), 0..60)) {
            let mut ring = Ring::new(3);
            let welcome = VecDeque::from([Arc::new(b"\"hello\"\n".to_vec())]);
            let mut subscriber = Subscriber::new(welcome, ring.end(), Instant::now());
            let mut pipe = Pipe::default();
            for (publish, room) in steps.into_iter().chain([(0, usize::MAX)]) {
                for _ in 0..publish {
                    let number = ring.end();
                    ring.push(|line| writeln!(line, "{number}").unwrap());
                }
                pipe.room = room;
                subscriber.send(&mut pipe, |cursor| ring.read(cursor)).unwrap();
            }
            let text = String::from_utf8(pipe.received).unwrap();
            let mut lines = text.lines();
            prop_assert_eq!(lines.next(), Some("\"hello\""));
            let mut expected = 0u64;
            for line in lines {
                match serde_json::from_str::<serde_json::Value>(line).unwrap() {
                    serde_json::Value::Number(number) => {
                        prop_assert_eq!(number.as_u64(), Some(expected));
                        expected += 1;
                    }
                    lagged => expected += lagged["missed"].as_u64().unwrap(),
                }
            }
            prop_assert_eq!(expected, ring.end());
        }
    }
}
