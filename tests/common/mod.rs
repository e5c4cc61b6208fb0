//! What several test programs need: the tiny trained-shaped network of tests/golden as bundles.
#![allow(dead_code)] // each test program uses its part

pub mod daemon;
pub mod drawings;
pub mod web;

use std::path::{Path, PathBuf};

use resnetd::bundle::Bundle;
use resnetd::model::import::{Options, import};
use resnetd::model::quantize;

pub fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

/// The float bundle of tests/golden/tiny_resnet.safetensors.
pub fn tiny_float() -> Bundle {
    tiny(&Options {
        name: "tiny".into(),
        ..Options::default()
    })
}

fn tiny(options: &Options) -> Bundle {
    let imported = import(&golden("tiny_resnet.safetensors"), options);
    imported.expect("the golden weights are readable").bundle
}

/// The same, quantized on seeded noise.
pub fn tiny_int8() -> Bundle {
    int8(&tiny_float())
}

/// The same with another name and other labels, ten.
pub fn tiny_int8_named(name: &str, labels: Vec<String>) -> Bundle {
    int8(&tiny(&Options {
        name: name.into(),
        labels: Some(labels),
        ..Options::default()
    }))
}

fn int8(float: &Bundle) -> Bundle {
    quantize::synthetic(float, 1).expect("a tiny ResNet can be quantized")
}

/// A picture of the golden formula: `[224][224][3]`, `k` from 0 to 3.
pub fn picture(k: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(224 * 224 * 3);
    for y in 0..224 {
        for x in 0..224 {
            for c in 0..3 {
                let wave = (x * y * (2 * k + 1)) >> (5 + k);
                let value = (x * (k + 1) + y * (3 - k) + wave + 85 * c) >> (k & 1);
                bytes.push(value.to_le_bytes()[0]);
            }
        }
    }
    bytes
}

/// Writes a picture as PNG.
pub fn write_png(path: &Path, k: usize) {
    image::save_buffer(path, &picture(k), 224, 224, image::ExtendedColorType::Rgb8)
        .expect("the folder is writable");
}
