//! A float network with every activation in view: what calibration runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tract_nnef::internal::*;

use super::calibrate::{Histogram, Method, quant};
use super::error::{ModelError, tract};
use super::layers::Layer;
use super::lower;
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

    /// Runs one normalized picture; adds its activations to `histograms` (one per measured outlet)
    /// and gives the logits.
    ///
    /// # Errors
    /// If tract fails.
    pub fn measure(
        &self,
        picture: Tensor,
        histograms: &mut [Histogram],
    ) -> Result<Vec<f32>, ModelError> {
        let outputs = self.plan.run(tvec!(picture.into_tvalue()))?;
        for (histogram, values) in histograms.iter_mut().zip(&outputs) {
            histogram.add(values.try_as_plain_ram()?.as_slice::<f32>()?);
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

    /// The int8 graph, with the ranges that `method` chooses; layers of the names in `keep_float` stay float.
    ///
    /// # Errors
    /// If a range or a weight is not finite.
    pub fn quantize(
        &self,
        histograms: &[Histogram],
        method: Method,
        (preprocessing, keep_float): (&Preprocessing, &BTreeSet<String>),
        backend: Backend,
    ) -> Result<TypedModel, ModelError> {
        let mut quants = HashMap::new();
        for (outlet, histogram) in self.measured.iter().zip(histograms) {
            quants.insert(*outlet, quant(histogram.range(method)).map_err(tract)?);
        }
        let plan = rewrite::Plan {
            source: self.source,
            quants,
            preprocessing,
            keep_float,
            backend,
        };
        rewrite::int8_graph(&self.layers, plan)
    }
}
