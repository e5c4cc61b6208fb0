//! Where int8 hurts: for each layer how its output differs from the float network's, and what of the logits' error goes
//! when this layer alone is left in float.

use std::collections::BTreeSet;

use super::dataset::Dataset;
use super::diff;
use super::error::ModelError;
use super::judge::{Judge, Verdict};
use super::layers::Kind;
use super::quantize::Calibrated;
use super::recipe::Recipe;

/// Of all layers with weights, in the order in which they run.
#[derive(Debug, Clone)]
pub struct Sensitivity {
    pub pictures: usize,
    /// Of the network with the layers in int8 that were asked for.
    pub whole: Verdict,
    pub layers: Vec<LayerReport>,
}

#[derive(Debug, Clone)]
pub struct LayerReport {
    pub name: String,
    /// In decibels; nothing where the layer's outputs are equal, or are not seen in both networks.
    pub signal_to_noise: Option<f64>,
    /// Share of values at the end of what 8 bits hold.
    pub saturated: Option<f64>,
    /// Of the network with this layer left in float.
    pub without: Verdict,
}

impl Sensitivity {
    /// Of `recipe`, on `pictures` of `set`.
    pub(super) fn new(
        calibrated: &Calibrated,
        recipe: Recipe,
        (set, pictures): (&Dataset, Vec<usize>),
    ) -> Result<Self, ModelError> {
        let [float, int8] = [
            calibrated.float()?,
            calibrated.bundle(recipe, "int8".into())?,
        ];
        let difference = diff::on_pictures(&float, &int8, (set, &pictures))?;
        drop((float, int8));
        let judge = Judge::new(calibrated, set, pictures)?;
        let kept = &calibrated.keep_float;
        let graph = |kept: &BTreeSet<String>| calibrated.graph_but(recipe, kept);
        let whole = judge.verdict("all layers", graph(kept)?)?;
        let has_weights = |kind: &Kind| matches!(kind, Kind::Conv(_) | Kind::Dense(_));
        let layers = calibrated.network.layers.iter();
        let names = layers.filter(|l| has_weights(&l.kind) && !kept.contains(&l.name));
        let names: Vec<&str> = names.map(|l| &*l.name).collect();
        let mut layers = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            let mut kept = kept.clone();
            kept.insert((*name).to_owned());
            let what = format!("layer {} of {}", i + 1, names.len());
            let found = difference.layers.iter().find(|l| l.name == *name);
            layers.push(LayerReport {
                name: (*name).to_owned(),
                signal_to_noise: found.and_then(diff::LayerDifference::signal_to_noise),
                saturated: found.map(diff::LayerDifference::saturated),
                without: judge.verdict(&what, graph(&kept)?)?,
            });
        }
        Ok(Self {
            pictures: judge.pictures.len(),
            whole,
            layers,
        })
    }

    /// Which share of the error's square goes when a layer is left in float; negative where the error grows.
    #[must_use]
    pub fn gain(&self, layer: &LayerReport) -> f64 {
        let square = |v: Verdict| v.error * v.error;
        if self.whole.error == 0.0 {
            return 0.0;
        }
        1.0 - square(layer.without) / square(self.whole)
    }
}
