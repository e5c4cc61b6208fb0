//! Two hundred subscribers, half of them stuck: how long a message takes to the others, from the call of `publish` to the
//! bytes in their hands.
//!
//! What else this machine does is in the figures too. So the best of a few rounds counts: a publisher that waits for
//! anybody is slow in all of them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use resnetd::publish::listener::Listener;
use resnetd::publish::path::Places;
use resnetd::publish::wire::{Classification, Image, Message, Model, Reason, Scored, Timing};
use resnetd::publish::{Hub, Publisher};
use rustix::event::{PollFd, PollFlags};

use crate::alone;
use crate::fakes;

const SUBSCRIBERS: usize = 200;
const MESSAGES: u32 = 90;
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 30);
const ROUNDS: usize = 3;
const MOST: Duration = Duration::from_millis(10);

#[test]
fn two_hundred_subscribers_of_whom_half_are_stuck_get_messages_within_10_ms() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let model = Model {
        timestamp: 1.0,
        model: fakes::model(Box::new(fakes::ByByte)).info,
        reason: Reason::Start,
        detail: String::new(),
        others: Vec::new(),
    };
    let hub = Arc::new(Hub::new(&["front".into()], &model).unwrap());
    let listener = Listener::open(Some(&path), &Places::from_environment()).unwrap();
    let _publisher = Publisher::start(Arc::clone(&hub), listener).unwrap();

    let stuck: Vec<UnixStream> = (0..SUBSCRIBERS / 2)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    let mut healthy: Vec<Healthy> = (0..SUBSCRIBERS / 2)
        .map(|_| Healthy::new(UnixStream::connect(&path).unwrap()))
        .collect();
    // so many that the stuck ones' sockets are full
    (0..2000).for_each(|_| publish(&hub, 0));
    publish(&hub, u64::MAX);
    healthy
        .iter_mut()
        .for_each(|one| while one.next() != u64::MAX {});

    let mut best = [Duration::MAX; 2];
    for round in 0..ROUNDS {
        let first = 1 + round as u64 * u64::from(MESSAGES);
        let (delays, calls) = measure(&hub, &mut healthy, first);
        let [median, late] = [quantile(&delays, 50), quantile(&delays, 99)];
        println!(
            "{} deliveries: median {median:?}, 99% within {late:?}, all within {:?}; publish() {:?}, at most {:?}",
            delays.len(),
            quantile(&delays, 100),
            quantile(&calls, 50),
            quantile(&calls, 100)
        );
        assert_eq!(
            delays.len(),
            healthy.len() * MESSAGES as usize,
            "messages are missing"
        );
        best = [best[0].min(median), best[1].min(late)];
        assert!(
            quantile(&calls, 50) < Duration::from_millis(1),
            "publishing waits for somebody"
        );
        if best[1] < MOST {
            break;
        }
    }
    assert!(
        best[0] < MOST,
        "median {:?} in the best of {ROUNDS} rounds",
        best[0]
    );
    drop(stuck);
}

/// When each message arrived after it was published, and how long publishing took; both sorted.
fn measure(hub: &Arc<Hub>, healthy: &mut [Healthy], first: u64) -> (Vec<Duration>, Vec<Duration>) {
    let hub = Arc::clone(hub);
    let publishing = thread::spawn(move || {
        let (mut sent, mut calls) = (HashMap::new(), Vec::new());
        let mut due = Instant::now();
        for number in first..first + u64::from(MESSAGES) {
            due += INTERVAL;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            sent.insert(number, now);
            publish(&hub, number);
            calls.push(now.elapsed());
        }
        (sent, calls)
    });
    let mut arrived = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while arrived.len() < healthy.len() * MESSAGES as usize && Instant::now() < end {
        collect(healthy, &mut arrived);
    }
    let (sent, mut calls) = publishing.join().unwrap();
    let mut delays: Vec<Duration> = arrived
        .iter()
        .map(|(number, at)| at.saturating_duration_since(sent[number]))
        .collect();
    delays.sort();
    calls.sort();
    (delays, calls)
}

fn collect(healthy: &mut [Healthy], arrived: &mut Vec<(u64, Instant)>) {
    let mut polled: Vec<PollFd<'_>> = healthy
        .iter()
        .map(|one| PollFd::new(one.reader.get_ref(), PollFlags::IN))
        .collect();
    let patience = Duration::from_secs(1).try_into().unwrap();
    rustix::event::poll(&mut polled, Some(&patience)).unwrap();
    let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
    for one in healthy
        .iter_mut()
        .zip(ready)
        .filter_map(|(one, ready)| ready.then_some(one))
    {
        let number = one.next();
        arrived.push((number, Instant::now()));
        // read ahead with it
        while !one.reader.buffer().is_empty() {
            arrived.push((one.next(), Instant::now()));
        }
    }
}

/// A subscriber that reads.
struct Healthy {
    reader: BufReader<UnixStream>,
}

impl Healthy {
    fn new(stream: UnixStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut reader = BufReader::new(stream);
        // its hello is there: what is sent from now on comes live
        reader.fill_buf().unwrap();
        Self { reader }
    }

    /// The next classification's number.
    fn next(&mut self) -> u64 {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            if let Message::Classification(one) = serde_json::from_str(&line).unwrap() {
                return one.frame_id;
            }
        }
    }
}

/// A message as large as usual.
fn publish(hub: &Hub, number: u64) {
    let scored = |class_id| Scored {
        class: "English springer".into(),
        class_id,
        confidence: 0.2,
    };
    let timing = Timing {
        capture_ms: 1.25,
        preprocess_ms: 2.25,
        inference_ms: 41.25,
        age_ms: 46.25,
    };
    hub.publish(&Message::Classification(Classification {
        camera: "front".into(),
        region: None,
        labels: None,
        frame_id: number,
        timestamp: 1_764_000_000.123,
        model: "resnet50-imagenette".into(),
        image: Image {
            width: 1280,
            height: 720,
        },
        predictions: (0..5).map(scored).collect::<Vec<_>>().into(),
        top: "English springer".into(),
        confidence: 0.9,
        timing,
        dropped: 0,
    }));
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}
