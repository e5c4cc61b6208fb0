//! Where capture threads leave frames and the inference thread takes them: one place per camera that
//! holds the newest frame only, so that a late inference never builds a queue.
//!
//! Frames are swapped, never copied; nothing is allocated. What a camera says besides frames (lost, end)
//! stays in order with them. Which frames may be dropped is the writer's word ([`Keep`]). Cameras come and
//! go ([`Slots::add`], [`Slots::remove`]); how often each is looked at can be bounded ([`Slots::pace`]).

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::Frame;

/// One of the cameras. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameraId(u64);

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
    /// The camera is not wanted any more, or nothing is.
    Stopped,
}

/// What [`Slots::take`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// A frame of this camera, now in the caller's hands: the camera's `frame_id`th (from 1), `dropped`
    /// ones before it were never taken.
    Frame {
        camera: CameraId,
        frame_id: u64,
        dropped: u64,
    },
    Notice {
        camera: CameraId,
        notice: Notice,
    },
    /// Nothing within the timeout.
    Nothing,
    Stopped,
}

/// One place per camera, with one lock: it is held for a swap of pointers only.
#[derive(Debug, Default)]
pub struct Slots {
    board: Mutex<Board>,
    arrived: Condvar,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Board {
    places: Vec<Place>,
    /// The place whose turn is next.
    turn: usize,
    /// The least time between two frames that are taken of one camera.
    interval: Duration,
    cameras_so_far: u64,
    stopped: bool,
}

/// At most one notice, one frame and one more notice, in this order.
#[derive(Debug)]
struct Place {
    camera: CameraId,
    before: Option<Notice>,
    frame: Frame,
    fresh: bool,
    after: Option<Notice>,
    captured: u64,
    dropped: u64,
    /// When the last frame came; before the first, when the camera was added.
    heard: Instant,
    /// When the next frame may be taken.
    due: Instant,
}

impl Slots {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A place for one more camera.
    pub fn add(&self) -> CameraId {
        let mut board = self.lock();
        let camera = CameraId(board.cameras_so_far);
        board.cameras_so_far += 1;
        board.places.push(Place::empty(camera, Instant::now()));
        camera
    }

    /// The camera is not wanted any more: what it left goes, and its thread is told by [`Put::Stopped`].
    pub fn remove(&self, camera: CameraId) {
        let mut board = self.lock();
        board.places.retain(|place| place.camera != camera);
        board.turn = 0;
        drop(board);
        self.taken.notify_all();
    }

    /// From now on at least `interval` lies between two frames that are taken of one camera; zero for no bound.
    pub fn pace(&self, interval: Duration) {
        let mut board = self.lock();
        board.interval = interval;
        let now = Instant::now();
        board.places.iter_mut().for_each(|place| place.due = now);
        drop(board);
        self.arrived.notify_one();
    }

    /// No frame of this camera is taken for `time`.
    pub fn rest(&self, camera: CameraId, time: Duration) {
        if let Some(place) = self.lock().place(camera) {
            place.due = place.due.max(Instant::now() + time);
        }
    }

    /// Leaves a frame and gets another buffer back in its place. Waits only with [`Keep::Every`], and at
    /// most `timeout`.
    pub fn put(&self, camera: CameraId, frame: &mut Frame, keep: Keep, timeout: Duration) -> Put {
        let mut board = self.lock();
        if keep == Keep::Every {
            let full = |board: &mut Board| board.place(camera).is_some_and(|place| place.fresh);
            let waited = self.taken.wait_timeout_while(board, timeout, full);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let Some(place) = board.place(camera) else {
            return Put::Stopped;
        };
        place.heard = Instant::now();
        if keep == Keep::Every && place.fresh {
            return Put::Full;
        }
        place.store(frame);
        drop(board);
        self.arrived.notify_one();
        Put::Stored
    }

    /// Says something that is not a frame. Never waits.
    pub fn tell(&self, camera: CameraId, notice: Notice) {
        if let Some(place) = self.lock().place(camera) {
            place.tell(notice);
        }
        self.arrived.notify_one();
    }

    /// Takes the next frame or notice, cameras in turns, and waits for one at most `timeout`.
    pub fn take(&self, frame: &mut Frame, timeout: Duration) -> Taken {
        let end = Instant::now() + timeout;
        let mut board = self.lock();
        loop {
            if board.stopped {
                return Taken::Stopped;
            }
            let now = Instant::now();
            let taken = board.take(frame, now);
            if taken != Taken::Nothing || now >= end {
                drop(board);
                if matches!(taken, Taken::Frame { .. }) {
                    self.taken.notify_all();
                }
                return taken;
            }
            let wait = board.next_due().map_or(end, |due| due.min(end)) - now;
            let waited = self.arrived.wait_timeout(board, wait);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How long ago the camera's last frame came, whether or not it was taken. None if it was removed.
    #[must_use]
    pub fn silence(&self, camera: CameraId) -> Option<Duration> {
        Some(self.lock().place(camera)?.heard.elapsed())
    }

    /// Ends every wait, now and from now on.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.arrived.notify_all();
        self.taken.notify_all();
    }

    /// True after [`Slots::stop`].
    #[must_use]
    pub fn over(&self) -> bool {
        self.lock().stopped
    }

    /// True if the camera is not wanted any more, or nothing is.
    #[must_use]
    pub fn stopped(&self, camera: CameraId) -> bool {
        self.lock().place(camera).is_none()
    }

    /// Waits for `time`, less if the camera is to stop. True if so.
    pub fn pause(&self, camera: CameraId, time: Duration) -> bool {
        let wanted = |board: &mut Board| board.place(camera).is_some();
        let waited = self.taken.wait_timeout_while(self.lock(), time, wanted);
        let mut board = waited.unwrap_or_else(PoisonError::into_inner).0;
        board.place(camera).is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // A thread that panicked here left a board that is whole: each change is a few plain stores.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// The camera's place, if it and anything at all is still wanted.
    fn place(&mut self, camera: CameraId) -> Option<&mut Place> {
        if self.stopped {
            return None;
        }
        self.places.iter_mut().find(|place| place.camera == camera)
    }

    fn take(&mut self, frame: &mut Frame, now: Instant) -> Taken {
        let count = self.places.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let place = &mut self.places[index];
            let camera = place.camera;
            if let Some(notice) = place.before.take() {
                return Taken::Notice { camera, notice };
            }
            if place.fresh && place.ready(now) {
                self.turn = (index + 1) % count;
                place.due = (place.due + self.interval).max(now);
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

    /// When a frame that is there may be taken, if none may now.
    fn next_due(&self) -> Option<Instant> {
        let waiting = self.places.iter().filter(|place| place.fresh);
        waiting.map(|place| place.due).min()
    }
}

impl Place {
    fn empty(camera: CameraId, now: Instant) -> Self {
        Self {
            camera,
            before: None,
            frame: Frame::empty(),
            fresh: false,
            after: None,
            captured: 0,
            dropped: 0,
            heard: now,
            due: now,
        }
    }

    /// A frame whose camera has said something since does not wait for its time: the news must come out.
    fn ready(&self, now: Instant) -> bool {
        self.due <= now || self.after.is_some()
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

    /// Slots for `N` cameras, numbered from 0.
    fn slots<const N: usize>() -> (Slots, [CameraId; N]) {
        let slots = Slots::new();
        let cameras = std::array::from_fn(|_| slots.add());
        (slots, cameras)
    }

    fn put(slots: &Slots, camera: CameraId, number: u8) -> Put {
        slots.put(camera, &mut numbered(number), Keep::Newest, NOW)
    }

    #[test]
    fn the_newest_frame_wins_and_the_others_are_counted() {
        let (slots, [camera]) = slots();
        (1..=3).for_each(|number| assert_eq!(put(&slots, camera, number), Put::Stored));
        let mut frame = Frame::empty();
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Frame {
                camera,
                frame_id: 3,
                dropped: 2
            }
        );
        assert_eq!(frame.data, [3]);
        assert_eq!(slots.take(&mut frame, NOW), Taken::Nothing);
    }

    #[test]
    fn cameras_take_turns() {
        let (slots, [first, second]) = slots();
        let mut frame = Frame::empty();
        let mut order = Vec::new();
        for _ in 0..4 {
            put(&slots, first, 1);
            put(&slots, second, 2);
            slots.take(&mut frame, NOW);
            order.push(frame.data[0]);
        }
        assert_eq!(order, [1, 2, 1, 2]);
    }

    #[test]
    fn a_loss_between_two_frames_is_told_between_them() {
        let (slots, [camera]) = slots();
        let lost = Notice::Lost("unplugged".into());
        put(&slots, camera, 1);
        slots.tell(camera, lost.clone());
        put(&slots, camera, 2);
        let mut frame = Frame::empty();
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Notice {
                camera,
                notice: lost
            }
        );
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Frame {
                camera,
                frame_id: 2,
                dropped: 1
            }
        );
    }

    #[test]
    fn a_last_frame_comes_before_the_end() {
        let (slots, [camera]) = slots();
        put(&slots, camera, 1);
        slots.tell(camera, Notice::End);
        let mut frame = Frame::empty();
        assert!(matches!(slots.take(&mut frame, NOW), Taken::Frame { .. }));
        assert_eq!(
            slots.take(&mut frame, NOW),
            Taken::Notice {
                camera,
                notice: Notice::End
            }
        );
    }

    #[test]
    fn a_full_place_gives_the_frame_back() {
        let (slots, [camera]) = slots();
        put(&slots, camera, 1);
        let mut second = numbered(2);
        assert_eq!(
            slots.put(camera, &mut second, Keep::Every, Duration::from_millis(5)),
            Put::Full
        );
        assert_eq!(second.data, [2]);
    }

    #[test]
    fn stop_ends_the_wait_of_reader_and_writer() {
        let (slots, [camera]) = slots();
        let slots = Arc::new(slots);
        put(&slots, camera, 1);
        let writer = thread::spawn({
            let slots = Arc::clone(&slots);
            move || slots.put(camera, &mut numbered(2), Keep::Every, LONG)
        });
        slots.stop();
        assert_eq!(writer.join().unwrap(), Put::Stopped);
        assert_eq!(slots.take(&mut Frame::empty(), LONG), Taken::Stopped);
        assert!(slots.pause(camera, LONG));
    }

    #[test]
    fn no_frame_is_lost_when_every_one_counts() {
        let (slots, [camera]) = slots();
        let slots = Arc::new(slots);
        let writer = thread::spawn({
            let slots = Arc::clone(&slots);
            move || {
                let mut frame = Frame::empty();
                for number in 0..200u8 {
                    frame.data.clear();
                    frame.data.push(number);
                    assert_eq!(
                        slots.put(camera, &mut frame, Keep::Every, LONG),
                        Put::Stored
                    );
                }
                slots.tell(camera, Notice::End);
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

    #[test]
    fn a_paced_camera_gives_its_newest_frame_when_its_time_has_come() {
        let (slots, [camera]) = slots();
        let mut frame = Frame::empty();
        slots.pace(Duration::from_millis(60));
        put(&slots, camera, 1);
        assert!(matches!(slots.take(&mut frame, NOW), Taken::Frame { .. }));
        put(&slots, camera, 2);
        put(&slots, camera, 3);
        assert_eq!(slots.take(&mut frame, NOW), Taken::Nothing);
        let before = Instant::now();
        let taken = slots.take(&mut frame, LONG);
        assert!(matches!(taken, Taken::Frame { dropped: 1, .. }));
        assert!(before.elapsed() < LONG);
        assert_eq!(frame.data, [3]);
    }

    #[test]
    fn a_loss_does_not_wait_for_a_paced_camera() {
        let (slots, [camera]) = slots();
        let mut frame = Frame::empty();
        put(&slots, camera, 1);
        slots.take(&mut frame, NOW);
        slots.pace(LONG);
        put(&slots, camera, 2);
        slots.take(&mut frame, NOW);
        put(&slots, camera, 3);
        slots.tell(camera, Notice::Lost(String::new()));
        assert!(matches!(slots.take(&mut frame, NOW), Taken::Frame { .. }));
        assert!(matches!(slots.take(&mut frame, NOW), Taken::Notice { .. }));
    }

    #[test]
    fn a_camera_that_was_removed_is_told_so_and_leaves_nothing() {
        let (slots, [first, second]) = slots();
        put(&slots, first, 1);
        put(&slots, second, 2);
        slots.remove(first);
        assert_eq!(put(&slots, first, 3), Put::Stopped);
        assert!(slots.stopped(first) && !slots.stopped(second));
        assert!(slots.pause(first, LONG));
        let mut frame = Frame::empty();
        slots.take(&mut frame, NOW);
        assert_eq!(frame.data, [2]);
        assert_eq!(slots.take(&mut frame, NOW), Taken::Nothing);
        assert_ne!(slots.add(), first);
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
            let (slots, [camera]) = slots();
            let mut frame = Frame::empty();
            let mut put_count = 0u64;
            let (mut taken, mut dropped_total, mut last_id) = (0u64, 0u64, 0u64);
            let mut lost_after: Vec<u64> = Vec::new();
            let mut told = false;
            for step in steps.into_iter().chain(vec![Step::Take; 4]) {
                match step {
                    Step::Put => { put_count += 1; slots.put(camera, &mut Frame::empty(), Keep::Newest, NOW); }
                    Step::Lose => { lost_after.push(put_count); slots.tell(camera, Notice::Lost(String::new())); }
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
