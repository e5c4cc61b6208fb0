//! The inference thread: takes frames from the cameras in turns, classifies and smooths them and publishes
//! what comes of it. Also where a camera's state is known, because here is seen what arrives and what does not.

use std::borrow::Cow;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::service::Watchdog;
use super::{Camera, Classified, ClassifyError, Model, Observer, Options, Totals, status};
use crate::frame::Frame;
use crate::label::{Prediction, Score};
use crate::publish::Hub;
use crate::publish::wire::{self, Change, Classification, Image, Message, Scored, State, Timing};
use crate::ratelimit::RateLimit;
use crate::slot::{Notice, Slots, Taken};
use crate::smooth::{self, Smoothed, Smoother};

/// The longest wait for a frame: how often the watchdog is fed and stale cameras are looked for.
const TURN: Duration = Duration::from_millis(100);
/// How many classes of a frame are published.
const TOP: usize = 5;

pub struct Inference {
    cameras: Vec<View>,
    model: Model,
    slots: Arc<Slots>,
    out: Outlet,
    stale_after: Duration,
    frames: Option<u64>,
    watchdog: Watchdog,
    bad_frames: RateLimit,
    totals: Totals,
}

/// What this thread knows of a camera.
struct View {
    name: String,
    /// Frames come of themselves, so that their absence says something.
    live: bool,
    smoother: Smoother,
    state: State,
    ended: bool,
    /// When the last frame came, or the wait for the first began.
    last_frame: Instant,
    /// Not classified since the last message.
    dropped: u64,
    /// The label of the last change that was told. Outlives a loss of the camera: coming back to the same
    /// scene is no change.
    told: Option<usize>,
}

/// Where messages go.
struct Outlet {
    hub: Arc<Hub>,
    observer: Option<Observer>,
}

impl Outlet {
    fn send(&mut self, message: &Message<'_>) {
        self.hub.publish(message);
        if let Some(observer) = &mut self.observer {
            observer(message);
        }
    }
}

impl Inference {
    /// The part of the options that is this thread's; gives the cameras back.
    pub fn new(options: Options, hub: Arc<Hub>, slots: Arc<Slots>) -> (Self, Vec<Camera>) {
        let cameras = options
            .cameras
            .iter()
            .map(|camera| View::new(camera, options.smoothing))
            .collect();
        let inference = Self {
            cameras,
            model: options.model,
            slots,
            out: Outlet {
                hub,
                observer: options.observer,
            },
            stale_after: options.stale_after,
            frames: options.frames,
            watchdog: Watchdog::from_environment(),
            bad_frames: RateLimit::every(Duration::from_secs(10)),
            totals: Totals::default(),
        };
        (inference, options.cameras)
    }

    /// Works until the slots are stopped, all cameras have ended or enough frames are classified.
    pub fn run(mut self) -> Totals {
        for camera in &mut self.cameras {
            camera.last_frame = Instant::now();
            self.out.send(&status(&camera.name, State::Starting, None));
        }
        let labels = Arc::clone(&self.model.labels);
        let mut frame = Frame::empty();
        let mut prediction = Prediction::default();
        let mut scored = Vec::with_capacity(TOP);
        while !self.is_done() {
            self.watchdog.feed(Instant::now());
            match self.slots.take(&mut frame, TURN) {
                Taken::Frame {
                    camera,
                    frame_id,
                    dropped,
                } => {
                    self.arrived(camera, dropped);
                    match self.model.classifier.classify(&frame, &mut prediction) {
                        Ok(classified) => {
                            let at = Taking {
                                camera,
                                frame_id,
                                frame: &frame,
                                classified,
                            };
                            self.publish(&at, &prediction, &labels, &mut scored);
                        }
                        Err(error) => self.bad_frame(camera, frame.file.as_deref(), &error),
                    }
                }
                Taken::Notice { camera, notice } => self.notice(camera, &notice),
                Taken::Nothing => {}
                Taken::Stopped => break,
            }
            self.look_for_stale_cameras();
        }
        self.totals.over = self.are_over();
        self.totals
    }

    fn is_done(&self) -> bool {
        self.frames
            .is_some_and(|limit| self.totals.classified >= limit)
            || self.are_over()
    }

    fn are_over(&self) -> bool {
        self.cameras.iter().all(|camera| camera.ended)
    }

    fn arrived(&mut self, camera: usize, dropped: u64) {
        let view = &mut self.cameras[camera];
        view.last_frame = Instant::now();
        view.dropped += dropped;
        view.enter(State::Streaming, None, &mut self.out);
    }

    fn notice(&mut self, camera: usize, notice: &Notice) {
        let view = &mut self.cameras[camera];
        match notice {
            Notice::Lost(reason) => view.enter(State::CameraLost, Some(reason), &mut self.out),
            Notice::End => view.ended = true,
        }
    }

    fn look_for_stale_cameras(&mut self) {
        for view in &mut self.cameras {
            let waits = matches!(view.state, State::Starting | State::Streaming) && !view.ended;
            if waits && view.live && view.last_frame.elapsed() >= self.stale_after {
                let detail = format!("no frame for {:.0} s", self.stale_after.as_secs_f32());
                view.enter(State::Stale, Some(&detail), &mut self.out);
            }
        }
    }

    /// A file is always named: it is not one of many that are alike.
    fn bad_frame(&mut self, camera: usize, file: Option<&Path>, error: &ClassifyError) {
        self.totals.bad += 1;
        let view = &mut self.cameras[camera];
        view.dropped += 1;
        if let Some(file) = file {
            let file = file.display();
            log::warn!("{}: {file} cannot be classified: {error}", view.name);
        } else if let Some(before) = self.bad_frames.allow(Instant::now()) {
            let name = &view.name;
            log::warn!(
                "{name}: a frame cannot be classified: {error} ({before} more since the last such line)"
            );
        }
    }

    fn publish<'a>(
        &mut self,
        at: &Taking<'_>,
        prediction: &Prediction,
        labels: &'a [String],
        scored: &mut Vec<Scored<'a>>,
    ) {
        self.totals.classified += 1;
        let view = &mut self.cameras[at.camera];
        let smoothed = view
            .smoother
            .update(&prediction.probabilities, at.frame.captured);
        let Some(smoothed) = smoothed else {
            return;
        };
        fill(scored, &prediction.probabilities, labels);
        let message = Message::Classification(Classification {
            camera: Cow::Borrowed(&view.name),
            frame_id: at.frame_id,
            timestamp: wire::unix_seconds(at.frame.captured_at),
            model: Cow::Borrowed(&self.model.info.name),
            image: Image {
                width: at.classified.image_width,
                height: at.classified.image_height,
            },
            predictions: Cow::Borrowed(scored),
            top: name(labels, smoothed.top.class_id),
            confidence: smoothed.top.confidence,
            timing: at.timing(),
            dropped: mem::take(&mut view.dropped),
        });
        self.out.send(&message);
        view.tell_change(&smoothed, at, labels, &mut self.out);
    }
}

/// A frame that was taken and what came of it.
struct Taking<'a> {
    camera: usize,
    frame_id: u64,
    frame: &'a Frame,
    classified: Classified,
}

impl Taking<'_> {
    fn timing(&self) -> Timing {
        Timing {
            capture_ms: self.frame.capture_ms,
            preprocess_ms: self.classified.preprocess_ms,
            inference_ms: self.classified.inference_ms,
            age_ms: self.frame.captured.elapsed().as_secs_f32() * 1e3,
        }
    }
}

impl View {
    fn new(camera: &Camera, smoothing: smooth::Settings) -> Self {
        let independent = camera.source.independent();
        Self {
            name: camera.name.clone(),
            live: !independent && !camera.source.lossless(),
            smoother: if independent {
                Smoother::pass_through()
            } else {
                Smoother::new(smoothing)
            },
            state: State::Starting,
            ended: false,
            last_frame: Instant::now(),
            dropped: 0,
            told: None,
        }
    }

    /// Tells a new state, once; what was seen before a gap says nothing about what comes after it.
    fn enter(&mut self, state: State, detail: Option<&str>, out: &mut Outlet) {
        if self.state == state {
            return;
        }
        self.state = state;
        if matches!(state, State::CameraLost | State::Stale) {
            self.smoother.reset();
        }
        match detail {
            Some(detail) => log::warn!("{}: {}: {detail}", self.name, state.as_str()),
            None => log::info!("{}: {}", self.name, state.as_str()),
        }
        out.send(&status(&self.name, state, detail));
    }

    fn tell_change(
        &mut self,
        smoothed: &Smoothed,
        at: &Taking<'_>,
        labels: &[String],
        out: &mut Outlet,
    ) {
        let to = smoothed.top.class_id;
        if !smoothed.changed || self.told == Some(to) {
            return;
        }
        let from = self.told.replace(to);
        out.send(&Message::Change(Change {
            camera: Cow::Borrowed(&self.name),
            timestamp: wire::unix_seconds(at.frame.captured_at),
            from: from.map(|id| name(labels, id)),
            to: name(labels, to),
            confidence: smoothed.top.confidence,
        }));
    }
}

/// The label of a class. A bundle's labels match its outputs; the number is for a classifier that is none.
fn name(labels: &[String], class_id: usize) -> Cow<'_, str> {
    labels.get(class_id).map_or_else(
        || Cow::Owned(format!("class {class_id}")),
        |label| Cow::Borrowed(label.as_str()),
    )
}

/// Puts the most probable classes into `scored`, best first, equal ones by their ids, without allocating.
fn fill<'a>(scored: &mut Vec<Scored<'a>>, probabilities: &[f32], labels: &'a [String]) {
    let mut best = [Score {
        class_id: 0,
        confidence: 0.0,
    }; TOP];
    let mut count = 0;
    for (class_id, &confidence) in probabilities.iter().enumerate() {
        let place = best[..count]
            .iter()
            .position(|score| confidence > score.confidence)
            .unwrap_or(count);
        if place < TOP {
            count = (count + 1).min(TOP);
            best[place..count].rotate_right(1);
            best[place] = Score {
                class_id,
                confidence,
            };
        }
    }
    scored.clear();
    let named = |score: &Score| Scored {
        class: name(labels, score.class_id),
        class_id: score.class_id,
        confidence: score.confidence,
    };
    scored.extend(best[..count].iter().map(named));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_published_classes_are_the_most_probable(probabilities in prop::collection::vec((0u8..20).prop_map(|n| f32::from(n) / 20.0), 0..30)) {
            let mut scored = Vec::new();
            fill(&mut scored, &probabilities, &[]);
            let found: Vec<usize> = scored.iter().map(|one| one.class_id).collect();
            let prediction = Prediction { probabilities, logits: Vec::new() };
            let expected: Vec<usize> = prediction.top(TOP).iter().map(|score| score.class_id).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
