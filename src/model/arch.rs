//! What a bottleneck ResNet looks like (He et al., "Deep Residual Learning", 2015; the stride in the
//! 3x3 convolution, as torchvision and timm have it), and its float graph in tract.
//!
//! Depth and widths are those of the tensors: any number of blocks per stage, any channel counts.

use std::fmt::Write;

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec};
use tract_nnef::tract_core::ops::math;
use tract_nnef::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use super::error::ModelError;
use super::import::tensors::Tensors;

/// A convolution with its batch normalization folded in.
#[derive(Debug, Clone)]
pub struct FoldedConv {
    pub name: String,
    /// `[out, in, rows, columns]`.
    pub weights: Tensor,
    pub bias: Vec<f32>,
    pub stride: usize,
}

/// One residual block: 1x1, 3x3, 1x1, and a 1x1 on the shortcut where shapes change.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    pub convs: [FoldedConv; 3],
    pub downsample: Option<FoldedConv>,
}

#[derive(Debug, Clone)]
pub struct Resnet {
    pub stem: FoldedConv,
    pub stages: Vec<Vec<Bottleneck>>,
    /// The dense layer, as a 1x1 convolution.
    pub head: FoldedConv,
}

/// Blocks per stage of the published depths.
pub const PUBLISHED: [(&str, [usize; 4]); 3] = [
    ("resnet50", [3, 4, 6, 3]),
    ("resnet101", [3, 4, 23, 3]),
    ("resnet152", [3, 8, 36, 3]),
];

/// torchvision's and timm's.
const BATCH_NORM_EPSILON: f64 = 1e-5;

impl Resnet {
    /// Reads torchvision's (and timm's) parameter names; depth and widths follow from what is there.
    ///
    /// # Errors
    /// If a tensor is missing, left over or shaped unlike a bottleneck ResNet's.
    pub fn from_tensors(mut t: Tensors) -> Result<Self, ModelError> {
        let stem = folded(&mut t, "conv1", "bn1", 2)?;
        let mut stages = Vec::new();
        while t.contains(&format!("layer{}.0.conv1.weight", stages.len() + 1)) {
            stages.push(stage(&mut t, stages.len() + 1)?);
        }
        let head = head(&mut t)?;
        t.finish()?;
        let net = Self { stem, stages, head };
        net.check()?;
        Ok(net)
    }

    /// Channels must follow from layer to layer before tract sees them.
    fn check(&self) -> Result<(), ModelError> {
        let mut channels = self.stem.shape()[0];
        let expect = |conv: &FoldedConv, inputs: usize| {
            if conv.shape()[1] == inputs {
                return Ok(conv.shape()[0]);
            }
            let shape = conv.shape().to_vec();
            Err(ModelError::Shape {
                name: format!("{}.weight", conv.name),
                shape,
                inputs,
            })
        };
        expect(&self.stem, 3)?;
        for block in self.stages.iter().flatten() {
            let mut inner = channels;
            for conv in &block.convs {
                inner = expect(conv, inner)?;
            }
            let shortcut = match &block.downsample {
                Some(conv) => expect(conv, channels)?,
                None => channels,
            };
            if shortcut != inner {
                let name = block.convs[2].name.clone();
                return Err(ModelError::Shortcut {
                    name,
                    inner,
                    shortcut,
                });
            }
            channels = inner;
        }
        expect(&self.head, channels).map(|_| ())
    }

    #[must_use]
    pub fn classes(&self) -> usize {
        self.head.shape()[0]
    }

    /// `resnet50` where the depth is a published one, else the blocks per stage.
    #[must_use]
    pub fn arch(&self) -> String {
        let blocks: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        let published = PUBLISHED.iter().find(|(_, b)| b[..] == blocks);
        published.map_or_else(
            || {
                blocks.iter().fold("resnet".to_owned(), |mut name, n| {
                    write!(name, "-{n}").ok();
                    name
                })
            },
            |(name, _)| (*name).to_owned(),
        )
    }

    /// The float graph: f32 `[1, 3, size, size]`, normalized, to f32 `[1, classes]`.
    ///
    /// # Errors
    /// If tract refuses an operator.
    pub fn to_graph(&self, size: usize) -> TractResult<TypedModel> {
        let mut graph = Graph(TypedModel::default());
        let image = graph.0.add_source("image", f32::fact([1, 3, size, size]))?;
        let mut x = graph.conv(&self.stem, image)?;
        x = graph.relu("relu", x)?;
        x = graph.max_pool("maxpool", x)?;
        for block in self.stages.iter().flatten() {
            x = graph.bottleneck(block, x)?;
        }
        x = graph.average("avgpool", x)?;
        x = graph.conv(&self.head, x)?;
        x = graph.wire("logits_row", AxisOp::Rm(3), &[x])?;
        x = graph.wire("logits", AxisOp::Rm(2), &[x])?;
        graph.0.select_output_outlets(&[x])?;
        Ok(graph.0)
    }
}

impl FoldedConv {
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.weights.shape()
    }
}

fn stage(t: &mut Tensors, number: usize) -> Result<Vec<Bottleneck>, ModelError> {
    let mut blocks = Vec::new();
    while t.contains(&format!("layer{number}.{}.conv1.weight", blocks.len())) {
        let prefix = format!("layer{number}.{}", blocks.len());
        if !t.contains(&format!("{prefix}.conv3.weight")) {
            return Err(ModelError::BasicBlock(prefix));
        }
        let stride = if number > 1 && blocks.is_empty() {
            2
        } else {
            1
        };
        let mut conv = |i: usize, stride: usize| {
            folded(
                t,
                &format!("{prefix}.conv{i}"),
                &format!("{prefix}.bn{i}"),
                stride,
            )
        };
        let convs = [conv(1, 1)?, conv(2, stride)?, conv(3, 1)?];
        let shortcut = format!("{prefix}.downsample");
        let downsample = t
            .contains(&format!("{shortcut}.0.weight"))
            .then(|| {
                folded(
                    t,
                    &format!("{shortcut}.0"),
                    &format!("{shortcut}.1"),
                    stride,
                )
            })
            .transpose()?;
        blocks.push(Bottleneck { convs, downsample });
    }
    Ok(blocks)
}

/// `w * gamma / sqrt(var + eps)` and `beta - mean * gamma / sqrt(var + eps)`, in f64.
#[allow(clippy::cast_possible_truncation)] // back to the precision the graph has
fn folded(t: &mut Tensors, conv: &str, bn: &str, stride: usize) -> Result<FoldedConv, ModelError> {
    let (shape, mut weights) = t.take(&format!("{conv}.weight"), 4)?;
    let mut vector = |name: &str| {
        let (shape_of, values) = t.take(&format!("{bn}.{name}"), 1)?;
        if values.len() == shape[0] {
            return Ok(values);
        }
        Err(ModelError::Shape {
            name: format!("{bn}.{name}"),
            shape: shape_of,
            inputs: shape[0],
        })
    };
    let (gamma, beta) = (vector("weight")?, vector("bias")?);
    let (mean, var) = (vector("running_mean")?, vector("running_var")?);
    let mut bias = Vec::with_capacity(shape[0]);
    let per_channel = weights.len() / shape[0];
    for (o, row) in weights.chunks_exact_mut(per_channel).enumerate() {
        let factor = f64::from(gamma[o]) / (f64::from(var[o]) + BATCH_NORM_EPSILON).sqrt();
        for w in row {
            *w = (f64::from(*w) * factor) as f32;
        }
        bias.push((f64::from(beta[o]) - f64::from(mean[o]) * factor) as f32);
    }
    finite(conv, &weights)?;
    finite(bn, &bias)?;
    let weights = Tensor::from_shape(&shape, &weights)?;
    Ok(FoldedConv {
        name: node_name(conv),
        weights,
        bias,
        stride,
    })
}

fn head(t: &mut Tensors) -> Result<FoldedConv, ModelError> {
    let (shape, weights) = t.take("fc.weight", 2)?;
    let (_, bias) = t.take("fc.bias", 1)?;
    if bias.len() != shape[0] {
        return Err(ModelError::Shape {
            name: "fc.bias".into(),
            shape: vec![bias.len()],
            inputs: shape[0],
        });
    }
    finite("fc", &weights)?;
    finite("fc", &bias)?;
    let weights = Tensor::from_shape(&[shape[0], shape[1], 1, 1], &weights)?;
    Ok(FoldedConv {
        name: "fc".into(),
        weights,
        bias,
        stride: 1,
    })
}

fn finite(name: &str, values: &[f32]) -> Result<(), ModelError> {
    if values.iter().all(|v| v.is_finite()) {
        Ok(())
    } else {
        Err(ModelError::NotFinite(name.to_owned()))
    }
}

/// NNEF identifiers have no dots.
fn node_name(parameter: &str) -> String {
    parameter.replace('.', "_")
}

/// A graph under construction.
struct Graph(TypedModel);

impl Graph {
    fn wire(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        Ok(self.0.wire_node(name, op, inputs)?[0])
    }

    fn conv(&mut self, conv: &FoldedConv, x: OutletId) -> TractResult<OutletId> {
        let shape = conv.shape();
        let pool = window(
            (shape[2], shape[3]),
            conv.stride,
            (shape[2] / 2, shape[3] / 2),
            (shape[1], shape[0]),
        );
        let weights = self
            .0
            .add_const(format!("{}_weight", conv.name), conv.weights.clone())?;
        let bias = self
            .0
            .add_const(format!("{}_bias", conv.name), tensor1(&conv.bias))?;
        let op = Conv {
            pool_spec: pool,
            kernel_fmt: KernelFormat::OIHW,
            group: 1,
            q_params: None,
        };
        self.wire(&conv.name, op, &[x, weights, bias])
    }

    fn relu(&mut self, name: &str, x: OutletId) -> TractResult<OutletId> {
        let zero = tensor0(0f32).broadcast_into_rank(4)?;
        let zero = self.0.add_const(format!("{name}_zero"), zero)?;
        self.wire(name, math::max(), &[x, zero])
    }

    fn max_pool(&mut self, name: &str, x: OutletId) -> TractResult<OutletId> {
        let channels = self.0.outlet_fact(x)?.shape[1].to_usize()?;
        let pool_spec = window((3, 3), 2, (1, 1), (channels, channels));
        self.wire(
            name,
            MaxPool {
                pool_spec,
                with_index_outputs: None,
            },
            &[x],
        )
    }

    fn average(&mut self, name: &str, x: OutletId) -> TractResult<OutletId> {
        let shape = self.0.outlet_fact(x)?.shape.clone();
        let pixels = shape[2].to_usize()? * shape[3].to_usize()?;
        let sum = Reduce {
            axes: tvec!(2, 3),
            reducer: Reducer::Sum,
        };
        let sum = self.wire(&format!("{name}_sum"), sum, &[x])?;
        #[allow(clippy::cast_precision_loss)] // a few dozen pixels
        let share = tensor0(1.0 / pixels as f32).broadcast_into_rank(4)?;
        let share = self.0.add_const(format!("{name}_share"), share)?;
        self.wire(name, math::mul(), &[sum, share])
    }

    fn bottleneck(&mut self, block: &Bottleneck, x: OutletId) -> TractResult<OutletId> {
        let [first, second, third] = &block.convs;
        let mut y = self.conv(first, x)?;
        y = self.relu(&format!("{}_relu", first.name), y)?;
        y = self.conv(second, y)?;
        y = self.relu(&format!("{}_relu", second.name), y)?;
        y = self.conv(third, y)?;
        let shortcut = match &block.downsample {
            Some(conv) => self.conv(conv, x)?,
            None => x,
        };
        y = self.wire(&format!("{}_add", third.name), math::add(), &[y, shortcut])?;
        self.relu(&format!("{}_relu", third.name), y)
    }
}

fn window(
    kernel: (usize, usize),
    stride: usize,
    pad: (usize, usize),
    (inputs, outputs): (usize, usize),
) -> PoolSpec {
    PoolSpec::new(
        DataFormat::NCHW,
        tvec!(kernel.0, kernel.1),
        PaddingSpec::Explicit(tvec!(pad.0, pad.1), tvec!(pad.0, pad.1)),
        None,
        Some(tvec!(stride, stride)),
        inputs,
        outputs,
    )
}
