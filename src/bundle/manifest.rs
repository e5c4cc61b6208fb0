//! `resnetd.json`: what a bundle says of itself.

use serde::{Deserialize, Serialize};

use crate::spec::{Activation, Preprocessing};

/// The version of the bundle format that this program reads and writes.
pub const FORMAT: u64 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u64,
    /// What messages call the model: `resnet50-imagenette`.
    pub name: String,
    /// `resnet50`, `resnet101`, or `resnet-3-4-6-3` where no published name fits.
    pub arch: String,
    /// The classes, in the order of the network's outputs.
    pub labels: Vec<String>,
    pub preprocessing: Preprocessing,
    pub activation: Activation,
    /// Absent in a float bundle.
    pub quantization: Option<Quantization>,
    pub provenance: Provenance,
    /// As measured by `resnetd-model eval --write`.
    pub accuracy: Option<Accuracy>,
    /// As fitted by `resnetd-model eval --fit-temperature --write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// XXH3-128 of every byte of the archive but these 32 digits.
    pub checksum: String,
}

/// How the weights and activations became 8-bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// How activation ranges were chosen.
    pub method: String,
    /// The pictures they were chosen on.
    pub calibration: String,
    pub images: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The file that was imported, or the seed of synthetic weights.
    pub source: String,
    /// Of that file; absent where there is none.
    pub sha256: Option<String>,
    /// The program and version that wrote the bundle.
    pub tool: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of pictures whose most probable class is the right one.
    pub top1: f64,
    /// Share of pictures whose right class is among the five most probable.
    pub top5: f64,
    pub images: usize,
    /// The pictures it was measured on.
    pub data: String,
}

/// How sure the network may say it is (temperature scaling).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Divides the logits; above 1 for a network that is too sure of itself.
    pub temperature: f32,
    /// Mean distance of confidence and share of right labels, on other pictures than those it was fitted to, before it
    /// was and after.
    pub error_before: f64,
    pub error: f64,
    /// How many it was fitted to.
    pub images: usize,
    /// The pictures.
    pub data: String,
}

impl Manifest {
    /// Of another network than the one that was measured.
    pub fn forget_measured(&mut self) {
        self.accuracy = None;
        self.confidence = None;
    }

    /// What logits are divided by.
    #[must_use]
    pub fn temperature(&self) -> f32 {
        self.confidence.as_ref().map_or(1.0, |c| c.temperature)
    }

    /// Indented, keys in the order of the fields.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }
}
