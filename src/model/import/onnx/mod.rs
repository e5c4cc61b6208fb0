//! Reads ONNX files: float networks of any exporter that are ResNets underneath.
//!
//! `wire`, `settle` and `check` (with `external`) go over the bytes before anything is made of them; `typed` has tract read
//! them; `read`, `operators` and `view` turn tract's graph into a list of `layers`; `fold` simplifies that, `emit`
//! builds the float graph of it under `names` of its own, and `verify` compares that with what tract computes from
//! the file itself. `quantized` reads networks that came quantized from the checked file. `describe` and `metadata` say what the network is called and what the file says beside it.
//! What becomes of the graph is `import`'s.

mod check;
mod describe;
mod emit;
mod error;
mod external;
mod fold;
#[cfg(test)]
mod gate_tests;
mod layers;
#[cfg(test)]
mod made;
mod metadata;
mod names;
mod operators;
pub mod quantized;
mod read;
mod settle;
#[cfg(test)]
mod tests;
mod typed;
mod verify;
mod view;
mod wire;

use std::path::Path;

use tract_nnef::internal::TypedModel;

pub use describe::quantized_arch;
pub use error::{OnnxError, shown};
pub use quantized::QuantizedNetwork;
pub use typed::refused_by_tract;

use super::tensors::Metadata;
use crate::infer::quiet;
use crate::spec::Activation;

/// A ResNet152 in f32 has 241 MB.
pub const LARGEST_FILE: u64 = 2 << 30;

/// A file that has been checked.
pub struct File {
    checked: check::Checked,
    picture: typed::Picture,
    pub metadata: Metadata,
}

/// A network that has been read.
pub struct Imported {
    /// f32 `[1, 3, size, size]` to logits.
    pub graph: TypedModel,
    pub classes: usize,
    pub arch: String,
    /// What the file does with its logits, where it says so.
    pub activation: Option<Activation>,
    /// A factor and a summand for each channel that the file applies to its picture; the graph does not.
    pub normalization: Option<[(f32, f32); 3]>,
}

/// Checks a file.
///
/// # Errors
/// If something in it does not hold.
pub fn open(path: &Path, bytes: &[u8]) -> Result<File, OnnxError> {
    let checked = check::check(path, bytes)?;
    let picture = typed::picture(&checked)?;
    let mut metadata = metadata::metadata(&checked.model.metadata_props);
    if let Some(size) = picture.size {
        metadata.insert("crop".into(), size.to_string());
    }
    Ok(File {
        checked,
        picture,
        metadata,
    })
}

impl File {
    /// True if the file's network works on 8-bit integers: then [`Self::quantized`] reads it.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        self.checked.graph.node.iter().any(check::is_quantized)
    }

    /// True if its roundings can be left out: each stands by itself.
    #[must_use]
    pub fn keeps_floats(&self) -> bool {
        let mut nodes = self.checked.graph.node.iter();
        nodes.all(|n| {
            !check::is_quantized(n)
                || ["QuantizeLinear", "DequantizeLinear"].contains(&n.op_type.as_str())
        })
    }

    /// Leaves a quantized network's roundings out: then [`Self::network`] reads it.
    ///
    /// # Errors
    /// If it has operators on integers alone, or weights and scales do not fit.
    pub fn unround(&mut self) -> Result<(), OnnxError> {
        quantized::unround(&mut self.checked.graph)
    }

    /// The layers of a network that came quantized, for pictures of `size`.
    ///
    /// # Errors
    /// If it is no quantized ResNet.
    pub fn quantized(&self, size: usize) -> Result<QuantizedNetwork, OnnxError> {
        if self.picture.channels_last {
            return Err(OnnxError::Graph(
                "a quantized network must take channels first; export it so".into(),
            ));
        }
        quantized::read(&self.checked, size)
    }

    /// The network, for pictures of `size`.
    ///
    /// # Errors
    /// If it is no ResNet, or made for pictures of another size.
    pub fn network(self, size: usize) -> Result<Imported, OnnxError> {
        if let Some(fixed) = self.picture.size.filter(|fixed| *fixed != size) {
            return Err(OnnxError::Graph(format!(
                "it was exported for pictures of {fixed}x{fixed}; leave --crop away, or export with dynamic axes"
            )));
        }
        let quantized = self
            .checked
            .graph
            .node
            .iter()
            .find(|n| check::is_quantized(n));
        if let Some(node) = quantized {
            return Err(OnnxError::node(
                check::name(node),
                &node.op_type,
                "the network is quantized already; import its float original and quantize that",
            ));
        }
        let typed = typed::typed(self.checked, self.picture, size)?;
        from_typed(&typed, self.picture.channels_last)
    }
}

/// A network that tract has read, from whatever file, its operators as they were written.
///
/// # Errors
/// If it is no ResNet.
pub fn from_typed(typed: &TypedModel, channels_last: bool) -> Result<Imported, OnnxError> {
    let gave_up = |_| OnnxError::Tract("it gave up on the network".into());
    quiet::catch(|| build(typed, channels_last)).map_err(gave_up)?
}

fn build(typed: &TypedModel, channels_last: bool) -> Result<Imported, OnnxError> {
    let network = read::network(typed, channels_last)?;
    let (layers, affine) = fold::fold(network.layers)?;
    let last = layers.last().map(|l| l.shape[0]).unwrap_or_default();
    let graph = emit::graph(&layers).map_err(|e| OnnxError::Tract(format!("{e:#}")))?;
    let normalization = affine.map(|a| [0, 1, 2].map(|c| (a.factor[c], a.summand[c])));
    verify::same(
        (typed, network.logits, channels_last),
        &graph,
        normalization,
    )?;
    Ok(Imported {
        graph,
        classes: last,
        arch: describe::arch(&layers),
        activation: network.activation,
        normalization,
    })
}
