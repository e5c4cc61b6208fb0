//! What is published, as a task hears it: the state of things first, then every message, unless it is too slow.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::hub::{Ear, Hub};
use super::ring::{Line, Read};

/// One who hears.
pub struct Hearing {
    hub: Arc<Hub>,
    woken: Arc<Notify>,
    /// Lets go when dropped.
    _ear: Ear,
    welcome: VecDeque<Line>,
    cursor: u64,
}

impl Hearing {
    /// From now on.
    #[must_use]
    pub fn of(hub: &Arc<Hub>) -> Self {
        let woken = Arc::new(Notify::new());
        let waking = Arc::clone(&woken);
        let ear: Ear = Arc::new(move || waking.notify_one());
        hub.listen(&ear);
        let (welcome, cursor) = hub.welcome();
        Self {
            hub: Arc::clone(hub),
            woken,
            _ear: ear,
            welcome,
            cursor,
        }
    }

    /// Waits for something new and puts all of it into `lines`, whatever they held. What was missed is missing.
    pub async fn next(&mut self, lines: &mut Vec<Line>) {
        lines.clear();
        lines.extend(self.welcome.drain(..));
        while lines.is_empty() {
            self.woken.notified().await;
            loop {
                match self.hub.read(&mut self.cursor) {
                    Read::Line(line) => lines.push(line),
                    Read::Missed(_) => {}
                    Read::Nothing => break,
                }
            }
        }
    }
}
