//! What Home Assistant is told so that it shows a device without being configured: its MQTT discovery, in the form of one
//! message for a device with all its components (<https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>).

use serde_json::{Map, Value, json};

use super::topics::Topics;
use crate::publish::level::level;

/// Where Home Assistant looks for it.
#[must_use]
pub fn topic(prefix: &str, topics: &Topics) -> String {
    format!("{prefix}/device/resnetd-{}/config", topics.device())
}

/// A camera and the parts of its pictures that get labels; `None`: all of the picture.
pub type Parts = (String, Vec<Option<String>>);

/// What there is.
pub struct Announcement<'a> {
    pub topics: &'a Topics,
    pub model: &'a str,
    pub cameras: &'a [Parts],
    /// Labels that get a binary sensor each.
    pub labels: &'a [String],
}

impl Announcement<'_> {
    pub fn payload(&self) -> Value {
        let device = self.topics.device();
        let mut components = Map::new();
        for (camera, regions) in self.cameras {
            for region in regions {
                self.label(&mut components, camera, region.as_deref());
            }
            self.camera(&mut components, camera);
        }
        self.machine(&mut components);
        json!({
            "device": {
                "identifiers": [format!("resnetd-{device}")],
                "name": format!("resnetd {device}"),
                "manufacturer": "resnetd",
                "model": self.model,
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
            "origin": { "name": "resnetd", "sw_version": env!("CARGO_PKG_VERSION") },
            "availability_topic": self.topics.status(),
            "payload_available": "online",
            "payload_not_available": "offline",
            "qos": 1,
            "components": components,
        })
    }

    fn id(&self, parts: &[&str]) -> String {
        let mut id = format!("resnetd-{}", self.topics.device());
        for part in parts {
            id.push('_');
            id.push_str(&level(part));
        }
        id
    }

    fn add(&self, components: &mut Map<String, Value>, parts: &[&str], mut component: Value) {
        let id = self.id(parts);
        component["unique_id"] = id.clone().into();
        components.insert(id, component);
    }

    fn label(&self, components: &mut Map<String, Value>, camera: &str, region: Option<&str>) {
        let name = region.map_or_else(|| camera.to_owned(), |region| format!("{camera} {region}"));
        let topic = self.topics.of(camera, region, "label");
        let part = region.unwrap_or("");
        self.add(
            components,
            &[camera, part, "label"],
            json!({
                "platform": "sensor",
                "name": format!("{name} label"),
                "icon": "mdi:eye",
                "state_topic": topic,
                "value_template": "{{ value_json.label }}",
                "json_attributes_topic": topic,
            }),
        );
        self.add(
            components,
            &[camera, part, "confidence"],
            json!({
                "platform": "sensor",
                "name": format!("{name} confidence"),
                "icon": "mdi:percent",
                "state_topic": topic,
                "unit_of_measurement": "%",
                "state_class": "measurement",
                "value_template": "{{ (value_json.confidence * 100) | round(1) }}",
            }),
        );
        for label in self.labels {
            self.add(components, &[camera, part, "is", label], json!({
                "platform": "binary_sensor",
                "name": format!("{name} {label}"),
                "state_topic": topic,
                "value_template": format!("{{{{ 'ON' if {} in value_json.labels else 'OFF' }}}}", quoted(label)),
            }));
        }
    }

    fn camera(&self, components: &mut Map<String, Value>, camera: &str) {
        self.add(
            components,
            &[camera, "picture"],
            json!({
                "platform": "camera",
                "name": camera,
                "topic": self.topics.of(camera, None, "picture"),
            }),
        );
        let topic = self.topics.of(camera, None, "camera");
        let mut diagnosis = |what: &str, name: &str, unit: Option<&str>| {
            let mut component = json!({
                "platform": "sensor",
                "name": format!("{camera} {name}"),
                "entity_category": "diagnostic",
                "state_topic": topic,
                "value_template": format!("{{{{ value_json.{what} }}}}"),
            });
            if let Some(unit) = unit {
                component["unit_of_measurement"] = unit.into();
                component["state_class"] = "measurement".into();
            }
            self.add(components, &[camera, what], component);
        };
        diagnosis("state", "state", None);
        diagnosis("frames_per_second", "frames a second", Some("fps"));
        diagnosis("inference_ms", "inference", Some("ms"));
        diagnosis("age_ms", "age of labels", Some("ms"));
    }

    fn machine(&self, components: &mut Map<String, Value>) {
        let topic = self.topics.machine();
        self.add(
            components,
            &["model"],
            json!({
                "platform": "sensor",
                "name": "Model",
                "entity_category": "diagnostic",
                "state_topic": topic,
                "value_template": "{{ value_json.model }}",
            }),
        );
        self.add(
            components,
            &["temperature"],
            json!({
                "platform": "sensor",
                "name": "Temperature",
                "entity_category": "diagnostic",
                "device_class": "temperature",
                "unit_of_measurement": "\u{b0}C",
                "state_class": "measurement",
                "state_topic": topic,
                "value_template": "{{ value_json.celsius }}",
            }),
        );
    }
}

/// As a string in a Jinja template.
fn quoted(label: &str) -> String {
    let mut text = String::from("\"");
    for c in label.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_what_home_assistant_asks_for() {
        let topics = Topics::new("pi");
        let labels = ["golf ball".to_owned(), "a \"b\" \\ \u{1f600}".to_owned()];
        let announcement = Announcement {
            topics: &topics,
            model: "m",
            cameras: &[
                ("front".into(), vec![None]),
                (
                    "yard".into(),
                    vec![Some("gate".into()), Some("a/b#".into())],
                ),
            ],
            labels: &labels,
        };
        let payload = announcement.payload();
        let components = payload["components"].as_object().unwrap();
        assert_eq!(components.len(), 3 * 4 + 2 * 5 + 2);
        for (id, component) in components {
            assert_eq!(component["unique_id"], **id);
            assert!(
                id.chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'),
                "{id}"
            );
            let topic = match component["platform"].as_str().unwrap() {
                "camera" => &component["topic"],
                _ => &component["state_topic"],
            };
            assert!(
                topic.as_str().unwrap().starts_with("resnetd/pi/"),
                "{component}"
            );
            assert!(!topic.as_str().unwrap().contains(['#', '+', ' ']));
        }
        assert_eq!(
            topic("homeassistant", &topics),
            "homeassistant/device/resnetd-pi/config"
        );
        assert_eq!(quoted(&labels[1]), "\"a \\\"b\\\" \\\\ \u{1f600}\"");
    }
}
