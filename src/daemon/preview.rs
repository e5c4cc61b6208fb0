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
    asked: Mutex<Asked>,
}

struct Newest {
    frame: Frame,
    /// 0: there is none yet.
    number: u64,
    /// Its frame is gone, to be encoded.
    taken: bool,
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
    frame: Option<Frame>,
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
                taken: false,
                encoded: None,
            }),
            scene: Mutex::new(scene(looks)),
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
        newest.taken = false;
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
        let mut bench = lock(workbench);
        let (number, captured_at) = {
            let mut newest = lock(&self.newest);
            if newest.number <= after {
                return None;
            }
            if let Some(picture) = &newest.encoded {
                return Some(picture.clone());
            }
            if std::mem::replace(&mut newest.taken, true) {
                return None; // it could not be encoded
            }
            let frame = bench.frame.get_or_insert_with(Frame::empty);
            std::mem::swap(frame, &mut newest.frame);
            (newest.number, unix_seconds(frame.captured_at))
        };
        // nobody who captures waits for this
        let jpeg = bench.encode();
        let mut newest = lock(&self.newest);
        match jpeg {
            Ok(jpeg) => {
                let picture = Picture {
                    jpeg,
                    number,
                    captured_at,
                };
                if newest.number == number {
                    newest.encoded = Some(picture.clone());
                }
                Some(picture)
            }
            Err(reason) => {
                log::debug!("{}: no preview of a frame: {reason}", self.camera);
                None
            }
        }
    }
}

impl Workbench {
    fn encode(&mut self) -> Result<Arc<[u8]>, String> {
        let Self {
            frame,
            reducer,
            pixels,
        } = self;
        let frame = frame.as_ref().ok_or("there is none")?;
        let whole = frame.format == PixelFormat::Mjpg && frame.data.starts_with(&[0xff, 0xd8]);
        if whole && frame.data.len() <= LARGEST_JPEG {
            return Ok(frame.data.as_slice().into());
        }
        let size = reducer
            .run(frame, LONGEST_SIDE, pixels)
            .map_err(|error| error.to_string())?;
        let side = |side: u32| u16::try_from(side).map_err(|error| error.to_string());
        let mut jpeg = Vec::with_capacity(64 << 10);
        Encoder::new(&mut jpeg, QUALITY)
            .encode(
                pixels,
                side(size.width)?,
                side(size.height)?,
                ColorType::Rgb,
            )
            .map_err(|error| error.to_string())?;
        Ok(jpeg.into())
    }
}

impl Pictures for Previews {
    fn newest(&self, camera: &str, after: u64) -> Option<Picture> {
        let preview = self.find(camera)?;
        preview.want();
        preview.newest(after, &self.encoder)
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
mod tests {
    use super::*;
    use crate::daemon::{Classified, ClassifyError, Worth};
    use crate::infer::ActivationMap;
    use crate::spec::Framing;

    struct Fake;

    impl Classifier for Fake {
        fn classify(
            &mut self,
            _: &Frame,
            _: &Framing,
            _: Worth,
            _: &mut Prediction,
        ) -> Result<Option<Classified>, ClassifyError> {
            Ok(None)
        }

        fn seen(&self) -> [f32; 4] {
            [0.25, 0.0, 0.5, 1.0]
        }

        #[allow(clippy::cast_precision_loss)] // small numbers
        fn map(&self, class_id: usize) -> Option<ActivationMap> {
            Some(ActivationMap {
                rows: 1,
                columns: 1,
                values: vec![class_id as f32],
            })
        }
    }

    fn frame(grey: u8) -> Frame {
        Frame {
            format: PixelFormat::Grey,
            width: 8,
            height: 8,
            stride: 8,
            data: vec![grey; 64],
            ..Frame::empty()
        }
    }

    fn watched() -> (Previews, Arc<Preview>) {
        let previews = Previews::new(1000.0);
        let preview = previews.watch("a", &[Look::default()]);
        (previews, preview)
    }

    fn question(class_id: Option<usize>) -> Question<'static> {
        Question {
            camera: "a",
            region: None,
            class_id,
        }
    }

    fn classify(preview: &Preview, top: usize) {
        let mut probabilities = vec![0.0; 3];
        probabilities[top] = 1.0;
        let prediction = Prediction {
            probabilities,
            logits: Vec::new(),
        };
        let labels = ["x", "y", "z"].map(String::from);
        preview.classified((&Look::default(), &frame(1)), &Fake, &prediction, &labels);
    }

    #[test]
    fn a_frame_is_kept_only_while_somebody_looks() {
        let (previews, preview) = watched();
        preview.offer(&frame(1));
        assert_eq!(lock(&preview.newest).number, 0);
        assert_eq!(previews.newest("a", 0), None);
        preview.offer(&frame(1));
        let picture = previews.newest("a", 0).unwrap();
        let decoded = image::load_from_memory(&picture.jpeg).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (8, 8));
        assert_eq!(previews.newest("a", picture.number), None);
        assert!(Arc::ptr_eq(
            &previews.newest("a", 0).unwrap().jpeg,
            &picture.jpeg
        ));
    }

    #[test]
    fn no_more_frames_are_kept_than_are_shown() {
        let previews = Previews::new(0.1);
        let preview = previews.watch("a", &[Look::default()]);
        preview.want();
        (0..50).for_each(|_| preview.offer(&frame(1)));
        assert_eq!(lock(&preview.newest).number, 1);
    }

    #[test]
    fn a_cameras_own_jpeg_is_passed_on_and_a_torn_frame_is_none() {
        let (previews, preview) = watched();
        previews.newest("a", 0);
        let jpeg = Frame {
            format: PixelFormat::Mjpg,
            data: vec![0xff, 0xd8, 1, 2],
            ..Frame::empty()
        };
        preview.offer(&jpeg);
        assert_eq!(*previews.newest("a", 0).unwrap().jpeg, jpeg.data);
        std::thread::sleep(Duration::from_millis(3));
        preview.offer(&Frame {
            data: vec![0; 3],
            ..frame(1)
        });
        assert_eq!(previews.newest("a", 1), None);
        assert_eq!(previews.newest("a", 1), None);
        std::thread::sleep(Duration::from_millis(3));
        preview.offer(&frame(2));
        assert_eq!(previews.newest("a", 1).unwrap().number, 3);
    }

    #[test]
    fn a_question_is_answered_by_the_next_frame_and_only_while_it_is_asked() {
        let (previews, preview) = watched();
        classify(&preview, 1);
        assert_eq!(previews.scene("a").unwrap().views[0].seen, None);
        assert_eq!(previews.why(question(None)), None);
        classify(&preview, 1);
        let why = previews.why(question(None)).unwrap();
        assert_eq!(
            (why.class_id, &*why.class, &why.values[..]),
            (1, "y", &[1.0][..])
        );
        assert_eq!(
            previews.scene("a").unwrap().views[0].seen,
            Some([0.25, 0.0, 0.5, 1.0])
        );
        assert_eq!(previews.why(question(Some(2))), None);
        classify(&preview, 1);
        assert_eq!(previews.why(question(Some(2))).unwrap().class, "z");
    }

    #[test]
    fn a_camera_that_is_not_watched_has_no_picture() {
        let (previews, _preview) = watched();
        previews.forget("a");
        assert_eq!((previews.newest("a", 0), previews.scene("a")), (None, None));
    }
}
