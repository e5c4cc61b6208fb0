//! A network as a short list of layers on feature maps of `channels x rows x columns`: what is left of an ONNX
//! graph once the order of axes and the spelling of operators are gone. `read.rs` makes it, `fold.rs` simplifies
//! it, `emit.rs` builds the float graph of it.

use tract_nnef::tract_core::ops::element_wise::ElementWiseOp;

use crate::kernels::Padding;
pub use crate::model::layers::Window;

/// `[channels, rows, columns]`; the batch is always one picture.
pub type Shape = [usize; 3];

/// A layer's place in the list; its inputs have smaller ones.
pub type Place = usize;

#[derive(Debug, Clone)]
pub struct Layer {
    /// The node's, as the file has it.
    pub name: String,
    /// The operator's, for messages.
    pub op: String,
    pub kind: Kind,
    pub inputs: Vec<Place>,
    pub shape: Shape,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// The picture: always the first layer, and the only one without inputs.
    Image,
    Conv(Conv),
    /// A factor and a summand for each channel.
    Affine(Affine),
    Pad(Padding),
    Relu,
    MaxPool(Window),
    AveragePool(Window, Divisor),
    /// The sum over rows and columns.
    Sum,
    /// The mean over rows and columns.
    GlobalAverage,
    Add,
    /// Cuts off below a value, or above it, where that is not ReLU.
    Bound(Bound, f32),
    /// An activation of each value for itself: tract's operator.
    Elementwise(ElementWiseOp),
    Sigmoid,
    /// A map times another of its shape, or times one value for each channel (Hu et al., "Squeeze-and-Excitation Networks", 2018).
    Product,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Least,
    Most,
}

#[derive(Debug, Clone)]
pub struct Conv {
    /// `[out, in / groups, rows, columns]`.
    pub dims: [usize; 4],
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    pub groups: usize,
    pub window: Window,
}

#[derive(Debug, Clone)]
pub struct Affine {
    pub factor: Vec<f32>,
    pub summand: Vec<f32>,
}

/// What a window's sum is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divisor {
    /// The size of the window.
    Window,
    /// The pixels of the picture in it.
    Pixels,
}

impl Window {
    /// Rows and columns of the output.
    #[must_use]
    pub fn output(&self, rows: usize, columns: usize) -> Option<(usize, usize)> {
        let along = |size: usize, before: usize, after: usize, kernel: usize, stride: usize| {
            let padded = size.checked_add(before)?.checked_add(after)?;
            Some(padded.checked_sub(kernel)?.checked_div(stride)? + 1)
        };
        let p = self.pad;
        Some((
            along(rows, p.top, p.bottom, self.kernel.0, self.stride.0)?,
            along(columns, p.left, p.right, self.kernel.1, self.stride.1)?,
        ))
    }
}

/// Both paddings together.
#[must_use]
pub fn both(a: Padding, b: Padding) -> Padding {
    Padding {
        top: a.top + b.top,
        bottom: a.bottom + b.bottom,
        left: a.left + b.left,
        right: a.right + b.right,
    }
}

/// How many layers read each one, the result counted too.
#[must_use]
pub fn readers(layers: &[Layer]) -> Vec<usize> {
    let mut count = vec![0; layers.len()];
    for &input in layers.iter().flat_map(|layer| &layer.inputs) {
        count[input] += 1;
    }
    if let Some(last) = count.last_mut() {
        *last += 1;
    }
    count
}
