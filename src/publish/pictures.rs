//! What a publisher may ask of the cameras' pictures. Asking is the flag that makes the daemon keep them: while nobody
//! asks, no frame is copied, encoded or explained.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::spec::{Flip, Turn};

/// A frame as a JPEG file.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub jpeg: Arc<[u8]>,
    /// Grows from one to the next of a camera.
    pub number: u64,
    /// Unix seconds.
    pub captured_at: f64,
}

/// How a camera's pictures are looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Scene {
    /// What makes them upright: first the turn, then the flip.
    pub rotate: Turn,
    pub flip: Flip,
    /// What the network sees of the upright picture, for each part that gets labels.
    pub views: Vec<View>,
}

/// A part of an upright picture, in shares of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// `None`: all of the picture.
    pub region: Option<String>,
    /// Left, top, width, height of what is looked at.
    pub area: [f32; 4],
    /// The same of the square that the network sees, once it has seen something. With a border it reaches beyond.
    pub seen: Option<[f32; 4]>,
}

/// Where in a view a label comes from: the class activation map (Zhou et al., "Learning Deep Features for
/// Discriminative Localization", CVPR 2016).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    pub class_id: usize,
    pub class: String,
    /// Unix seconds of the frame's capture.
    pub timestamp: f64,
    pub rows: usize,
    pub columns: usize,
    /// Row by row, what each place adds to the class's score; their mean and the class's bias make the logit.
    pub values: Vec<f32>,
}

/// Whose map is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    pub camera: &'a str,
    pub region: Option<&'a str>,
    /// `None`: of the most probable class.
    pub class_id: Option<usize>,
}

/// Between two looks for something that is to come soon.
const SHORT: Duration = Duration::from_millis(50);

/// Asks until there is an answer, for as long as one may be in coming.
pub async fn soon<T>(patience: Duration, ask: impl Fn() -> Option<T>) -> Option<T> {
    for _ in 0..patience.as_millis() / SHORT.as_millis() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        tokio::time::sleep(SHORT).await;
    }
    None
}

/// Who has the pictures.
pub trait Pictures: Send + Sync {
    /// The number of a camera's newest frame that is kept, 0 for none. For some seconds newer ones are kept then.
    fn number(&self, camera: &str) -> u64;

    /// The newest frame of a camera if it is newer than number `after`. For some seconds newer ones are kept then.
    fn newest(&self, camera: &str, after: u64) -> Option<Picture>;

    /// As [`newest`](Self::newest), upright, and of a region only that.
    fn part(&self, camera: &str, region: Option<&str>, after: u64) -> Option<Picture>;

    /// `None`: there is no such camera.
    fn scene(&self, camera: &str) -> Option<Scene>;

    /// What the next frame that is classified will answer, or the last answer to the same question if it is new.
    fn why(&self, question: Question<'_>) -> Option<Why>;
}

/// Of cameras that show nothing: for who only wants labels.
pub struct Blind;

impl Pictures for Blind {
    fn number(&self, _: &str) -> u64 {
        0
    }

    fn newest(&self, _: &str, _: u64) -> Option<Picture> {
        None
    }

    fn part(&self, _: &str, _: Option<&str>, _: u64) -> Option<Picture> {
        None
    }

    fn scene(&self, _: &str) -> Option<Scene> {
        None
    }

    fn why(&self, _: Question<'_>) -> Option<Why> {
        None
    }
}
