//! What the daemon keeps of pictures for people to look at: the newest frame of a camera, as JPEG when it is asked for,
//! and where a label in it comes from. While nobody asks, a frame costs one look at a clock; who asks does the work,
//! in a thread of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jpeg_encoder::{ColorType, Encoder};

use super::look::named;
use super::{Classifier, Look};
use crate::frame::{Frame, PixelFormat};
use crate::label::Prediction;
use crate::preprocess::Reducer;
use crate::publish::pictures::{Picture, Pictures, Question, Scene, View, Why};
use crate::publish::wire::unix_seconds;
use crate::spec::Framing;

/// How long frames are kept for somebody who does not ask again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Larger pictures are reduced: nobody's page is wider.
const LONGEST_SIDE: u32 = 1280;
/// A camera's own JPEG is passed on unless it is larger, in bytes.
const LARGEST_JPEG: usize = 400 << 10;
/// Of JPEG: artefacts are hard to see, files small.
const QUALITY: u8 = 80;

/// All cameras' previews.
pub struct Previews {
    begun: Instant,
    /// The least time between two frames that are kept.
    interval: Duration,
    cameras: Mutex<Vec<Arc<Preview>>>,
    encoder: Mutex<Workbench>,
}

/// One camera's.
pub struct Preview {
    camera: String,
    begun: Instant,
    interval: Duration,
    /// Milliseconds since `begun` until which frames are wanted; before which the next is not.
    wanted: AtomicU64,
    next: AtomicU64,
    newest: Mutex<Newest>,
    scene: Mutex<Scene>,
    looks: Mutex<Vec<(Option<String>, Framing)>>,
    asked: Mutex<Asked>,
}

struct Newest {
    frame: Frame,
    /// 0: there is none yet.
    number: u64,
    /// It cannot be encoded.
    broken: bool,
    encoded: Option<Picture>,
}

/// Why a label is said: what is to be answered, and the last answer.
#[derive(Default)]
struct Asked {
    question: Option<(Option<String>, Option<usize>)>,
    until: Option<Instant>,
    answer: Option<((Option<String>, Option<usize>), Why)>,
}

/// What encodes.
#[derive(Default)]
struct Workbench {
    reducer: Reducer,
    pixels: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Previews {
    /// With at most `fps` frames per second of each camera.
    #[must_use]
    pub fn new(fps: f32) -> Self {
        Self {
            begun: Instant::now(),
            interval: Duration::try_from_secs_f32(1.0 / fps).unwrap_or(Duration::from_secs(1)),
            cameras: Mutex::default(),
            encoder: Mutex::default(),
        }
    }

    /// A camera that is watched from now on.
    pub fn watch(&self, camera: &str, looks: &[Look]) -> Arc<Preview> {
        let preview = Arc::new(Preview {
            camera: camera.to_owned(),
            begun: self.begun,
            interval: self.interval,
            wanted: AtomicU64::new(0),
            next: AtomicU64::new(0),
            newest: Mutex::new(Newest {
                frame: Frame::empty(),
                number: 0,
                broken: false,
                encoded: None,
            }),
            scene: Mutex::new(scene(looks)),
            looks: Mutex::new(framings(looks)),
            asked: Mutex::default(),
        });
        let mut cameras = lock(&self.cameras);
        cameras.retain(|known| known.camera != camera);
        cameras.push(Arc::clone(&preview));
        preview
    }

    /// A camera is not watched any more.
    pub fn forget(&self, camera: &str) {
        lock(&self.cameras).retain(|known| known.camera != camera);
    }

    /// Other parts of a camera's pictures are looked at.
    pub fn look(&self, camera: &str, looks: &[Look]) {
        if let Some(preview) = self.find(camera) {
            *lock(&preview.scene) = scene(looks);
            *lock(&preview.looks) = framings(looks);
        }
    }

    pub(super) fn find(&self, camera: &str) -> Option<Arc<Preview>> {
        let cameras = lock(&self.cameras);
        cameras.iter().find(|known| known.camera == camera).cloned()
    }
}

fn scene(looks: &[Look]) -> Scene {
    let framing = looks.first().map(|look| look.framing).unwrap_or_default();
    let views = looks.iter().map(|look| View {
        region: look.region.clone(),
        area: look.framing.area.shares(),
        seen: None,
    });
    Scene {
        rotate: framing.turn,
        flip: framing.flip,
        views: views.collect(),
    }
}

fn framings(looks: &[Look]) -> Vec<(Option<String>, Framing)> {
    let framing = |look: &Look| (look.region.clone(), look.framing);
    looks.iter().map(framing).collect()
}

impl Preview {
    /// Keeps a copy of a frame if somebody looks and the last is old enough. Waits for nobody.
    pub fn offer(&self, frame: &Frame) {
        let now = milliseconds(self.begun);
        if now >= self.wanted.load(Ordering::Relaxed) || now < self.next.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut newest) = self.newest.try_lock() else {
            return;
        };
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        self.next
            .store(now.saturating_add(interval), Ordering::Relaxed);
        newest.frame.clone_from(frame);
        newest.number += 1;
        newest.broken = false;
        newest.encoded = None;
    }

    /// A part of a frame was classified: tells what the network saw of it, and answers what was asked.
    pub fn classified(
        &self,
        (look, frame): (&Look, &Frame),
        classifier: &dyn Classifier,
        prediction: &Prediction,
        labels: &[String],
    ) {
        if milliseconds(self.begun) >= self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let region = look.region.as_deref();
        if let Ok(mut scene) = self.scene.try_lock() {
            let view = scene
                .views
                .iter_mut()
                .find(|view| view.region.as_deref() == region);
            if let Some(view) = view {
                view.seen = Some(classifier.seen());
            }
        }
        let Ok(mut asked) = self.asked.try_lock() else {
            return;
        };
        if asked.until.is_none_or(|until| Instant::now() >= until) {
            asked.question = None;
        }
        let Some(question) = asked.question.clone() else {
            return;
        };
        if question.0.as_deref() != region {
            return;
        }
        let top = || prediction.top(1).first().map(|score| score.class_id);
        let Some(class_id) = question.1.or_else(top) else {
            return;
        };
        let map = classifier.map(class_id);
        asked.answer = map.map(|map| {
            let why = Why {
                class_id,
                class: named(labels, class_id).into_owned(),
                timestamp: unix_seconds(frame.captured_at),
                rows: map.rows,
                columns: map.columns,
                values: map.values,
            };
            (question, why)
        });
    }

    fn want(&self) {
        let patience = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let until = milliseconds(self.begun).saturating_add(patience);
        self.wanted.store(until, Ordering::Relaxed);
    }

    fn newest(&self, after: u64, workbench: &Mutex<Workbench>) -> Option<Picture> {
        // frames that come meanwhile are not kept: nobody who captures waits
        let mut newest = lock(&self.newest);
        if newest.number <= after || newest.broken {
            return None;
        }
        if let Some(picture) = &newest.encoded {
            return Some(picture.clone());
        }
        let encoded = lock(workbench).encode(&newest.frame, None);
        let picture = self.picture(&newest, encoded);
        newest.broken = picture.is_none();
        newest.encoded.clone_from(&picture);
        picture
    }

    fn part(
        &self,
        region: Option<&str>,
        after: u64,
        workbench: &Mutex<Workbench>,
    ) -> Option<Picture> {
        let looks = lock(&self.looks);
        let named = looks.iter().find(|(name, _)| name.as_deref() == region);
        let framing = Framing {
            fit: None,
            ..named?.1
        };
        drop(looks);
        if framing == Framing::default() {
            return self.newest(after, workbench);
        }
        let newest = lock(&self.newest);
        if newest.number <= after {
            return None;
        }
        let encoded = lock(workbench).encode(&newest.frame, Some(&framing));
        self.picture(&newest, encoded)
    }

    fn picture(&self, newest: &Newest, encoded: Result<Arc<[u8]>, String>) -> Option<Picture> {
        match encoded {
            Ok(jpeg) => Some(Picture {
                jpeg,
                number: newest.number,
                captured_at: unix_seconds(newest.frame.captured_at),
            }),
            Err(reason) => {
                log::debug!("{}: no preview of a frame: {reason}", self.camera);
                None
            }
        }
    }
}

impl Workbench {
    /// All of a picture as it is laid out, or a part of it, upright.
    fn encode(&mut self, frame: &Frame, framing: Option<&Framing>) -> Result<Arc<[u8]>, String> {
        let whole = frame.format == PixelFormat::Mjpg && frame.data.starts_with(&[0xff, 0xd8]);
        if whole && framing.is_none() && frame.data.len() <= LARGEST_JPEG {
            return Ok(frame.data.as_slice().into());
        }
        let Self { reducer, pixels } = self;
        let framing = framing.copied().unwrap_or_default();
        let size = { reducer }.run(frame, &framing, LONGEST_SIDE, pixels);
        let size = size.map_err(|error| error.to_string())?;
        let side = |side: u32| u16::try_from(side).map_err(|error| error.to_string());
        let (width, height) = (side(size.width)?, side(size.height)?);
        let mut jpeg = Vec::with_capacity(64 << 10);
        Encoder::new(&mut jpeg, QUALITY)
            .encode(pixels, width, height, ColorType::Rgb)
            .map_err(|error| error.to_string())?;
        Ok(jpeg.into())
    }
}

impl Pictures for Previews {
    fn number(&self, camera: &str) -> u64 {
        self.find(camera).map_or(0, |preview| {
            preview.want();
            lock(&preview.newest).number
        })
    }

    fn newest(&self, camera: &str, after: u64) -> Option<Picture> {
        let preview = self.find(camera)?;
        preview.want();
        preview.newest(after, &self.encoder)
    }

    fn part(&self, camera: &str, region: Option<&str>, after: u64) -> Option<Picture> {
        let preview = self.find(camera)?;
        preview.want();
        preview.part(region, after, &self.encoder)
    }

    fn scene(&self, camera: &str) -> Option<Scene> {
        Some(lock(&self.find(camera)?.scene).clone())
    }

    fn why(&self, question: Question<'_>) -> Option<Why> {
        let preview = self.find(question.camera)?;
        preview.want();
        let wanted = (question.region.map(str::to_owned), question.class_id);
        let mut asked = lock(&preview.asked);
        if asked.until.is_none_or(|until| Instant::now() >= until) {
            asked.answer = None; // nobody knows how old it is
        }
        asked.until = Some(Instant::now() + PATIENCE);
        asked.question = Some(wanted.clone());
        let answer = asked.answer.as_ref();
        let same = answer.filter(|(question, _)| *question == wanted);
        same.map(|(_, why)| why.clone())
    }
}

#[cfg(test)]
mod tests;
