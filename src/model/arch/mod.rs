//! What a ResNet is: a stem, stages of residual blocks, an average and a dense layer (He et al., "Deep
//! Residual Learning", 2015), in all the shapes that torchvision and timm have of it: basic and bottleneck
//! blocks, the stride in the 3x3 convolution, ResNeXt's groups (Xie et al., 2016), wide blocks (Zagoruyko and
//! Komodakis, 2016), and ResNet-D's deep stem and averaged shortcut (He et al., "Bag of Tricks", 2018).
//!
//! Depth, widths and kind are those of the tensors: any number of blocks per stage, any channel counts. [`read`]
//! makes one of named tensors, [`graph`] makes a float graph of it, [`name`] knows the published ones.

mod graph;
mod name;
pub mod read;
#[cfg(test)]
mod tests;

use tract_nnef::internal::*;

use super::error::ModelError;

pub use name::{PUBLISHED, depth, depths};

/// A convolution with its batch normalization folded in.
#[derive(Debug, Clone)]
pub struct FoldedConv {
    pub name: String,
    /// `[out, in / groups, rows, columns]`.
    pub weights: Tensor,
    pub bias: Vec<f32>,
    pub stride: usize,
    pub groups: usize,
}

/// One residual block, and a 1x1 on the shortcut where shapes change.
#[derive(Debug, Clone)]
pub struct Block {
    /// Two 3x3, or 1x1, 3x3 and 1x1 (a bottleneck); ReLU after each, after the last one behind the sum.
    pub convs: Vec<FoldedConv>,
    pub shortcut: Option<Shortcut>,
}

/// What the shortcut does with a block's input.
#[derive(Debug, Clone)]
pub struct Shortcut {
    /// First the average of each 2x2 pixels (ResNet-D); the convolution then has stride 1.
    pub averaged: bool,
    pub conv: FoldedConv,
}

#[derive(Debug, Clone)]
pub struct Resnet {
    /// One 7x7, or three 3x3 (ResNet-D), with ReLU after each; then the largest of each 3x3 pixels.
    pub stem: Vec<FoldedConv>,
    pub stages: Vec<Vec<Block>>,
    /// The dense layer, as a 1x1 convolution.
    pub head: FoldedConv,
}

impl FoldedConv {
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.weights.shape()
    }

    #[must_use]
    pub fn inputs(&self) -> usize {
        self.shape()[1] * self.groups
    }

    #[must_use]
    pub fn outputs(&self) -> usize {
        self.shape()[0]
    }

    /// The channels that come out where `inputs` go in.
    fn after(&self, inputs: usize) -> Result<usize, ModelError> {
        let shape = self.shape();
        let kernel = matches!(shape[2..], [1, 1] | [3, 3] | [7, 7]);
        if kernel && self.inputs() == inputs && shape[0].is_multiple_of(self.groups) {
            return Ok(self.outputs());
        }
        Err(ModelError::Shape {
            name: format!("{}.weight", self.name),
            shape: shape.to_vec(),
            inputs,
        })
    }
}

impl Resnet {
    /// Channels must follow from layer to layer before tract sees them.
    fn check(&self) -> Result<(), ModelError> {
        let mut channels = 3;
        for conv in &self.stem {
            channels = conv.after(channels)?;
        }
        for block in self.stages.iter().flatten() {
            channels = block.after(channels)?;
        }
        self.head.after(channels).map(|_| ())
    }

    #[must_use]
    pub fn classes(&self) -> usize {
        self.head.outputs()
    }
}

impl Block {
    fn after(&self, channels: usize) -> Result<usize, ModelError> {
        let mut inner = channels;
        for conv in &self.convs {
            inner = conv.after(inner)?;
        }
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.conv.after(channels)?,
            None => channels,
        };
        // without a shortcut of its own the picture must keep its size, too
        let halves = self.shortcut.is_none() && self.convs.iter().any(|conv| conv.stride > 1);
        let last = self.convs.last().map_or("", |conv| &conv.name);
        if halves {
            return Err(ModelError::Missing(format!(
                "{last}: its block halves the picture and has no downsample.0.weight"
            )));
        }
        if shortcut != inner {
            return Err(ModelError::Shortcut {
                name: last.to_owned(),
                inner,
                shortcut,
            });
        }
        Ok(inner)
    }
}
