//! What must hold of a bundle's bytes before tract parses any of them: tract's reader allocates what
//! a header claims, follows nested archives and unwraps in places. One pass from front to back, so that a file is
//! never in memory as a whole; only its tensors go on as they come, to whoever packs them.

use std::io::Read;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use super::archive::{self, Entry, Walk};
use super::graph::{self, Graph};
use super::tensor::{self, Sink};
use super::{BundleError, FORMAT, GRAPH, MANIFEST, Manifest};
use crate::spec::Preprocessing;

/// Bytes of text in `resnetd.json` and `graph.nnef`.
const MAX_TEXT: usize = 1 << 20;

/// What logits may be divided by.
const TEMPERATURES: RangeInclusive<f32> = 0.01..=100.0;

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
    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::Foreign(reason) | Self::Damaged(reason) | Self::Refused(reason) => reason,
            Self::Format(found) => format!("format {found}"),
        }
    }

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

/// What a sound bundle says, besides its tensors.
#[derive(Debug)]
pub struct Contents {
    pub manifest: Manifest,
    pub graph: Graph,
    /// Numbers in its tensors.
    pub stored_values: u64,
}

/// Where in the manifest the digits of the checksum stand.
fn digits(json: &[u8]) -> Result<Range<usize>, Reason> {
    let key = b"\"checksum\": \"";
    let at = json.windows(key.len()).rposition(|w| w == key);
    let at = at.ok_or_else(|| Reason::Damaged(format!("{MANIFEST} has no checksum")))?;
    let range = at + key.len()..at + key.len() + NO_CHECKSUM.len();
    if range.end > json.len() {
        return Err(Reason::Damaged(format!(
            "{MANIFEST} ends within its checksum"
        )));
    }
    Ok(range)
}

/// Writes the checksum into an archive: XXH3-128 of everything but its digits.
pub fn stamp(bytes: &mut [u8]) -> Result<(), Reason> {
    let entries = archive::entries(bytes)?;
    let manifest = entries.iter().find(|e| e.name == MANIFEST);
    let json = manifest.and_then(|entry| archive::contents(bytes, entry));
    let (Some(entry), Some(json)) = (manifest, json) else {
        return Err(Reason::Foreign(format!("it has no {MANIFEST}")));
    };
    let digits = digits(json)?;
    let start = usize::try_from(entry.range.start).unwrap_or(usize::MAX);
    let (before, after) = (start + digits.start, start + digits.end);
    let sum = archive::sum(&bytes[..before], &bytes[after..]);
    bytes[before..after].copy_from_slice(sum.as_bytes());
    Ok(())
}

/// Reads and checks a bundle of `length` bytes; its tensors go to `sink`. Of several things that are wrong the
/// checksum is told first, and the format before it: a newer one may sum or say things differently.
pub fn read<R: Read>(
    from: R,
    length: u64,
    operators: &[&str],
    sink: &mut dyn Sink,
) -> Result<Contents, Reason> {
    let mut pass = Pass {
        walk: Walk::new(from, length),
        manifest: None,
        graph: None,
        stored_values: 0,
        scratch: Vec::new(),
    };
    let mut wrong = None;
    while let Some(entry) = pass.walk.next()? {
        if entry.name == MANIFEST {
            pass.manifest(&entry)?;
        } else if wrong.is_none() {
            wrong = pass.entry(&entry, sink).err();
        }
    }
    let sum = pass.walk.finish()?;
    let missing = |name| Reason::Foreign(format!("it has no {name}"));
    let (json, checksum) = pass.manifest.ok_or_else(|| missing(MANIFEST))?;
    if sum.as_bytes() != checksum {
        return Err(Reason::Damaged(format!(
            "its bytes sum to {sum}, not to its checksum"
        )));
    }
    let manifest: Manifest =
        serde_json::from_slice(&json).map_err(|e| Reason::Refused(format!("{MANIFEST}: {e}")))?;
    sensible(&manifest)?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    let text = pass.graph.ok_or_else(|| missing(GRAPH))?;
    let text =
        String::from_utf8(text).map_err(|_| Reason::Refused(format!("{GRAPH} is no text")))?;
    let graph =
        graph::parse(&text, operators).map_err(|why| Reason::Refused(format!("{GRAPH}: {why}")))?;
    Ok(Contents {
        manifest,
        graph,
        stored_values: pass.stored_values,
    })
}

/// The state of one pass over a bundle.
struct Pass<R> {
    walk: Walk<R>,
    /// Its text, and the digits of the checksum in it.
    manifest: Option<(Vec<u8>, Vec<u8>)>,
    graph: Option<Vec<u8>>,
    stored_values: u64,
    /// The values of the tensor at hand; as large as the largest.
    scratch: Vec<u8>,
}

impl<R: Read> Pass<R> {
    /// The manifest enters the sum without its own digits.
    fn manifest(&mut self, entry: &Entry) -> Result<(), Reason> {
        let mut json = vec![0; text_size(entry)?];
        self.walk.read_apart(&mut json)?;
        let value: serde_json::Value = serde_json::from_slice(&json)
            .map_err(|e| Reason::Damaged(format!("{MANIFEST} is no JSON: {e}")))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(FORMAT) => {}
            Some(other) => return Err(Reason::Format(other)),
            None => return Err(Reason::Foreign(format!("{MANIFEST} states no format"))),
        }
        let digits = digits(&json)?;
        self.walk.add(&json[..digits.start]);
        self.walk.add(&json[digits.end..]);
        let checksum = json[digits].to_vec();
        self.manifest = Some((json, checksum));
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, sink: &mut dyn Sink) -> Result<(), Reason> {
        match entry.name.strip_suffix(".dat") {
            Some(stem) if identifier(stem) => self.tensor(stem, entry, sink),
            _ if entry.name == GRAPH => {
                let mut text = vec![0; text_size(entry)?];
                self.walk.read(&mut text)?;
                self.graph = Some(text);
                Ok(())
            }
            _ => Err(Reason::Refused(format!(
                "{:?} does not belong in it",
                entry.name
            ))),
        }
    }

    fn tensor(&mut self, name: &str, entry: &Entry, sink: &mut dyn Sink) -> Result<(), Reason> {
        let Some(size) = entry.size()?.checked_sub(tensor::HEADER) else {
            return Err(Reason::Refused(format!(
                "{}: too short for a tensor",
                entry.name
            )));
        };
        let mut header = [0; tensor::HEADER];
        self.walk.read(&mut header)?;
        let info = tensor::info(name, &header, size)?;
        if self.scratch.len() < size {
            self.scratch = vec![0; size];
        }
        let values = &mut self.scratch[..size];
        self.walk.read(values)?;
        tensor::finite(&info, values)?;
        self.stored_values += info.shape.iter().product::<usize>() as u64;
        sink.tensor(&info, values)
            .map_err(|why| Reason::Refused(format!("{}: {why}", entry.name)))
    }
}

fn text_size(entry: &Entry) -> Result<usize, Reason> {
    entry
        .size()
        .ok()
        .filter(|&size| size <= MAX_TEXT)
        .ok_or_else(|| Reason::Refused(format!("{} is larger than {MAX_TEXT} bytes", entry.name)))
}

fn identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The first text that is no label, and why.
pub fn faulty_label(labels: &[String]) -> Option<(&str, &'static str)> {
    labels
        .iter()
        .find_map(|l| Some((l.as_str(), label_fault(l)?)))
}

/// A label must be shown on one line of a terminal, and be worth its place in a message.
fn label_fault(label: &str) -> Option<&'static str> {
    if label.is_empty() {
        Some("is empty")
    } else if label.len() > 256 {
        Some("is longer than 256 bytes")
    } else if label.contains(char::is_control) {
        Some("has control characters")
    } else {
        None
    }
}

fn sensible(m: &Manifest) -> Result<(), Reason> {
    let refuse = |what: String| Err(Reason::Refused(what));
    if m.labels.is_empty() {
        return refuse("it has no labels".into());
    }
    if let Some((label, fault)) = faulty_label(&m.labels) {
        let label: String = label.chars().take(80).collect();
        return refuse(format!("label {label:?} {fault}"));
    }
    if m.name.is_empty() || m.name.len() > 256 {
        return refuse("its name is empty or longer than 256 bytes".into());
    }
    if !TEMPERATURES.contains(&m.temperature()) {
        return refuse(format!("its temperature is {}", m.temperature()));
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
