//! A network as a plain list of fused layers, in an order in which they can be run: what `lower` finds in a float
//! graph, and what `rewrite` builds an int8 graph of. Each layer names the float graph's outlets that it reads and
//! writes, so that activations can be measured there.

use std::sync::Arc;

use tract_nnef::internal::*;

use crate::kernels::Padding;

/// One fused layer.
#[derive(Debug, Clone)]
pub struct Layer {
    pub name: String,
    pub kind: Kind,
    pub input: OutletId,
    /// Added before ReLU.
    pub residual: Option<OutletId>,
    pub relu: bool,
    pub output: OutletId,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Conv(Convolution),
    MaxPool(Window),
    AveragePool {
        window: Window,
        /// Whether padding counts as zeros, or not at all.
        count_padding: bool,
    },
    /// Over the whole picture.
    Average,
    /// The input and the residual, where no convolution carries the sum.
    Add,
    /// The last layer; its output stays float.
    Dense(Weights),
    /// What no int8 operator covers: tract runs it in float.
    Float(Float),
}

#[derive(Debug, Clone)]
pub struct Convolution {
    pub weights: Weights,
    pub window: Window,
    pub groups: usize,
}

/// OIHW weights and one bias per output channel.
#[derive(Debug, Clone)]
pub struct Weights {
    pub weights: Arc<Tensor>,
    pub bias: Vec<f32>,
}

/// Where a convolution or a pooling looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: (usize, usize),
    pub stride: (usize, usize),
    pub pad: Padding,
}

impl Window {
    /// Of one pixel.
    pub const ONE: Self = Self {
        kernel: (1, 1),
        stride: (1, 1),
        pad: Padding::all(0),
    };
}

/// A node of the float graph as it is.
#[derive(Debug, Clone)]
pub struct Float {
    pub op: Box<dyn TypedOp>,
    pub operands: Vec<Operand>,
    /// Why it is not an int8 layer.
    pub reason: String,
}

#[derive(Debug, Clone)]
pub enum Operand {
    Activation(OutletId),
    Constant(Arc<Tensor>),
}

impl Layer {
    /// What a layer that tract runs reads.
    pub fn operands(&self) -> impl Iterator<Item = OutletId> {
        let operands = match &self.kind {
            Kind::Float(float) => &float.operands[..],
            _ => &[],
        };
        operands.iter().filter_map(|operand| match operand {
            Operand::Activation(outlet) => Some(*outlet),
            Operand::Constant(_) => None,
        })
    }

    /// Whether its output needs a scale of its own.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        !matches!(self.kind, Kind::MaxPool(_) | Kind::Dense(_))
    }
}
