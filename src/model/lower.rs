//! Finds in a float graph what our fused operators cover: convolution with bias, the addition of a
//! shortcut and ReLU become one layer; pooling, averaging and the dense layer follow. What they do not cover stays
//! as it is, for tract to run.

use std::collections::HashMap;
use std::sync::Arc;

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::binary::TypedBinOp;
use tract_nnef::tract_core::ops::cast::Cast;
use tract_nnef::tract_core::ops::cnn::{
    Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool,
};
use tract_nnef::tract_core::ops::konst::Const;
use tract_nnef::tract_core::ops::math;
use tract_nnef::tract_core::ops::nn::{DataFormat, Reduce, Reducer};
use tract_nnef::tract_core::ops::source::TypedSource;

use super::error::ModelError;
use super::layers::{Convolution, Float, Kind, Layer, Operand, Weights, Window};
use crate::kernels::Padding;

/// The layers of a float graph.
///
/// # Errors
/// If a node can be run neither by our operators nor amid them; it is named with its operator and the reason.
pub fn layers(model: &TypedModel) -> Result<Vec<Layer>, ModelError> {
    let mut found = Lowering {
        model,
        layers: Vec::new(),
        alias: HashMap::new(),
    };
    for id in model.eval_order()? {
        let node = model.node(id);
        found.node(node).map_err(|reason| ModelError::Lower {
            name: node.name.clone(),
            op: node.op.name().into_owned(),
            reason,
        })?;
    }
    found.finish()
}

struct Lowering<'a> {
    model: &'a TypedModel,
    layers: Vec<Layer>,
    /// Outlets that hold another outlet's values (reshapes).
    alias: HashMap<OutletId, OutletId>,
}

impl Lowering<'_> {
    fn node(&mut self, node: &TypedNode) -> Result<(), String> {
        let output = OutletId::new(node.id, 0);
        if node.op_is::<TypedSource>() || node.op_is::<Const>() {
            return Ok(());
        }
        // what changes neither values nor their order
        let reshape = node
            .op_as::<AxisOp>()
            .is_some_and(|op| !matches!(op, AxisOp::Move(..)));
        let same_type = node.op_is::<Cast>()
            && self.datum_type(node.inputs[0]) == Some(node.outputs[0].fact.datum_type);
        if reshape || same_type {
            let source = self.source(node.inputs[0]);
            self.alias.insert(output, source);
            return Ok(());
        }
        self.covered(node, output)
            .or_else(|reason| self.float(node, output, reason))
    }

    /// One of our layers, or a part of one.
    fn covered(&mut self, node: &TypedNode, output: OutletId) -> Result<(), String> {
        if let Some(op) = node.op_as::<Conv>() {
            return self.conv(node, op, output);
        }
        if let Some(op) = node.op_as::<MaxPool>() {
            let window = window(&op.pool_spec)?;
            return self.push(node, Kind::MaxPool(window), output);
        }
        if let Some(op) = node.op_as::<SumPool>() {
            return self.average_pool(node, op, output);
        }
        if let Some(op) = node.op_as::<Reduce>() {
            if op.reducer != Reducer::Sum || op.axes[..] != [2, 3] {
                return Err("only sums over rows and columns are averages".into());
            }
            return self.push(node, Kind::Average, output);
        }
        match node.op_as::<TypedBinOp>() {
            Some(op) if op.0.is::<math::Max>() => self.relu(node, output),
            Some(op) if op.0.is::<math::Add>() => self.add(node, output),
            Some(op) if op.0.is::<math::Mul>() => self.average_share(node, output),
            _ => Err("not part of a ResNet".into()),
        }
    }

    /// A node that tract is to run, among layers of ours.
    fn float(&mut self, node: &TypedNode, output: OutletId, reason: String) -> Result<(), String> {
        let picture = |outlet: OutletId| {
            let fact = self.model.outlet_fact(outlet).ok()?;
            let shape = fact.shape.as_concrete()?;
            (shape.len() == 4 && shape[0] == 1 && fact.datum_type == f32::datum_type())
                .then_some(())
        };
        if picture(output).is_none() || node.outputs.len() != 1 {
            return Err(reason);
        }
        let operand = |&outlet: &OutletId| match self.konst(outlet) {
            Some(constant) => Some(Operand::Constant(constant)),
            None => {
                // there and back again is nothing
                let shape = |o| {
                    self.model
                        .outlet_fact(o)
                        .map(|fact| fact.shape.clone())
                        .ok()
                };
                let source = self.source(outlet);
                let same = shape(source) == shape(outlet);
                let read = picture(source).filter(|()| same);
                read.map(|()| Operand::Activation(source))
            }
        };
        let operands: Option<Vec<Operand>> = node.inputs.iter().map(operand).collect();
        let operands = operands.ok_or_else(|| reason.clone())?;
        let first = operands.iter().find_map(|o| match o {
            Operand::Activation(outlet) => Some(*outlet),
            Operand::Constant(_) => None,
        });
        let input = first.ok_or_else(|| reason.clone())?;
        self.layers.push(Layer {
            name: node.name.clone(),
            kind: Kind::Float(Float {
                op: node.op.clone(),
                operands,
                reason,
            }),
            input,
            residual: None,
            relu: false,
            output,
        });
        Ok(())
    }

    fn source(&self, outlet: OutletId) -> OutletId {
        self.alias.get(&outlet).copied().unwrap_or(outlet)
    }

    fn push(&mut self, node: &TypedNode, kind: Kind, output: OutletId) -> Result<(), String> {
        let input = self.source(node.inputs[0]);
        // tract's reader names what an operator became after the operator
        let name = node
            .name
            .trim_end_matches("_conv")
            .trim_end_matches("_max_pool_output")
            .to_owned();
        self.layers.push(Layer {
            name,
            kind,
            input,
            residual: None,
            relu: false,
            output,
        });
        Ok(())
    }

    fn konst(&self, outlet: OutletId) -> Option<Arc<Tensor>> {
        self.model
            .outlet_fact(self.source(outlet))
            .ok()?
            .konst
            .clone()
    }

    fn datum_type(&self, outlet: OutletId) -> Option<DatumType> {
        self.model
            .outlet_fact(outlet)
            .ok()
            .map(|fact| fact.datum_type)
    }

    fn conv(&mut self, node: &TypedNode, op: &Conv, output: OutletId) -> Result<(), String> {
        if op.q_params.is_some() {
            return Err("quantized convolutions are not covered".into());
        }
        let weights = self
            .konst(node.inputs[1])
            .ok_or("its weights are computed")?;
        if op.kernel_fmt != KernelFormat::OIHW || weights.rank() != 4 {
            return Err("its weights are not in OIHW order".into());
        }
        let bias = self.konst(node.inputs[2]).ok_or("its bias is computed")?;
        let bias = bias.cast_to::<f32>().map_err(|e| e.to_string())?;
        let view = bias.try_as_plain_ram().map_err(|e| e.to_string())?;
        let mut bias = view.as_slice::<f32>().map_err(|e| e.to_string())?.to_vec();
        if bias.len() == 1 {
            bias.resize(weights.shape()[0], bias[0]);
        }
        let conv = Convolution {
            weights: Weights { weights, bias },
            window: window(&op.pool_spec)?,
            groups: op.group,
        };
        self.push(node, Kind::Conv(conv), output)
    }

    fn average_pool(
        &mut self,
        node: &TypedNode,
        op: &SumPool,
        output: OutletId,
    ) -> Result<(), String> {
        if !op.normalize {
            return Err("only averages over windows are covered, not sums".into());
        }
        let kind = Kind::AveragePool {
            window: window(&op.pool_spec)?,
            count_padding: op.count_include_pad,
        };
        self.push(node, kind, output)
    }

    /// The layer that wrote `outlet`, if nobody else reads it.
    fn writer(&self, outlet: OutletId) -> Option<usize> {
        let readers = |o: OutletId| self.model.node(o.node).outputs[o.slot].successors.len();
        let source = self.source(outlet);
        if readers(outlet) != 1 || readers(source) != 1 {
            return None;
        }
        self.layers.iter().position(|l| l.output == source)
    }

    fn relu(&mut self, node: &TypedNode, output: OutletId) -> Result<(), String> {
        let zero = |o: &OutletId| {
            self.konst(*o)
                .is_some_and(|k| k.is_all_zero().unwrap_or(false))
        };
        let x = node
            .inputs
            .iter()
            .find(|&o| !zero(o))
            .filter(|_| node.inputs.iter().any(zero));
        let x = *x.ok_or("only a maximum with zero is a ReLU")?;
        let layer = self
            .writer(x)
            .ok_or("its input is no convolution's alone")?;
        let layer = &mut self.layers[layer];
        if layer.relu || !matches!(layer.kind, Kind::Conv(_) | Kind::Add) {
            return Err("its input is no convolution".into());
        }
        layer.relu = true;
        layer.output = output;
        Ok(())
    }

    /// Fuses an addition into the later of the convolutions that feed it.
    fn add(&mut self, node: &TypedNode, output: OutletId) -> Result<(), String> {
        let (a, b) = (self.source(node.inputs[0]), self.source(node.inputs[1]));
        let fusable = |o| {
            let layer = self.writer(o)?;
            let l = &self.layers[layer];
            let plain = !l.relu && l.residual.is_none();
            let ungrouped = matches!(&l.kind, Kind::Conv(conv) if conv.groups == 1);
            (plain && ungrouped).then_some((layer, o))
        };
        let candidates = [fusable(a), fusable(b)];
        // of two plain convolutions the longer branch's carries the sum, by its place in its block
        let main = match candidates {
            [Some(x), Some(y)] => {
                let kernel = |l: usize| self.depth_behind(l);
                if kernel(x.0) >= kernel(y.0) { x } else { y }
            }
            [Some(x), None] | [None, Some(x)] => x,
            [None, None] => {
                self.plain_sum(node, output, (a, b))?;
                return Ok(());
            }
        };
        let mut layer = self.layers.remove(main.0);
        layer.residual = Some(if main.1 == a { b } else { a });
        layer.output = output;
        self.layers.push(layer);
        Ok(())
    }

    /// An addition that is a layer of its own.
    fn plain_sum(
        &mut self,
        node: &TypedNode,
        output: OutletId,
        (a, b): (OutletId, OutletId),
    ) -> Result<(), String> {
        let shape = |o| self.model.outlet_fact(o).map(|f| f.shape.clone()).ok();
        if self.konst(a).or(self.konst(b)).is_some() || shape(a) != shape(b) {
            return Err("only activations of one shape are added".into());
        }
        self.layers.push(Layer {
            name: node.name.clone(),
            kind: Kind::Add,
            input: a,
            residual: Some(b),
            relu: false,
            output,
        });
        Ok(())
    }

    /// How many convolutions in a row lead to this one without a branch.
    fn depth_behind(&self, layer: usize) -> usize {
        let before = self.writer(self.layers[layer].input);
        match before {
            Some(before) if before < layer => 1 + self.depth_behind(before),
            _ => 0,
        }
    }

    /// An average is a sum times a constant share.
    fn average_share(&mut self, node: &TypedNode, output: OutletId) -> Result<(), String> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let (x, share) = match (self.konst(a), self.konst(b)) {
            (None, Some(share)) => (a, share),
            (Some(share), None) => (b, share),
            _ => return Err("only a sum's multiplication by a constant is covered".into()),
        };
        let layer = self.writer(x).ok_or("only sums are multiplied")?;
        if !matches!(self.layers[layer].kind, Kind::Average) {
            return Err("only sums are multiplied".into());
        }
        let pixels: usize = self
            .model
            .outlet_fact(self.layers[layer].input)
            .ok()
            .and_then(|f| f.shape.as_concrete().map(|s| s[2..].iter().product()))
            .ok_or("the picture's size is not known")?;
        let share: f32 = share.cast_to_scalar().map_err(|e| e.to_string())?;
        #[allow(clippy::cast_precision_loss)] // pixels of the last feature map
        if (share * pixels as f32 - 1.0).abs() > 1e-3 {
            return Err(format!(
                "{share} is not the share of one of {pixels} pixels"
            ));
        }
        self.layers[layer].output = output;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Layer>, ModelError> {
        let output = self.model.outputs.first().map(|&o| self.source(o));
        let Some(last) = self.layers.last_mut().filter(|l| Some(l.output) == output) else {
            return Err(ModelError::Tract("the graph's output is no layer's".into()));
        };
        last.kind = match &last.kind {
            Kind::Conv(conv)
                if conv.window.kernel == (1, 1)
                    && conv.groups == 1
                    && !last.relu
                    && last.residual.is_none() =>
            {
                Kind::Dense(conv.weights.clone())
            }
            _ => return Err(ModelError::Tract("the last layer is not dense".into())),
        };
        Ok(self.layers)
    }
}

fn window(spec: &PoolSpec) -> Result<Window, String> {
    let pair = |v: &[usize]| match *v {
        [a, b] => Ok((a, b)),
        _ => Err("windows have two dimensions".to_owned()),
    };
    let (before, after) = match &spec.padding {
        PaddingSpec::Explicit(before, after)
        | PaddingSpec::ExplicitOnnxPool(before, after, false) => (pair(before)?, pair(after)?),
        PaddingSpec::Valid => ((0, 0), (0, 0)),
        other => return Err(format!("padding {other:?} is not covered")),
    };
    if spec.data_format != DataFormat::NCHW {
        return Err(format!("{:?} is not covered", spec.data_format));
    }
    if spec
        .dilations
        .as_ref()
        .is_some_and(|d| d.iter().any(|&d| d != 1))
    {
        return Err("dilated windows are not covered".into());
    }
    Ok(Window {
        kernel: pair(&spec.kernel_shape)?,
        stride: spec.strides.as_ref().map_or(Ok((1, 1)), |s| pair(s))?,
        pad: Padding {
            top: before.0,
            bottom: after.0,
            left: before.1,
            right: after.1,
        },
    })
}
