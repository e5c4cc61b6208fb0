//! Runs many pictures through a network layer after layer: between two layers the activations of all pictures lie
//! open, and the layer that wrote them may be corrected before the next one reads them. Sums are made in the pictures'
//! order, so that the same pictures give the same bits on any number of cores.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tract_nnef::internal::*;

use crate::model::emit;
use crate::model::error::{ModelError, tract};
use crate::model::layers::{Kind, Layer};

/// One tensor per picture, `[1, channels, rows, columns]`.
pub type Maps = Vec<Tensor>;

/// Where a run over the layers is.
pub struct Walk {
    pub layers: Vec<Layer>,
    values: HashMap<OutletId, Maps>,
}

impl Walk {
    #[must_use]
    pub fn new(layers: Vec<Layer>, source: OutletId, pictures: Maps) -> Self {
        Self {
            layers,
            values: HashMap::from([(source, pictures)]),
        }
    }

    /// What is there of an outlet.
    ///
    /// # Errors
    /// If nothing is.
    pub fn values(&self, outlet: OutletId) -> Result<&Maps, ModelError> {
        let found = self.values.get(&outlet);
        found.ok_or_else(|| tract(format!("{outlet:?} is read and not written")))
    }

    /// What the operator of layer `index` makes of its inputs, before residual and ReLU.
    ///
    /// # Errors
    /// If tract fails.
    pub fn compute(&self, index: usize) -> Result<Maps, ModelError> {
        let layer = &self.layers[index];
        if matches!(layer.kind, Kind::Add) {
            return Ok(self.values(layer.input)?.clone());
        }
        let reads = layer.reads();
        let inputs = reads.iter().map(|&o| self.values(o));
        let inputs: Vec<&Maps> = inputs.collect::<Result<_, _>>()?;
        let mut model = TypedModel::default();
        let mut sources = Vec::new();
        for (i, maps) in inputs.iter().enumerate() {
            let fact = f32::fact(maps[0].shape());
            sources.push(model.add_source(format!("input_{i}"), fact)?);
        }
        let bare = Layer {
            residual: None,
            relu: false,
            ..layer.clone()
        };
        let output = emit::layer(&mut model, &bare, &sources, None)?;
        model.select_output_outlets(&[output])?;
        let plan = model.into_optimized()?.into_runnable()?;
        each(inputs[0].len(), |picture| {
            let inputs = inputs.iter().map(|m| m[picture].clone().into_tvalue());
            let mut outputs = plan.run(inputs.collect())?;
            Ok(outputs.remove(0).into_tensor())
        })
    }

    /// Adds the residual, applies ReLU, and lets go of what nobody reads any more.
    ///
    /// # Errors
    /// If the residual is not there.
    pub fn finish(&mut self, index: usize, mut maps: Maps) -> Result<(), ModelError> {
        let layer = &self.layers[index];
        let residual = layer.residual.map(|o| self.values(o)).transpose()?;
        for (picture, map) in maps.iter_mut().enumerate() {
            let mut view = map.try_as_plain_ram_mut()?;
            let values = view.as_slice_mut::<f32>()?;
            if let Some(residual) = residual {
                let other = floats(&residual[picture])?;
                values.iter_mut().zip(other).for_each(|(v, o)| *v += o);
            }
            if layer.relu {
                values.iter_mut().for_each(|v| *v = v.max(0.0));
            }
        }
        self.values.insert(layer.output, maps);
        let later = &self.layers[index + 1..];
        let last = index + 1 == self.layers.len();
        let wanted = |outlet: &OutletId| {
            let read = |l: &Layer| l.reads().contains(outlet) || l.residual == Some(*outlet);
            later.iter().any(read) || (last && *outlet == self.layers[index].output)
        };
        self.values.retain(|outlet, _| wanted(outlet));
        Ok(())
    }
}

/// The numbers of a map.
///
/// # Errors
/// If they are no f32.
pub fn floats(map: &Tensor) -> TractResult<&[f32]> {
    map.try_as_plain_ram()?.as_slice::<f32>()
}

/// What `f` makes of `0..count`, on all cores, in order.
///
/// # Errors
/// What `f` fails with.
pub fn each<R: Send>(
    count: usize,
    f: impl Fn(usize) -> Result<R, ModelError> + Sync,
) -> Result<Vec<R>, ModelError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    let work = || -> Result<(), ModelError> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            let result = f(index)?;
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((index, result));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores.min(count)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| {
            let gave_up = Err(tract("a worker gave up"));
            w.join().unwrap_or(gave_up)
        })
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Mean and standard deviation of each channel, over pictures and pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
}

impl Statistics {
    /// # Errors
    /// If the maps are not f32.
    #[allow(clippy::cast_precision_loss)] // a count of pixels
    pub fn of(maps: &Maps) -> Result<Self, ModelError> {
        let sums = each(maps.len(), |picture| {
            let map = &maps[picture];
            let channels = map.shape().get(1).copied().unwrap_or(1).max(1);
            let values = floats(map)?;
            let planes = values.chunks_exact((values.len() / channels).max(1));
            let sums = planes.map(|plane| {
                let values = plane.iter().map(|&v| f64::from(v));
                values.fold((0.0, 0.0), |(a, b), v| (a + v, b + v * v))
            });
            Ok((sums.collect::<Vec<(f64, f64)>>(), values.len() / channels))
        })?;
        let channels = sums.first().map_or(0, |(s, _)| s.len());
        let count = sums.iter().map(|(_, pixels)| *pixels).sum::<usize>().max(1) as f64;
        let mut found = Self {
            mean: vec![0.0; channels],
            deviation: vec![0.0; channels],
        };
        for (picture, _) in &sums {
            for (channel, (sum, square)) in picture.iter().enumerate() {
                found.mean[channel] += sum / count;
                found.deviation[channel] += square / count;
            }
        }
        for (mean, deviation) in found.mean.iter().zip(&mut found.deviation) {
            *deviation = (*deviation - mean * mean).max(0.0).sqrt();
        }
        Ok(found)
    }
}
