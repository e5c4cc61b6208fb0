//! The way back from `lower`: layers as a float graph again, whole or from any outlet to any other. The graph's nodes
//! have the layers' names, so that lowering it gives the same layers.

use std::collections::HashMap;

use tract_nnef::internal::*;

use super::float_layers;
use super::layers::{Convolution, Kind, Layer, Operand, Window};

impl Layer {
    /// The outlets whose values its operator reads; the residual is not among them.
    #[must_use]
    pub fn reads(&self) -> Vec<OutletId> {
        match self.kind {
            Kind::Float(_) => self.operands().collect(),
            _ => vec![self.input],
        }
    }

    /// All outlets that it reads, the residual among them.
    pub fn reads_mut(&mut self) -> Vec<&mut OutletId> {
        let mut found = vec![&mut self.input];
        found.extend(self.residual.as_mut());
        if let Kind::Float(float) = &mut self.kind {
            found.extend(float.operands.iter_mut().filter_map(|o| match o {
                Operand::Activation(outlet) => Some(outlet),
                Operand::Constant(_) => None,
            }));
        }
        found
    }
}

/// The float graph of `layers`, from pictures (or whatever `source` stands for) of `shape` to `outlets`.
///
/// # Errors
/// If a layer reads what no layer before it writes, or tract refuses an operator.
pub fn graph(
    layers: &[Layer],
    (source, shape): (OutletId, &[usize]),
    outlets: &[OutletId],
) -> TractResult<TypedModel> {
    let mut model = TypedModel::default();
    let image = model.add_source("image", f32::fact(shape))?;
    let mut written = HashMap::from([(source, image)]);
    for each in layers {
        let find = |outlet: &OutletId| {
            let found = written.get(outlet).copied();
            found.with_context(|| format!("{} reads what no layer writes", each.name))
        };
        let inputs: Vec<OutletId> = each.reads().iter().map(find).collect::<TractResult<_>>()?;
        let residual = each.residual.as_ref().map(find).transpose()?;
        let output = layer(&mut model, each, &inputs, residual)?;
        written.insert(each.output, output);
    }
    let outputs = outlets.iter().map(|o| written.get(o).copied());
    let outputs: Option<Vec<OutletId>> = outputs.collect();
    model.select_output_outlets(&outputs.context("an output that no layer writes")?)?;
    Ok(model)
}

/// Adds one layer that reads `inputs`, as [`Layer::reads`] has them, and `residual`.
///
/// # Errors
/// If tract refuses an operator.
pub fn layer(
    model: &mut TypedModel,
    layer: &Layer,
    inputs: &[OutletId],
    residual: Option<OutletId>,
) -> TractResult<OutletId> {
    let name = &layer.name;
    let &x = inputs.first().context("a layer that reads nothing")?;
    let mut y = match &layer.kind {
        Kind::Conv(conv) => float_layers::conv(model, name, conv, x)?,
        Kind::MaxPool(window) => float_layers::max_pool(model, name, *window, x)?,
        Kind::AveragePool {
            window,
            count_padding,
        } => float_layers::average_pool(model, name, (*window, *count_padding), x)?,
        // its parts get this ending
        Kind::Average => float_layers::average(model, name.trim_end_matches("_sum"), x)?,
        Kind::Add => x,
        Kind::Dense(weights) => {
            let conv = Convolution {
                weights: weights.clone(),
                window: Window::ONE,
                groups: 1,
            };
            let y = float_layers::conv(model, name, &conv, x)?;
            float_layers::scores(model, &format!("{name}_scores"), y)?
        }
        Kind::Float(float) => {
            let mut activations = inputs.iter();
            let mut wired = TVec::new();
            for (i, operand) in float.operands.iter().enumerate() {
                wired.push(match operand {
                    Operand::Activation(_) => *activations.next().context("too few inputs")?,
                    Operand::Constant(tensor) => {
                        model.add_const(format!("{name}_constant_{i}"), tensor.clone())?
                    }
                });
            }
            model.wire_node(name, float.op.clone(), &wired)?[0]
        }
    };
    if let Some(residual) = residual {
        y = float_layers::add(model, &format!("{name}_add"), y, residual)?;
    }
    if layer.relu {
        y = float_layers::relu(model, &format!("{name}_relu"), y)?;
    }
    Ok(y)
}
