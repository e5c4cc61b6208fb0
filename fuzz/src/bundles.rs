//! Bundles: archives as they come, with their sums put right so that what lies behind the sums is tried too; and
//! graphs over a few small tensors, which are built and run.

use std::path::Path;

use resnetd::bundle::{self, Bundle, GRAPH, MANIFEST, Manifest};
use resnetd::cores::Threads;
use resnetd::infer::Engine;
use resnetd::infer::registry::OPERATORS;
use resnetd::label::Prediction;

const BLOCK: usize = 512;
/// Side of the pictures that [`graph`]'s networks take.
const SIDE: usize = 16;

/// A bundle's file.
pub fn bundle(bytes: &[u8]) -> bool {
    let path = Path::new("fuzzed.nnef.tar");
    let sound = Bundle::from_bytes(path, bytes.to_vec(), OPERATORS);
    let as_it_is = sound.is_ok_and(|bundle| runs(&bundle));
    let mut bytes = bytes.to_vec();
    sum_headers(&mut bytes);
    let contents = bundle::unpack(path, &bytes).unwrap_or_default();
    let manifest = contents.iter().find(|(name, _)| name == MANIFEST);
    let Some(manifest) = manifest.and_then(|(_, json)| serde_json::from_slice(json).ok()) else {
        return as_it_is;
    };
    let summed = Bundle::build(path, manifest, contents, OPERATORS);
    as_it_is | summed.is_ok_and(|bundle| runs(&bundle))
}

/// A network's description, over tensors of the layers `a` (3x3), `b` (1x1) and `c` (dense).
pub fn graph(text: &[u8]) -> bool {
    let mut contents = vec![(GRAPH.to_owned(), text.to_vec())];
    for (layer, shape) in [
        ("a", [8, 3, 3, 3]),
        ("b", [8, 1, 1, 8]),
        ("c", [2, 1, 1, 8]),
    ] {
        let outputs = shape[0] as usize;
        let weights = (0..shape.iter().product::<u32>()).map(|i| [(i * 37 % 251) as u8 / 2]);
        let scale = 0.01f32.to_le_bytes();
        contents.extend([
            tensor(
                layer,
                "weights",
                &shape,
                (3, 8),
                &weights.flatten().collect::<Vec<_>>(),
            ),
            tensor(layer, "bias", &[shape[0]], (3, 32), &vec![0; 4 * outputs]),
            tensor(
                layer,
                "scales",
                &[shape[0]],
                (0, 32),
                &scale.repeat(outputs),
            ),
        ]);
    }
    let path = Path::new("fuzzed.nnef.tar");
    Bundle::build(path, manifest(), contents, OPERATORS).is_ok_and(|bundle| runs(&bundle))
}

/// Builds the network and, if that can be done, runs it once.
fn runs(bundle: &Bundle) -> bool {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let path = folder
        .as_ref()
        .expect("a temporary folder")
        .path()
        .join("fuzzed.nnef.tar");
    bundle.write(&path).expect("room for a small file");
    let Ok(mut engine) = Engine::load(&path, Threads::ONE) else {
        return false;
    };
    let mut out = Prediction::default();
    engine.picture().expect("the tensor is ours").fill(3);
    let ran = engine.run(&mut out).is_ok();
    assert!(!ran || out.probabilities.len() == engine.labels().len());
    ran
}

fn manifest() -> Manifest {
    let text = format!(
        r#"{{"format": 1, "name": "fuzzed", "arch": "resnet50", "labels": ["x", "y"], "activation": "softmax",
            "preprocessing": {{"resize": {SIDE}, "crop": {SIDE}, "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5],
                               "std": [0.5, 0.5, 0.5], "channel_order": "rgb"}},
            "quantization": null, "provenance": {{"source": "", "sha256": null, "tool": ""}}, "accuracy": null,
            "checksum": ""}}"#
    );
    serde_json::from_str(&text).expect("a manifest")
}

/// An entry with a tensor; `(kind, bits)` as in its header.
fn tensor(
    layer: &str,
    what: &str,
    shape: &[u32],
    (kind, bits): (u32, u32),
    values: &[u8],
) -> (String, Vec<u8>) {
    let mut data = vec![0; 128];
    data[..4].copy_from_slice(&[0x4e, 0xef, 1, 0]);
    let mut put = |at: usize, word: u32| data[at..at + 4].copy_from_slice(&word.to_le_bytes());
    put(4, u32::try_from(values.len()).unwrap_or(u32::MAX));
    put(8, u32::try_from(shape.len()).unwrap_or(u32::MAX));
    for (i, &side) in shape.iter().enumerate() {
        put(12 + 4 * i, side);
    }
    put(44, bits);
    put(48, kind);
    data.extend_from_slice(values);
    (format!("{layer}_{what}.dat"), data)
}

/// Puts right what a fuzzer cannot guess: the sum of every header.
fn sum_headers(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(BLOCK) {
        if &block[257..262] == b"ustar" {
            let mut header = tar::Header::from_byte_slice(block).clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}
