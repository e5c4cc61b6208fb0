//! The int8 graph of a network that came quantized: one operator of ours for each of its layers.

use std::sync::Arc;

use tract_nnef::internal::*;

use super::super::emit;
use super::super::layers::{Conv, Divisor, Window};
use super::super::names::Names;
use super::{Kind, QuantizedLayer, QuantizedNetwork, Weights};
use crate::infer::qadd::QAdd;
use crate::infer::qcast::{Dequantize, Quantize};
use crate::infer::qconv::{ConvParams, QConv};
use crate::infer::qdense::QDense;
use crate::infer::qgroup::QGroupConv;
use crate::infer::qpool::{QAverage, QGlobalAverage, QMaxPool};
use crate::infer::weights;
use crate::kernels::{Backend, Budget, Geometry, Quant, Scale, Storage};
use crate::model::float_layers;
use crate::spec::Preprocessing;

impl QuantizedNetwork {
    /// The graph, from the bytes of a picture to scores.
    ///
    /// # Errors
    /// The layer's name, and why no operator of ours runs it.
    pub fn graph(
        &self,
        preprocessing: &Preprocessing,
        backend: Backend,
    ) -> Result<TypedModel, (String, String)> {
        let mut build = Build {
            model: TypedModel::default(),
            names: Names::without(&["image", "normalized", "picture"]),
            wires: Vec::new(),
            network: self,
            preprocessing,
            backend,
        };
        for layer in &self.layers {
            let wire = build
                .layer(layer)
                .map_err(|e| (layer.name.clone(), format!("{e:#}")))?;
            build.wires.push(wire);
        }
        let last = build.wires.last().copied().zip(self.layers.last());
        let (output, last) = last.ok_or((String::new(), "the network has no layers".into()))?;
        if !matches!(last.kind, Kind::Dense(_) | Kind::Float(_)) {
            let reason = "it is no dense layer and gives the scores; export with the classifier";
            return Err((last.name.clone(), reason.into()));
        }
        let selected = build.model.select_output_outlets(&[output]);
        selected.map_err(|e| (String::new(), e.to_string()))?;
        Ok(build.model)
    }
}

struct Build<'a> {
    model: TypedModel,
    names: Names,
    /// Each layer's output.
    wires: Vec<OutletId>,
    network: &'a QuantizedNetwork,
    preprocessing: &'a Preprocessing,
    backend: Backend,
}

impl Build<'_> {
    fn layer(&mut self, layer: &QuantizedLayer) -> TractResult<OutletId> {
        let name = self.names.of(&layer.name, "");
        match &layer.kind {
            Kind::Picture => return self.picture(layer),
            Kind::Normalized => return self.normalized(),
            Kind::Float(conv) => return self.float(&name, layer, conv),
            Kind::GlobalAverage if layer.output.is_none() => {
                self.relu_is_nothing(layer)?;
                let x = self.floats(&name, layer)?;
                return float_layers::average(&mut self.model, &name, x);
            }
            _ => {}
        }
        let quants: Vec<Quant> = layer
            .inputs
            .iter()
            .map(|&place| self.network.layers[place].output)
            .collect::<Option<_>>()
            .context("it reads what is not rounded")?;
        let input = *quants.first().context("it has no input")?;
        let [channels, rows, columns] = self.network.layers[layer.inputs[0]].shape;
        let size = [rows, columns, channels];
        let storage = self.backend.storage();
        if !matches!(layer.kind, Kind::Conv { .. } | Kind::Add) {
            self.relu_is_nothing(layer)?;
        }
        let op: Box<dyn TypedOp> = match &layer.kind {
            Kind::Conv {
                weights,
                groups,
                window,
            } => {
                let params = ConvParams {
                    stride: window.stride,
                    pad: window.pad,
                    border: Vec::new(),
                    relu: layer.relu,
                    input,
                    output: output(layer)?,
                    residual: quants.get(1).copied(),
                    picture: false,
                };
                self.conv(&name, params, (weights, *groups), size)?
            }
            Kind::Add => {
                let other = *quants.get(1).context("it adds one tensor")?;
                let quants = [input, other];
                Box::new(QAdd::new(quants, output(layer)?, layer.relu, self.backend)?)
            }
            Kind::MaxPool(window) => Box::new(QMaxPool {
                geometry: geometry(window, size)?,
                storage,
            }),
            Kind::AveragePool(window, divisor) => {
                let window = (geometry(window, size)?, *divisor == Divisor::Window);
                Box::new(QAverage::new(window, (input, output(layer)?), storage))
            }
            Kind::GlobalAverage => {
                let output = output(layer)?;
                Box::new(QGlobalAverage::new(rows * columns, input, output, storage)?)
            }
            Kind::Rescale => {
                // the average of one pixel
                let window = (geometry(&Window::ONE, size)?, false);
                Box::new(QAverage::new(window, (input, output(layer)?), storage))
            }
            Kind::Dense(weights) => {
                let (tensor, bias, scales) = parts(weights)?;
                let tensor = weights::Weights::new(&tensor, self.backend)?;
                let dense = QDense::new(name.clone(), input, tensor, bias, scales)?;
                Box::new(match layer.output {
                    Some(output) => dense.rounded_to(output),
                    None => dense,
                })
            }
            Kind::Picture | Kind::Normalized | Kind::Float(_) => bail!("no layer of integers"),
        };
        let inputs: TVec<OutletId> = layer
            .inputs
            .iter()
            .map(|&place| self.wires[place])
            .collect();
        Ok(self.model.wire_node(name, op, &inputs)?[0])
    }

    /// A layer that tract runs, on what its input stands for.
    fn float(&mut self, name: &str, layer: &QuantizedLayer, conv: &Conv) -> TractResult<OutletId> {
        let mut x = self.floats(name, layer)?;
        x = emit::conv(&mut self.model, name, conv, x)?;
        if layer.relu {
            let relu = self.part(name, "relu");
            x = float_layers::relu(&mut self.model, &relu, x)?;
        }
        let Some(output) = layer.output else {
            if self.wires.len() + 1 < self.network.layers.len() {
                return Ok(x);
            }
            let scores = self.part(name, "scores");
            return float_layers::scores(&mut self.model, &scores, x);
        };
        let op = Quantize::new(output, self.backend.storage());
        let quantized = self.part(name, "quantized");
        Ok(self.model.wire_node(quantized, op, &[x])?[0])
    }

    /// A name for what a layer needs beside itself.
    fn part(&mut self, layer: &str, part: &str) -> String {
        self.names.of(&format!("{layer}_{part}"), "")
    }

    /// What the layer's input stands for.
    fn floats(&mut self, name: &str, layer: &QuantizedLayer) -> TractResult<OutletId> {
        let place = layer.inputs[0];
        let Some(input) = self.network.layers[place].output else {
            return Ok(self.wires[place]);
        };
        let zero = f32::from(input.zero.0);
        let op = Dequantize::new(vec![input.scale.get()], vec![zero], self.backend.storage())?;
        let float = self.part(name, "float");
        let x = self.model.wire_node(float, op, &[self.wires[place]])?;
        Ok(x[0])
    }

    /// The picture's bytes, normalized, and rounded to the file's own scale.
    fn picture(&mut self, layer: &QuantizedLayer) -> TractResult<OutletId> {
        let float = self.normalized()?;
        let op = Quantize::new(output(layer)?, self.backend.storage());
        Ok(self.model.wire_node("picture", op, &[float])?[0])
    }

    fn normalized(&mut self) -> TractResult<OutletId> {
        let p = self.preprocessing;
        let size = p.crop as usize;
        let image = self
            .model
            .add_source("image", u8::fact([1, size, size, 3]))?;
        let scale = p.std.iter().map(|s| 1.0 / (255.0 * s)).collect();
        let zero = p.mean.iter().map(|m| 255.0 * m).collect();
        let float = Dequantize::new(scale, zero, Storage::Unsigned)?;
        Ok(self.model.wire_node("normalized", float, &[image])?[0])
    }

    fn conv(
        &self,
        name: &str,
        params: ConvParams,
        (weights, groups): (&Weights, usize),
        size: [usize; 3],
    ) -> TractResult<Box<dyn TypedOp>> {
        let (tensor, bias, scales) = parts(weights)?;
        let rest = (bias, scales);
        if groups > 1 {
            let layer = (name.to_owned(), params, groups);
            let op = QGroupConv::new(layer, tensor, rest, size, self.backend)?;
            return Ok(Box::new(op));
        }
        let tensor = weights::Weights::new(&tensor, self.backend)?;
        let (size, budget) = ((size[0], size[1]), Budget::none()); // to be written, not to be fast
        let op = QConv::new(name.to_owned(), params, tensor, rest, size, &budget)?;
        Ok(Box::new(op))
    }

    /// Where the lowest value stands for zero, rounding is a ReLU already.
    fn relu_is_nothing(&self, layer: &QuantizedLayer) -> TractResult<()> {
        ensure!(
            !layer.relu || layer.output.is_some_and(|q| q.zero.0 == 0),
            "a ReLU behind it, to a scale with negative values, is run by no operator"
        );
        Ok(())
    }
}

fn output(layer: &QuantizedLayer) -> TractResult<Quant> {
    layer.output.context("its output is not rounded")
}

fn geometry(window: &Window, [rows, columns, channels]: [usize; 3]) -> TractResult<Geometry> {
    Ok(Geometry::new(
        (rows, columns),
        (channels, channels),
        window.kernel,
        window.stride,
        window.pad,
    )?)
}

/// Weights in OHWI order, biases and scales.
fn parts(weights: &Weights) -> TractResult<(Tensor, Arc<[i32]>, Arc<[Scale]>)> {
    let [out, inputs, rows, columns] = weights.dims;
    let pixels = rows * columns;
    let mut values = Vec::with_capacity(weights.values.len());
    for filter in weights.values.chunks_exact((inputs * pixels).max(1)) {
        for pixel in 0..pixels {
            values.extend((0..inputs).map(|c| filter[c * pixels + pixel]));
        }
    }
    let scales: Result<Vec<Scale>, _> = weights.scales.iter().map(|&s| Scale::new(s)).collect();
    Ok((
        Tensor::from_shape(&[out, rows, columns, inputs], &values)?,
        weights.bias.clone().into(),
        scales?.into(),
    ))
}
