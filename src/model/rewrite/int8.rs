//! The layers that our own operators run.

use tract_nnef::internal::*;

use super::super::error::{ModelError, tract};
use super::super::layers::{Convolution, Kind, Layer, Weights, Window};
use super::super::round::{Rounding, fold_normalization, round};
use super::Build;
use crate::infer::qadd::QAdd;
use crate::infer::qconv::{ConvParams, QConv};
use crate::infer::qdense::QDense;
use crate::infer::qgroup::QGroupConv;
use crate::infer::qpool::{QAverage, QGlobalAverage, QMaxPool};
use crate::infer::weights;
use crate::kernels::{Budget, Geometry, Quant};

impl Build<'_> {
    pub(super) fn int8_layer(&mut self, layer: &Layer) -> Result<OutletId, ModelError> {
        let input = self.bytes(layer.input, layer)?;
        let input_quant = self.quant(layer.input, layer)?;
        let fact = self.model.outlet_fact(input)?.shape.as_concrete();
        let &[_, rows, columns, channels] = fact.unwrap_or_default() else {
            return Err(ModelError::Tract("shapes must be known".into()));
        };
        let size = [rows, columns, channels];
        let mut inputs = tvec!(input);
        let mut residual = None;
        if let Some(r) = layer.residual {
            inputs.push(self.bytes(r, layer)?);
            residual = Some(self.quant(r, layer)?);
        }
        let storage = self.plan.backend.storage();
        let op: Box<dyn TypedOp> = match &layer.kind {
            Kind::Conv(conv) => self.conv(layer, conv, (input_quant, residual), size)?,
            Kind::MaxPool(window) => {
                self.plan.quants.insert(layer.output, input_quant);
                let geometry = geometry(*window, size)?;
                Box::new(QMaxPool { geometry, storage })
            }
            Kind::AveragePool {
                window,
                count_padding,
            } => {
                let quants = (input_quant, self.quant(layer.output, layer)?);
                let window = (geometry(*window, size)?, *count_padding);
                Box::new(QAverage::new(window, quants, storage))
            }
            Kind::Average => {
                let output = self.quant(layer.output, layer)?;
                let pixels = rows * columns;
                Box::new(QGlobalAverage::new(pixels, input_quant, output, storage)?)
            }
            Kind::Add => {
                let (output, backend) = (self.quant(layer.output, layer)?, self.plan.backend);
                let quants = [input_quant, residual.unwrap_or(input_quant)];
                Box::new(QAdd::new(quants, output, layer.relu, backend)?)
            }
            Kind::Dense(weights) => self.dense(layer, weights, input_quant)?,
            Kind::Float(_) => return Err(tract("a float layer among int8 ones")),
        };
        Ok(self.model.wire_node(&layer.name, op, &inputs)?[0])
    }

    fn dense(
        &self,
        layer: &Layer,
        weights: &Weights,
        input: Quant,
    ) -> Result<Box<dyn TypedOp>, ModelError> {
        let r = round(weights, input.scale, self.rounding(layer))?;
        let weights = weights::Weights::new(&r.weights, self.plan.backend)?;
        let name = layer.name.clone();
        Ok(Box::new(QDense::new(
            name, input, weights, r.bias, r.scales,
        )?))
    }

    fn conv(
        &self,
        layer: &Layer,
        conv: &Convolution,
        (input, residual): (Quant, Option<Quant>),
        size: [usize; 3],
    ) -> Result<Box<dyn TypedOp>, ModelError> {
        let picture = layer.input == self.plan.source;
        let params = ConvParams {
            stride: conv.window.stride,
            pad: conv.window.pad,
            border: if picture {
                self.mean_colour().into_iter().map(grey_level).collect()
            } else {
                Vec::new()
            },
            relu: layer.relu,
            input,
            output: self.quant(layer.output, layer)?,
            residual,
            picture,
        };
        let weights = if picture {
            &fold_normalization(&conv.weights, self.plan.preprocessing)?
        } else {
            &conv.weights
        };
        let rounded = round(weights, input.scale, self.rounding(layer))?;
        let (name, backend) = (layer.name.clone(), self.plan.backend);
        let rest = (rounded.bias, rounded.scales);
        if conv.groups > 1 {
            let layer = (name, params, conv.groups);
            let op = QGroupConv::new(layer, rounded.weights, rest, size, backend)?;
            return Ok(Box::new(op));
        }
        let weights = weights::Weights::new(&rounded.weights, backend)?;
        let budget = Budget::none(); // to be written, not to be fast
        let op = QConv::new(name, params, weights, rest, (size[0], size[1]), &budget)?;
        Ok(Box::new(op))
    }

    fn rounding(&self, layer: &Layer) -> Rounding<'_> {
        Rounding {
            means: self.plan.means.get(&layer.input).map(|means| &means[..]),
            fit: self.plan.fit_weights,
            balance: layer.input == self.plan.source,
        }
    }

    /// What the pictures' channels are on average, as training counted them: the one mean that needs no measuring.
    pub(super) fn mean_colour(&self) -> [f32; 3] {
        self.plan.preprocessing.mean.map(|mean| mean * 255.0)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
fn grey_level(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

fn geometry(window: Window, [rows, columns, channels]: [usize; 3]) -> Result<Geometry, ModelError> {
    Geometry::new(
        (rows, columns),
        (channels, channels),
        window.kernel,
        window.stride,
        window.pad,
    )
    .map_err(tract)
}
