//! `resnetd-model quantize`: a float bundle to an int8 one.

use std::fmt::Write as _; // into a String, which cannot fail
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use super::round;
use crate::bundle::Bundle;
use crate::cli::Failure;
use crate::infer::registry::OPERATORS;
use crate::model::compare::Compared;
use crate::model::dataset::Dataset;
use crate::model::effort::Effort;
use crate::model::error::ModelError;
use crate::model::quantize::{self, Calibrated};
use crate::model::sensitivity::Sensitivity;

/// Quantize a float bundle to 8 bits, its activation ranges measured on pictures.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model quantize resnet50-float.nnef.tar --calib photographs/ -o resnet50.nnef.tar
  resnetd-model quantize resnet50-float.nnef.tar --calib train.tar --report -o resnet50.nnef.tar
  resnetd-model quantize resnet50-float.nnef.tar --calib frames/ --minutes 5 -o resnet50.nnef.tar
  resnetd-model quantize resnet50-float.nnef.tar --data-free -o resnet50.nnef.tar

The best of several recipes is taken, by how near the logits are to the float network's on pictures that no range was
measured on. --report compares them on more of these, and shows of each layer with weights: signal to noise against the
float network (6 dB are one bit), the share of values at the end of their 8 bits, and which part of the logits'
squared error goes when this layer alone is left in float (--keep-float).")]
pub struct Args {
    /// The float bundle.
    bundle: PathBuf,
    /// Pictures like those that the network will see: a folder of them or of folders of them, or a tar archive of one.
    #[arg(long, value_name = "FOLDER|TAR")]
    #[arg(required_unless_present = "data_free")]
    calib: Option<PathBuf>,
    /// Measure ranges on made-up pictures: less accurate, for whoever has no others.
    #[arg(long, conflicts_with_all = ["calib", "report", "keep_float", "minutes"])]
    data_free: bool,
    /// Compare the recipes on many pictures, and show how much each layer hurts.
    #[arg(long)]
    report: bool,
    /// Take about so long at most: fewer pictures, and recipes as far as there is time.
    #[arg(long, value_name = "N", value_parser = minutes, conflicts_with = "report")]
    minutes: Option<Duration>,
    /// A layer that is to stay float, as `resnetd inspect` names it; may be given several times.
    #[arg(long, value_name = "LAYER")]
    keep_float: Vec<String>,
    /// One JSON object: `method`, `images`, `skipped`, `recipes`, and with --report `layers`.
    #[arg(long)]
    json: bool,
    /// Where the int8 bundle goes.
    #[arg(short, long, value_name = "BUNDLE")]
    out: PathBuf,
}

fn minutes(text: &str) -> Result<Duration, &'static str> {
    let minutes = text.parse::<f64>().ok().filter(|m| *m > 0.0);
    let time = minutes.and_then(|m| Duration::try_from_secs_f64(m * 60.0).ok());
    time.ok_or("a number of minutes is needed, as in 5 or 0.5")
}

/// What was found on the way to a bundle.
#[derive(Default)]
struct Found {
    skipped: usize,
    compared: Option<Compared>,
    sensitivity: Option<Sensitivity>,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        super::keep_apart(&self.bundle, &self.out)?;
        let (bundle, found) = match &self.calib {
            Some(calib) => self.on_pictures(&Dataset::open_loose(calib)?)?,
            None => {
                let mut float = Bundle::open(&self.bundle, OPERATORS).map_err(ModelError::from)?;
                float.manifest.name = super::name_of(&self.out);
                (quantize::data_free(&float)?, Found::default())
            }
        };
        bundle.write(&self.out)?;
        let how = bundle.manifest.quantization.as_ref();
        if self.json {
            let mut out = found.json();
            out["method"] = json!(how.map(|q| &q.method));
            out["images"] = json!(how.map(|q| q.images));
            return super::show(format_args!("{out}\n"));
        }
        let how = how.map_or_else(String::new, |q| {
            format!("{} on {} pictures", q.method, q.images)
        });
        let note = found.note();
        let report = if self.report {
            found.table()
        } else {
            String::new()
        };
        super::show(format_args!(
            "{report}{}: int8, {how}{note}\n",
            self.out.display()
        ))
    }

    fn on_pictures(&self, set: &Dataset) -> Result<(Bundle, Found), ModelError> {
        let effort = self.minutes.map_or(Effort::WHOLE, Effort::within);
        let mut calibrated = Calibrated::measure(&self.bundle, set, effort)?;
        calibrated.keep_float(&self.keep_float)?;
        let compared = calibrated.compare(set, !self.report)?;
        let best = compared.best();
        let sensitivity = self
            .report
            .then(|| calibrated.sensitivity(set, best))
            .transpose()?;
        let found = Found {
            skipped: calibrated.skipped(),
            compared: Some(compared),
            sensitivity,
        };
        Ok((calibrated.bundle(best, super::name_of(&self.out))?, found))
    }
}

impl Found {
    fn json(&self) -> serde_json::Value {
        let mut out = json!({ "skipped": self.skipped });
        if let Some(compared) = &self.compared {
            let rows = compared.rows.iter().map(|(recipe, v)| {
                let recipe = recipe.to_string();
                json!({ "recipe": recipe, "agreement": round(v.same), "logit_error": round(v.error) })
            });
            out["recipes"] = rows.collect();
            out["compared_on"] = json!(compared.pictures);
        }
        if let Some(found) = &self.sensitivity {
            let layers = found.layers.iter().map(|l| {
                json!({
                    "name": l.name,
                    "signal_to_noise_db": l.signal_to_noise.map(round),
                    "saturated": l.saturated.map(round),
                    "logit_error_in_float": round(l.without.error),
                    "gain": round(found.gain(l)),
                })
            });
            out["layers"] = layers.collect();
            out["layers_on"] = json!(found.pictures);
        }
        out
    }

    /// What is to be said of the pictures.
    fn note(&self) -> String {
        let mut note = String::new();
        if self.skipped > 0 {
            let _ = write!(note, ", {} skipped", self.skipped);
        }
        if self.compared.as_ref().is_some_and(|c| c.rows.is_empty()) {
            note += "; too few to compare recipes on";
        }
        note
    }

    fn table(&self) -> String {
        let mut out = String::new();
        if let Some(compared) = &self.compared {
            let _ = writeln!(out, "{compared}");
        }
        if let Some(found) = &self.sensitivity {
            layers(&mut out, found);
        }
        out
    }
}

fn layers(out: &mut String, found: &Sensitivity) {
    let names = found.layers.iter().map(|l| l.name.len());
    let pictures = format!("on {} pictures", found.pictures);
    let width = names.max().unwrap_or(0).max(pictures.len());
    let _ = writeln!(
        out,
        "{pictures:width$}{:>9}{:>12}{:>16}{:>9}",
        "dB", "saturated", "error in float", "gain"
    );
    let gains = found.layers.iter().map(|l| found.gain(l));
    let most = gains.fold(0.0, f64::max);
    for layer in &found.layers {
        let noise = layer.signal_to_noise;
        let noise = noise.map_or("-".into(), |v| format!("{v:.1}"));
        let saturated = layer.saturated;
        let saturated = saturated.map_or("-".into(), |v| format!("{:.3} %", v * 100.0));
        let gain = found.gain(layer);
        let mark = if gain > 0.0 && gain >= most {
            "  <- hurts most"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "{:width$}{noise:>9}{saturated:>12}{:>16.5}{:>7.1} %{mark}",
            layer.name,
            layer.without.error,
            gain * 100.0
        );
    }
    let whole = found.whole.error;
    let _ = writeln!(out, "{:width$}{whole:>37.5}\n", "all in int8");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_positive_numbers() {
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
        for text in ["0", "-1", "nan", "1e300", "five"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
