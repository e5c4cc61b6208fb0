//! What a network saw, before its last layer made scores of it: for heads that are taught on a device, for maps
//! of where a label comes from. Kept by reference while a frame runs, so that it costs nothing.

use tract_nnef::internal::*;

use super::qpool::QGlobalAverage;
use crate::kernels::Quant;

/// One tensor of features: u8, row by row, channels innermost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureMap<'a> {
    /// `rows * columns * channels` values; a value `q` stands for `scale * (q - zero)`.
    pub values: &'a [u8],
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
    pub quant: Quant,
}

/// The features of the last picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features<'a> {
    /// What the last convolution left: 7 x 7 x 2048 in a ResNet50 on 224 x 224 pixels.
    pub last: FeatureMap<'a>,
    /// Its average over the picture, what the dense layer reads: 1 x 1 x 2048.
    pub pooled: FeatureMap<'a>,
}

/// The tensors around the average over the picture.
#[derive(Debug)]
pub(super) struct Kept {
    last: (TValue, Quant),
    pooled: (TValue, Quant),
}

impl Kept {
    /// What `node` tells of the features; nothing if it is not the average.
    pub fn of(node: &TypedNode, inputs: &[TValue], output: &TValue) -> Option<Self> {
        let average = node.op_as::<QGlobalAverage>()?;
        Some(Self {
            last: (inputs.first()?.clone(), average.input),
            pooled: (output.clone(), average.output),
        })
    }

    pub fn features(&self) -> Option<Features<'_>> {
        Some(Features {
            last: map(&self.last)?,
            pooled: map(&self.pooled)?,
        })
    }
}

fn map((value, quant): &(TValue, Quant)) -> Option<FeatureMap<'_>> {
    let &[1, rows, columns, channels] = value.shape() else {
        return None;
    };
    let values = value.try_as_plain_ram().ok()?.as_slice::<u8>().ok()?;
    Some(FeatureMap {
        values,
        rows,
        columns,
        channels,
        quant: *quant,
    })
}
