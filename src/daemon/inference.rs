//! The inference thread: takes frames from the cameras in turns, classifies and smooths them and publishes
//! what comes of it. Also where a camera's state is known, because here is seen what arrives and what does not.
//!
//! What the rest of the daemon wants of it comes as an [`Order`]; it obeys between two frames.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::adapt::{Pulse, spared};
use super::service::Watchdog;
use super::view::{Introduction, Outlet, Seen, View, scores, status};
use super::{
    Classified, Classifier, ClassifyError, Model, Settings, Totals, Worth, message_of, panic_text,
};
use crate::adapt::governor::Effort;
use crate::frame::Frame;
use crate::label::Prediction;
use crate::publish::wire::{Message, Reason, Scored, State};
use crate::ratelimit::RateLimit;
use crate::slot::{CameraId, Notice, Slots, Taken};

/// The longest wait for a frame: how often the watchdog is fed and stale cameras are looked for.
const TURN: Duration = Duration::from_millis(100);
/// A frame that makes us panic is one bad frame; so many in a row, and nothing good between them, are no matter of
/// frames: the service is to be started afresh.
const MOST_PANICS: u32 = 20;

/// What is to be otherwise from now on.
pub enum Order {
    /// Other cameras. An order is sent before the new ones can have left a frame.
    Cameras {
        removed: Vec<CameraId>,
        added: Vec<Introduction>,
    },
    Settings(Settings),
    Next(Next),
    /// To work less, or more, for a reason and why.
    Effort(Effort, Reason, String),
}

/// What comes after the present model.
pub enum Next {
    Model(Box<Model>, Reason),
    /// To let go of the model, to say so, and to wait for the next: there is no room for both.
    Vacate {
        gone: SyncSender<()>,
        coming: Receiver<(Box<Model>, Reason)>,
    },
}

/// In place of a classifier that had to go before the next was there.
struct Gone;

impl Classifier for Gone {
    fn classify(
        &mut self,
        _: &Frame,
        _: Worth,
        _: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let message = "no model is loaded".into();
        Err(ClassifyError { message })
    }
}

pub struct Inference {
    cameras: Vec<View>,
    model: Model,
    settings: Settings,
    slots: Arc<Slots>,
    out: Outlet,
    orders: Receiver<Order>,
    pulse: Arc<Pulse>,
    effort: Effort,
    frames: Option<u64>,
    watchdog: Watchdog,
    bad_frames: RateLimit,
    /// In a row.
    panics: u32,
    totals: Totals,
}

/// Used again for each frame.
struct Buffers {
    frame: Frame,
    prediction: Prediction,
}

impl Inference {
    pub fn new(
        model: Model,
        settings: Settings,
        frames: Option<u64>,
        slots: Arc<Slots>,
        out: Outlet,
        (orders, pulse): (Receiver<Order>, Arc<Pulse>),
    ) -> Self {
        slots.pace(settings.interval());
        Self {
            cameras: Vec::new(),
            model,
            settings,
            slots,
            out,
            orders,
            pulse,
            effort: Effort::Full,
            frames,
            watchdog: Watchdog::from_environment(),
            bad_frames: RateLimit::every(Duration::from_secs(10)),
            panics: 0,
            totals: Totals::default(),
        }
    }

    /// Works until the slots are stopped, all cameras have ended or enough frames are classified.
    pub fn run(mut self) -> Totals {
        let mut buffers = Buffers {
            frame: Frame::empty(),
            prediction: Prediction::default(),
        };
        let mut next = self.obey();
        loop {
            match next {
                None => {}
                Some(Next::Model(model, reason)) => self.switch(*model, reason),
                Some(Next::Vacate { gone, coming }) => self.vacate(&gone, &coming),
            }
            next = self.serve(&mut buffers);
            if next.is_none() {
                self.totals.over = self.are_over();
                return self.totals;
            }
        }
    }

    /// Classifies with the present model until there is another one; None if that was all.
    fn serve(&mut self, buffers: &mut Buffers) -> Option<Next> {
        let labels = Arc::clone(&self.model.labels);
        let name = self.model.info.name.clone();
        let mut scored = scores();
        while !self.is_done() {
            self.watchdog.feed(Instant::now());
            let taken = self.slots.take(&mut buffers.frame, TURN);
            // After taking: a frame of a new camera comes after the order that tells of it.
            let next = self.obey();
            match taken {
                Taken::Frame {
                    camera,
                    frame_id,
                    dropped,
                } => {
                    self.arrived(camera, dropped);
                    self.frame(camera, frame_id, buffers, (&name, &labels), &mut scored);
                }
                Taken::Notice { camera, notice } => self.notice(camera, &notice),
                Taken::Nothing => {}
                Taken::Stopped => return None,
            }
            self.look_for_stale_cameras();
            if next.is_some() {
                return next;
            }
        }
        None
    }

    fn is_done(&self) -> bool {
        self.frames
            .is_some_and(|limit| self.totals.classified >= limit)
            || self.are_over()
    }

    fn are_over(&self) -> bool {
        self.cameras.iter().all(|camera| camera.ended)
    }

    /// Does what was ordered since; a new model is given back, because the old one may be in use.
    fn obey(&mut self) -> Option<Next> {
        let mut next = None;
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Cameras { removed, added } => self.change_cameras(&removed, added),
                Order::Settings(settings) => self.change_settings(settings),
                Order::Next(wanted) => next = Some(wanted),
                Order::Effort(effort, reason, why) => self.change_effort(effort, reason, &why),
            }
        }
        next
    }

    fn change_cameras(&mut self, removed: &[CameraId], added: Vec<Introduction>) {
        let gone = |view: &mut View| removed.contains(&view.about.camera);
        let gone: Vec<View> = self.cameras.extract_if(.., gone).collect();
        for view in &gone {
            let name = &view.about.name;
            log::info!("{name}: not watched any more");
            self.out.send(&status(name, State::Stopping, None));
        }
        let gone = gone.iter().map(|view| view.about.name.as_str());
        let new = added.iter().map(|about| about.name.as_str());
        self.out.hub.change_cameras(gone, new);
        for about in added {
            let view = View::begin(about, &self.settings, &mut self.out);
            self.cameras.push(view);
        }
    }

    fn change_settings(&mut self, settings: Settings) {
        for view in &mut self.cameras {
            view.restart(&self.settings, &settings);
        }
        self.slots.pace(settings.interval());
        self.settings = settings;
    }

    fn change_effort(&mut self, effort: Effort, reason: Reason, why: &str) {
        self.effort = effort;
        self.model.classifier.spare(effort == Effort::Least);
        self.model.detail = format!("{why}; {}", spared(effort));
        log::info!("{}: {}", self.model.info.name, self.model.detail);
        let message = message_of(&self.model, reason);
        self.out.send(&Message::Model(message));
    }

    /// Lets go of the model and waits for the next.
    fn vacate(&mut self, gone: &SyncSender<()>, coming: &Receiver<(Box<Model>, Reason)>) {
        self.model.classifier = Box::new(Gone);
        // Who is told waits for it, or has given up and goes on.
        let _ = gone.try_send(());
        while !self.slots.over() {
            self.watchdog.feed(Instant::now());
            match coming.recv_timeout(TURN) {
                Ok((model, reason)) => return self.switch(*model, reason),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    resume_unwind(Box::new("there is no model that could be loaded"))
                }
            }
        }
    }

    fn switch(&mut self, model: Model, reason: Reason) {
        let other_labels = model.labels != self.model.labels;
        for view in &mut self.cameras {
            view.change_model(other_labels);
        }
        log::info!(
            "model {} in place of {}: {}",
            model.info.name,
            self.model.info.name,
            model.detail
        );
        self.model = model;
        if reason == Reason::Config {
            self.effort = Effort::Full;
        }
        self.model.classifier.spare(self.effort == Effort::Least);
        let message = message_of(&self.model, reason);
        self.out.send(&Message::Model(message));
    }

    fn arrived(&mut self, camera: CameraId, dropped: u64) {
        if let Some(view) = find(&mut self.cameras, camera) {
            view.arrived(dropped, &mut self.out);
        }
    }

    fn frame<'a>(
        &mut self,
        camera: CameraId,
        frame_id: u64,
        buffers: &mut Buffers,
        (model, labels): (&'a str, &'a [String]),
        scored: &mut Vec<Scored<'a>>,
    ) {
        let Buffers { frame, prediction } = buffers;
        let classifier = self.model.classifier.as_mut();
        let mut view = find(&mut self.cameras, camera);
        let captured = frame.captured;
        let mut worth = |picture: &[u8]| {
            let view = view.as_deref_mut();
            view.is_none_or(|view| view.is_worth(picture, captured))
        };
        // Whatever a decoder leaves behind, it begins each frame anew.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            classifier.classify(frame, &mut worth, prediction)
        }));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(panic) if self.panics >= MOST_PANICS => resume_unwind(panic),
            Err(panic) => {
                self.panics += 1;
                let message = format!("a failure of ours: {}", panic_text(panic.as_ref()));
                Err(ClassifyError { message })
            }
        };
        let classified = match outcome {
            Ok(Some(classified)) => classified,
            Ok(None) => return self.still(camera),
            Err(error) => return self.bad_frame(camera, frame.file.as_deref(), &error),
        };
        self.panics = 0;
        self.totals.classified += 1;
        self.pulse
            .beat(classified.preprocess_ms, classified.inference_ms);
        self.rest(&classified);
        if let Some(view) = find(&mut self.cameras, camera) {
            let seen = Seen {
                frame,
                frame_id,
                classified,
                model,
                labels,
            };
            view.publish(&seen, prediction, scored, &mut self.out);
        }
    }

    /// Leaves the processor alone for as long as the governor says.
    fn rest(&self, classified: &Classified) {
        let took = classified.preprocess_ms + classified.inference_ms;
        let idle = Duration::try_from_secs_f32(took * 1e-3).unwrap_or_default();
        let idle = idle * (self.effort.stretch() - 1);
        if !idle.is_zero() {
            let cameras = self.cameras.iter();
            cameras.for_each(|view| self.slots.rest(view.about.camera, idle));
        }
    }

    /// A frame that showed nothing new.
    fn still(&mut self, camera: CameraId) {
        self.panics = 0;
        if let Some(view) = find(&mut self.cameras, camera) {
            self.slots.rest(camera, view.is_still());
        }
    }

    fn notice(&mut self, camera: CameraId, notice: &Notice) {
        let Some(view) = find(&mut self.cameras, camera) else {
            return;
        };
        match notice {
            Notice::Lost(reason) => view.enter(State::CameraLost, Some(reason), &mut self.out),
            Notice::End => view.ended = true,
        }
    }

    fn look_for_stale_cameras(&mut self) {
        let limit = self.settings.stale_after;
        for view in &mut self.cameras {
            if let Some(silence) = self.slots.silence(view.about.camera) {
                view.look_whether_stale(silence, limit, &mut self.out);
            }
        }
    }

    /// A file is always named: it is not one of many that are alike.
    fn bad_frame(&mut self, camera: CameraId, file: Option<&Path>, error: &ClassifyError) {
        self.totals.bad += 1;
        let Some(view) = find(&mut self.cameras, camera) else {
            return;
        };
        view.bad_frame(Instant::now());
        let name = &view.about.name;
        if let Some(file) = file {
            let file = file.display();
            log::warn!("{name}: {file} cannot be classified: {error}");
        } else if let Some(before) = self.bad_frames.allow(Instant::now()) {
            log::warn!(
                "{name}: a frame cannot be classified: {error} ({before} more since the last such line)"
            );
        }
    }
}

fn find(cameras: &mut [View], camera: CameraId) -> Option<&mut View> {
    cameras.iter_mut().find(|view| view.about.camera == camera)
}
