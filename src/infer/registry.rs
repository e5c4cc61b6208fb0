//! How our operators look in a bundle's `graph.nnef`, both ways: the NNEF registry `resnetd`.
//!
//! ```text
//! c = resnetd_conv(x, name = "layer1_0_conv1", stride = [1, 1], padding = [[0, 0], [0, 0]], border = [],
//!                  relu = true, input_scale = .., input_zero = .., output_scale = .., output_zero = ..);
//! s = resnetd_conv_add(c, r, (as above), residual_scale = .., residual_zero = ..);
//! m = resnetd_max_pool(x, kernel = [3, 3], stride = [2, 2], padding = [[1, 1], [1, 1]]);
//! a = resnetd_global_average(x, input_scale = .., input_zero = .., output_scale = .., output_zero = ..);
//! y = resnetd_dense(a, name = "fc", input_scale = .., input_zero = ..);
//! ```
//!
//! `name` leads to three tensors of the archive: `NAME_weights` (i8, OHWI), `NAME_bias` (i32) and
//! `NAME_scales` (f32), the last two with one value per output channel. Padding is
//! `[[top, bottom], [left, right]]`; `border` is what it holds per input channel, nothing meaning
//! the zero point.

use std::sync::Arc;

use tract_nnef::ast::{Invocation, RValue};
use tract_nnef::internal::*;
use tract_nnef::ser::{array, ints};
use tract_nnef::tract_core::ops::source::TypedSource;

use super::layer;
use super::qconv::{ConvParams, QConv, nhwc};
use super::qdense::QDense;
use super::qpool::{QGlobalAverage, QMaxPool};
use super::weights::{Target, Weights};
use crate::kernels::{Geometry, Padding, Quant, Scale, Storage};

/// Every operator that a bundle's graph may use: ours, and those of a float ResNet.
pub const OPERATORS: &[&str] = &[
    "resnetd_conv",
    "resnetd_conv_add",
    "resnetd_max_pool",
    "resnetd_global_average",
    "resnetd_dense",
    "tract_core_external",
    "external",
    "variable",
    "conv",
    "max_pool",
    "box",
    "relu",
    "max",
    "add",
    "sum_reduce",
    "mul",
    "squeeze",
];

/// tract's reader and writer of graphs, with our operators. Files are not its business: [`super::weights`] brings
/// the tensors.
#[must_use]
pub fn nnef() -> Nnef {
    let mut nnef = tract_nnef::nnef().with_registry(registry());
    nnef.resource_loaders = Vec::new();
    nnef
}

fn registry() -> Registry {
    let mut r = Registry::new("resnetd");
    let output = [("output", TypeName::Scalar.tensor())];
    let layer = |extra: &[&str]| -> Vec<Parameter> {
        let mut all = vec![TypeName::Scalar.tensor().named("input")];
        for &name in extra {
            all.push(match name {
                "residual" => TypeName::Scalar.tensor().named(name),
                "name" => TypeName::String.spec().named(name),
                "relu" => TypeName::Logical.spec().named(name),
                "stride" | "kernel" | "border" => TypeName::Integer.array().named(name),
                "padding" => TypeName::Integer.array().array().named(name),
                _ if name.ends_with("_zero") => TypeName::Integer.spec().named(name),
                _ => TypeName::Scalar.spec().named(name),
            });
        }
        all
    };
    let (input, result, add) = (
        ["input_scale", "input_zero"],
        ["output_scale", "output_zero"],
        ["residual_scale", "residual_zero"],
    );
    let window = ["name", "stride", "padding", "border", "relu"];
    r.register_primitive(
        "resnetd_conv",
        &layer(&[&window[..], &input, &result].concat()),
        &output,
        load_conv,
    );
    r.register_primitive(
        "resnetd_conv_add",
        &layer(&[&["residual"][..], &window, &input, &result, &add].concat()),
        &output,
        load_conv,
    );
    r.register_primitive(
        "resnetd_max_pool",
        &layer(&["kernel", "stride", "padding"]),
        &output,
        load_max_pool,
    );
    r.register_primitive(
        "resnetd_global_average",
        &layer(&[input, result].concat()),
        &output,
        load_average,
    );
    r.register_primitive(
        "resnetd_dense",
        &layer(&[&["name"][..], &input].concat()),
        &output,
        load_dense,
    );
    r.register_dumper(dump_conv);
    r.register_dumper(dump_max_pool);
    r.register_dumper(dump_average);
    r.register_dumper(dump_dense);
    r
}

type Named = Vec<(&'static str, RValue)>;

fn quant_args(scale: &'static str, zero: &'static str, q: Quant) -> Named {
    vec![(scale, numeric(q.scale.get())), (zero, numeric(q.zero.0))]
}

fn padding_arg(p: Padding) -> RValue {
    array([ints(&[p.top, p.bottom]), ints(&[p.left, p.right])])
}

/// Puts a layer's tensors into the archive under its name.
fn dump_tensors(
    ast: &mut IntoAst,
    name: &str,
    weights: &Weights,
    bias: &[i32],
    scales: &[Scale],
) -> TractResult<()> {
    let scales: Vec<f32> = scales.iter().map(|s| s.get()).collect();
    let tensors = [
        ("weights", weights.to_tensor()?),
        ("bias", tensor1(bias)),
        ("scales", tensor1(&scales)),
    ];
    for (what, tensor) in tensors {
        ast.tensors
            .insert(Identifier(format!("{name}_{what}")), Arc::new(tensor));
    }
    Ok(())
}

fn dump_conv(ast: &mut IntoAst, node: &TypedNode, op: &QConv) -> TractResult<Option<Arc<RValue>>> {
    dump_tensors(ast, &op.name, &op.weights, &op.bias, &op.scales)?;
    let p = &op.params;
    let mut args: Named = vec![
        ("name", string(&op.name)),
        ("stride", ints(&[p.stride.0, p.stride.1])),
        ("padding", padding_arg(p.pad)),
        (
            "border",
            ints(&p.border.iter().map(|&b| usize::from(b)).collect::<Vec<_>>()),
        ),
        ("relu", logical(p.relu)),
    ];
    args.extend(quant_args("input_scale", "input_zero", p.input));
    args.extend(quant_args("output_scale", "output_zero", p.output));
    let mut id = "resnetd_conv";
    if let Some(r) = p.residual {
        args.extend(quant_args("residual_scale", "residual_zero", r));
        id = "resnetd_conv_add";
    }
    Ok(Some(invocation(id, &inputs(ast, node), &args)))
}

fn inputs(ast: &IntoAst, node: &TypedNode) -> Vec<Arc<RValue>> {
    node.inputs.iter().map(|i| ast.mapping[i].clone()).collect()
}

fn dump_max_pool(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &QMaxPool,
) -> TractResult<Option<Arc<RValue>>> {
    let g = &op.geometry;
    let args = [
        ("kernel", ints(&[g.kernel_h, g.kernel_w])),
        ("stride", ints(&[g.stride_h, g.stride_w])),
        ("padding", padding_arg(g.pad)),
    ];
    Ok(Some(invocation(
        "resnetd_max_pool",
        &inputs(ast, node),
        &args,
    )))
}

fn dump_average(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &QGlobalAverage,
) -> TractResult<Option<Arc<RValue>>> {
    let mut args = quant_args("input_scale", "input_zero", op.input);
    args.extend(quant_args("output_scale", "output_zero", op.output));
    Ok(Some(invocation(
        "resnetd_global_average",
        &inputs(ast, node),
        &args,
    )))
}

fn dump_dense(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &QDense,
) -> TractResult<Option<Arc<RValue>>> {
    dump_tensors(ast, &op.name, &op.weights, &op.bias, &op.scales)?;
    let mut args: Named = vec![("name", string(&op.name))];
    args.extend(quant_args("input_scale", "input_zero", op.input));
    Ok(Some(invocation("resnetd_dense", &inputs(ast, node), &args)))
}

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
            .and_then(|r| r.downcast_ref::<Weights>())
            .with_context(|| format!("the archive has no 8-bit weights {label}"))?;
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
        Ok((weights.clone(), bias.into(), scales))
    }
}

fn load_conv(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let adds = is(call.invocation, "resnetd_conv_add");
    let mut args = Args { builder, call };
    let name: String = call.named_arg_as(args.builder, "name")?;
    let mut inputs = tvec!(args.input("input")?);
    let picture = args.is_picture(inputs[0]);
    if !picture {
        args.activations("input")?;
    }
    let mut residual = None;
    if adds {
        inputs.push(args.activations("residual")?.0);
        residual = Some(args.quant("residual_scale", "residual_zero")?);
    }
    let params = ConvParams {
        stride: args.pair("stride")?,
        pad: args.padding()?,
        border: args.border()?,
        relu: call.named_arg_as(args.builder, "relu")?,
        input: args.quant("input_scale", "input_zero")?,
        output: args.quant("output_scale", "output_zero")?,
        residual,
        picture,
    };
    let [h, w, _] = args.size(inputs[0])?;
    let (weights, bias, scales) = args.layer(&name)?;
    let budget = &args.target()?.budget;
    let op = QConv::new(name, params, weights, (bias, scales), (h, w), budget)?;
    builder.wire(op, &inputs)
}

fn is(invocation: &Invocation, id: &str) -> bool {
    invocation.id.0 == id
}

fn load_max_pool(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let (input, storage) = args.activations("input")?;
    let [h, w, c] = args.size(input)?;
    let (kernel, stride) = (args.pair("kernel")?, args.pair("stride")?);
    let geometry = Geometry::new((h, w), (c, c), kernel, stride, args.padding()?)?;
    builder.wire(QMaxPool { geometry, storage }, &[input])
}

fn load_average(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let (input, storage) = args.activations("input")?;
    let [h, w, _] = args.size(input)?;
    let quant = args.quant("input_scale", "input_zero")?;
    let output = args.quant("output_scale", "output_zero")?;
    let op = QGlobalAverage::new(h * w, quant, output, storage)?;
    builder.wire(op, &[input])
}

fn load_dense(builder: &mut ModelBuilder, call: &ResolvedInvocation) -> TractResult<Value> {
    let mut args = Args { builder, call };
    let name: String = call.named_arg_as(args.builder, "name")?;
    let (input, _) = args.activations("input")?;
    let quant = args.quant("input_scale", "input_zero")?;
    let (weights, bias, scales) = args.layer(&name)?;
    builder.wire(QDense::new(name, quant, weights, bias, scales)?, &[input])
}
