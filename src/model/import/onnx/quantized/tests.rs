//! Quantized files of both spellings, made node by node: the layers that are read of them, run here in plain
//! arithmetic, give what tract gives for the file itself, to one step of the output.

use std::path::Path;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;

use super::super::layers::{Divisor, Window};
use super::super::made::{Attribute, Made, floats, integers, last, raw};
use super::super::{File, open};
use super::{Kind, QuantizedLayer, QuantizedNetwork, Weights};
use crate::kernels::Quant;
use crate::random::Random;
use crate::spec::Activation;

/// The type of activations in a made file.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Of {
    U8,
    I8,
}

pub(super) const SIZE: usize = 12;

/// Writes quantized networks.
pub(super) struct Maker {
    pub made: Made,
    of: Of,
}

impl Maker {
    pub fn new(of: Of) -> Self {
        let made = Made::pictures(12);
        Self { made, of }
    }

    /// Names of a scale and a zero point.
    pub fn scale(&mut self, scale: f32, zero: u8) -> [String; 2] {
        let (dtype, zero) = match self.of {
            Of::U8 => (DataType::Uint8, zero),
            Of::I8 => (DataType::Int8, zero ^ 0x80),
        };
        let scale = self.made.tensor(floats(&[], &[scale]));
        [scale, self.made.tensor(raw(dtype, &[], vec![zero]))]
    }

    fn quantize(&mut self, x: &str, [scale, zero]: &[String; 2]) -> String {
        self.made.node("QuantizeLinear", &[x, scale, zero], &[])
    }

    fn dequantize(&mut self, x: &str, [scale, zero]: &[String; 2]) -> String {
        self.made.node("DequantizeLinear", &[x, scale, zero], &[])
    }

    /// There and back: what a layer's output looks like in a QDQ file.
    pub fn round(&mut self, x: &str, scale: f32, zero: u8) -> String {
        let names = self.scale(scale, zero);
        let x = self.quantize(x, &names);
        self.dequantize(&x, &names)
    }

    /// i8 weights in -127 to 127, their scales (one for each output) and zero points.
    fn weights(&mut self, dims: &[i64]) -> [String; 3] {
        let count = usize::try_from(dims.iter().product::<i64>()).unwrap();
        let values = (0..count)
            .map(|_| self.made.random_below(255).wrapping_add(129))
            .collect();
        let outputs = usize::try_from(dims[0]).unwrap();
        #[allow(clippy::cast_precision_loss)]
        let scales: Vec<f32> = (0..outputs).map(|o| 0.002 + 0.0001 * o as f32).collect();
        [
            self.made.tensor(raw(DataType::Int8, dims, values)),
            self.made.tensor(floats(&dims[..1], &scales)),
            self.made
                .tensor(raw(DataType::Int8, &dims[..1], vec![0; outputs])),
        ]
    }

    fn bias(&mut self, outputs: i64) -> String {
        let values = (0..outputs).flat_map(|o| i32::try_from(100 * o - 150).unwrap().to_le_bytes());
        let values = values.collect();
        self.made.tensor(raw(DataType::Int32, &[outputs], values))
    }

    /// A convolution in a QDQ file, of what was rounded with `scale`; its own output is not rounded yet.
    pub fn conv(&mut self, x: &str, dims: [i64; 4], stride: i64, scale: f32) -> String {
        let [w, scales, zeros] = self.weights(&dims);
        let axis = || [("axis", Attribute::Int(0))];
        let w = self
            .made
            .node("DequantizeLinear", &[&w, &scales, &zeros], &axis());
        let bias = self.bias(dims[0]);
        #[allow(clippy::cast_precision_loss)]
        let units: Vec<f32> = (0..dims[0])
            .map(|o| scale * (0.002 + 0.0001 * o as f32))
            .collect();
        let units = self.made.tensor(floats(&dims[..1], &units));
        let bias = self
            .made
            .node("DequantizeLinear", &[&bias, &units], &axis());
        let pad = dims[2] / 2;
        let attributes = [
            ("kernel_shape", Attribute::Ints(&dims[2..])),
            ("strides", Attribute::Ints(&[stride, stride])),
            ("pads", Attribute::Ints(&[pad; 4])),
        ];
        self.made.node("Conv", &[x, &w, &bias], &attributes)
    }

    pub fn finish(self) -> Vec<u8> {
        let output = last(&self.made);
        self.made.bytes(&output)
    }
}

/// A stem, a maximum, a block and a classifier.
pub(super) fn qdq(of: Of) -> Vec<u8> {
    let mut m = Maker::new(of);
    let x = m.round("x", 0.02, 128);
    let x = m.conv(&x, [6, 3, 3, 3], 2, 0.02);
    let x = m.made.relu(&x);
    let x = m.round(&x, 0.03, 0);
    let window = [
        ("kernel_shape", Attribute::Ints(&[3, 3])),
        ("strides", Attribute::Ints(&[2, 2])),
        ("pads", Attribute::Ints(&[1, 1, 1, 1])),
    ];
    let x = m.made.node("MaxPool", &[&x], &window);
    let x = m.round(&x, 0.03, 0);
    let y = m.conv(&x, [6, 6, 3, 3], 1, 0.03);
    let y = m.round(&y, 0.05, 120);
    let sum = m.made.node("Add", &[&y, &x], &[]);
    let x = m.made.relu(&sum);
    let x = m.round(&x, 0.04, 0);
    let x = m.made.node("GlobalAveragePool", &[&x], &[]);
    let x = m.round(&x, 0.01, 0);
    let x = m.made.node("Flatten", &[&x], &[]);
    let x = m.round(&x, 0.01, 0);
    let [w, scales, zeros] = m.weights(&[5, 6]);
    let w = m.made.node(
        "DequantizeLinear",
        &[&w, &scales, &zeros],
        &[("axis", Attribute::Int(0))],
    );
    let bias = m.made.tensor(floats(&[5], &[0.1, -0.2, 0.0, 0.3, 0.05]));
    let x = m
        .made
        .node("Gemm", &[&x, &w, &bias], &[("transB", Attribute::Int(1))]);
    m.round(&x, 0.01, 100);
    m.finish()
}

fn file(bytes: &[u8]) -> File {
    open(Path::new("m.onnx"), bytes).unwrap_or_else(|e| panic!("{e}"))
}

pub(super) fn read(bytes: &[u8]) -> QuantizedNetwork {
    let file = file(bytes);
    assert!(file.is_quantized());
    file.quantized(SIZE).unwrap_or_else(|e| panic!("{e}"))
}

pub(super) fn refused(bytes: &[u8]) -> String {
    file(bytes)
        .quantized(SIZE)
        .map(|n| n.layers.len())
        .unwrap_err()
        .to_string()
}

pub(super) fn picture() -> Vec<f32> {
    let mut random = Random::new(3);
    (0..3 * SIZE * SIZE).map(|_| random.normal()).collect()
}

pub(super) fn tract(bytes: &[u8]) -> Vec<f32> {
    let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).unwrap();
    let plan = model.into_typed().unwrap().into_runnable().unwrap();
    let picture = Tensor::from_shape(&[1, 3, SIZE, SIZE], &picture()).unwrap();
    let output = plan.run(tvec!(picture.into_tvalue())).unwrap();
    output[0]
        .try_as_plain_ram()
        .unwrap()
        .as_slice::<f32>()
        .unwrap()
        .to_vec()
}

/// A tensor as the numbers that it stands for.
struct Map {
    shape: [usize; 3],
    values: Vec<f64>,
}

impl Map {
    /// Zero outside.
    fn at(&self, [c, y, x]: [usize; 3], pad: (usize, usize)) -> Option<f64> {
        let (y, x) = (y.checked_sub(pad.0)?, x.checked_sub(pad.1)?);
        let [_, rows, columns] = self.shape;
        (y < rows && x < columns).then(|| self.values[(c * rows + y) * columns + x])
    }

    fn window(&self, c: usize, (y, x): (usize, usize), w: &Window) -> Vec<Option<f64>> {
        let pad = (w.pad.top, w.pad.left);
        let places = (0..w.kernel.0).flat_map(|ky| (0..w.kernel.1).map(move |kx| (ky, kx)));
        places
            .map(|(ky, kx)| self.at([c, y * w.stride.0 + ky, x * w.stride.1 + kx], pad))
            .collect()
    }
}

/// Runs the layers in doubles, rounding where they say.
fn run(network: &QuantizedNetwork, picture: &[f32]) -> Vec<f64> {
    let mut maps: Vec<Map> = Vec::new();
    for layer in &network.layers {
        let value =
            |c: usize, y: usize, x: usize| computed(layer, &maps, (network, picture), (c, y, x));
        let [channels, rows, columns] = layer.shape;
        let places = (0..channels)
            .flat_map(|c| (0..rows).flat_map(move |y| (0..columns).map(move |x| (c, y, x))));
        let values = places.map(|(c, y, x)| {
            let v = value(c, y, x);
            let v = if layer.relu { v.max(0.0) } else { v };
            layer.output.map_or(v, |q| rounded(v, q))
        });
        let values = values.collect();
        maps.push(Map {
            shape: layer.shape,
            values,
        });
    }
    maps.pop().unwrap().values
}

fn rounded(v: f64, q: Quant) -> f64 {
    let (scale, zero) = (f64::from(q.scale.get()), f64::from(q.zero.get()));
    ((v / scale).round_ties_even() + zero).clamp(0.0, 255.0) * scale - zero * scale
}

fn computed(
    layer: &QuantizedLayer,
    maps: &[Map],
    (network, picture): (&QuantizedNetwork, &[f32]),
    (c, y, x): (usize, usize, usize),
) -> f64 {
    let input = |i: usize| &maps[layer.inputs[i]];
    let scale = || f64::from(network.layers[layer.inputs[0]].output.unwrap().scale.get());
    let [_, rows, columns] = layer.shape;
    match &layer.kind {
        Kind::Picture => f64::from(picture[(c * rows + y) * columns + x]),
        Kind::Conv {
            weights,
            groups,
            window,
        } => product(weights, *groups, c, scale(), |i| {
            input(0).window(i, (y, x), window)
        }),
        Kind::Dense(weights) => product(weights, 1, c, scale(), |i| vec![Some(input(0).values[i])]),
        Kind::Add => [0, 1]
            .map(|i| input(i).at([c, y, x], (0, 0)).unwrap())
            .iter()
            .sum(),
        Kind::MaxPool(w) => input(0)
            .window(c, (y, x), w)
            .into_iter()
            .flatten()
            .fold(f64::MIN, f64::max),
        Kind::AveragePool(w, divisor) => {
            let seen = input(0).window(c, (y, x), w);
            #[allow(clippy::cast_precision_loss)]
            let count = match divisor {
                Divisor::Window => seen.len(),
                Divisor::Pixels => seen.iter().flatten().count(),
            } as f64;
            seen.into_iter().flatten().sum::<f64>() / count
        }
        Kind::GlobalAverage => {
            let pixels = input(0).values.len() / input(0).shape[0];
            #[allow(clippy::cast_precision_loss)]
            let count = pixels as f64;
            input(0).values[c * pixels..][..pixels].iter().sum::<f64>() / count
        }
        Kind::Rescale => input(0).at([c, y, x], (0, 0)).unwrap(),
        Kind::Normalized | Kind::Float(_) => panic!("these are tried by build_tests.rs"),
    }
}

fn product(
    weights: &Weights,
    groups: usize,
    o: usize,
    input_scale: f64,
    seen: impl Fn(usize) -> Vec<Option<f64>>,
) -> f64 {
    let [outputs, inputs, rows, columns] = weights.dims;
    let group = o / (outputs / groups);
    let scale = f64::from(weights.scales[o]);
    let mut sum = f64::from(weights.bias[o]) * scale * input_scale;
    for i in 0..inputs {
        let row = &weights.values[(o * inputs + i) * rows * columns..][..rows * columns];
        let seen = seen(group * inputs + i);
        sum += row
            .iter()
            .zip(seen)
            .map(|(w, v)| f64::from(*w) * scale * v.unwrap_or(0.0))
            .sum::<f64>();
    }
    sum
}

/// Within a step: sums in another order may fall on the other side of a half.
fn agree(bytes: &[u8], step: f64) {
    let (ours, theirs) = (run(&read(bytes), &picture()), tract(bytes));
    assert_eq!(ours.len(), theirs.len());
    assert!(
        theirs.iter().any(|v| v.abs() > 5e-2),
        "{theirs:?} says little"
    );
    for (a, b) in ours.iter().zip(&theirs) {
        assert!(
            (a - f64::from(*b)).abs() < 1.01 * step,
            "{ours:?} {theirs:?}"
        );
    }
}

fn kinds(network: &QuantizedNetwork) -> String {
    let name = |l: &QuantizedLayer| {
        let name = format!("{:?}", l.kind);
        let end = name.find(['(', ' ']).unwrap_or(name.len());
        name[..end].to_owned() + if l.relu { "+Relu" } else { "" }
    };
    network
        .layers
        .iter()
        .map(name)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_qdq_network_is_a_list_of_fused_layers_with_the_files_scales() {
    let network = read(&qdq(Of::U8));
    assert_eq!(
        kinds(&network),
        "Picture Conv+Relu MaxPool Conv Add+Relu GlobalAverage Dense"
    );
    let quant = |i: usize| network.layers[i].output.unwrap();
    assert_eq!(quant(0), Quant::new(0.02, 128).unwrap());
    assert_eq!(quant(2), quant(1));
    assert_eq!(quant(3), Quant::new(0.05, 120).unwrap());
    assert_eq!(network.layers[4].inputs, [3, 2]);
    assert_eq!(network.layers[4].shape, [6, 3, 3]);
    let Kind::Conv { weights, .. } = &network.layers[1].kind else {
        panic!("no convolution");
    };
    assert_eq!(weights.bias, [-150, -50, 50, 150, 250, 350]);
    assert!((weights.scales[5] - 0.0025).abs() < 1e-7);
    let Kind::Dense(weights) = &network.layers[6].kind else {
        panic!("not dense");
    };
    // 0.1 in units of 0.01 x 0.002
    assert_eq!(weights.bias[0], 5000);
    assert_eq!(network.activation, None);
}

#[test]
fn signed_activations_are_the_same_network_moved_by_128() {
    let (unsigned, signed) = (read(&qdq(Of::U8)), read(&qdq(Of::I8)));
    assert_eq!(kinds(&unsigned), kinds(&signed));
    for (a, b) in unsigned.layers.iter().zip(&signed.layers) {
        assert_eq!(a.output, b.output, "{}", a.name);
    }
}

#[test]
fn the_layers_compute_what_tract_computes_of_the_file() {
    agree(&qdq(Of::U8), 0.01);
    agree(&qdq(Of::I8), 0.01);
}

#[test]
fn logits_may_stay_float_and_end_in_a_softmax() {
    let mut m = Maker::new(Of::U8);
    let x = m.round("x", 0.02, 128);
    let x = m.conv(&x, [5, 3, 3, 3], 2, 0.02);
    let x = m.round(&x, 0.03, 90);
    // rounded first, cut off then: a layer of its own
    let x = m.made.relu(&x);
    let x = m.round(&x, 0.02, 0);
    let window = [
        ("kernel_shape", Attribute::Ints(&[2, 2])),
        ("strides", Attribute::Ints(&[2, 2])),
    ];
    let x = m.made.node("AveragePool", &[&x], &window);
    let x = m.round(&x, 0.02, 3);
    let axes = [
        ("axes", Attribute::Ints(&[2, 3])),
        ("keepdims", Attribute::Int(0)),
    ];
    let x = m.made.node("ReduceMean", &[&x], &axes);
    let x = m.round(&x, 0.01, 0);
    let [w, scales, zeros] = m.weights(&[5, 5]);
    let w = m.made.node(
        "DequantizeLinear",
        &[&w, &scales, &zeros],
        &[("axis", Attribute::Int(0))],
    );
    let w = m
        .made
        .node("Transpose", &[&w], &[("perm", Attribute::Ints(&[1, 0]))]);
    let x = m.made.node("MatMul", &[&x, &w], &[]);
    let bias = m.made.tensor(floats(&[5], &[0.1; 5]));
    let x = m.made.node("Add", &[&bias, &x], &[]);
    let logits = m.made.graph.clone();
    m.made.node("Softmax", &[&x], &[]);
    let network = read(&m.finish());
    assert_eq!(
        kinds(&network),
        "Picture Conv Rescale+Relu AveragePool GlobalAverage Dense"
    );
    assert_eq!(network.activation, Some(Activation::Softmax));
    assert_eq!(network.layers[5].output, None);
    let mut made = Made::pictures(12);
    made.graph = logits;
    agree(&made.bytes(&x), 0.02);
}

#[test]
fn a_qoperator_network_is_the_same_list() {
    let mut m = Maker::new(Of::U8);
    let [seen, stem, sum, mean, logits] =
        [(0.02, 128), (0.03, 0), (0.04, 10), (0.01, 0), (0.02, 100)].map(|(s, z)| m.scale(s, z));
    let x = m.quantize("x", &seen);
    let [w, ws, wz] = m.weights(&[6, 3, 3, 3]);
    let bias = m.bias(6);
    let attributes = [
        ("kernel_shape", Attribute::Ints(&[3, 3])),
        ("strides", Attribute::Ints(&[2, 2])),
        ("pads", Attribute::Ints(&[1, 1, 1, 1])),
    ];
    let inputs = [
        &x, &seen[0], &seen[1], &w, &ws, &wz, &stem[0], &stem[1], &bias,
    ];
    let x = m
        .made
        .node("QLinearConv", &inputs.map(String::as_str), &attributes);
    let x = m.made.node("MaxPool", &[&x], &attributes);
    let inputs = [
        &x, &stem[0], &stem[1], &x, &stem[0], &stem[1], &sum[0], &sum[1],
    ];
    let x = microsoft(&mut m, "QLinearAdd", &inputs.map(String::as_str), &[]);
    let inputs = [&x, &sum[0], &sum[1], &mean[0], &mean[1]];
    let x = microsoft(
        &mut m,
        "QLinearGlobalAveragePool",
        &inputs.map(String::as_str),
        &[],
    );
    let x = m.made.node("Flatten", &[&x], &[]);
    let [w, ws, wz] = m.weights(&[5, 6]);
    let bias = m.bias(5);
    let inputs = [
        &x, &mean[0], &mean[1], &w, &ws, &wz, &bias, &logits[0], &logits[1],
    ];
    let x = microsoft(
        &mut m,
        "QGemm",
        &inputs.map(String::as_str),
        &[("transB", Attribute::Int(1))],
    );
    m.dequantize(&x, &logits);
    let network = read(&m.finish());
    assert_eq!(
        kinds(&network),
        "Picture Conv MaxPool Add GlobalAverage Dense"
    );
    assert_eq!(
        network.layers[3].output,
        Some(Quant::new(0.04, 10).unwrap())
    );
    assert_eq!(
        network.layers[5].output,
        Some(Quant::new(0.02, 100).unwrap())
    );
    assert_eq!(run(&network, &picture()).len(), 5);
}

fn microsoft(m: &mut Maker, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
    let x = m.made.node(op, inputs, attributes);
    m.made.graph.node.last_mut().unwrap().domain = "com.microsoft".into();
    x
}

#[test]
fn what_is_not_quantized_whole_is_refused_by_name() {
    let mut m = Maker::new(Of::U8);
    let x = m.made.unit("x", [5, 3, 3, 3], 2, 1);
    let x = m.round(&x, 0.02, 0);
    let x = m.made.unit(&x, [5, 5, 3, 3], 1, 1);
    m.made.head(&x, 5);
    let error = refused(&m.finish());
    assert!(
        error.contains("BatchNormalization") && error.contains("not quantized"),
        "{error}"
    );
    // another scale than it was rounded with
    let mut m = Maker::new(Of::U8);
    let (a, b) = (m.scale(0.02, 0), m.scale(0.03, 0));
    let x = m.quantize("x", &a);
    m.dequantize(&x, &b);
    assert!(refused(&m.finish()).contains("DequantizeLinear"));
    // 16 bits, a zero point for each channel, a scale that is none
    let mut m = Maker::new(Of::U8);
    let scale = m.made.tensor(floats(&[], &[0.02]));
    let zero = m.made.tensor(raw(DataType::Int32, &[], vec![0; 4]));
    m.made.node("QuantizeLinear", &["x", &scale, &zero], &[]);
    assert!(refused(&m.finish()).contains("8-bit"));
    for scales in [&[0.1, 0.2, 0.3][..], &[0.0], &[f32::NAN]] {
        let mut m = Maker::new(Of::U8);
        let count = i64::try_from(scales.len()).unwrap();
        let scale = m.made.tensor(floats(&[count], scales));
        m.made.node("QuantizeLinear", &["x", &scale], &[]);
        assert!(refused(&m.finish()).contains("QuantizeLinear"));
    }
}

#[test]
fn a_dynamic_flatten_of_a_pooled_map_is_followed() {
    let mut m = Maker::new(Of::U8);
    let x = m.round("x", 0.02, 128);
    let x = m.conv(&x, [5, 3, 3, 3], 2, 0.02);
    let x = m.round(&x, 0.03, 90);
    let x = m.made.node("GlobalAveragePool", &[&x], &[]);
    let x = m.round(&x, 0.03, 90);
    let shape = m.made.node("Shape", &[&x], &[]);
    let zero = m.made.tensor(integers(&[0]));
    let batch = m.made.node("Gather", &[&shape, &zero], &[]);
    let rest = m.made.tensor(integers(&[-1]));
    let shape = m
        .made
        .node("Concat", &[&batch, &rest], &[("axis", Attribute::Int(0))]);
    m.made.node("Reshape", &[&x, &shape], &[]);
    assert_eq!(kinds(&read(&m.finish())), "Picture Conv GlobalAverage");
}
