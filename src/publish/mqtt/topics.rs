//! Names of topics. A camera may be called anything; a level of a topic may not hold `/`, `+` or `#`, and Home Assistant's
//! identifiers hold letters, digits, `-` and `_` only.

use xxhash_rust::xxh3::xxh3_64;

const ROOT: &str = "resnetd";

/// A name as a level of a topic and as an identifier. What had to be changed gets a mark, so that different names stay
/// different.
#[must_use]
pub fn level(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    let changed: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("{changed}-{:04x}", xxh3_64(name.as_bytes()) & 0xffff)
}

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
    use proptest::prelude::*;

    #[test]
    fn plain_names_stay_and_others_are_told_apart() {
        assert_eq!(level("front-door_2"), "front-door_2");
        assert!(level("front door").starts_with("front_door-"));
        assert_ne!(level("a/b"), level("a#b"));
        assert_ne!(level(""), level(" "));
        let topics = Topics::new("pi");
        assert_eq!(
            topics.of("yard", Some("gate"), "label"),
            "resnetd/pi/yard/gate/label"
        );
        assert_eq!(topics.of("yard", None, "event"), "resnetd/pi/yard/event");
    }

    proptest! {
        #[test]
        fn no_name_makes_a_level_that_is_none(name in ".{0,20}") {
            let level = level(&name);
            prop_assert!(!level.is_empty());
            prop_assert!(level.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        }
    }
}
