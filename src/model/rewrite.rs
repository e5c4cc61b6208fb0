//! Builds the int8 graph from the float graph's layers and the scales chosen for them. The mean and
//! standard deviation of the pictures' channels are folded into the first layer, so that raw bytes
//! enter the network.

use std::collections::HashMap;

use tract_nnef::internal::*;

use super::error::{ModelError, tract};
use super::lower::{self, Kind, Layer, Window};
use super::round::{fold_normalization, round};
use crate::infer::qconv::{ConvParams, QConv};
use crate::infer::qdense::QDense;
use crate::infer::qpool::{QGlobalAverage, QMaxPool};
use crate::infer::weights;
use crate::kernels::{Backend, Budget, Geometry, Quant};
use crate::spec::Preprocessing;

/// The int8 graph of `layers`, which read pictures from `source`; `quants` has a scale for the output
/// of every convolution and average.
///
/// # Errors
/// If a layer reads what no layer writes, or shapes do not fit.
pub fn int8_graph(
    layers: &[Layer],
    source: OutletId,
    quants: HashMap<OutletId, Quant>,
    preprocessing: &Preprocessing,
    backend: Backend,
) -> Result<TypedModel, ModelError> {
    let mut build = Build {
        model: TypedModel::default(),
        wires: HashMap::new(),
        quants,
        source,
        preprocessing,
        backend,
    };
    build.run(layers)?;
    Ok(build.model)
}

/// The int8 graph under construction.
struct Build<'a> {
    model: TypedModel,
    /// Where the float graph's outlets are found in the int8 graph.
    wires: HashMap<OutletId, OutletId>,
    quants: HashMap<OutletId, Quant>,
    source: OutletId,
    preprocessing: &'a Preprocessing,
    backend: Backend,
}

impl Build<'_> {
    fn run(&mut self, layers: &[Layer]) -> Result<(), ModelError> {
        let size = self.preprocessing.crop as usize;
        let image = self
            .model
            .add_source("image", u8::fact([1, size, size, 3]))?;
        self.wires.insert(self.source, image);
        // a byte stands for itself, 0 to 255
        self.quants
            .insert(self.source, Quant::new(1.0, 0).map_err(tract)?);
        for layer in layers {
            let output = self.layer(layer)?;
            self.wires.insert(layer.output, output);
        }
        if let Some(last) = layers.last() {
            self.model
                .select_output_outlets(&[self.wires[&last.output]])?;
        }
        Ok(())
    }

    fn find<T: Copy>(map: &HashMap<OutletId, T>, o: OutletId, l: &Layer) -> Result<T, ModelError> {
        map.get(&o).copied().ok_or_else(|| ModelError::Lower {
            name: l.name.clone(),
            op: format!("{o:?}"),
            reason: "reads what no int8 layer writes".into(),
        })
    }

    fn layer(&mut self, layer: &Layer) -> Result<OutletId, ModelError> {
        let input = Self::find(&self.wires, layer.input, layer)?;
        let input_quant = Self::find(&self.quants, layer.input, layer)?;
        let fact = self
            .model
            .outlet_fact(input)?
            .shape
            .as_concrete()
            .map(<[usize]>::to_vec);
        let shape = fact.ok_or_else(|| ModelError::Tract("shapes must be known".into()))?;
        let mut inputs = tvec!(input);
        let op: Box<dyn TypedOp> = match &layer.kind {
            Kind::Conv(weights, window) => {
                let residual = match layer.residual {
                    Some(r) => {
                        inputs.push(Self::find(&self.wires, r, layer)?);
                        Some(Self::find(&self.quants, r, layer)?)
                    }
                    None => None,
                };
                let params = ConvParams {
                    stride: window.stride,
                    pad: window.pad,
                    border: Vec::new(),
                    relu: layer.relu,
                    input: input_quant,
                    output: Self::find(&self.quants, layer.output, layer)?,
                    residual,
                    picture: layer.input == self.source,
                };
                Box::new(self.conv(layer, weights, params, (shape[1], shape[2]))?)
            }
            Kind::MaxPool(window) => {
                self.quants.insert(layer.output, input_quant);
                Box::new(QMaxPool {
                    geometry: geometry(*window, &shape)?,
                    storage: self.backend.storage(),
                })
            }
            Kind::Average => {
                let output = Self::find(&self.quants, layer.output, layer)?;
                Box::new(QGlobalAverage::new(
                    shape[1] * shape[2],
                    input_quant,
                    output,
                    self.backend.storage(),
                )?)
            }
            Kind::Dense(weights) => {
                let r = round(weights, input_quant.scale)?;
                let weights = weights::Weights::new(&r.weights, self.backend)?;
                Box::new(QDense::new(
                    layer.name.clone(),
                    input_quant,
                    weights,
                    r.bias,
                    r.scales,
                )?)
            }
        };
        Ok(self.model.wire_node(&layer.name, op, &inputs)?[0])
    }

    fn conv(
        &self,
        layer: &Layer,
        weights: &lower::Weights,
        mut params: ConvParams,
        input: (usize, usize),
    ) -> Result<QConv, ModelError> {
        let rounded = if params.picture {
            params.border = self.mean_colour();
            round(
                &fold_normalization(weights, self.preprocessing)?,
                params.input.scale,
            )?
        } else {
            round(weights, params.input.scale)?
        };
        let weights = weights::Weights::new(&rounded.weights, self.backend)?;
        Ok(QConv::new(
            layer.name.clone(),
            params,
            weights,
            (rounded.bias, rounded.scales),
            input,
            &Budget::new(0), // to be written, not to be fast
        )?)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
    fn mean_colour(&self) -> Vec<u8> {
        self.preprocessing
            .mean
            .iter()
            .map(|m| (m * 255.0).round().clamp(0.0, 255.0) as u8)
            .collect()
    }
}

fn geometry(window: Window, nhwc: &[usize]) -> Result<Geometry, ModelError> {
    Geometry::new(
        (nhwc[1], nhwc[2]),
        (nhwc[3], nhwc[3]),
        window.kernel,
        window.stride,
        window.pad,
    )
    .map_err(tract)
}
