//! Names of topics.

use crate::publish::level::level;

const ROOT: &str = "resnetd";

/// The topics of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    device: String,
}

impl Topics {
    #[must_use]
    pub fn new(device: &str) -> Self {
        Self {
            device: level(device),
        }
    }

    /// As part of identifiers.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// `online`, or `offline` by the last will.
    #[must_use]
    pub fn status(&self) -> String {
        format!("{ROOT}/{}/status", self.device)
    }

    /// What runs, and how the machine feels.
    #[must_use]
    pub fn machine(&self) -> String {
        format!("{ROOT}/{}/machine", self.device)
    }

    /// Something of a camera, or of a part of its pictures.
    #[must_use]
    pub fn of(&self, camera: &str, region: Option<&str>, what: &str) -> String {
        let mut topic = format!("{ROOT}/{}/{}", self.device, level(camera));
        if let Some(region) = region {
            topic.push('/');
            topic.push_str(&level(region));
        }
        format!("{topic}/{what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_a_level_of_their_own() {
        let topics = Topics::new("pi");
        assert_eq!(
            topics.of("yard", Some("gate"), "label"),
            "resnetd/pi/yard/gate/label"
        );
        assert_eq!(topics.of("yard", None, "event"), "resnetd/pi/yard/event");
    }
}
