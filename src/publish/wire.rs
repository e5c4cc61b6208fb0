//! The protocol: newline-delimited JSON, one [`Message`] a line. Field names never change within a
//! [`PROTOCOL`] version; new fields may come, so that readers must ignore those they do not know.
//!
//! Only the shapes. Which messages are sent when is the daemon's and the hub's business.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};

/// Version of the protocol, in [`Hello`].
pub const PROTOCOL: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message<'a> {
    Hello(Hello),
    Model(Model),
    Classification(Classification<'a>),
    Change(Change<'a>),
    Status(Status<'a>),
    Lagged(Lagged),
}

/// The first line that a subscriber gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub version: String,
    pub cameras: Vec<String>,
    pub model: ModelInfo,
}

/// What classifies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    pub name: String,
    /// `resnet50` or `resnet101`.
    pub arch: String,
    /// `int8` or `f32`.
    pub precision: String,
    /// How many.
    pub labels: usize,
}

/// Which model was chosen and why: after [`Hello`] and with every switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    #[serde(serialize_with = "milliseconds_of_a_time")]
    pub timestamp: f64,
    pub model: ModelInfo,
    pub reason: Reason,
    pub detail: String,
    pub others: Vec<OtherModel>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Start,
    Load,
    Memory,
    Heat,
    Recovered,
    Config,
    User,
}

/// What a model that was not chosen would cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OtherModel {
    pub name: String,
    #[serde(serialize_with = "hundredths")]
    pub avg_ms: f32,
    #[serde(serialize_with = "hundredths")]
    pub rss_mib: f32,
}

/// One classified frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification<'a> {
    pub camera: Cow<'a, str>,
    /// The part of the picture that was looked at, where the configuration names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Cow<'a, str>>,
    /// Counts the camera's captured frames, from 1; those that were never classified leave gaps.
    pub frame_id: u64,
    /// Unix seconds at capture.
    #[serde(serialize_with = "milliseconds_of_a_time")]
    pub timestamp: f64,
    pub model: Cow<'a, str>,
    pub image: Image,
    /// This frame's own, most probable first.
    pub predictions: Cow<'a, [Scored<'a>]>,
    /// The smoothed labels that hold, of a model that gives several; the confidences are this frame's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Cow<'a, [Scored<'a>]>>,
    /// The smoothed label, of several the surest; `unknown` where none reaches its threshold.
    pub top: Cow<'a, str>,
    /// Of the smoothed label.
    #[serde(serialize_with = "ten_thousandths")]
    pub confidence: f32,
    pub timing: Timing,
    /// Frames that were captured and not classified since the last message of this camera.
    pub dropped: u64,
}

/// Size of the picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored<'a> {
    pub class: Cow<'a, str>,
    pub class_id: usize,
    #[serde(serialize_with = "ten_thousandths")]
    pub confidence: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    #[serde(serialize_with = "hundredths")]
    pub capture_ms: f32,
    #[serde(serialize_with = "hundredths")]
    pub preprocess_ms: f32,
    #[serde(serialize_with = "hundredths")]
    pub inference_ms: f32,
    /// From capture to publication.
    #[serde(serialize_with = "hundredths")]
    pub age_ms: f32,
}

/// The smoothed label is another one than before, or of several one has come or gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change<'a> {
    pub camera: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Cow<'a, str>>,
    #[serde(serialize_with = "milliseconds_of_a_time")]
    pub timestamp: f64,
    /// `null` for a camera's first label.
    pub from: Option<Cow<'a, str>>,
    pub to: Cow<'a, str>,
    /// All that hold now, of a model that gives several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<Cow<'a, str>>>,
    #[serde(serialize_with = "ten_thousandths")]
    pub confidence: f32,
}

/// A camera is in another state than before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status<'a> {
    pub camera: Cow<'a, str>,
    #[serde(serialize_with = "milliseconds_of_a_time")]
    pub timestamp: f64,
    pub state: State,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No frame has come yet.
    Starting,
    Streaming,
    /// The device is gone; resnetd tries to get it back.
    CameraLost,
    /// The device is there and delivers nothing.
    Stale,
    Stopping,
}

impl State {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Streaming => "streaming",
            Self::CameraLost => "camera_lost",
            Self::Stale => "stale",
            Self::Stopping => "stopping",
        }
    }
}

/// The subscriber did not read, and this many messages are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lagged {
    pub missed: u64,
}

impl Message<'_> {
    /// Appends the line, its newline included.
    pub fn write(&self, line: &mut Vec<u8>) {
        // Writing to memory does not fail, nor do these types: no map, no key that is not a string.
        let written = serde_json::to_writer(&mut *line, self);
        debug_assert!(written.is_ok(), "{written:?}");
        line.push(b'\n');
    }
}

/// Unix seconds, as timestamps are on the wire.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn ten_thousandths<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(f64::from(*value), 1e4, serializer)
}

fn hundredths<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(f64::from(*value), 1e2, serializer)
}

fn milliseconds_of_a_time<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value, 1e3, serializer)
}

/// Writes a multiple of `1 / parts`. A value that is no number, which JSON cannot say, becomes 0.
fn rounded<S: Serializer>(value: f64, parts: f64, serializer: S) -> Result<S::Ok, S::Error> {
    let value = if value.is_finite() { value } else { 0.0 };
    serializer.serialize_f64((value * parts).round() / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message as a line, and the same read back and written again.
    fn line(message: &Message<'_>) -> String {
        let mut line = Vec::new();
        message.write(&mut line);
        let mut again = Vec::new();
        serde_json::from_slice::<Message<'_>>(&line)
            .unwrap()
            .write(&mut again);
        assert_eq!(line, again);
        String::from_utf8(line).unwrap()
    }

    fn model() -> ModelInfo {
        ModelInfo {
            name: "resnet50-imagenette".into(),
            arch: "resnet50".into(),
            precision: "int8".into(),
            labels: 10,
        }
    }

    #[test]
    fn hello_is_as_documented() {
        let hello = Hello {
            protocol: 1,
            version: "0.1.0".into(),
            cameras: vec!["front".into()],
            model: model(),
        };
        assert_eq!(
            line(&Message::Hello(hello)),
            "{\"type\":\"hello\",\"protocol\":1,\"version\":\"0.1.0\",\"cameras\":[\"front\"],\"model\":{\"name\":\"resnet50-imagenette\",\"arch\":\"resnet50\",\"precision\":\"int8\",\"labels\":10}}\n"
        );
    }

    #[test]
    fn classification_is_as_documented() {
        let golf_ball = Scored {
            class: "golf ball".into(),
            class_id: 6,
            confidence: 0.931_234,
        };
        let message = Message::Classification(Classification {
            camera: "front".into(),
            region: None,
            frame_id: 1041,
            timestamp: 1_764_000_000.123,
            model: "resnet50-imagenette".into(),
            image: Image {
                width: 1280,
                height: 720,
            },
            predictions: vec![golf_ball].into(),
            labels: None,
            top: "golf ball".into(),
            confidence: 0.931_16,
            timing: Timing {
                capture_ms: 1.2,
                preprocess_ms: 2.1,
                inference_ms: 41.0,
                age_ms: 46.0,
            },
            dropped: 3,
        });
        assert_eq!(
            line(&message),
            "{\"type\":\"classification\",\"camera\":\"front\",\"frame_id\":1041,\"timestamp\":1764000000.123,\"model\":\"resnet50-imagenette\",\"image\":{\"width\":1280,\"height\":720},\"predictions\":[{\"class\":\"golf ball\",\"class_id\":6,\"confidence\":0.9312}],\"top\":\"golf ball\",\"confidence\":0.9312,\"timing\":{\"capture_ms\":1.2,\"preprocess_ms\":2.1,\"inference_ms\":41.0,\"age_ms\":46.0},\"dropped\":3}\n"
        );
    }

    #[test]
    fn change_status_model_and_lagged_are_as_documented() {
        let change = Change {
            camera: "front".into(),
            region: None,
            timestamp: 1_764_000_000.123,
            from: Some("parachute".into()),
            to: "golf ball".into(),
            labels: None,
            confidence: 0.91,
        };
        assert_eq!(
            line(&Message::Change(change)),
            "{\"type\":\"change\",\"camera\":\"front\",\"timestamp\":1764000000.123,\"from\":\"parachute\",\"to\":\"golf ball\",\"confidence\":0.91}\n"
        );

        let status = Status {
            camera: "front".into(),
            timestamp: 1_764_000_000.123,
            state: State::CameraLost,
            detail: None,
        };
        assert_eq!(
            line(&Message::Status(status)),
            "{\"type\":\"status\",\"camera\":\"front\",\"timestamp\":1764000000.123,\"state\":\"camera_lost\"}\n"
        );

        let others = vec![OtherModel {
            name: "b".into(),
            avg_ms: 80.5,
            rss_mib: 90.0,
        }];
        let chosen = Model {
            timestamp: 1.0,
            model: model(),
            reason: Reason::Start,
            detail: "first".into(),
            others,
        };
        assert_eq!(
            line(&Message::Model(chosen)),
            "{\"type\":\"model\",\"timestamp\":1.0,\"model\":{\"name\":\"resnet50-imagenette\",\"arch\":\"resnet50\",\"precision\":\"int8\",\"labels\":10},\"reason\":\"start\",\"detail\":\"first\",\"others\":[{\"name\":\"b\",\"avg_ms\":80.5,\"rss_mib\":90.0}]}\n"
        );

        assert_eq!(
            line(&Message::Lagged(Lagged { missed: 17 })),
            "{\"type\":\"lagged\",\"missed\":17}\n"
        );
    }

    #[test]
    fn every_state_is_written_as_it_is_named() {
        for state in [
            State::Starting,
            State::Streaming,
            State::CameraLost,
            State::Stale,
            State::Stopping,
        ] {
            assert_eq!(
                serde_json::to_string(&state).unwrap(),
                format!("\"{}\"", state.as_str())
            );
        }
    }

    #[test]
    fn what_json_cannot_say_becomes_zero() {
        let scored = Scored {
            class: "a \"b\"\n".into(),
            class_id: 0,
            confidence: f32::NAN,
        };
        assert_eq!(
            serde_json::to_string(&scored).unwrap(),
            r#"{"class":"a \"b\"\n","class_id":0,"confidence":0.0}"#
        );
    }
}
