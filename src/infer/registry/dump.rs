//! Our operators as a bundle's graph has them written.

use std::sync::Arc;

use tract_nnef::ast::RValue;
use tract_nnef::internal::*;
use tract_nnef::ser::{array, ints};

use crate::infer::qadd::QAdd;
use crate::infer::qcast::{Dequantize, Quantize};
use crate::infer::qconv::{ConvParams, QConv};
use crate::infer::qdense::QDense;
use crate::infer::qgroup::QGroupConv;
use crate::infer::qpool::{QAverage, QGlobalAverage, QMaxPool};
use crate::kernels::{Geometry, Padding, Quant, Scale};

/// Tells `registry` how each operator is written.
pub fn register(registry: &mut Registry) {
    registry.register_dumper(conv);
    registry.register_dumper(group_conv);
    registry.register_dumper(add);
    registry.register_dumper(max_pool);
    registry.register_dumper(average_pool);
    registry.register_dumper(global_average);
    registry.register_dumper(dense);
    registry.register_dumper(dequantize);
    registry.register_dumper(quantize);
}

type Named = Vec<(&'static str, RValue)>;

fn quant_args(scale: &'static str, zero: &'static str, q: Quant) -> Named {
    vec![(scale, numeric(q.scale.get())), (zero, numeric(q.zero.0))]
}

fn padding_arg(p: Padding) -> RValue {
    array([ints(&[p.top, p.bottom]), ints(&[p.left, p.right])])
}

/// Puts a layer's tensors into the archive under its name.
fn tensors(
    ast: &mut IntoAst,
    name: &str,
    weights: Tensor,
    bias: &[i32],
    scales: &[Scale],
) -> TractResult<()> {
    let scales: Vec<f32> = scales.iter().map(|s| s.get()).collect();
    let tensors = [
        ("weights", weights),
        ("bias", tensor1(bias)),
        ("scales", tensor1(&scales)),
    ];
    for (what, tensor) in tensors {
        ast.tensors
            .insert(Identifier(format!("{name}_{what}")), Arc::new(tensor));
    }
    Ok(())
}

fn conv(ast: &mut IntoAst, node: &TypedNode, op: &QConv) -> TractResult<Option<Arc<RValue>>> {
    tensors(ast, &op.name, op.weights.to_tensor()?, &op.bias, &op.scales)?;
    let mut args = conv_args(&op.name, &op.params);
    let mut id = "resnetd_conv";
    if let Some(r) = op.params.residual {
        args.extend(quant_args("residual_scale", "residual_zero", r));
        id = "resnetd_conv_add";
    }
    Ok(Some(invocation(id, &inputs(ast, node), &args)))
}

fn conv_args(name: &str, p: &ConvParams) -> Named {
    let border: Vec<usize> = p.border.iter().map(|&b| usize::from(b)).collect();
    let mut args: Named = vec![
        ("name", string(name)),
        ("stride", ints(&[p.stride.0, p.stride.1])),
        ("padding", padding_arg(p.pad)),
        ("border", ints(&border)),
        ("relu", logical(p.relu)),
    ];
    args.extend(quant_args("input_scale", "input_zero", p.input));
    args.extend(quant_args("output_scale", "output_zero", p.output));
    args
}

fn group_conv(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &QGroupConv,
) -> TractResult<Option<Arc<RValue>>> {
    let weights = Tensor::clone(&op.weights);
    tensors(ast, &op.name, weights, &op.bias, &op.scales)?;
    let mut args = conv_args(&op.name, &op.params);
    args.push(("groups", numeric(op.groups)));
    let call = invocation("resnetd_group_conv", &inputs(ast, node), &args);
    Ok(Some(call))
}

fn add(ast: &mut IntoAst, node: &TypedNode, op: &QAdd) -> TractResult<Option<Arc<RValue>>> {
    let mut args: Named = vec![("relu", logical(op.relu))];
    args.extend(quant_args("input_scale", "input_zero", op.inputs[0]));
    args.extend(quant_args("residual_scale", "residual_zero", op.inputs[1]));
    args.extend(quant_args("output_scale", "output_zero", op.output));
    Ok(Some(invocation("resnetd_add", &inputs(ast, node), &args)))
}

fn inputs(ast: &IntoAst, node: &TypedNode) -> Vec<Arc<RValue>> {
    node.inputs.iter().map(|i| ast.mapping[i].clone()).collect()
}

fn window_args(g: &Geometry) -> Named {
    vec![
        ("kernel", ints(&[g.kernel_h, g.kernel_w])),
        ("stride", ints(&[g.stride_h, g.stride_w])),
        ("padding", padding_arg(g.pad)),
    ]
}

fn max_pool(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &QMaxPool,
) -> TractResult<Option<Arc<RValue>>> {
    let args = window_args(&op.geometry);
    let call = invocation("resnetd_max_pool", &inputs(ast, node), &args);
    Ok(Some(call))
}

fn average_pool(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &QAverage,
) -> TractResult<Option<Arc<RValue>>> {
    let mut args = window_args(&op.geometry);
    args.push(("count_padding", logical(op.count_padding)));
    args.extend(quant_args("input_scale", "input_zero", op.input));
    args.extend(quant_args("output_scale", "output_zero", op.output));
    let call = invocation("resnetd_average_pool", &inputs(ast, node), &args);
    Ok(Some(call))
}

fn global_average(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &QGlobalAverage,
) -> TractResult<Option<Arc<RValue>>> {
    let mut args = quant_args("input_scale", "input_zero", op.input);
    args.extend(quant_args("output_scale", "output_zero", op.output));
    let call = invocation("resnetd_global_average", &inputs(ast, node), &args);
    Ok(Some(call))
}

fn dense(ast: &mut IntoAst, node: &TypedNode, op: &QDense) -> TractResult<Option<Arc<RValue>>> {
    tensors(ast, &op.name, op.weights.to_tensor()?, &op.bias, &op.scales)?;
    let mut args: Named = vec![("name", string(&op.name))];
    args.extend(quant_args("input_scale", "input_zero", op.input));
    let mut id = "resnetd_dense";
    if let Some(output) = op.rounded {
        args.extend(quant_args("output_scale", "output_zero", output));
        id = "resnetd_dense_rounded";
    }
    Ok(Some(invocation(id, &inputs(ast, node), &args)))
}

fn dequantize(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &Dequantize,
) -> TractResult<Option<Arc<RValue>>> {
    let numbers = |values: &[f32]| array(values.iter().map(numeric).collect::<Vec<_>>());
    let args = [("scale", numbers(&op.scale)), ("zero", numbers(&op.zero))];
    let call = invocation("resnetd_dequantize", &inputs(ast, node), &args);
    Ok(Some(call))
}

fn quantize(
    ast: &mut IntoAst,
    node: &TypedNode,
    op: &Quantize,
) -> TractResult<Option<Arc<RValue>>> {
    let args = quant_args("output_scale", "output_zero", op.output);
    let call = invocation("resnetd_quantize", &inputs(ast, node), &args);
    Ok(Some(call))
}
