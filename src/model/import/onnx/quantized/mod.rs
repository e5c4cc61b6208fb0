//! Networks that came quantized: a list of fused layers on 8-bit integers, with the scales and zero points that
//! the file gives, nothing measured and nothing rounded anew.
//!
//! Two spellings are read. In QDQ files float operators stand between `DequantizeLinear` and `QuantizeLinear`
//! (`walk.rs`, `float.rs`); in QOperator files one operator does it all (`fused.rs`). `constants.rs` reads weights and
//! scales, `attributes.rs` windows; `joined.rs` joins ReLUs
//! that stand alone, `build.rs` makes an int8 graph of the list.
//! Activations are u8 here: i8 is moved by 128. Weights are i8 around zero, from -127; others are re-expressed where that is
//! exact, and else refused, but for -128, which becomes -127. Layers that a QDQ file leaves in float, often the first and the
//! last, stay so. `unrounded.rs` reads a QDQ file as the float network that it rounds instead.

mod attributes;
mod build;
#[cfg(test)]
mod build_tests;
mod constants;
mod float;
mod fused;
mod joined;
mod unrounded;
mod walk;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod weights_tests;

use super::layers::{Conv, Divisor, Place, Shape, Window};
use crate::kernels::Quant;
use crate::spec::Activation;

pub use unrounded::unround;
pub use walk::read;

/// The whole network.
#[derive(Debug)]
pub struct QuantizedNetwork {
    /// In an order in which they can be run; the first is the picture, the last gives the logits.
    pub layers: Vec<QuantizedLayer>,
    /// What the file does with its logits, where it says so.
    pub activation: Option<Activation>,
}

impl QuantizedNetwork {
    /// Layers that the file leaves in float.
    pub fn floats(&self) -> impl Iterator<Item = &QuantizedLayer> {
        let float = |layer: &&QuantizedLayer| match layer.kind {
            Kind::Float(_) => true,
            Kind::GlobalAverage => layer.output.is_none(),
            _ => false,
        };
        self.layers.iter().filter(float)
    }

    /// Weights that were -128 and are -127.
    #[must_use]
    pub fn clipped(&self) -> usize {
        let clipped = |layer: &QuantizedLayer| match &layer.kind {
            Kind::Conv { weights, .. } | Kind::Dense(weights) => weights.clipped,
            _ => 0,
        };
        self.layers.iter().map(clipped).sum()
    }
}

#[derive(Debug, Clone)]
pub struct QuantizedLayer {
    /// The node's, as the file has it.
    pub name: String,
    pub kind: Kind,
    /// A convolution's second input is added before its result is rounded.
    pub inputs: Vec<Place>,
    pub relu: bool,
    pub shape: Shape,
    /// How the result is rounded; nothing where it stays float: the normalized picture, the last layer, and what a layer in
    /// float reads.
    pub output: Option<Quant>,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// The normalized picture, rounded.
    Picture,
    Conv {
        weights: Weights,
        groups: usize,
        window: Window,
    },
    /// Of two tensors that were rounded, each with its own scale.
    Add,
    /// Keeps its input's scale.
    MaxPool(Window),
    AveragePool(Window, Divisor),
    GlobalAverage,
    Dense(Weights),
    /// The normalized picture as it is, for a layer in float.
    Normalized,
    /// A convolution or a dense layer whose weights the file keeps as floats.
    Float(Conv),
    /// The same values in another scale.
    Rescale,
}

/// 8-bit weights around zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// `[out, in / groups, rows, columns]`; a dense layer's are 1x1.
    pub dims: [usize; 4],
    /// In -127 to 127.
    pub values: Vec<i8>,
    /// One for each output.
    pub scales: Vec<f32>,
    /// In units of the input's scale times the weights'.
    pub bias: Vec<i32>,
    /// Values that were -128, which the kernels do not have, and are -127.
    pub clipped: usize,
}
