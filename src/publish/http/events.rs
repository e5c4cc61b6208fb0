//! The socket's messages as server-sent events (WHATWG HTML, 9.2): one `data:` line each. Who reads too slowly loses its
//! oldest and is told how many, as on the socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::server::Shared;
use crate::publish::feed::Feed;

/// A comment is sent after so much silence, so that a reader who has gone is noticed.
const SILENCE: Duration = Duration::from_secs(15);
/// When a browser is to come back.
const RETRY: &str = "retry: 2000\n\n";
/// Of what is sent at once, in bytes.
const BATCH: usize = 16 << 10;

struct Reader {
    shared: Arc<Shared>,
    heard: watch::Receiver<u64>,
    feed: Feed,
    begun: bool,
}

/// The state of things, then what is new, without end.
pub fn stream(shared: &Arc<Shared>) -> impl Stream<Item = Bytes> + use<> {
    let heard = shared.heard.subscribe();
    let reader = Reader {
        shared: Arc::clone(shared),
        heard,
        feed: Feed::new(shared.inside.hub.welcome()),
        begun: false,
    };
    stream::unfold(reader, |mut reader| async move {
        let bytes = reader.next().await?;
        Some((bytes, reader))
    })
}

impl Reader {
    /// `None`: there will be no more.
    async fn next(&mut self) -> Option<Bytes> {
        let mut text = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.extend_from_slice(RETRY.as_bytes());
        }
        loop {
            self.heard.mark_unchanged();
            while text.len() < BATCH
                && let Some(line) = self.feed.next(|cursor| self.shared.inside.hub.read(cursor))
            {
                text.extend_from_slice(b"data: ");
                text.extend_from_slice(&line);
                text.push(b'\n');
            }
            if !text.is_empty() {
                return Some(text.into());
            }
            match tokio::time::timeout(SILENCE, self.heard.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => text.extend_from_slice(b":\n\n"),
            }
        }
    }
}
