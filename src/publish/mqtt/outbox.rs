//! What waits for the broker: of states the newest of each topic, of events as many as there is room for, oldest first. Knows
//! nothing of a connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

/// Events that wait while the broker is away, some 200 bytes each.
pub const MOST_EVENTS: usize = 1000;

/// A message for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub topic: String,
    pub payload: Bytes,
    /// The broker keeps it for those who come later.
    pub retained: bool,
}

/// Waiting messages.
#[derive(Debug, Default)]
pub struct Outbox {
    states: BTreeMap<String, Bytes>,
    /// Topics whose state the broker does not have yet.
    changed: BTreeSet<String>,
    events: VecDeque<Item>,
    dropped: u64,
}

impl Outbox {
    /// A state, which takes the place of the one before. An empty one makes the broker forget it.
    pub fn state(&mut self, topic: String, payload: impl Into<Bytes>) {
        let payload = payload.into();
        if self.states.get(&topic) != Some(&payload) {
            self.changed.insert(topic.clone());
            self.states.insert(topic, payload);
        }
    }

    /// Something that happened. The oldest goes where there are too many.
    pub fn event(&mut self, topic: String, payload: impl Into<Bytes>) {
        if self.events.len() >= MOST_EVENTS {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back(Item {
            topic,
            payload: payload.into(),
            retained: false,
        });
    }

    /// What is to be sent next: states first, for whoever comes later.
    pub fn take(&mut self) -> Option<Item> {
        if let Some(topic) = self.changed.pop_first() {
            let payload = self.states.get(&topic).cloned().unwrap_or_default();
            if payload.is_empty() {
                self.states.remove(&topic);
            }
            return Some(Item {
                topic,
                payload,
                retained: true,
            });
        }
        self.events.pop_front()
    }

    /// The broker may have forgotten everything, and did not acknowledge these, the oldest first.
    pub fn again(&mut self, unacknowledged: impl DoubleEndedIterator<Item = Item>) {
        for item in unacknowledged.rev() {
            if !item.retained {
                self.events.push_front(item);
            } else if item.payload.is_empty() {
                self.changed.insert(item.topic.clone());
                self.states.entry(item.topic).or_default();
            }
        }
        while self.events.len() > MOST_EVENTS {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.changed.extend(self.states.keys().cloned());
    }

    /// Topics that have a state and begin so.
    pub fn topics<'a>(&'a self, begin: &'a str) -> impl Iterator<Item = &'a String> {
        self.states
            .keys()
            .filter(move |topic| topic.starts_with(begin))
    }

    /// How many events were dropped since this was asked last.
    pub fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.take())
            .map(|item| format!("{}={}", item.topic, String::from_utf8_lossy(&item.payload)))
            .collect()
    }

    #[test]
    fn of_a_state_the_newest_is_sent_and_only_once() {
        let mut outbox = Outbox::default();
        outbox.state("a".into(), "1");
        outbox.event("e".into(), "x");
        outbox.state("a".into(), "2");
        assert_eq!(drain(&mut outbox), ["a=2", "e=x"]);
        outbox.state("a".into(), "2");
        assert!(drain(&mut outbox).is_empty());
    }

    #[test]
    fn too_many_events_cost_the_oldest_and_are_counted() {
        let mut outbox = Outbox::default();
        (0..MOST_EVENTS + 3).for_each(|n| outbox.event("e".into(), n.to_string()));
        assert_eq!(outbox.dropped(), 3);
        assert_eq!(outbox.dropped(), 0);
        let events = drain(&mut outbox);
        assert_eq!((events.len(), &*events[0]), (MOST_EVENTS, "e=3"));
    }

    #[test]
    fn a_new_connection_gets_every_state_and_what_was_not_acknowledged_in_its_order() {
        let mut outbox = Outbox::default();
        outbox.state("a".into(), "1");
        for event in ["x", "y", "z"] {
            outbox.event("e".into(), event);
        }
        let sent: Vec<Item> = (0..3).filter_map(|_| outbox.take()).collect();
        outbox.again(sent.into_iter());
        assert_eq!(drain(&mut outbox), ["a=1", "e=x", "e=y", "e=z"]);
    }

    #[test]
    fn what_is_to_be_forgotten_is_told_once_it_can_be() {
        let mut outbox = Outbox::default();
        outbox.state("a".into(), "1");
        drain(&mut outbox);
        outbox.state("a".into(), "");
        let item = outbox.take().unwrap();
        assert!(item.retained && item.payload.is_empty());
        outbox.again([item].into_iter());
        assert_eq!(drain(&mut outbox), ["a="]);
        outbox.again(std::iter::empty());
        assert!(drain(&mut outbox).is_empty());
    }
}
