//! What is kept of pictures, for whom and for how long.

use super::*;
use crate::daemon::{Classified, ClassifyError, Worth};
use crate::infer::ActivationMap;
use crate::spec::{Area, Turn};

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
fn a_region_is_cut_out_upright() {
    let previews = Previews::new(1000.0);
    let look = Look {
        region: Some("r".into()),
        framing: Framing {
            turn: Turn::Left,
            area: Area::try_from([0.0, 0.0, 1.0, 0.5]).unwrap(),
            ..Framing::default()
        },
        ..Look::default()
    };
    let preview = previews.watch("a", &[look]);
    assert_eq!(previews.part("a", Some("r"), 0), None);
    preview.offer(&frame(9));
    let part = previews.part("a", Some("r"), 0).unwrap();
    let decoded = image::load_from_memory(&part.jpeg).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (8, 4));
    assert_eq!(previews.part("a", Some("other"), 0), None);
    assert_eq!(previews.part("a", Some("r"), part.number), None);
}

#[test]
fn a_camera_that_is_not_watched_has_no_picture() {
    let (previews, _preview) = watched();
    previews.forget("a");
    assert_eq!((previews.newest("a", 0), previews.scene("a")), (None, None));
}
