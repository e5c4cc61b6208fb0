//! Where capture threads leave frames and the inference thread takes them: one place per camera that
//! holds the newest frame only, so that a late inference never builds a queue.
//!
//! Frames are swapped, never copied; nothing is allocated. What a camera says besides frames (lost, end)
//! stays in order with them. Which frames may be dropped is the writer's word ([`Keep`]).

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::Frame;

/// What becomes of a frame that nobody has taken when the next one comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest wins; the older one is counted as dropped.
    Newest,
    /// Every frame counts: the writer waits.
    Every,
}

/// What a camera says besides frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The camera is gone, and why.
    Lost(String),
    /// There will be no further frame.
    End,
}

/// What became of [`Slots::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// The frame before it is still there ([`Keep::Every`]); the writer still has its frame.
    Full,
    Stopped,
}

/// What [`Slots::take`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// A frame of this camera, now in the caller's hands: the camera's `frame_id`th (from 1), `dropped`
    /// ones before it were never taken.
    Frame {
        camera: usize,
        frame_id: u64,
        dropped: u64,
    },
    Notice {
        camera: usize,
        notice: Notice,
    },
    /// Nothing within the timeout.
    Nothing,
    Stopped,
}

/// One place per camera, with one lock: it is held for a swap of pointers only.
#[derive(Debug)]
pub struct Slots {
    board: Mutex<Board>,
    arrived: Condvar,
    taken: Condvar,
}

#[derive(Debug)]
struct Board {
    places: Vec<Place>,
    /// The camera whose turn is next.
    turn: usize,
    stopped: bool,
}

/// At most one notice, one frame and one more notice, in this order.
#[derive(Debug)]
struct Place {
    before: Option<Notice>,
    frame: Frame,
    fresh: bool,
    after: Option<Notice>,
    captured: u64,
    dropped: u64,
}

impl Slots {
    #[must_use]
    pub fn new(cameras: usize) -> Self {
        let places = (0..cameras).map(|_| Place::empty()).collect();
        let board = Board {
            places,
            turn: 0,
            stopped: false,
        };
        Self {
            board: Mutex::new(board),
            arrived: Condvar::new(),
            taken: Condvar::new(),
        }
    }

    /// Leaves a frame and gets another buffer back in its place. Waits only with [`Keep::Every`], and at
    /// most `timeout`.
    pub fn put(&self, camera: usize, frame: &mut Frame, keep: Keep, timeout: Duration) -> Put {
        let mut board = self.lock();
        if keep == Keep::Every {
            let full = |board: &mut Board| !board.stopped && board.places[camera].fresh;
            let waited = self.taken.wait_timeout_while(board, timeout, full);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if board.stopped {
            return Put::Stopped;
        }
        let place = &mut board.places[camera];
        if keep == Keep::Every && place.fresh {
            return Put::Full;
        }
        place.store(frame);
        drop(board);
        self.arrived.notify_one();
        Put::Stored
    }

    /// Says something that is not a frame. Never waits.
    pub fn tell(&self, camera: usize, notice: Notice) {
        self.lock().places[camera].tell(notice);
        self.arrived.notify_one();
    }

    /// Takes the next frame or notice, cameras in turns, and waits for one at most `timeout`.
    pub fn take(&self, frame: &mut Frame, timeout: Duration) -> Taken {
        let idle = |board: &mut Board| !board.stopped && board.places.iter().all(Place::is_empty);
        let waited = self.arrived.wait_timeout_while(self.lock(), timeout, idle);
        let mut board = waited.unwrap_or_else(PoisonError::into_inner).0;
        if board.stopped {
            return Taken::Stopped;
        }
        let taken = board.take(frame);
        drop(board);
        if matches!(taken, Taken::Frame { .. }) {
            self.taken.notify_all();
        }
        taken
    }

    /// Ends every wait, now and from now on.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.arrived.notify_all();
        self.taken.notify_all();
    }

    #[must_use]
    pub fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits for `time`, less if everything is to stop. True if so.
    pub fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut board = self.lock();
        while !board.stopped {
            let Some(left) = end
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return false;
            };
            board = self
                .taken
                .wait_timeout(board, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // A thread that panicked here left a board that is whole: each change is a few plain stores.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn take(&mut self, frame: &mut Frame) -> Taken {
        let count = self.places.len();
        for step in 0..count {
            let camera = (self.turn + step) % count;
            let place = &mut self.places[camera];
            if let Some(notice) = place.before.take() {
                return Taken::Notice { camera, notice };
            }
            if place.fresh {
                self.turn = (camera + 1) % count;
                let (frame_id, dropped) = place.hand_over(frame);
                return Taken::Frame {
                    camera,
                    frame_id,
                    dropped,
                };
            }
        }
        Taken::Nothing
    }
}

impl Place {
    fn empty() -> Self {
        Self {
            before: None,
            frame: Frame::empty(),
            fresh: false,
            after: None,
            captured: 0,
            dropped: 0,
        }
    }

    fn is_empty(&self) -> bool {
        !self.fresh && self.before.is_none()
    }

    fn store(&mut self, frame: &mut Frame) {
        self.dropped += u64::from(self.fresh);
        self.before = merge(self.before.take(), self.after.take());
        self.captured += 1;
        self.fresh = true;
        mem::swap(&mut self.frame, frame);
    }

    fn tell(&mut self, notice: Notice) {
        let place = if self.fresh {
            &mut self.after
        } else {
            &mut self.before
        };
        *place = Some(notice);
    }

    fn hand_over(&mut self, frame: &mut Frame) -> (u64, u64) {
        mem::swap(&mut self.frame, frame);
        self.fresh = false;
        self.before = self.after.take();
        (self.captured, mem::take(&mut self.dropped))
    }
}

/// Two notices without a frame between them tell no more than the later one.
fn merge(earlier: Option<Notice>, later: Option<Notice>) -> Option<Notice> {
    later.or(earlier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::thread;

    const NOW: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(5);

    fn numbered(number: u8) -> Frame {
        Frame {
            data: vec![number],
            ..Frame::empty()
        }
    }

    fn put(slots: &Slots, camera: usize, number: u8) -> Put {
        slots.put(camera, &mut numbered(number), Keep::Newest, NOW)
    }

    #[test]
    fn the_newest_frame_wins_and_the_others_are_counted() {
        let slots = Slots::new(1);
        (1..=3).for_each(|number| assert_eq!(put(&slots, 0, number), Put::Stored));
        let mut frame = Frame::empty();
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Frame {
                camera: 0,
                frame_id: 3,
                dropped: 2
            }
        );
        assert_eq!(frame.data, [3]);
        assert_eq!(slots.take(&mut frame, NOW), Taken::Nothing);
    }

    #[test]
    fn cameras_take_turns() {
        let slots = Slots::new(2);
        let mut frame = Frame::empty();
        let mut order = Vec::new();
        for _ in 0..4 {
            put(&slots, 0, 1);
            put(&slots, 1, 2);
            slots.take(&mut frame, NOW);
            order.push(frame.data[0]);
        }
        assert_eq!(order, [1, 2, 1, 2]);
    }

    #[test]
    fn a_loss_between_two_frames_is_told_between_them() {
        let slots = Slots::new(1);
        let lost = Notice::Lost("unplugged".into());
        put(&slots, 0, 1);
        slots.tell(0, lost.clone());
        put(&slots, 0, 2);
        let mut frame = Frame::empty();
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Notice {
                camera: 0,
                notice: lost
            }
        );
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Frame {
                camera: 0,
                frame_id: 2,
                dropped: 1
            }
        );
    }

    #[test]
    fn a_last_frame_comes_before_the_end() {
        let slots = Slots::new(1);
        put(&slots, 0, 1);
        slots.tell(0, Notice::End);
        let mut frame = Frame::empty();
        assert!(matches!(slots.take(&mut frame, NOW), Taken::Frame { .. }));
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Notice {
                camera: 0,
                notice: Notice::End
            }
        );
    }

    #[test]
    fn a_full_place_gives_the_frame_back() {
        let slots = Slots::new(1);
        put(&slots, 0, 1);
        let mut second = numbered(2);
        assert_eq!(
            slots.put(0, &mut second, Keep::Every, Duration::from_millis(5)),
            Put::Full
        );
        assert_eq!(second.data, [2]);
    }

    #[test]
    fn stop_ends_the_wait_of_reader_and_writer() {
        let slots = Arc::new(Slots::new(1));
        put(&slots, 0, 1);
        let writer = thread::spawn({
            let slots = Arc::clone(&slots);
            move || slots.put(0, &mut numbered(2), Keep::Every, LONG)
        });
        slots.stop();
        assert_eq!(writer.join().unwrap(), Put::Stopped);
        assert_eq!(slots.take(&mut Frame::empty(), LONG), Taken::Stopped);
        assert!(slots.pause(LONG));
    }

    #[test]
    fn no_frame_is_lost_when_every_one_counts() {
        let slots = Arc::new(Slots::new(1));
        let writer = thread::spawn({
            let slots = Arc::clone(&slots);
            move || {
                let mut frame = Frame::empty();
                for number in 0..200u8 {
                    frame.data.clear();
                    frame.data.push(number);
                    assert_eq!(slots.put(0, &mut frame, Keep::Every, LONG), Put::Stored);
                }
                slots.tell(0, Notice::End);
            }
        });
        let mut seen = Vec::new();
        let mut frame = Frame::empty();
        while let Taken::Frame { dropped, .. } = slots.take(&mut frame, LONG) {
            assert_eq!(dropped, 0);
            seen.push(frame.data[0]);
        }
        writer.join().unwrap();
        assert_eq!(seen, (0..200).collect::<Vec<u8>>());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put,
        Lose,
        Take,
    }

    proptest! {
        /// Against a plain list of all that happened: frames come in order, each is taken or counted as
        /// dropped, and between two frames with a loss between them the loss is told.
        #[test]
        fn frames_and_losses_keep_their_order(steps in prop::collection::vec(prop_oneof![Just(Step::Put), Just(Step::Lose), Just(Step::Take)], 0..60)) {
            let slots = Slots::new(1);
            let mut frame = Frame::empty();
            let mut put_count = 0u64;
            let (mut taken, mut dropped_total, mut last_id) = (0u64, 0u64, 0u64);
            let mut lost_after: Vec<u64> = Vec::new();
            let mut told = false;
            for step in steps.into_iter().chain(vec![Step::Take; 4]) {
                match step {
                    Step::Put => { put_count += 1; slots.put(0, &mut Frame::empty(), Keep::Newest, NOW); }
                    Step::Lose => { lost_after.push(put_count); slots.tell(0, Notice::Lost(String::new())); }
                    Step::Take => match slots.take(&mut frame, NOW) {
                        Taken::Frame { frame_id, dropped, .. } => {
                            prop_assert_eq!(frame_id, last_id + dropped + 1);
                            let lost = lost_after.iter().any(|&after| after >= last_id && after < frame_id);
                            prop_assert!(!lost || told, "a loss before frame {} was not told", frame_id);
                            lost_after.retain(|&after| after >= frame_id);
                            (taken, dropped_total, last_id, told) = (taken + 1, dropped_total + dropped, frame_id, false);
                        }
                        Taken::Notice { .. } => { prop_assert!(!lost_after.is_empty()); told = true; }
                        Taken::Nothing | Taken::Stopped => {}
                    },
                }
            }
            prop_assert_eq!(taken + dropped_total, put_count);
        }
    }
}
