//! Our operators made from a bundle's graph.

use std::sync::Arc;

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::source::TypedSource;

use crate::infer::layer;
use crate::infer::qadd::QAdd;
use crate::infer::qcast::{Dequantize, Quantize};
use crate::infer::qconv::{ConvParams, QConv, nhwc};
use crate::infer::qdense::QDense;
use crate::infer::qgroup::QGroupConv;
use crate::infer::qpool::{QAverage, QGlobalAverage, QMaxPool};
use crate::infer::weights::{Target, Waiting, Weights};
use crate::kernels::{Geometry, Padding, Quant, Scale, Storage};

/// The arguments of one operator of a graph.
struct Args<'a, 'b, 'c> {
    builder: &'a mut ModelBuilder<'c>,
    call: &'a ResolvedInvocation<'b>,
}

impl Args<'_, '_, '_> {
    fn pair(&mut self, name: &str) -> TractResult<(usize, usize)> {
        let values: TVec<usize> = self.call.named_arg_as(self.builder, name)?;
        match *values {
            [a, b] => Ok((a, b)),
            _ => bail!("{name} has {} values, not 2", values.len()),
        }
    }

    fn integer(&mut self, name: &str) -> TractResult<usize> {
        self.call.named_arg_as(self.builder, name)
    }

    fn logical(&mut self, name: &str) -> TractResult<bool> {
        self.call.named_arg_as(self.builder, name)
    }

    fn text(&mut self, name: &str) -> TractResult<String> {
        self.call.named_arg_as(self.builder, name)
    }

    fn numbers(&mut self, name: &str) -> TractResult<Vec<f32>> {
        let values: TVec<f32> = self.call.named_arg_as(self.builder, name)?;
        Ok(values.to_vec())
    }

    fn padding(&mut self) -> TractResult<Padding> {
        let values: TVec<TVec<usize>> = self.call.named_arg_as(self.builder, "padding")?;
        match values.iter().map(|v| &v[..]).collect::<Vec<_>>()[..] {
            [&[top, bottom], &[left, right]] => Ok(Padding {
                top,
                bottom,
                left,
                right,
            }),
            _ => bail!("padding is not [[top, bottom], [left, right]]"),
        }
    }

    fn border(&mut self) -> TractResult<Vec<u8>> {
        let values: TVec<i64> = self.call.named_arg_as(self.builder, "border")?;
        values
            .iter()
            .map(|&v| u8::try_from(v).with_context(|| format!("border {v}")))
            .collect()
    }

    fn quant(&mut self, scale: &str, zero: &str) -> TractResult<Quant> {
        let scale: f32 = self.call.named_arg_as(self.builder, scale)?;
        let zero: i64 = self.call.named_arg_as(self.builder, zero)?;
        Ok(Quant::new(scale, zero)?)
    }

    fn input_quant(&mut self) -> TractResult<Quant> {
        self.quant("input_scale", "input_zero")
    }

    fn output_quant(&mut self) -> TractResult<Quant> {
        self.quant("output_scale", "output_zero")
    }

    fn residual_quant(&mut self) -> TractResult<Quant> {
        self.quant("residual_scale", "residual_zero")
    }

    /// What a convolution is told beside its weights, but for a residual.
    fn conv_params(&mut self, picture: bool) -> TractResult<ConvParams> {
        Ok(ConvParams {
            stride: self.pair("stride")?,
            pad: self.padding()?,
            border: self.border()?,
            relu: self.logical("relu")?,
            input: self.input_quant()?,
            output: self.output_quant()?,
            residual: None,
            picture,
        })
    }

    /// The window of a pooling of `input`.
    fn pooling(&mut self, input: OutletId) -> TractResult<Geometry> {
        let [h, w, c] = self.size(input)?;
        let (kernel, stride) = (self.pair("kernel")?, self.pair("stride")?);
        Ok(Geometry::new(
            (h, w),
            (c, c),
            kernel,
            stride,
            self.padding()?,
        )?)
    }

    fn input(&mut self, name: &str) -> TractResult<OutletId> {
        self.call.named_arg_as(self.builder, name)
    }

    /// Whether an input is the network's: the picture.
    fn is_picture(&self, input: OutletId) -> bool {
        self.builder.model.node(input.node).op_is::<TypedSource>()
    }

    /// An input that one of our layers computes, and how such are stored.
    fn activations(&mut self, name: &str) -> TractResult<(OutletId, Storage)> {
        let input = self.input(name)?;
        ensure!(
            layer::of(self.builder.model.node(input.node)).is_some(),
            "{name} is neither the picture's nor an 8-bit layer's output, or the picture where no convolution takes it"
        );
        Ok((input, self.target()?.backend.storage()))
    }

    fn target(&self) -> TractResult<&Target> {
        let target = self.builder.proto_model.resources.get(Target::NAME);
        let target = target.and_then(|r| r.downcast_ref::<Target>());
        target.context("no backend was chosen")
    }

    fn size(&self, input: OutletId) -> TractResult<[usize; 3]> {
        nhwc(self.builder.model.outlet_fact(input)?)
    }

    fn tensor(&self, name: &str, what: &str) -> TractResult<&Tensor> {
        let label = format!("{name}_{what}");
        let tensor = self
            .builder
            .proto_model
            .tensors
            .get(&Identifier(label.clone()));
        Ok(tensor.with_context(|| format!("the archive has no tensor {label}"))?)
    }

    /// `NAME_weights`, `NAME_bias` and `NAME_scales`.
    fn layer(&self, name: &str) -> TractResult<(Weights, Arc<[i32]>, Arc<[Scale]>)> {
        let label = format!("{name}_weights");
        let weights = self.builder.proto_model.resources.get(&label);
        let weights = weights
            .and_then(|r| r.downcast_ref::<Waiting>())
            .and_then(Waiting::take)
            .with_context(|| {
                format!("the archive has no 8-bit weights {label}, or two layers of this name")
            })?;
        let bias = self
            .tensor(name, "bias")?
            .try_as_plain_ram()?
            .as_slice::<i32>()?;
        let scales = self
            .tensor(name, "scales")?
            .try_as_plain_ram()?
            .as_slice::<f32>()?;
        let scales = scales
            .iter()
            .map(|&s| Scale::new(s))
            .collect::<Result<_, _>>()?;
        Ok((weights, bias.into(), scales))
    }
}

pub fn conv(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let adds = is(call, "resnetd_conv_add");
    let mut args = Args { builder, call };
    let name = args.text("name")?;
    let mut inputs = tvec!(args.input("input")?);
    let picture = args.is_picture(inputs[0]);
    if !picture {
        args.activations("input")?;
    }
    let mut params = args.conv_params(picture)?;
    if adds {
        inputs.push(args.activations("residual")?.0);
        params.residual = Some(args.residual_quant()?);
    }
    let [h, w, _] = args.size(inputs[0])?;
    let (weights, bias, scales) = args.layer(&name)?;
    let budget = &args.target()?.budget;
    let op = QConv::new(name, params, weights, (bias, scales), (h, w), budget)?;
    builder.wire(op, &inputs)
}

pub fn group_conv(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let name = args.text("name")?;
    let (input, _) = args.activations("input")?;
    let (params, groups) = (args.conv_params(false)?, args.integer("groups")?);
    let size = args.size(input)?;
    let (weights, bias, scales) = args.layer(&name)?;
    let (backend, weights) = (weights.backend, weights.to_tensor()?);
    let layer = (name, params, groups);
    let op = QGroupConv::new(layer, weights, (bias, scales), size, backend)?;
    builder.wire(op, &[input])
}

pub fn add(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let inputs = [
        args.activations("input")?.0,
        args.activations("residual")?.0,
    ];
    let quants = [args.input_quant()?, args.residual_quant()?];
    let (output, relu) = (args.output_quant()?, args.logical("relu")?);
    let op = QAdd::new(quants, output, relu, args.target()?.backend)?;
    builder.wire(op, &inputs)
}

fn is(call: &ResolvedInvocation, id: &str) -> bool {
    call.invocation.id.0 == id
}

pub fn max_pool(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let (input, storage) = args.activations("input")?;
    let geometry = args.pooling(input)?;
    builder.wire(QMaxPool { geometry, storage }, &[input])
}

pub fn average_pool(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let (input, storage) = args.activations("input")?;
    let window = (args.pooling(input)?, args.logical("count_padding")?);
    let quants = (args.input_quant()?, args.output_quant()?);
    builder.wire(QAverage::new(window, quants, storage), &[input])
}

pub fn global_average(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let (input, storage) = args.activations("input")?;
    let [h, w, _] = args.size(input)?;
    let (quant, output) = (args.input_quant()?, args.output_quant()?);
    let op = QGlobalAverage::new(h * w, quant, output, storage)?;
    builder.wire(op, &[input])
}

pub fn dense(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let rounded = is(call, "resnetd_dense_rounded");
    let mut args = Args { builder, call };
    let name = args.text("name")?;
    let (input, _) = args.activations("input")?;
    let quant = args.input_quant()?;
    let output = rounded.then(|| args.output_quant()).transpose()?;
    let (weights, bias, scales) = args.layer(&name)?;
    let op = QDense::new(name, quant, weights, bias, scales)?;
    let op = match output {
        Some(output) => op.rounded_to(output),
        None => op,
    };
    builder.wire(op, &[input])
}

pub fn dequantize(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let input = args.input("input")?;
    let storage = if args.is_picture(input) {
        Storage::Unsigned
    } else {
        args.activations("input")?.1
    };
    let op = Dequantize::new(args.numbers("scale")?, args.numbers("zero")?, storage)?;
    builder.wire(op, &[input])
}

pub fn quantize(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let input = args.input("input")?;
    let op = Quantize::new(args.output_quant()?, args.target()?.backend.storage());
    builder.wire(op, &[input])
}
