//! Builds the int8 graph from the float graph's layers and the scales chosen for them. The mean and
//! standard deviation of the pictures' channels are folded into the first layer, so that raw bytes
//! enter the network. Layers that stay float get their inputs from bytes, and give bytes to whoever wants them.

mod int8;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use tract_nnef::internal::*;

use super::emit;
use super::error::{ModelError, tract};
use super::layers::{Kind, Layer};
use crate::infer::qcast::{Dequantize, Quantize};
use crate::kernels::{Backend, Quant, Storage};
use crate::spec::Preprocessing;

/// What an int8 graph is built by, beside its layers.
pub struct Plan<'a> {
    /// The float graph's outlet for pictures.
    pub source: OutletId,
    /// A scale for the output of every layer that is measured.
    pub quants: HashMap<OutletId, Quant>,
    pub preprocessing: &'a Preprocessing,
    /// The mean of each channel of such outputs, where biases are to be corrected by them. The pictures' own is added.
    pub means: HashMap<OutletId, Vec<f32>>,
    /// Whether weights' scales are fitted to them (see [`super::round::Rounding`]).
    pub fit_weights: bool,
    /// Names of layers that are to stay float.
    pub keep_float: &'a BTreeSet<String>,
    pub backend: Backend,
}

/// The int8 graph of `layers`.
///
/// # Errors
/// If a layer reads what no layer writes, or shapes do not fit.
pub fn int8_graph(layers: &[Layer], plan: Plan) -> Result<TypedModel, ModelError> {
    let mut build = Build {
        model: TypedModel::default(),
        bytes: HashMap::new(),
        floats: HashMap::new(),
        plan,
    };
    build.run(layers)?;
    Ok(build.model)
}

/// The int8 graph under construction.
struct Build<'a> {
    model: TypedModel,
    /// Where the float graph's outlets are found in the int8 graph, as u8 NHWC and as f32 NCHW.
    bytes: HashMap<OutletId, OutletId>,
    floats: HashMap<OutletId, OutletId>,
    plan: Plan<'a>,
}

impl Build<'_> {
    fn run(&mut self, layers: &[Layer]) -> Result<(), ModelError> {
        let size = self.plan.preprocessing.crop as usize;
        let image = self
            .model
            .add_source("image", u8::fact([1, size, size, 3]))?;
        self.bytes.insert(self.plan.source, image);
        // a byte stands for itself, 0 to 255
        let byte = Quant::new(1.0, 0).map_err(tract)?;
        self.plan.quants.insert(self.plan.source, byte);
        let mean = self.mean_colour().to_vec();
        self.plan.means.insert(self.plan.source, mean);
        for layer in layers {
            let kept = self.plan.keep_float.contains(&layer.name);
            if kept || matches!(layer.kind, Kind::Float(_)) {
                let output = self.float_layer(layer)?;
                self.floats.insert(layer.output, output);
            } else {
                let output = self.int8_layer(layer)?;
                self.bytes.insert(layer.output, output);
            }
        }
        let last = layers.last().map(|l| l.output);
        let output = last.and_then(|o| self.bytes.get(&o).or_else(|| self.floats.get(&o)));
        let output = output.ok_or_else(|| ModelError::Tract("the graph has no layers".into()))?;
        self.model.select_output_outlets(&[*output])?;
        Ok(())
    }

    fn quant(&self, outlet: OutletId, layer: &Layer) -> Result<Quant, ModelError> {
        let found = self.plan.quants.get(&outlet).copied();
        found.ok_or_else(|| unwritten(outlet, layer))
    }

    /// `outlet` as u8 NHWC.
    fn bytes(&mut self, outlet: OutletId, layer: &Layer) -> Result<OutletId, ModelError> {
        if let Some(&found) = self.bytes.get(&outlet) {
            return Ok(found);
        }
        let float = self.floats.get(&outlet).copied();
        let float = float.ok_or_else(|| unwritten(outlet, layer))?;
        let op = Quantize::new(self.quant(outlet, layer)?, self.plan.backend.storage());
        let name = format!("{}_quantized", self.model.node(float.node).name);
        let bytes = self.model.wire_node(name, op, &[float])?[0];
        self.bytes.insert(outlet, bytes);
        Ok(bytes)
    }

    /// `outlet` as f32 NCHW.
    fn floats(&mut self, outlet: OutletId, layer: &Layer) -> Result<OutletId, ModelError> {
        if let Some(&found) = self.floats.get(&outlet) {
            return Ok(found);
        }
        let bytes = self.bytes.get(&outlet).copied();
        let bytes = bytes.ok_or_else(|| unwritten(outlet, layer))?;
        let op = if outlet == self.plan.source {
            let p = self.plan.preprocessing;
            let scale = p.std.iter().map(|s| 1.0 / (255.0 * s)).collect();
            let zero = p.mean.iter().map(|m| 255.0 * m).collect();
            Dequantize::new(scale, zero, Storage::Unsigned)?
        } else {
            let quant = self.quant(outlet, layer)?;
            let (scale, zero) = (quant.scale.get(), f32::from(quant.zero.0));
            Dequantize::new(vec![scale], vec![zero], self.plan.backend.storage())?
        };
        let name = format!("{}_float", self.model.node(bytes.node).name);
        let float = self.model.wire_node(name, op, &[bytes])?[0];
        self.floats.insert(outlet, float);
        Ok(float)
    }

    /// A layer that tract runs.
    fn float_layer(&mut self, layer: &Layer) -> Result<OutletId, ModelError> {
        if let (Kind::MaxPool(_), Some(&quant)) = (&layer.kind, self.plan.quants.get(&layer.input))
        {
            // its output has its input's scale where bytes are wanted of it
            self.plan.quants.insert(layer.output, quant);
        }
        let reads = layer.reads();
        let inputs = reads.into_iter().map(|o| self.floats(o, layer));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let residual = layer.residual.map(|o| self.floats(o, layer)).transpose()?;
        Ok(emit::layer(&mut self.model, layer, &inputs, residual)?)
    }
}

fn unwritten(outlet: OutletId, layer: &Layer) -> ModelError {
    ModelError::Lower {
        name: layer.name.clone(),
        op: format!("{outlet:?}"),
        reason: "reads what no layer writes".into(),
    }
}
