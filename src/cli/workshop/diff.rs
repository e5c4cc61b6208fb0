//! `resnetd-model diff`: where two bundles of one network part.

use std::fmt::Write as _; // into a String, which cannot fail
use std::path::PathBuf;

use clap::Parser;
use serde_json::json;

use super::round;
use crate::cli::Failure;
use crate::model::dataset::Dataset;
use crate::model::diff::{self, Difference, LayerDifference};

/// Compare two bundles of one architecture layer by layer: where does int8 hurt, and in which channel?
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  resnetd-model diff resnet50-float.nnef.tar resnet50.nnef.tar photographs/
  resnetd-model diff resnet50.nnef.tar other-calibration.nnef.tar val.tar --images 200
  resnetd-model diff resnet50-float.nnef.tar resnet50.nnef.tar photo.jpg --json | jq .worst

Per layer: signal to noise in decibels (the first bundle's values against the difference; 6 dB are one bit), by how much it
falls from the layer before, the largest difference of two values, the share of the second bundle's values at the
end of their 8 bits, and the channel with most of the difference with its share of it. Errors add up along the
network: the layer that is worst need not be the one that does the harm, the one with the largest fall may be.
Where `quantize` may have divided a layer's channels (equalized), they are compared up to a factor of each, and no largest
difference is shown. Only a float bundle tells where: of two int8 bundles such layers differ by these factors too.")]
pub struct Args {
    /// What is compared with, float or int8.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// What is compared.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// A picture, a folder of them or of folders of them, or a tar archive of folders.
    #[arg(value_name = "IMAGES")]
    data: PathBuf,
    /// Compare on so many pictures, spread evenly.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    images: u32,
    /// One JSON object: `layers` in order, `worst`, `steepest`, `agreement` as a fraction, `logit_error`, `not_compared`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        let set = Dataset::open_loose(&self.data)?;
        let images = usize::try_from(self.images).unwrap_or(usize::MAX);
        let found = diff::compare(&self.a, &self.b, &set, images)?;
        if self.json {
            return super::show(format_args!("{}\n", json(&found)));
        }
        super::show(table(&found))
    }
}

fn json(found: &Difference) -> serde_json::Value {
    let layer = |(i, l): (usize, &LayerDifference)| {
        let worst = l.worst_channel();
        json!({
            "name": l.name,
            "signal_to_noise_db": l.signal_to_noise().map(round),
            "fall_db": found.fall(i).map(round),
            "largest": l.largest,
            "saturated": round(l.saturated()),
            "channel": worst.map(|(channel, _)| channel),
            "channel_share": worst.map(|(_, share)| round(share)),
        })
    };
    let name = |i: usize| &found.layers[i].name;
    json!({
        "images": found.images,
        "skipped": found.skipped,
        "layers": found.layers.iter().enumerate().map(layer).collect::<Vec<_>>(),
        "worst": found.worst().map(name),
        "steepest": found.steepest().map(name),
        "not_compared": found.apart,
        "agreement": found.agreement.map(round),
        "logit_error": found.logits().map(|l| round(l.relative_error())),
        "largest_logit_difference": found.logits().and_then(|l| l.largest),
    })
}

fn table(found: &Difference) -> String {
    let names = found.layers.iter().map(|l| l.name.len());
    let width = names.max().unwrap_or(0).max("layer".len());
    let mut out = format!(
        "{:width$}{:>9}{:>8}{:>11}{:>11}{:>9}{:>8}\n",
        "layer", "dB", "fall", "largest", "saturated", "channel", "share"
    );
    let decibels = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.1}"));
    for (i, l) in found.layers.iter().enumerate() {
        let snr = l
            .signal_to_noise()
            .map_or("equal".into(), |v| format!("{v:.1}"));
        let (channel, share) = match l.worst_channel() {
            Some((channel, share)) => (channel.to_string(), format!("{:.0} %", share * 100.0)),
            None => ("-".into(), "-".into()),
        };
        let mut marks = String::new();
        if found.worst() == Some(i) {
            marks.push_str("  <- worst");
        }
        if found.steepest() == Some(i) {
            marks.push_str("  <- largest fall");
        }
        let _ = writeln!(
            out,
            "{:width$}{snr:>9}{:>8}{:>11}{:>9.3} %{channel:>9}{share:>8}{marks}",
            l.name,
            decibels(found.fall(i)),
            l.largest.map_or("-".into(), |v| format!("{v:.4}")),
            l.saturated() * 100.0
        );
    }
    out.push('\n');
    if !found.apart.is_empty() {
        let _ = writeln!(out, "not in both: {}", found.apart.join(", "));
    }
    let _ = writeln!(
        out,
        "{:>8} pictures, {} skipped",
        found.images, found.skipped
    );
    match (found.agreement, found.logits()) {
        (Some(agreement), Some(logits)) => {
            let _ = writeln!(out, "{:>8.2} % the same label", agreement * 100.0);
            let _ = writeln!(
                out,
                "{:>8.4} error of the logits (RMS, relative); the largest {:.3}",
                logits.relative_error(),
                logits.largest.unwrap_or_default()
            );
        }
        _ => out.push_str("their labels are not the same: not compared\n"),
    }
    out
}
