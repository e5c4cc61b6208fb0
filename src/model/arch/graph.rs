//! The float graph of a network, in tract's own operators.

use tract_nnef::internal::*;
use tract_nnef::tract_core::ops::cnn::{
    Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool,
};
use tract_nnef::tract_core::ops::math;
use tract_nnef::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use super::{Block, FoldedConv, Resnet, Shortcut};

impl Resnet {
    /// The float graph: f32 `[1, 3, size, size]`, normalized, to f32 `[1, classes]`.
    ///
    /// # Errors
    /// If tract refuses an operator.
    pub fn to_graph(&self, size: usize) -> TractResult<TypedModel> {
        let mut graph = Graph(TypedModel::default());
        let mut x = graph.0.add_source("image", f32::fact([1, 3, size, size]))?;
        for (i, conv) in self.stem.iter().enumerate() {
            x = graph.conv(conv, x)?;
            let last = i + 1 == self.stem.len();
            let name = format!("{}_relu", conv.name);
            x = graph.relu(if last { "relu" } else { &name }, x)?;
        }
        x = graph.max_pool("maxpool", x)?;
        for block in self.stages.iter().flatten() {
            x = graph.block(block, x)?;
        }
        x = graph.average("avgpool", x)?;
        x = graph.conv(&self.head, x)?;
        x = graph.wire("logits_row", AxisOp::Rm(3), &[x])?;
        x = graph.wire("logits", AxisOp::Rm(2), &[x])?;
        graph.0.select_output_outlets(&[x])?;
        Ok(graph.0)
    }
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
        let pad = (shape[2] / 2, shape[3] / 2);
        let pool_spec = window(
            (shape[2], shape[3]),
            conv.stride,
            (pad, pad),
            (conv.inputs(), conv.outputs()),
        );
        let weights = self
            .0
            .add_const(format!("{}_weight", conv.name), conv.weights.clone())?;
        let bias = self
            .0
            .add_const(format!("{}_bias", conv.name), tensor1(&conv.bias))?;
        let op = Conv {
            pool_spec,
            kernel_fmt: KernelFormat::OIHW,
            group: conv.groups,
            q_params: None,
        };
        self.wire(&conv.name, op, &[x, weights, bias])
    }

    fn relu(&mut self, name: &str, x: OutletId) -> TractResult<OutletId> {
        let zero = tensor0(0f32).broadcast_into_rank(4)?;
        let zero = self.0.add_const(format!("{name}_zero"), zero)?;
        self.wire(name, math::max(), &[x, zero])
    }

    /// Channels, rows and columns.
    fn chw(&self, x: OutletId) -> TractResult<[usize; 3]> {
        let shape = &self.0.outlet_fact(x)?.shape;
        Ok([
            shape[1].to_usize()?,
            shape[2].to_usize()?,
            shape[3].to_usize()?,
        ])
    }

    fn max_pool(&mut self, name: &str, x: OutletId) -> TractResult<OutletId> {
        let channels = self.chw(x)?[0];
        let pool_spec = window((3, 3), 2, ((1, 1), (1, 1)), (channels, channels));
        let op = MaxPool {
            pool_spec,
            with_index_outputs: None,
        };
        self.wire(name, op, &[x])
    }

    fn average(&mut self, name: &str, x: OutletId) -> TractResult<OutletId> {
        let [_, rows, columns] = self.chw(x)?;
        let sum = Reduce {
            axes: tvec!(2, 3),
            reducer: Reducer::Sum,
        };
        let sum = self.wire(&format!("{name}_sum"), sum, &[x])?;
        #[allow(clippy::cast_precision_loss)] // a few dozen pixels
        let share = tensor0(1.0 / (rows * columns) as f32).broadcast_into_rank(4)?;
        let share = self.0.add_const(format!("{name}_share"), share)?;
        self.wire(name, math::mul(), &[sum, share])
    }

    /// PyTorch's `AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)`: where rows or columns are odd, the last
    /// average is of those that are there.
    fn halve(&mut self, name: &str, x: OutletId) -> TractResult<OutletId> {
        let [channels, rows, columns] = self.chw(x)?;
        let pool_spec = window(
            (2, 2),
            2,
            ((0, 0), (rows % 2, columns % 2)),
            (channels, channels),
        );
        let op = SumPool {
            pool_spec,
            count_include_pad: false,
            normalize: true,
        };
        self.wire(name, op, &[x])
    }

    fn block(&mut self, block: &Block, x: OutletId) -> TractResult<OutletId> {
        let (last, others) = block.convs.split_last().context("a block without layers")?;
        let mut y = x;
        for conv in others {
            y = self.conv(conv, y)?;
            y = self.relu(&format!("{}_relu", conv.name), y)?;
        }
        y = self.conv(last, y)?;
        let shortcut = match &block.shortcut {
            Some(shortcut) => self.shortcut(shortcut, x)?,
            None => x,
        };
        y = self.wire(&format!("{}_add", last.name), math::add(), &[y, shortcut])?;
        self.relu(&format!("{}_relu", last.name), y)
    }

    fn shortcut(&mut self, shortcut: &Shortcut, mut x: OutletId) -> TractResult<OutletId> {
        if shortcut.averaged {
            x = self.halve(&format!("{}_average", shortcut.conv.name), x)?;
        }
        self.conv(&shortcut.conv, x)
    }
}

/// `pad` is that before the first row and column, and that after the last.
fn window(
    kernel: (usize, usize),
    stride: usize,
    (before, after): ((usize, usize), (usize, usize)),
    (inputs, outputs): (usize, usize),
) -> PoolSpec {
    PoolSpec::new(
        DataFormat::NCHW,
        tvec!(kernel.0, kernel.1),
        PaddingSpec::Explicit(tvec!(before.0, before.1), tvec!(after.0, after.1)),
        None,
        Some(tvec!(stride, stride)),
        inputs,
        outputs,
    )
}
