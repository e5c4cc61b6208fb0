//! Bundles that are damaged, foreign or hostile: each is refused with a line that names what is wrong.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::path::Path;

use resnetd::bundle::{self, Bundle, BundleError};
use resnetd::cores::Threads;
use resnetd::infer::registry::OPERATORS;
use resnetd::infer::{Engine, EngineError};
use xxhash_rust::xxh3::xxh3_128;

type Contents = Vec<(String, Vec<u8>)>;

fn contents() -> Contents {
    bundle::unpack(Path::new("tiny"), common::tiny_int8().bytes()).unwrap()
}

/// An archive with a right checksum, whatever is in it: an attacker can compute one too.
fn archive(contents: &Contents) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in contents {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &data[..]).unwrap();
    }
    let mut bytes = builder.into_inner().unwrap();
    let key = b"\"checksum\": \"";
    if let Some(at) = bytes.windows(key.len()).position(|w| w == key) {
        let digits = at + key.len()..at + key.len() + 32;
        let mut rest = bytes[..digits.start].to_vec();
        rest.extend_from_slice(&bytes[digits.end..]);
        bytes[digits].copy_from_slice(format!("{:032x}", xxh3_128(&rest)).as_bytes());
    }
    bytes
}

fn open(bytes: Vec<u8>) -> Result<Bundle, BundleError> {
    Bundle::from_bytes(Path::new("test.nnef.tar"), bytes, OPERATORS)
}

fn refusal(contents: &Contents) -> String {
    open(archive(contents))
        .expect_err("the bundle is not sound")
        .to_string()
}

/// What the engine says of a bundle that is not sound, nothing if it runs it.
fn engine_refusal(contents: &Contents) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.nnef.tar");
    std::fs::write(&path, archive(contents)).unwrap();
    Engine::load(&path, Threads::ONE)
        .err()
        .map_or(String::new(), |error| error.to_string())
}

fn edit(name: &str, change: impl Fn(&mut Vec<u8>)) -> Contents {
    let mut contents = contents();
    let entry = contents.iter_mut().find(|(n, _)| n == name);
    change(&mut entry.unwrap_or_else(|| panic!("no {name}")).1);
    contents
}

fn edit_text(name: &str, from: &str, to: &str) -> Contents {
    edit(name, |data| {
        let text = String::from_utf8(data.clone()).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        *data = text.replacen(from, to, 1).into_bytes();
    })
}

#[test]
fn an_untouched_archive_is_accepted() {
    open(archive(&contents())).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    let error = Bundle::open(Path::new("/nonexistent/x.nnef.tar"), OPERATORS).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/x.nnef.tar"),
        "{error}"
    );
}

#[test]
fn every_truncation_is_refused() {
    let whole = common::tiny_int8();
    let bytes = whole.bytes();
    for i in 0..64 {
        let length = bytes.len() * i / 64;
        assert!(
            open(bytes[..length].to_vec()).is_err(),
            "accepted {length} of {}",
            bytes.len()
        );
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = common::tiny_int8();
    for i in 0..400 {
        let mut bytes = whole.bytes().to_vec();
        let at = (i * 2_654_435_761usize) % bytes.len();
        bytes[at] ^= 1 << (i % 8);
        assert!(
            open(bytes).is_err(),
            "bit {} of byte {at} flipped unnoticed",
            i % 8
        );
    }
}

#[test]
fn what_is_no_archive_is_called_foreign() {
    for bytes in [vec![], b"hello".to_vec(), vec![0; 4096], vec![0xff; 4096]] {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, BundleError::Foreign { .. }), "{error}");
    }
    let other: Contents = vec![("README".into(), b"a tar of something else".to_vec())];
    assert!(refusal(&other).contains("it has no resnetd.json"));
}

#[test]
fn a_changed_label_is_damage() {
    let mut bytes = common::tiny_int8().bytes().to_vec();
    let at = bytes.windows(7).position(|w| w == b"class 3").unwrap();
    bytes[at + 6] = b'4';
    assert!(matches!(
        open(bytes).unwrap_err(),
        BundleError::Damaged { .. }
    ));
}

#[test]
fn another_format_asks_for_another_version() {
    let error = refusal(&edit_text("resnetd.json", "\"format\": 1", "\"format\": 2"));
    assert!(error.contains("format 2"), "{error}");
}

#[test]
fn labels_that_do_not_match_the_network_never_serve() {
    let error = engine_refusal(&edit_text(
        "resnetd.json",
        "    \"class 9\"\n",
        "    \"class 9\", \"ten\"\n",
    ));
    assert!(error.contains("11 labels"), "{error}");
}

#[test]
fn sizes_that_lie_are_refused() {
    let lie = |at: usize, value: u32| {
        refusal(&edit("fc_weights.dat", |data| {
            data[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }))
    };
    assert!(lie(4, 0xffff_fff0).contains("disagree")); // stated size
    assert!(lie(8, 5).contains("dimension of 0")); // rank: the next dimension is 0
    assert!(lie(8, 9).contains("more than 8"));
    assert!(lie(12, 0xffff_ffff).contains("beyond 32768"));
    assert!(lie(12, 4096).contains("disagree")); // would be 4096 classes
    assert!(lie(44, 7).contains("bits"));
    let short = edit("fc_weights.dat", |data| data.truncate(100));
    assert!(refusal(&short).contains("too short"));
}

#[test]
fn nested_archives_and_strange_names_are_refused() {
    for name in [
        "inner.nnef.tar",
        "sub/graph.nnef",
        "../escape.dat",
        ".hidden.dat",
        "graph.quant",
    ] {
        let mut contents = contents();
        contents.push((name.replace("../", "x/../"), vec![0; 16]));
        let mut builder = tar::Builder::new(Vec::new());
        for (entry, data) in &contents {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.as_old_mut().name[..entry.len()].copy_from_slice(entry.as_bytes());
            header.set_cksum();
            builder.append(&header, &data[..]).unwrap();
        }
        assert!(
            open(builder.into_inner().unwrap()).is_err(),
            "{name} was accepted"
        );
    }
    let mut twice = contents();
    let graph = twice
        .iter()
        .find(|(n, _)| n == "graph.nnef")
        .cloned()
        .unwrap();
    twice.push(graph);
    assert!(refusal(&twice).contains("twice"));
}

#[test]
fn graphs_may_only_use_known_operators_and_shallow_brackets() {
    let unknown = edit_text("graph.nnef", "resnetd_max_pool(", "tract_core_scan(");
    assert!(refusal(&unknown).contains("unknown operator tract_core_scan"));
    let deep = format!("border = {}{}", "[".repeat(40), "]".repeat(40));
    assert!(refusal(&edit_text("graph.nnef", "border = []", &deep)).contains("nest deeper"));
}

#[test]
fn graphs_that_do_not_fit_their_tensors_are_errors_not_panics() {
    for (from, to) in [
        ("stride = [2, 2]", "stride = [0, 2]"),
        ("stride = [2, 2]", "stride = [2]"),
        ("padding = [[3, 3], [3, 3]]", "padding = [[9, 3], [3, 3]]"),
        ("padding = [[3, 3], [3, 3]]", "padding = [3]"),
        ("input_zero = 0", "input_zero = 256"),
        ("input_scale = 1.0", "input_scale = -1.0"),
        ("input_scale = 1.0", "input_scale = 0.0"),
        ("name = \"conv1\"", "name = \"conv2\""),
        ("shape = [1, 224, 224, 3]", "shape = [1, 224, 224, 4]"),
        ("shape = [1, 224, 224, 3]", "shape = [1, 32768, 32768, 3]"),
        (
            "shape = [1, 224, 224, 3]",
            "shape = [1, 4000000000, 4000000000, 3]",
        ),
        ("border = [124, 116, 104]", "border = [124, 116]"),
        ("graph network", "graph"),
        ("version 1.0;", ""),
    ] {
        let error = engine_refusal(&edit_text("graph.nnef", from, to));
        assert!(
            !error.is_empty() && !error.contains('\n'),
            "{from} -> {to}: {error}"
        );
    }
}

#[test]
fn activations_beyond_any_real_network_are_refused_before_they_exist() {
    let mut wide = edit_text(
        "graph.nnef",
        "shape = [1, 224, 224, 3]",
        "shape = [1, 30000, 30000, 3]",
    );
    let manifest = &mut wide
        .iter_mut()
        .find(|(n, _)| n == "resnetd.json")
        .unwrap()
        .1;
    let text = String::from_utf8(manifest.clone()).unwrap();
    *manifest = text.replace("224", "2048").into_bytes();
    let error = engine_refusal(&wide);
    assert!(error.contains("has an output of"), "{error}");
}

#[test]
fn weights_of_minus_128_are_refused() {
    let error = engine_refusal(&edit("fc_weights.dat", |data| data[130] = 0x80));
    assert!(error.contains("-128"), "{error}");
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for value in [f32::INFINITY, f32::NAN] {
        let error = refusal(&edit("fc_scales.dat", |data| {
            data[128..132].copy_from_slice(&value.to_le_bytes());
        }));
        assert!(error.contains("not finite"), "{error}");
    }
}

#[test]
fn what_makes_tract_panic_or_hang_is_refused() {
    let graph = |from: &str, to: &str| refusal(&edit_text("graph.nnef", from, to));
    let recursion =
        "fragment relu(x: tensor<scalar>) -> (y: tensor<scalar>) { y = relu(x); }\ngraph network";
    assert!(graph("graph network", recursion).contains("expected"));
    let minus = format!("zz = {}1;\n  conv1 =", "-".repeat(60));
    assert!(graph("conv1 =", &minus).contains("expected"));
    assert!(graph("conv1 =", "# \"\n  conv1 =").contains("does not belong"));
    assert!(graph("resnetd_max_pool(", "pad<scalar>(").contains("unknown operator pad"));
}

#[test]
fn an_engine_error_says_which_bundle() {
    let error = Engine::load(Path::new("/nonexistent/y.nnef.tar"), Threads::ONE)
        .err()
        .unwrap();
    assert!(
        matches!(error, EngineError::Bundle(BundleError::Read { .. })),
        "{error}"
    );
}
