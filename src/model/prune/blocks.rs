//! Where a network may be cut: its residual blocks, and in them the pairs of a convolution and its only reader. The
//! channels of the residual stream itself are never removed: every block of a stage adds to the same ones.

use tract_nnef::internal::OutletId;

use crate::model::layers::{Convolution, Kind, Layer};

/// The convolutions between a block's input and its addition, as places in the list of layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// In the order in which they run; the last one carries the addition.
    pub convs: Vec<usize>,
    pub input: OutletId,
    /// The shortcut is the input itself, and the input is never negative: without the convolutions nothing is left to do.
    pub removable: bool,
}

/// The convolution at `index`; nothing where another kind of layer is.
#[must_use]
pub fn conv(layers: &[Layer], index: usize) -> Option<&Convolution> {
    match &layers.get(index)?.kind {
        Kind::Conv(conv) => Some(conv),
        _ => None,
    }
}

/// The layer that writes `outlet`.
#[must_use]
pub fn writer(layers: &[Layer], outlet: OutletId) -> Option<usize> {
    layers.iter().position(|l| l.output == outlet)
}

/// The residual blocks, in order. A block that something behind it looks into is left out.
#[must_use]
pub fn blocks(layers: &[Layer]) -> Vec<Block> {
    let ends = (0..layers.len()).filter(|&i| layers[i].residual.is_some());
    ends.filter_map(|end| block(layers, end)).collect()
}

fn block(layers: &[Layer], end: usize) -> Option<Block> {
    conv(layers, end)?;
    let shortcut = layers[end].residual?;
    let mut convs = vec![end];
    let mut input = layers[end].input;
    while let Some(before) = writer(layers, input) {
        let inner = conv(layers, before).is_some() && layers[before].residual.is_none();
        if !inner || readers(layers, input) != 1 {
            break;
        }
        convs.insert(0, before);
        input = layers[before].input;
    }
    let inside = &layers[..end];
    let hidden = layers[end + 1..].iter().all(|l| {
        let read = l.reads().into_iter().chain(l.residual);
        read.into_iter()
            .all(|o| !inside.iter().any(|w| w.output == o))
    });
    let removable = shortcut == input && layers[end].relu && never_negative(layers, input);
    hidden.then_some(Block {
        convs,
        input,
        removable,
    })
}

fn readers(layers: &[Layer], outlet: OutletId) -> usize {
    let reads = layers
        .iter()
        .flat_map(|l| l.reads().into_iter().chain(l.residual));
    reads.filter(|o| *o == outlet).count()
}

fn never_negative(layers: &[Layer], outlet: OutletId) -> bool {
    let Some(writer) = writer(layers, outlet) else {
        return false;
    };
    let layer = &layers[writer];
    match layer.kind {
        Kind::MaxPool(_) => never_negative(layers, layer.input),
        _ => layer.relu,
    }
}

/// The places in `block.convs` of those whose outputs may be removed, each read by the next one alone. Grouped
/// convolutions keep theirs: their groups must stay of one size.
#[must_use]
pub fn narrowable(layers: &[Layer], block: &Block) -> Vec<usize> {
    let plain = |index: usize| conv(layers, index).is_some_and(|c| c.groups == 1);
    let places = 0..block.convs.len().saturating_sub(1);
    let narrow = |&p: &usize| plain(block.convs[p]) && plain(block.convs[p + 1]);
    places.filter(narrow).collect()
}
