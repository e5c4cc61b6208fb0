//! How a network's pictures were prepared: what the user says, else what lies with the weights (a safetensors file's
//! metadata, timm's `config.json` beside it), else ImageNet's customs. What is said and cannot be done is an error:
//! preprocessing that is not the training's gives wrong labels.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::relatives;
use super::tensors::Metadata;
use crate::bundle::check_preprocessing;
use crate::model::error::ModelError;
use crate::plain_file;
use crate::spec::{Activation, ChannelOrder, Fit, Interpolation, Preprocessing};

/// ImageNet's statistics and torchvision's sizes, which most ResNets were trained with.
pub const IMAGENET: Preprocessing = Preprocessing {
    resize: 256,
    crop: 224,
    fit: Fit::Crop,
    interpolation: Interpolation::Bilinear,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    channel_order: ChannelOrder::Rgb,
};

/// No mean or deviation of values from 0 to 1 is larger.
const LARGEST: f32 = 1.0;
/// Larger files are no `config.json`; the labels of 21,000 classes have 400 KB.
const MAX_CONFIG: u64 = 4 << 20;

/// What the user says; the file's own metadata and ImageNet's customs stand in for the rest.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub name: String,
    pub labels: Option<Vec<String>>,
    pub resize: Option<u32>,
    pub crop: Option<u32>,
    pub interpolation: Option<Interpolation>,
    pub mean: Option<[f32; 3]>,
    pub std: Option<[f32; 3]>,
    pub bgr: bool,
    /// Each label is scored for itself.
    pub multi_label: bool,
    /// A QDQ file is read as the float network that it rounds.
    pub as_float: bool,
    /// timm's configuration, if it does not lie beside the weights.
    pub config: Option<PathBuf>,
    /// What to call the weights' source, if not by the file's name.
    pub source: Option<String>,
}

impl Options {
    /// # Errors
    /// If the file says what we cannot read or do.
    pub(super) fn preprocessing(&self, meta: &Metadata) -> Result<Preprocessing, ModelError> {
        let crop = first(self.crop, meta, "crop", number)?.unwrap_or(IMAGENET.crop);
        let resize = first(self.resize, meta, "resize", number)?;
        let kind = first(self.interpolation, meta, "interpolation", interpolation)?;
        let found = Preprocessing {
            resize: resize.unwrap_or_else(|| customary(crop)),
            crop,
            fit: first(None, meta, "fit", fit)?.unwrap_or_default(),
            interpolation: kind.unwrap_or(IMAGENET.interpolation),
            mean: first(self.mean, meta, "mean", triple)?.unwrap_or(IMAGENET.mean),
            std: first(self.std, meta, "std", triple)?.unwrap_or(IMAGENET.std),
            channel_order: if self.bgr {
                ChannelOrder::Bgr
            } else {
                ChannelOrder::Rgb
            },
        };
        for (what, values) in [("mean", found.mean), ("std", found.std)] {
            if values.iter().any(|v| v.abs() > LARGEST) {
                return Err(ModelError::Preprocessing(format!(
                    "{what} {values:?} is of values from 0 to 255; divide it by 255, as values here go from 0 to 1"
                )));
            }
        }
        check_preprocessing(&found).map_err(ModelError::Preprocessing)?;
        Ok(found)
    }

    /// How logits become scores: as the file says, else as the user does. Where neither does, a single output is scored for itself.
    ///
    /// # Errors
    /// If they say different things.
    pub(super) fn activation(
        &self,
        file: Option<Activation>,
        classes: usize,
    ) -> Result<Activation, ModelError> {
        match file {
            Some(Activation::Softmax) if self.multi_label => Err(ModelError::Exclusive),
            Some(activation) => Ok(activation),
            None if self.multi_label || classes == 1 => Ok(Activation::Sigmoid),
            None => Ok(Activation::Softmax),
        }
    }

    /// What neither the user nor the metadata says, by the names of the flags.
    pub(super) fn assumed(&self, meta: &Metadata) -> Vec<&'static str> {
        let given = [
            ("resize", self.resize.is_some()),
            ("crop", self.crop.is_some()),
            ("interpolation", self.interpolation.is_some()),
            ("mean", self.mean.is_some()),
            ("std", self.std.is_some()),
        ];
        let unknown = |(key, given): &(&'static str, bool)| !given && !meta.contains_key(*key);
        given
            .iter()
            .filter(|e| unknown(e))
            .map(|(key, _)| *key)
            .collect()
    }

    /// A file's own metadata, and where it says nothing timm's configuration: the one that was named, or a `config.json`
    /// in the file's folder, if it is timm's.
    ///
    /// # Errors
    /// If one was named and cannot be read, or it says what we cannot do.
    pub(super) fn with_beside(
        &self,
        weights: &Path,
        mut own: Metadata,
    ) -> Result<Metadata, ModelError> {
        let mut beside = self.beside(weights)?;
        let crop = self.crop.map(|crop| crop.to_string());
        let crop = crop.or_else(|| own.get("crop").cloned());
        if crop.is_some_and(|crop| beside.get("crop").is_some_and(|other| *other != crop)) {
            // said for pictures of another size
            beside.remove("resize");
        }
        for (key, value) in beside {
            own.entry(key).or_insert(value);
        }
        Ok(own)
    }

    fn beside(&self, weights: &Path) -> Result<Metadata, ModelError> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None => weights.with_file_name("config.json"),
        };
        match plain_file::read_text(&path, MAX_CONFIG) {
            Ok(text) => timm(&text),
            Err(_) if self.config.is_none() => Ok(Metadata::default()),
            Err(error) => Err(ModelError::Read { path, error }),
        }
    }
}

/// The shorter side that a square of `crop` is customarily cut from: 256 for 224.
fn customary(crop: u32) -> u32 {
    let (whole, part) = (u64::from(IMAGENET.resize), u64::from(IMAGENET.crop));
    u32::try_from(u64::from(crop) * whole / part).unwrap_or(u32::MAX)
}

/// What the user says, else what the metadata says under `key`, if anything.
fn first<T>(
    given: Option<T>,
    meta: &Metadata,
    key: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ModelError> {
    let (None, Some(text)) = (&given, meta.get(key)) else {
        return Ok(given);
    };
    let value = parse(text).ok_or_else(|| {
        ModelError::Preprocessing(format!(
            "the file's metadata says {key} = {text:?}, which is not supported"
        ))
    })?;
    Ok(Some(value))
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

/// Three numbers with commas between them.
#[must_use]
pub fn triple(text: &str) -> Option<[f32; 3]> {
    let values: Result<Vec<f32>, _> = text.split(',').map(|v| v.trim().parse()).collect();
    values.ok()?.try_into().ok()
}

fn fit(text: &str) -> Option<Fit> {
    match text {
        "crop" => Some(Fit::Crop),
        "letterbox" => Some(Fit::Letterbox),
        "squash" => Some(Fit::Squash),
        _ => None,
    }
}

/// The filter's name, perhaps with more words behind it.
#[must_use]
pub fn interpolation(text: &str) -> Option<Interpolation> {
    match text.split(|c: char| !c.is_ascii_alphabetic()).next() {
        Some("bilinear") => Some(Interpolation::Bilinear),
        Some("bicubic") => Some(Interpolation::Bicubic),
        _ => None,
    }
}

/// What timm's `config.json` says of a network; newer ones say most of it under `pretrained_cfg`.
#[derive(Debug, Default, Deserialize)]
struct Config {
    architecture: Option<String>,
    label_names: Option<Vec<String>>,
    #[serde(default)]
    pretrained_cfg: Pretrained,
    #[serde(flatten)]
    outer: Pretrained,
}

#[derive(Debug, Default, Deserialize)]
struct Pretrained {
    input_size: Option<[u32; 3]>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    interpolation: Option<String>,
    mean: Option<[f64; 3]>,
    std: Option<[f64; 3]>,
    label_names: Option<Vec<String>>,
}

/// timm's own share of the picture that is left by the crop, where a configuration names none.
const CROP_PCT: f64 = 0.875;

/// timm's configuration as metadata. Empty if the text is not timm's.
///
/// # Errors
/// If it names an architecture that computes something else with the same parameters, or a way to crop that we
/// do not have.
pub fn timm(text: &str) -> Result<Metadata, ModelError> {
    let Ok(config) = serde_json::from_str::<Config>(text) else {
        return Ok(Metadata::default());
    };
    if let Some(architecture) = &config.architecture {
        relatives::check_timm(architecture)?;
    }
    let (new, old) = (config.pretrained_cfg, config.outer);
    let mut found = Metadata::new();
    let mut say = |key: &str, value: Option<String>| {
        value.and_then(|value| found.insert(key.to_owned(), value));
    };
    let size = new.input_size.or(old.input_size).map(|[_, rows, _]| rows);
    let crop_pct = new.crop_pct.or(old.crop_pct).unwrap_or(CROP_PCT);
    let fit = match new.crop_mode.or(old.crop_mode).as_deref() {
        None | Some("center") => None,
        Some("border") => Some("letterbox"),
        Some("squash") => Some("squash"),
        Some(other) => {
            let why = format!("timm's configuration crops by {other:?}, which is not supported");
            return Err(ModelError::Preprocessing(why));
        }
    };
    say("fit", fit.map(Into::into));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rounded down, as timm does
    let resize = size.map(|size| ((f64::from(size) / crop_pct) as u32).to_string());
    say("resize", resize);
    say("crop", size.map(|size| size.to_string()));
    say("interpolation", new.interpolation.or(old.interpolation));
    let join = |v: [f64; 3]| v.map(|v| v.to_string()).join(",");
    say("mean", new.mean.or(old.mean).map(join));
    say("std", new.std.or(old.std).map(join));
    let labels = config.label_names.or(new.label_names).or(old.label_names);
    say(
        "labels",
        labels.and_then(|l| serde_json::to_string(&l).ok()),
    );
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESNET50_A1: &str = r#"{"architecture": "resnet50", "num_classes": 1000, "num_features": 2048,
        "pretrained_cfg": {"tag": "a1_in1k", "custom_load": false, "input_size": [3, 224, 224],
        "test_input_size": [3, 288, 288], "fixed_input_size": false, "interpolation": "bicubic",
        "crop_pct": 0.95, "test_crop_pct": 1.0, "crop_mode": "center", "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225], "num_classes": 1000, "pool_size": [7, 7], "first_conv": "conv1",
        "classifier": "fc", "origin_url": "https://example.org/", "paper_ids": "arXiv:2110.00476"}}"#;

    fn prepared(text: &str) -> Preprocessing {
        Options::default()
            .preprocessing(&timm(text).unwrap())
            .unwrap()
    }

    #[test]
    fn timms_configuration_becomes_preprocessing() {
        let found = prepared(RESNET50_A1);
        assert_eq!((found.resize, found.crop), (235, 224));
        assert_eq!(found.interpolation, Interpolation::Bicubic);
        assert_eq!(found.mean, IMAGENET.mean);
        let torchvision = RESNET50_A1
            .replace("0.95", "0.965")
            .replace("bicubic", "bilinear");
        let found = prepared(&torchvision);
        assert_eq!((found.resize, found.crop), (232, 224));
        assert_eq!(found.interpolation, Interpolation::Bilinear);
    }

    #[test]
    fn older_configurations_say_it_one_level_up() {
        let found = prepared(
            r#"{"architecture": "resnet26d", "input_size": [3, 256, 256], "crop_pct": 1.0,
                "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}"#,
        );
        assert_eq!((found.resize, found.crop), (256, 256));
        assert_eq!((found.mean, found.std), ([0.5; 3], [0.25; 3]));
    }

    #[test]
    fn what_the_user_says_comes_first() {
        let options = Options {
            crop: Some(160),
            interpolation: Some(Interpolation::Bilinear),
            ..Options::default()
        };
        let found = options.preprocessing(&timm(RESNET50_A1).unwrap()).unwrap();
        assert_eq!((found.resize, found.crop), (235, 160));
        assert_eq!(found.interpolation, Interpolation::Bilinear);
    }

    #[test]
    fn what_nobody_says_is_imagenets_custom_and_can_be_told() {
        let options = Options {
            crop: Some(112),
            ..Options::default()
        };
        let found = options.preprocessing(&Metadata::default()).unwrap();
        assert_eq!((found.resize, found.crop), (128, 112));
        assert_eq!(
            options.assumed(&Metadata::default()),
            ["resize", "interpolation", "mean", "std"]
        );
        assert_eq!(options.assumed(&timm(RESNET50_A1).unwrap()), [""; 0]);
    }

    #[test]
    fn a_configuration_of_a_relative_is_refused() {
        let error = timm(&RESNET50_A1.replace("\"resnet50\"", "\"resnetaa50d\"")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("resnetaa50d") && error.contains("config.json"),
            "{error}"
        );
    }

    #[test]
    fn statistics_of_bytes_are_not_those_of_fractions() {
        let options = Options {
            mean: triple("123.675,116.28,103.53"),
            std: triple("58.395,57.12,57.375"),
            ..Options::default()
        };
        let error = options.preprocessing(&Metadata::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("mean [123.675, 116.28, 103.53] is of values from 0 to 255"),
            "{error}"
        );
    }

    #[test]
    fn labels_are_scored_for_themselves_where_there_is_one_or_the_user_says_so() {
        use Activation::{Sigmoid, Softmax};
        let several = Options {
            multi_label: true,
            ..Options::default()
        };
        let plain = Options::default();
        assert_eq!(plain.activation(None, 10).unwrap(), Softmax);
        assert_eq!(plain.activation(None, 1).unwrap(), Sigmoid);
        assert_eq!(several.activation(None, 10).unwrap(), Sigmoid);
        assert_eq!(several.activation(Some(Sigmoid), 10).unwrap(), Sigmoid);
        assert!(several.activation(Some(Softmax), 10).is_err());
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let lanczos = RESNET50_A1.replace("bicubic", "lanczos");
        let error = Options::default().preprocessing(&timm(&lanczos).unwrap());
        assert!(error.unwrap_err().to_string().contains("lanczos"));
        let error = timm(&RESNET50_A1.replace("\"center\"", "\"random\"")).unwrap_err();
        assert!(error.to_string().contains("random"), "{error}");
    }

    #[test]
    fn timms_ways_to_crop_are_ours() {
        for (theirs, ours) in [
            ("center", Fit::Crop),
            ("border", Fit::Letterbox),
            ("squash", Fit::Squash),
        ] {
            let text = RESNET50_A1.replace("\"center\"", &format!("\"{theirs}\""));
            let found = Options::default().preprocessing(&timm(&text).unwrap());
            assert_eq!(found.unwrap().fit, ours, "{theirs}");
        }
    }

    #[test]
    fn another_programs_configuration_says_nothing() {
        assert!(timm(r#"{"crop_pct": "yes"}"#).unwrap().is_empty());
        assert!(timm("no JSON").unwrap().is_empty());
    }
}
