//! Messages for the tests of publishers.

use super::wire::{
    Change, Classification, Hello, Image, Message, Model, ModelInfo, Reason, Scored, State, Status,
    Timing,
};

pub fn model_info() -> ModelInfo {
    ModelInfo {
        name: "m".into(),
        arch: "resnet50".into(),
        precision: "int8".into(),
        labels: 2,
    }
}

pub fn model(reason: Reason) -> Model {
    Model {
        timestamp: 1.0,
        model: model_info(),
        reason,
        detail: String::new(),
        others: Vec::new(),
    }
}

pub fn hello(cameras: &[&str]) -> Message<'static> {
    Message::Hello(Hello {
        protocol: 1,
        version: "0".into(),
        cameras: cameras.iter().map(|&camera| camera.to_owned()).collect(),
        model: model_info(),
    })
}

pub fn status(camera: &'static str, at: f64, state: State) -> Message<'static> {
    Message::Status(Status {
        camera: camera.into(),
        timestamp: at,
        state,
        detail: None,
    })
}

/// Of the camera `a`, from `ball`.
pub fn change(region: Option<&'static str>, at: f64, to: &'static str) -> Message<'static> {
    Message::Change(Change {
        camera: "a".into(),
        region: region.map(Into::into),
        timestamp: at,
        from: Some("ball".into()),
        to: to.into(),
        labels: None,
        confidence: 0.75,
    })
}

/// Of the camera `a`, which says `ball`; an inference of 30 ms.
pub fn classification(region: Option<&'static str>, confidence: f32) -> Classification<'static> {
    let first = Scored {
        class: "ball".into(),
        class_id: 0,
        confidence,
    };
    Classification {
        camera: "a".into(),
        region: region.map(Into::into),
        frame_id: 1,
        timestamp: 5.0,
        model: "m".into(),
        image: Image {
            width: 4,
            height: 3,
        },
        predictions: vec![first].into(),
        labels: None,
        top: "ball".into(),
        confidence,
        timing: Timing {
            capture_ms: 1.0,
            preprocess_ms: 2.0,
            inference_ms: 30.0,
            age_ms: 40.0,
        },
        dropped: 1,
    }
}
