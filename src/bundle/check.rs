//! What must hold of a bundle's bytes before tract parses any of them: tract's reader allocates what
//! a header claims, follows nested archives and unwraps in places.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3Default;

use super::archive::Entry;
use super::{BundleError, FORMAT, GRAPH, MANIFEST, Manifest, graph};
use crate::spec::Preprocessing;

/// Bytes of text in `resnetd.json` and `graph.nnef`.
const MAX_TEXT: usize = 1 << 20;
/// Largest dimension of a tensor; the largest of a ResNet is 2048.
const MAX_DIM: u32 = 1 << 15;
/// tract's tensor header.
const DAT_HEADER: usize = 128;

/// What stands in the manifest while the checksum is computed.
pub const NO_CHECKSUM: &str = "00000000000000000000000000000000";

/// What is wrong, before it is known where.
#[derive(Debug, PartialEq)]
pub enum Reason {
    Foreign(String),
    Damaged(String),
    Refused(String),
    Format(u64),
}

impl Reason {
    pub fn at(self, path: &Path) -> BundleError {
        let path = path.to_owned();
        match self {
            Self::Foreign(reason) => BundleError::Foreign { path, reason },
            Self::Damaged(reason) => BundleError::Damaged { path, reason },
            Self::Refused(reason) => BundleError::Refused { path, reason },
            Self::Format(found) => BundleError::Format { path, found },
        }
    }
}

fn find<'a>(bytes: &'a [u8], entries: &[Entry], name: &str) -> Result<(usize, &'a [u8]), Reason> {
    let entry = entries.iter().find(|e| e.name == name);
    let entry = entry.ok_or_else(|| Reason::Foreign(format!("it has no {name}")))?;
    if entry.range.len() > MAX_TEXT {
        return Err(Reason::Refused(format!(
            "{name} is larger than {MAX_TEXT} bytes"
        )));
    }
    Ok((entry.range.start, &bytes[entry.range.clone()]))
}

/// Where in the archive the digits of the checksum stand.
fn digits(bytes: &[u8], entries: &[Entry]) -> Result<std::ops::Range<usize>, Reason> {
    let (start, json) = find(bytes, entries, MANIFEST)?;
    let key = b"\"checksum\": \"";
    let at = json.windows(key.len()).rposition(|w| w == key);
    let at = at.ok_or_else(|| Reason::Damaged(format!("{MANIFEST} has no checksum")))?;
    let range = start + at + key.len()..start + at + key.len() + NO_CHECKSUM.len();
    if range.end > start + json.len() {
        return Err(Reason::Damaged(format!(
            "{MANIFEST} ends within its checksum"
        )));
    }
    Ok(range)
}

/// XXH3-128 of everything but the digits, as they are written.
fn checksum(bytes: &[u8], digits: &std::ops::Range<usize>) -> String {
    let mut hash = Xxh3Default::new();
    hash.update(&bytes[..digits.start]);
    hash.update(&bytes[digits.end..]);
    format!("{:032x}", hash.digest128())
}

/// Writes the checksum into an archive.
pub fn stamp(bytes: &mut [u8]) -> Result<(), Reason> {
    let digits = digits(bytes, &super::archive::entries(bytes)?)?;
    let sum = checksum(bytes, &digits);
    bytes[digits].copy_from_slice(sum.as_bytes());
    Ok(())
}

/// Format, checksum and manifest, in this order: a newer format may sum or say things differently.
pub fn manifest(bytes: &[u8], entries: &[Entry]) -> Result<Manifest, Reason> {
    let (_, json) = find(bytes, entries, MANIFEST)?;
    let value: serde_json::Value = serde_json::from_slice(json)
        .map_err(|e| Reason::Damaged(format!("{MANIFEST} is no JSON: {e}")))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(FORMAT) => {}
        Some(other) => return Err(Reason::Format(other)),
        None => return Err(Reason::Foreign(format!("{MANIFEST} states no format"))),
    }
    let digits = digits(bytes, entries)?;
    let sum = checksum(bytes, &digits);
    if sum.as_bytes() != &bytes[digits] {
        return Err(Reason::Damaged(format!(
            "its bytes sum to {sum}, not to its checksum"
        )));
    }
    let manifest: Manifest =
        serde_json::from_slice(json).map_err(|e| Reason::Refused(format!("{MANIFEST}: {e}")))?;
    sensible(&manifest)?;
    Ok(manifest)
}

fn sensible(m: &Manifest) -> Result<(), Reason> {
    let refuse = |what: String| Err(Reason::Refused(what));
    if m.labels.is_empty() {
        return refuse("it has no labels".into());
    }
    if let Some(label) = m.labels.iter().find(|l| l.is_empty() || l.len() > 256) {
        return refuse(format!("label {label:?} is empty or longer than 256 bytes"));
    }
    if m.name.is_empty() || m.name.len() > 256 {
        return refuse("its name is empty or longer than 256 bytes".into());
    }
    preprocessing(&m.preprocessing).map_err(Reason::Refused)
}

/// Sizes and statistics within what any network was trained with; the error says what is not.
pub fn preprocessing(p: &Preprocessing) -> Result<(), String> {
    if !(1..=2048).contains(&p.crop) || !(p.crop..=4096).contains(&p.resize) {
        return Err(format!(
            "preprocessing resizes to {} and crops to {}; 1 <= crop <= 2048, crop <= resize <= 4096",
            p.resize, p.crop
        ));
    }
    let finite = |v: &f32| v.is_finite() && v.abs() <= 1000.0;
    if !p.mean.iter().all(finite) || !p.std.iter().all(|s| finite(s) && *s > 1e-6) {
        return Err(format!(
            "preprocessing subtracts {:?} and divides by {:?}",
            p.mean, p.std
        ));
    }
    Ok(())
}

/// Names, tensors and the graph's text.
pub fn contents(bytes: &[u8], entries: &[Entry], operators: &[&str]) -> Result<(), Reason> {
    for entry in entries {
        match entry.name.strip_suffix(".dat") {
            Some(stem) if identifier(stem) => tensor(&entry.name, &bytes[entry.range.clone()])?,
            _ if entry.name == MANIFEST || entry.name == GRAPH => {}
            _ => {
                return Err(Reason::Refused(format!(
                    "{:?} does not belong in it",
                    entry.name
                )));
            }
        }
    }
    let (_, text) = find(bytes, entries, GRAPH)?;
    let text =
        std::str::from_utf8(text).map_err(|_| Reason::Refused(format!("{GRAPH} is no text")))?;
    graph::check(text, operators).map_err(|why| Reason::Refused(format!("{GRAPH}: {why}")))
}

fn identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A tensor's header against its entry's size.
fn tensor(name: &str, data: &[u8]) -> Result<(), Reason> {
    let refuse = |what: &str| Err(Reason::Refused(format!("{name}: {what}")));
    let Some((header, body)) = data.split_at_checked(DAT_HEADER) else {
        return refuse("too short for a tensor");
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if header[..4] != [0x4e, 0xef, 1, 0] {
        return refuse("no NNEF tensor of version 1.0");
    }
    let rank = word(8) as usize;
    if rank > 8 {
        return refuse("more than 8 dimensions");
    }
    let dims = (0..rank).map(|i| word(12 + 4 * i));
    if !dims.clone().all(|d| (1..=MAX_DIM).contains(&d)) {
        return refuse("a dimension of 0 or beyond 32768");
    }
    let bits = word(44);
    if ![8, 16, 32, 64].contains(&bits) {
        return refuse("values of neither 8, 16, 32 nor 64 bits");
    }
    let item_type = (header[48], header[49], header[50], header[51]);
    if item_type.0 > 4 || (item_type.1, item_type.2, item_type.3) != (0, 0, 0) {
        return refuse("values that are no numbers");
    }
    let values = dims.fold(1u128, |product, d| product.saturating_mul(u128::from(d)));
    let size = values.saturating_mul(u128::from(bits / 8));
    if size != body.len() as u128 || u128::from(word(4)) != size {
        return refuse("its shape, its stated size and its size in the archive disagree");
    }
    let is_f32 = item_type.0 == 0 && bits == 32;
    let finite = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite();
    if is_f32 && !body.chunks_exact(4).all(finite) {
        return refuse("it holds a value that is not finite");
    }
    Ok(())
}

/// How many numbers a checked tensor holds.
pub fn values(data: &[u8]) -> u64 {
    let bits = data
        .get(44..48)
        .map_or(8, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    (data.len().saturating_sub(DAT_HEADER) as u64 * 8) / u64::from(bits.max(8))
}
