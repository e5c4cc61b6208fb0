//! The inference thread: takes frames from the cameras in turns, classifies and smooths them and publishes
//! what comes of it. Also where a camera's state is known, because here is seen what arrives and what does not.
//!
//! What the rest of the daemon wants of it comes as an [`Order`]; it obeys between two frames.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::adapt::{Pulse, spared};
use super::look::{Look, Part};
use super::service::Watchdog;
use super::view::{Introduction, Outlet, Scores, Seen, View, status};
use super::{
    Classified, Classifier, ClassifyError, Model, Settings, Totals, Work, Worth, message_of,
    panic_text,
};
use crate::adapt::governor::Effort;
use crate::frame::{Frame, Square};
use crate::label::Prediction;
use crate::publish::wire::{Message, Reason, State};
use crate::ratelimit::RateLimit;
use crate::slot::{CameraId, Notice, Slots, Taken};
use crate::spec::Framing;

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
    /// Other parts of cameras' pictures, or other rules for what is said of them.
    Looks(Vec<(CameraId, Vec<Look>)>),
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
        /// Nobody holds it any more: it is not wanted after all.
        wanted: Weak<()>,
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
        _: &Framing,
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
                Some(Next::Model(model, reason)) => self.switch(*model, reason),
                Some(Next::Vacate {
                    wanted,
                    gone,
                    coming,
                }) if wanted.strong_count() > 0 => self.vacate(&gone, &coming),
                None | Some(Next::Vacate { .. }) => {}
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
        let names = self.model.speakers.clone();
        let mut scores = Scores::new();
        while !self.is_done() {
            self.watchdog.feed(Instant::now());
            self.out.telemetry.turn();
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
                    self.frame(camera, frame_id, buffers, (&names, &labels), &mut scores);
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
                Order::Looks(looks) => self.change_looks(looks),
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
            self.out.telemetry.forget(name);
        }
        let gone = gone.iter().map(|view| view.about.name.as_str());
        let new = added.iter().map(|about| about.name.as_str());
        self.out.hub.change_cameras(gone, new);
        let meaning = self.model.meaning();
        for about in added {
            let view = View::begin(about, &self.settings, &meaning, &mut self.out);
            self.cameras.push(view);
        }
        self.pace();
    }

    /// Tells the model how fast it has to be.
    fn pace(&mut self) {
        let looks = self.cameras.iter().map(|view| view.parts.len());
        let pace = self.settings.pace(Work::of(looks));
        self.model.classifier.pace(pace);
    }

    fn change_looks(&mut self, looks: Vec<(CameraId, Vec<Look>)>) {
        let meaning = self.model.meaning();
        for (camera, looks) in looks {
            let view = find(&mut self.cameras, camera);
            if let Some(view) = view
                && view.change_looks(looks, &self.settings, &meaning)
            {
                self.out.hub.forget_labels(&view.about.name);
            }
        }
        self.pace();
    }

    fn change_settings(&mut self, settings: Settings) {
        for view in &mut self.cameras {
            view.change_settings(&self.settings, &settings);
        }
        self.slots.pace(settings.interval());
        self.settings = settings;
        self.pace();
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
            self.out.telemetry.turn();
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
        let meaning = model.meaning();
        let other = (meaning != self.model.meaning()).then_some(&meaning);
        for view in &mut self.cameras {
            view.change_model(other);
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
        self.pace();
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
        (speakers, labels): (&'a [String], &'a [String]),
        scores: &mut Scores<'a>,
    ) {
        let Buffers { frame, prediction } = buffers;
        let is_it = |view: &View| view.about.camera == camera;
        let Some(place) = self.cameras.iter().position(is_it) else {
            return;
        };
        let mut spent = None;
        for index in 0..self.cameras[place].parts.len() {
            let Some(part) = self.cameras[place].parts.get_mut(index) else {
                break;
            };
            self.watchdog.feed(Instant::now());
            self.pulse.begin();
            let outcome = look(
                self.model.classifier.as_mut(),
                (frame, index == 0),
                part,
                prediction,
            );
            self.pulse.end();
            let classified = match outcome {
                Outcome::Classified(classified) => classified,
                Outcome::Still => {
                    part.dropped += 1;
                    continue;
                }
                Outcome::Bad(error) => {
                    return self.bad_frame((camera, index), frame.file.as_deref(), &error);
                }
                Outcome::Panicked(panic) => {
                    let error = self.panicked(panic);
                    return self.bad_frame((camera, index), frame.file.as_deref(), &error);
                }
            };
            let (preparing, inference) = (classified.preprocess_ms, classified.inference_ms);
            // what an opinion takes is within what there is, or it is not asked for
            { &self.pulse }.beat(preparing, inference - classified.opinion_ms);
            spent = Some(spent.unwrap_or(0.0) + preparing + inference);
            let seen = Seen {
                frame,
                frame_id,
                classified,
                model: speakers.get(classified.speaker).map_or("", String::as_str),
                labels,
            };
            if let Some(preview) = &self.cameras[place].preview
                && let Some(part) = self.cameras[place].parts.get(index)
            {
                let classifier = self.model.classifier.as_ref();
                preview.classified((&part.look, frame), classifier, prediction, labels);
            }
            self.cameras[place].publish(index, &seen, prediction, scores, &mut self.out);
        }
        self.panics = 0;
        match spent {
            Some(milliseconds) => {
                self.totals.classified += 1;
                self.rest(milliseconds);
            }
            None => {
                let idle = self.cameras[place].is_still();
                self.slots.rest(camera, idle);
            }
        }
    }

    /// One bad frame, as long as it is not the last of many.
    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> ClassifyError {
        if self.panics >= MOST_PANICS {
            resume_unwind(panic)
        }
        self.panics += 1;
        let message = format!("a failure of ours: {}", panic_text(panic.as_ref()));
        ClassifyError { message }
    }

    /// Leaves the processor alone for as long as the governor says, after so much work.
    fn rest(&self, milliseconds: f32) {
        let idle = Duration::try_from_secs_f32(milliseconds * 1e-3).unwrap_or_default();
        let idle = idle * (self.effort.stretch() - 1);
        if !idle.is_zero() {
            let cameras = self.cameras.iter();
            cameras.for_each(|view| self.slots.rest(view.about.camera, idle));
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
    fn bad_frame(
        &mut self,
        (camera, part): (CameraId, usize),
        file: Option<&Path>,
        error: &ClassifyError,
    ) {
        self.totals.bad += 1;
        let Some(view) = find(&mut self.cameras, camera) else {
            return;
        };
        view.bad_frame(part, Instant::now());
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

/// What came of a look at a part of a frame.
enum Outcome {
    Classified(Classified),
    /// It shows nothing new.
    Still,
    Bad(ClassifyError),
    Panicked(Box<dyn Any + Send>),
}

/// Classifies a part of a frame, of which it is the first or not.
fn look(
    classifier: &mut dyn Classifier,
    (frame, first): (&Frame, bool),
    part: &mut Part,
    prediction: &mut Prediction,
) -> Outcome {
    let framing = part.look.framing;
    let mut worth = |picture: &Square| part.is_worth(picture, frame.captured);
    // Whatever a decoder leaves behind, it begins each frame anew.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        if first {
            classifier.begin(frame)?;
        }
        classifier.classify(frame, &framing, &mut worth, prediction)
    }));
    match outcome {
        Ok(Ok(Some(classified))) => Outcome::Classified(classified),
        Ok(Ok(None)) => Outcome::Still,
        Ok(Err(error)) => Outcome::Bad(error),
        Err(panic) => Outcome::Panicked(panic),
    }
}
