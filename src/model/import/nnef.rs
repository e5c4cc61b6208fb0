//! Reads NNEF archives (Khronos' "Neural Network Exchange Format 1.0"): `graph.nnef` and a `.dat` for each variable in a
//! tar. The graph must keep to the small grammar that bundles have (`bundle/graph.rs`), comments aside; what its operators
//! amount to is found as in an ONNX file.

use std::path::Path;

use tract_nnef::internal::*;

use super::onnx::{self, OnnxError};
use crate::bundle::{self, Graph, MANIFEST, Sink, Value};
use crate::infer::registry::nnef;
use crate::infer::weights::Tensors;
use crate::infer::{EngineError, quiet};
use crate::kernels::{Backend, Budget};
use crate::model::error::ModelError;

/// Standard operators that a classifier may have, and what tract writes in their place.
const OPERATORS: &[&str] = &[
    "external",
    "tract_core_external",
    "variable",
    "conv",
    "box",
    "max_pool",
    "avg_pool",
    "batch_normalization",
    "relu",
    "sigmoid",
    "softmax",
    "add",
    "sub",
    "mul",
    "div",
    "max",
    "min",
    "matmul",
    "linear",
    "reshape",
    "squeeze",
    "unsqueeze",
    "transpose",
    "sum_reduce",
    "mean_reduce",
    "pad",
    "copy",
];

/// A network as it lies in an archive.
pub struct File {
    graph: Graph,
    tensors: Tensors,
    /// Rows and columns of the picture.
    pub size: usize,
    channels_last: bool,
}

/// True if the bytes begin as a tar archive does.
#[must_use]
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// Checks an archive.
///
/// # Errors
/// If something in it is not sound, or it holds no network of pictures.
pub fn open(path: &Path, bytes: &[u8]) -> Result<File, ModelError> {
    let bad = |reason: String| ModelError::Weights {
        path: path.to_owned(),
        kind: "NNEF",
        reason,
    };
    let backend = Backend::selected().map_err(EngineError::from)?;
    let (mut graph, mut tensors) = (None, Tensors::new(backend));
    for (name, contents) in bundle::unpack(path, bytes)? {
        let name = name.strip_prefix("./").unwrap_or(&name);
        if name == bundle::GRAPH {
            let text =
                String::from_utf8(contents).map_err(|_| bad(format!("{name} is no text")))?;
            let read = bundle::parse_graph(&plain(&text), OPERATORS);
            graph = Some(read.map_err(|reason| bad(format!("{name}: {reason}")))?);
        } else if let Some(label) = name.strip_suffix(".dat") {
            let (info, values) = bundle::read_tensor(label, &contents).map_err(bad)?;
            tensors
                .tensor(&info, values)
                .map_err(|reason| bad(format!("{name}: {reason}")))?;
        } else if name == MANIFEST {
            return Err(bad("it is a bundle already".into()));
        } else {
            return Err(bad(format!("{name:?} does not belong in it")));
        }
    }
    let graph = graph.ok_or_else(|| bad(format!("it has no {}", bundle::GRAPH)))?;
    let (size, channels_last) = picture(&graph)
        .ok_or_else(|| bad("its input is no picture of [1, 3, size, size]".into()))?;
    Ok(File {
        graph,
        tensors,
        size,
        channels_last,
    })
}

impl File {
    /// # Errors
    /// If it is no ResNet.
    pub fn network(self) -> Result<onnx::Imported, OnnxError> {
        let read = || -> TractResult<TypedModel> {
            let mut model = { self.tensors }.into_model(Budget::none(), &self.graph, &nnef())?;
            model.prop_consts()?;
            Ok(model)
        };
        let typed = match quiet::catch(read) {
            Ok(Ok(typed)) => typed,
            Ok(Err(error)) => return Err(onnx::refused_by_tract(&error)),
            Err(_) => return Err(OnnxError::Tract("it gave up on the graph".into())),
        };
        onnx::from_typed(&typed, self.channels_last)
    }
}

/// The text without comments, and with blanks for all white space.
fn plain(text: &str) -> String {
    let line = |line: &str| -> String {
        let quotes = line.char_indices().scan(false, |inside, (at, c)| {
            *inside ^= c == '"';
            Some((at, c == '#' && !*inside))
        });
        let end = quotes.into_iter().find(|(_, comment)| *comment);
        let end = end.map_or(line.len(), |(at, _)| at);
        line[..end].replace(['\t', '\r'], " ")
    };
    text.lines().map(|l| line(l) + "\n").collect()
}

/// The size of the picture that the graph takes, and whether its channels come last.
fn picture(graph: &Graph) -> Option<(usize, bool)> {
    let (_, input) = graph
        .assignments
        .iter()
        .find(|(name, _)| *name == graph.input)?;
    let Value::Call { arguments, .. } = input else {
        return None;
    };
    let (_, shape) = arguments
        .iter()
        .find(|(name, _)| name.as_deref() == Some("shape"))?;
    let Value::List(dims) = shape else {
        return None;
    };
    let dim = |value: &Value| match value {
        Value::Number(digits) => digits.parse::<usize>().ok(),
        _ => None,
    };
    match dims.iter().map(dim).collect::<Option<Vec<_>>>()?[..] {
        [1, 3, rows, columns] if rows == columns => Some((rows, false)),
        [1, rows, columns, 3] if rows == columns => Some((rows, true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::import::{self, Options};
    use crate::random::Random;

    const GRAPH: &str = "version 1.0;
        # a small network, as another program would write it
        graph net(picture) -> (scores)
        {
            picture = external<scalar>(shape = [1, 3, 16, 16]); # \"nothing\"
            w1 = variable<scalar>(shape = [4, 3, 3, 3], label = \"stem/w.1\");
            w2 = variable<scalar>(shape = [4, 4, 3, 3], label = \"block/w\");
            mean = variable<scalar>(shape = [1, 4], label = \"stem/mean\");
            var = variable<scalar>(shape = [1, 4], label = \"stem/var\");
            shift = variable<scalar>(shape = [1, 4], label = \"stem/shift\");
            scale = variable<scalar>(shape = [1, 4], label = \"stem/scale\");
            d = variable<scalar>(shape = [2, 4], label = \"head\");
            c1 = conv(picture, w1, 0.0, padding = [(1, 1), (1, 1)], stride = [2, 2], dilation = [1, 1]);
            n1 = batch_normalization(c1, mean, var, shift, scale, epsilon = 0.001);
            r1 = relu(n1);
            c2 = conv(r1, w2, 0.0, padding = [(1, 1), (1, 1)]);
            sum = add(c2, r1);
            r2 = relu(sum);
            pooled = mean_reduce(r2, axes = [2, 3]);
            flat = squeeze(pooled, axes = [2, 3]);
            logits = matmul(flat, d, transposeB = true);
            scores = softmax(logits, axes = [1]);
        }
    ";

    fn tensor(shape: &[usize], values: &[f32]) -> Vec<u8> {
        let mut header = [0; 128];
        header[..4].copy_from_slice(&[0x4e, 0xef, 1, 0]);
        let mut word = |at: usize, value: usize| {
            header[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        };
        word(4, values.len() * 4);
        word(8, shape.len());
        shape
            .iter()
            .enumerate()
            .for_each(|(i, &d)| word(12 + 4 * i, d));
        word(44, 32);
        let values = values.iter().flat_map(|v| v.to_le_bytes());
        header.into_iter().chain(values).collect()
    }

    fn archive(graph: &str) -> Vec<u8> {
        let mut random = Random::new(3);
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, data: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            builder.append_data(&mut header, name, data).unwrap();
        };
        add(bundle::GRAPH, graph.as_bytes());
        for (name, shape) in [
            ("stem/w.1", &[4, 3, 3, 3][..]),
            ("block/w", &[4, 4, 3, 3]),
            ("stem/mean", &[1, 4]),
            ("stem/var", &[1, 4]),
            ("stem/shift", &[1, 4]),
            ("stem/scale", &[1, 4]),
            ("head", &[2, 4]),
        ] {
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|_| 0.2 + random.uniform()).collect();
            add(&format!("{name}.dat"), &tensor(shape, &values));
        }
        builder.into_inner().unwrap()
    }

    fn imported(bytes: &[u8]) -> Result<import::Imported, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.nnef.tar");
        std::fs::write(&path, bytes).unwrap();
        let options = Options {
            name: "m".into(),
            labels: Some(vec!["a".into(), "b".into()]),
            ..Options::default()
        };
        import::import(&path, &options).map_err(|e| e.to_string())
    }

    #[test]
    fn a_network_of_another_writer_is_read() {
        let found = imported(&archive(GRAPH)).unwrap_or_else(|e| panic!("{e}"));
        let manifest = &found.bundle.manifest;
        assert_eq!(manifest.arch, "resnet-1");
        assert_eq!(
            (manifest.preprocessing.crop, manifest.labels.len()),
            (16, 2)
        );
        assert_eq!(found.float_layers, []);
    }

    #[test]
    fn what_is_not_sound_is_said_in_one_line() {
        for (from, to, word) in [
            ("relu(n1)", "exp(n1)", "unknown operator exp"),
            ("[1, 3, 16, 16]", "[1, 4, 16, 16]", "no picture"),
            ("label = \"head\"", "label = \"tail\"", "tract"),
            ("shape = [2, 4], label", "shape = [2, 5], label", "tract"),
            ("axes = [1]", "axes = [1", "expected"),
        ] {
            let error = imported(&archive(&GRAPH.replace(from, to)))
                .map(|_| ())
                .unwrap_err();
            assert!(
                error.contains(word) && !error.contains('\n'),
                "{to}: {error}"
            );
        }
        let mut torn = archive(GRAPH);
        torn.truncate(3000);
        assert!(imported(&torn).is_err());
        let float = std::fs::read("models/resnet50-imagenette.nnef.tar").unwrap();
        assert!(imported(&float).unwrap_err().contains("bundle already"));
    }

    #[test]
    fn comments_end_with_their_lines_and_strings_are_left_alone() {
        assert_eq!(plain("a # b\r\n\"c#\"\td#"), "a \n\"c#\" d\n");
    }
}
