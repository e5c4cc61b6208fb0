//! Files of weights and networks that other programs wrote.

use std::fmt::Display;
use std::path::Path;

use resnetd::kernels::Backend;
use resnetd::model::arch::Resnet;
use resnetd::model::import::{IMAGENET, nnef as archives, onnx as graphs, tensors, torch};
use resnetd::spec::Preprocessing;

/// Pictures are as small as a network takes.
const SIDE: usize = 32;
/// PyTorch's files, in either format.
pub fn pth(bytes: &[u8]) -> bool {
    good(torch::read(Path::new("fuzzed.pth"), bytes)).is_some()
}

/// A state dict as safetensors, up to the float graph of it.
pub fn safetensors(bytes: &[u8]) -> bool {
    let path = Path::new("fuzzed.safetensors");
    let network = good(tensors::read(path, bytes)).and_then(|(t, _)| good(Resnet::from_tensors(t)));
    network.and_then(|n| good(n.to_graph(SIDE))).is_some()
}

/// A graph as ONNX, quantized or not, up to the graph that would be written.
pub fn onnx(bytes: &[u8]) -> bool {
    // no file lies beside it
    let Some(mut file) = good(graphs::open(Path::new("/nowhere/fuzzed.onnx"), bytes)) else {
        return false;
    };
    if file.is_quantized() {
        let preprocessing = Preprocessing {
            resize: 8,
            crop: 8,
            ..IMAGENET
        };
        let layers = good(file.quantized(8));
        let backend = Backend::selected().ok();
        let graph = layers.zip(backend).map(|(l, b)| l.graph(&preprocessing, b));
        let built = graph.is_some_and(|graph| graph.is_ok());
        let floats = good(file.unround()).is_some();
        return built | (floats && good(file.network(8)).is_some());
    }
    good(file.network(8)).is_some()
}

/// An NNEF archive, up to the float graph of it.
pub fn nnef(bytes: &[u8]) -> bool {
    let file = good(archives::open(Path::new("fuzzed.nnef.tar"), bytes));
    let small = file.filter(|file| file.size <= 4 * SIDE);
    small.and_then(|file| good(file.network())).is_some()
}

fn good<T, E: Display>(result: Result<T, E>) -> Option<T> {
    if let Err(error) = &result {
        let message = error.to_string();
        assert!(!message.contains('\n'), "an error is one line: {message:?}");
    }
    result.ok()
}
