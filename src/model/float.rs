//! A float network with every activation in view: what calibration runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tract_nnef::internal::*;

use super::calibrate::{Method, quant};
use super::equalize::equalize;
use super::error::{ModelError, tract};
use super::layers::Layer;
use super::lower;
use super::profile::Profile;
use super::recipe::Recipe;
use super::rewrite;
use crate::kernels::Backend;
use crate::spec::Preprocessing;

/// A float graph, and what it takes to run it with every activation in view.
pub struct FloatNetwork {
    pub layers: Vec<Layer>,
    source: OutletId,
    /// The outlets that need a scale.
    pub measured: Vec<OutletId>,
    plan: Arc<TypedRunnableModel>,
}

impl FloatNetwork {
    /// # Errors
    /// If the graph holds what our operators do not cover.
    pub fn new(model: &TypedModel) -> Result<Self, ModelError> {
        let layers = lower::layers(model)?;
        let measured: Vec<OutletId> = layers
            .iter()
            .filter(|l| l.is_measured())
            .map(|l| l.output)
            .collect();
        let mut watched = model.clone();
        let logits = watched.outputs.clone();
        let outlets: Vec<OutletId> = measured.iter().copied().chain(logits).collect();
        watched.select_output_outlets(&outlets)?;
        let plan = watched.into_optimized()?.into_runnable()?;
        let source = model.inputs.first().copied();
        let source = source.ok_or_else(|| ModelError::Tract("the graph has no input".into()))?;
        Ok(Self {
            layers,
            source,
            measured,
            plan,
        })
    }

    /// Runs one normalized picture; adds its activations to `profiles` (one per measured outlet)
    /// and gives the logits.
    ///
    /// # Errors
    /// If tract fails.
    pub fn measure(
        &self,
        picture: Tensor,
        profiles: &mut [Profile],
    ) -> Result<Vec<f32>, ModelError> {
        let outputs = self.plan.run(tvec!(picture.into_tvalue()))?;
        for (profile, values) in profiles.iter_mut().zip(&outputs) {
            let channels = values.shape().get(1).copied().unwrap_or(1);
            profile.add(channels, values.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        let logits = outputs.last().context("no output")?;
        Ok(logits.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }

    /// Runs one normalized picture; the name and output of every measured layer, and of the last.
    ///
    /// # Errors
    /// If tract fails.
    pub fn watch(&self, picture: Tensor) -> Result<Vec<(&str, TValue)>, ModelError> {
        let outputs = self.plan.run(tvec!(picture.into_tvalue()))?;
        let outlets = self.measured.iter().copied();
        let layers = outlets.filter_map(|o| self.layers.iter().find(|l| l.output == o));
        let names = layers.chain(self.layers.last()).map(|l| &*l.name);
        Ok(names.zip(outputs).collect())
    }

    /// The int8 graph after `recipe`, by what was measured; layers of the names in `keep_float` stay float.
    ///
    /// # Errors
    /// If a range or a weight is not finite.
    pub fn quantize(
        &self,
        profiles: &[Profile],
        recipe: Recipe,
        (preprocessing, keep_float): (&Preprocessing, &BTreeSet<String>),
        backend: Backend,
    ) -> Result<TypedModel, ModelError> {
        let by_outlet = |of: fn(&Profile) -> Vec<f32>| -> HashMap<OutletId, Vec<f32>> {
            let outlets = self.measured.iter().copied();
            outlets.zip(profiles.iter().map(of)).collect()
        };
        let (mut layers, mut means) = (self.layers.clone(), by_outlet(Profile::means));
        let highest = by_outlet(Profile::highest);
        let divided = if recipe.equalize {
            equalize(&mut layers, &highest)?
        } else {
            HashMap::new()
        };
        let mut quants = HashMap::new();
        for (outlet, profile) in self.measured.iter().zip(profiles) {
            let mut range = profile.histogram.range(recipe.method);
            if let Some(by) = divided.get(outlet) {
                let largest = highest[outlet].iter().zip(by).map(|(h, by)| h / by);
                let method = recipe.method;
                range = equalized(profile, method, largest.fold(0.0, f32::max));
                if let Some(means) = means.get_mut(outlet) {
                    means.iter_mut().zip(by).for_each(|(mean, by)| *mean /= by);
                }
            }
            quants.insert(*outlet, quant(range).map_err(tract)?);
        }
        if !recipe.correct {
            means.clear();
        }
        let plan = rewrite::Plan {
            source: self.source,
            quants,
            means,
            fit_weights: recipe.fit,
            preprocessing,
            keep_float,
            backend,
        };
        rewrite::int8_graph(&layers, plan)
    }
}

/// The range of a tensor whose channels were divided: up to its largest value now. It has a sign where it had one.
fn equalized(profile: &Profile, method: Method, largest: f32) -> (f32, f32) {
    let (low, high) = profile.histogram.range(method);
    let side = |before: f32, now: f32| if before == 0.0 { 0.0 } else { now };
    (side(low, -largest), side(high, largest))
}
