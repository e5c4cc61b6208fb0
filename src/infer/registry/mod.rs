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
//! and, for networks other than a plain ResNet, or layers that are to stay float:
//!
//! ```text
//! c = resnetd_group_conv(x, (as resnetd_conv), groups = 32);
//! s = resnetd_add(a, b, relu = true, input_scale = .., input_zero = .., residual_scale = .., .., output_scale = .., ..);
//! p = resnetd_average_pool(x, kernel = .., stride = .., padding = .., count_padding = false, input_scale = .., ..);
//! y = resnetd_dense_rounded(a, (as resnetd_dense), output_scale = .., output_zero = ..);
//! f = resnetd_dequantize(x, scale = [..], zero = [..]);     u8 NHWC to f32 NCHW, one of each or one per channel
//! x = resnetd_quantize(f, output_scale = .., output_zero = ..);
//! ```
//!
//! `name` leads to three tensors of the archive: `NAME_weights` (i8, OHWI), `NAME_bias` (i32) and
//! `NAME_scales` (f32), the last two with one value per output channel. Padding is
//! `[[top, bottom], [left, right]]`; `border` is what it holds per input channel, nothing meaning
//! the zero point.

mod dump;
mod load;

use tract_nnef::internal::*;

/// Every operator that a bundle's graph may use: ours, and those of a float ResNet.
pub const OPERATORS: &[&str] = &[
    "resnetd_conv",
    "resnetd_conv_add",
    "resnetd_max_pool",
    "resnetd_global_average",
    "resnetd_dense",
    "resnetd_group_conv",
    "resnetd_add",
    "resnetd_average_pool",
    "resnetd_dense_rounded",
    "resnetd_dequantize",
    "resnetd_quantize",
    "tract_core_external",
    "external",
    "variable",
    "conv",
    "max_pool",
    "relu",
    "max",
    "add",
    "sum_reduce",
    "mul",
    "squeeze",
    "box",
    "min",
    "sub",
    "div",
    "sigmoid",
    "tanh",
    "leaky_relu",
    "tract_core_hard_swish",
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
    let (input, result, add) = (
        ["input_scale", "input_zero"],
        ["output_scale", "output_zero"],
        ["residual_scale", "residual_zero"],
    );
    let window = ["kernel", "stride", "padding"];
    let conv = [
        &["name", "stride", "padding", "border", "relu"][..],
        &input,
        &result,
    ]
    .concat();
    let primitives: [(&str, &[&[&str]], ToTract); 11] = [
        ("resnetd_conv", &[&conv], load::conv),
        (
            "resnetd_conv_add",
            &[&["residual"], &conv, &add],
            load::conv,
        ),
        (
            "resnetd_group_conv",
            &[&conv, &["groups"]],
            load::group_conv,
        ),
        (
            "resnetd_add",
            &[&["residual", "relu"], &input, &add, &result],
            load::add,
        ),
        ("resnetd_max_pool", &[&window], load::max_pool),
        (
            "resnetd_average_pool",
            &[&window, &["count_padding"], &input, &result],
            load::average_pool,
        ),
        (
            "resnetd_global_average",
            &[&input, &result],
            load::global_average,
        ),
        ("resnetd_dense", &[&["name"], &input], load::dense),
        (
            "resnetd_dense_rounded",
            &[&["name"], &input, &result],
            load::dense,
        ),
        (
            "resnetd_dequantize",
            &[&["scale", "zero"]],
            load::dequantize,
        ),
        ("resnetd_quantize", &[&result], load::quantize),
    ];
    let output = [("output", TypeName::Scalar.tensor())];
    for (name, parameters, load) in primitives {
        let mut all = vec![TypeName::Scalar.tensor().named("input")];
        all.extend(parameters.concat().into_iter().map(parameter));
        r.register_primitive(name, &all, &output, load);
    }
    dump::register(&mut r);
    r
}

/// A parameter's type follows from its name.
fn parameter(name: &str) -> Parameter {
    match name {
        "residual" => TypeName::Scalar.tensor().named(name),
        "name" => TypeName::String.spec().named(name),
        "relu" | "count_padding" => TypeName::Logical.spec().named(name),
        "groups" => TypeName::Integer.spec().named(name),
        "stride" | "kernel" | "border" => TypeName::Integer.array().named(name),
        "padding" => TypeName::Integer.array().array().named(name),
        "scale" | "zero" => TypeName::Scalar.array().named(name),
        _ if name.ends_with("_zero") => TypeName::Integer.spec().named(name),
        _ => TypeName::Scalar.spec().named(name),
    }
}
