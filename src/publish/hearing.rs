//! What is published, as a task hears it: the state of things first, then every message, unless it is too slow.

use std::sync::Arc;

use tokio::sync::Notify;

use super::feed::Feed;
use super::hub::{Ear, Hub};
use super::wire::Message;

/// One who hears.
pub struct Hearing {
    hub: Arc<Hub>,
    woken: Arc<Notify>,
    /// Lets go when dropped.
    _ear: Ear,
    feed: Feed,
    begun: bool,
}

impl Hearing {
    /// From now on.
    #[must_use]
    pub fn of(hub: &Arc<Hub>) -> Self {
        let woken = Arc::new(Notify::new());
        let waking = Arc::clone(&woken);
        let ear: Ear = Arc::new(move || waking.notify_one());
        hub.listen(&ear);
        Self {
            feed: Feed::new(hub.welcome()),
            hub: Arc::clone(hub),
            woken,
            _ear: ear,
            begun: false,
        }
    }

    /// Waits until there may be something new, and has all of it heard.
    pub async fn hear(&mut self, mut heard: impl FnMut(&Message<'_>)) {
        if std::mem::replace(&mut self.begun, true) {
            self.woken.notified().await;
        }
        while let Some(line) = self.feed.next(|cursor| self.hub.read(cursor)) {
            match serde_json::from_slice(&line) {
                Ok(message) => heard(&message),
                Err(error) => log::debug!("a message that is none: {error}"),
            }
        }
    }
}
