//! What one who hears everything gets next: the state of things when it came, then each line, or how many it missed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ring::{Line, Read};
use super::wire::{Lagged, Message};

/// How far one is.
#[derive(Debug)]
pub struct Feed {
    welcome: VecDeque<Line>,
    /// The number of the next live line.
    cursor: u64,
}

impl Feed {
    pub fn new((welcome, cursor): (VecDeque<Line>, u64)) -> Self {
        Self { welcome, cursor }
    }

    /// `read` gives the live line at a cursor. `None`: there is nothing more now.
    pub fn next(&mut self, read: impl FnOnce(&mut u64) -> Read) -> Option<Line> {
        if let Some(line) = self.welcome.pop_front() {
            return Some(line);
        }
        match read(&mut self.cursor) {
            Read::Line(line) => Some(line),
            Read::Missed(missed) => {
                let mut line = Vec::new();
                Message::Lagged(Lagged { missed }).write(&mut line);
                Some(Arc::new(line))
            }
            Read::Nothing => None,
        }
    }
}
