//! PyTorch's own files, `.pth` and `.pt`: a pickle that describes tensors, and their numbers. Two formats: a zip
//! archive of stored entries (since PyTorch 1.6), and pickles and numbers behind each other (before; torchvision's
//! older weights). Nothing is unpacked to disk, nothing is called ([`pickle`]), and nothing is allocated that the
//! file does not hold.

mod globals;
mod pickle;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use half::{bf16, f16};
use zip::{CompressionMethod, ZipArchive};

use self::globals::Kind;
use self::pickle::{Pickle, Storage, Tensor, Value};
use super::tensors::{Metadata, Tensors, is_counter};
use crate::model::error::ModelError;

/// What a zip archive begins with.
const ZIP: &[u8] = b"PK\x03\x04";
/// The first pickle of the older format: the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The version of the older format.
const LEGACY_VERSION: i128 = 1001;
/// Entries of an archive: some 1,000 of a ResNet152, as many more of each state of its training.
const MAX_ENTRIES: usize = 1 << 14;
/// Bytes that may be read to find an archive's entries, or one entry.
const DIRECTORY: u64 = 8 << 20;
/// Bytes of the pickle in an archive.
const MAX_PICKLE: u64 = 16 << 20;

/// Under which names training programs put a state dict into a checkpoint, those first that are to be preferred:
/// averages of the weights over training (EMA) are what timm and torchvision evaluate.
const NESTED: [&str; 10] = [
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
];

/// Whether a file begins like one of PyTorch's.
#[must_use]
pub fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.first() == Some(&0x80)
}

/// Reads the tensors of a state dict, or of the one in a checkpoint, and what the checkpoint calls the network (`arch`, as
/// PyTorch's and timm's programs do). Everything else in it is ignored.
///
/// # Errors
/// If the file is not whole, holds anything but plain data and tensors, or no state dict.
pub fn read(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata), ModelError> {
    let found = if bytes.starts_with(ZIP) {
        read_zip(bytes)
    } else {
        read_legacy(bytes)
    };
    found.map_err(|reason| ModelError::Weights {
        path: path.to_owned(),
        kind: "PyTorch",
        reason,
    })
}

fn read_zip(bytes: &[u8]) -> Result<(Tensors, Metadata), String> {
    let mut archive = Archive::open(bytes)?;
    let text = archive.entry("data.pkl", MAX_PICKLE)?;
    if archive.has("byteorder") && archive.entry("byteorder", 16)? != b"little" {
        return Err("its numbers are big-endian; save it on an ordinary machine".into());
    }
    let pickle = pickle::read(&text)?;
    let limit = bytes.len();
    collect(&pickle, limit, |storage| {
        let size = storage.count.checked_mul(storage.kind.bytes());
        let size = size.filter(|&size| size <= limit).ok_or_else(too_short)?;
        let data = archive.entry(&format!("data/{}", storage.key), limit as u64)?;
        if data.len() < size {
            return Err(too_short());
        }
        Ok(data.into())
    })
}

fn read_legacy(bytes: &[u8]) -> Result<(Tensors, Metadata), String> {
    if !bytes.starts_with(LEGACY) {
        return Err(match pickle::read(bytes) {
            Err(reason) => reason,
            Ok(_) => "it is a plain pickle, not a file of torch.save".into(),
        });
    }
    let mut rest = &bytes[LEGACY.len()..];
    let mut next = || {
        let pickle = pickle::read(rest)?;
        rest = &rest[pickle.length..];
        Ok::<_, String>(pickle)
    };
    if next()?.value != Value::Int(LEGACY_VERSION) {
        return Err("its format is of another version".into());
    }
    next()?; // the machine's word sizes and byte order, which is little
    let pickle = next()?;
    let keys = next()?;
    let places = places(&pickle, &keys, rest)?;
    collect(&pickle, bytes.len(), |storage| {
        places
            .get(storage.key)
            .map(|&place| place.into())
            .ok_or_else(too_short)
    })
}

/// Where each storage's bytes lie in the older format: behind each other in the order of `keys`, each after its
/// count.
fn places<'a>(
    pickle: &Pickle<'a>,
    keys: &Pickle<'a>,
    mut rest: &'a [u8],
) -> Result<HashMap<&'a str, &'a [u8]>, String> {
    let known: HashMap<&str, &Storage> = pickle.storages.iter().map(|s| (s.key, s)).collect();
    let Value::List(list) = keys.value else {
        return Err("it does not list its storages".into());
    };
    let mut found = HashMap::new();
    for key in &keys.lists[list] {
        let Value::Text(key) = key else {
            return Err("it does not list its storages".into());
        };
        let storage = known
            .get(key)
            .ok_or_else(|| format!("nothing uses its storage {}", key.escape_debug()))?;
        let (count, behind) = rest.split_first_chunk().ok_or_else(too_short)?;
        if u64::from_le_bytes(*count) != storage.count as u64 {
            return Err(format!("its storage {} has two sizes", key.escape_debug()));
        }
        let size = storage.count.checked_mul(storage.kind.bytes());
        let parts = size.and_then(|size| behind.split_at_checked(size));
        let (data, behind) = parts.ok_or_else(too_short)?;
        found.insert(*key, data);
        rest = behind;
    }
    Ok(found)
}

/// The tensors of a pickle's state dict; `load` brings a storage's bytes. As a file's tensors seldom share storages,
/// they hold at most as many numbers as the file has bytes: `limit`.
fn collect<'a>(
    pickle: &Pickle,
    limit: usize,
    mut load: impl FnMut(&Storage) -> Result<Cow<'a, [u8]>, String>,
) -> Result<(Tensors, Metadata), String> {
    let mut wanted: Vec<(&str, &Tensor)> = Vec::new();
    let mut left = limit;
    for (name, value) in state_dict(pickle)? {
        let (Value::Text(name), Value::Tensor(tensor)) = (name, value) else {
            continue;
        };
        let tensor = &pickle.tensors[*tensor];
        if is_counter(name) {
            continue;
        }
        let kind = pickle.storages[tensor.storage].kind;
        if let Kind::Other(what, _) = kind {
            return Err(format!(
                "tensor {} is {what}; f64, f32, f16 and bf16 are read",
                name.escape_debug()
            ));
        }
        left = left.checked_sub(tensor.count()).ok_or_else(too_short)?;
        wanted.push((name, tensor));
    }
    // one storage after the other, each read once
    wanted.sort_by_key(|(_, tensor)| pickle.storages[tensor.storage].key);
    let (mut tensors, mut loaded) = (Tensors::default(), None);
    for (name, tensor) in wanted {
        let storage = &pickle.storages[tensor.storage];
        let bytes = match loaded.take() {
            Some((key, bytes)) if key == storage.key => bytes,
            _ => load(storage)?,
        };
        let values = values(tensor, storage.kind, &bytes).ok_or_else(too_short)?;
        tensors.insert(name.to_owned(), tensor.shape.clone(), values);
        loaded = Some((storage.key, bytes));
    }
    Ok((tensors, named(pickle)))
}

/// What a checkpoint calls its network.
fn named(pickle: &Pickle) -> Metadata {
    let Value::Dict(top) = pickle.value else {
        return Metadata::default();
    };
    let said = |(key, value): &(Value, Value)| match (key, value) {
        (Value::Text("arch"), Value::Text(name)) => Some(("arch".into(), (*name).into())),
        _ => None,
    };
    pickle.dicts[top]
        .iter()
        .find_map(said)
        .into_iter()
        .collect()
}

fn too_short() -> String {
    "it ends before its tensors do".into()
}

/// The dictionary that holds the tensors: a part of a checkpoint, which may hold tensors beside it, else the whole.
fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<&'p [(Value<'a>, Value<'a>)], String> {
    let Value::Dict(top) = pickle.value else {
        return Err("it holds no dictionary of tensors".into());
    };
    let top = &pickle.dicts[top];
    let has_tensors = |dict: &[(Value, Value)]| {
        dict.iter()
            .any(|(key, value)| matches!((key, value), (Value::Text(_), Value::Tensor(_))))
    };
    let nested = |name: &str| {
        top.iter().find_map(|(key, value)| match (key, value) {
            (Value::Text(key), Value::Dict(dict)) if *key == name => {
                let dict = &pickle.dicts[*dict][..];
                has_tensors(dict).then_some(dict)
            }
            _ => None,
        })
    };
    let found = NESTED.iter().find_map(|name| nested(name));
    let found = found.or_else(|| has_tensors(top).then_some(&top[..]));
    found.ok_or_else(|| {
        format!(
            "it holds no dictionary of tensors, alone or under one of the names {}",
            NESTED.join(", ")
        )
    })
}

/// A tensor's numbers in the order of its indices. [`None`] if `bytes` are too few.
#[allow(clippy::cast_possible_truncation)] // f64 to the precision that the graph has
fn values(tensor: &Tensor, kind: Kind, bytes: &[u8]) -> Option<Vec<f32>> {
    let one = |index: usize| -> Option<f32> {
        let at = index.checked_mul(kind.bytes())?;
        let bytes = bytes.get(at..at.checked_add(kind.bytes())?)?;
        Some(match (kind, bytes) {
            (Kind::F64, b) => f64::from_le_bytes(b.try_into().ok()?) as f32,
            (Kind::F32, b) => f32::from_le_bytes(b.try_into().ok()?),
            (Kind::F16, b) => f16::from_le_bytes(b.try_into().ok()?).to_f32(),
            (Kind::Bf16, b) => bf16::from_le_bytes(b.try_into().ok()?).to_f32(),
            (Kind::Other(..), _) => return None,
        })
    };
    let count = tensor.count();
    let mut found = Vec::with_capacity(count);
    let mut place = vec![0; tensor.shape.len()];
    let mut at = tensor.offset;
    for _ in 0..count {
        found.push(one(at)?);
        // the next index: the last dimension first, each that is full starts again; a dimension of 1 may have any
        // stride, which wraps there and back
        for dim in (0..place.len()).rev() {
            place[dim] += 1;
            at = at.wrapping_add(tensor.strides[dim]);
            if place[dim] < tensor.shape[dim] {
                break;
            }
            at = at.wrapping_sub(tensor.strides[dim].wrapping_mul(tensor.shape[dim]));
            place[dim] = 0;
        }
    }
    Some(found)
}

/// A zip archive of stored entries below one folder.
struct Archive<'a> {
    zip: ZipArchive<Bounded<'a>>,
    /// The folder's name, with its slash.
    folder: String,
    left: Rc<Cell<u64>>,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let left = Rc::new(Cell::new(DIRECTORY));
        let bounded = Bounded {
            from: Cursor::new(bytes),
            left: left.clone(),
        };
        let zip = ZipArchive::new(bounded).map_err(|error| error.to_string())?;
        if zip.len() > MAX_ENTRIES {
            return Err(format!(
                "it has {} entries; {MAX_ENTRIES} are read",
                zip.len()
            ));
        }
        if let Some(name) = zip.file_names().find(|name| !is_plain(name)) {
            return Err(format!("its entry {name:?} leads out of it"));
        }
        let folder = zip.file_names().find_map(|name| {
            let folder = name.strip_suffix("data.pkl")?;
            (folder.ends_with('/') && folder.matches('/').count() == 1).then(|| folder.to_owned())
        });
        let folder = folder.ok_or("it is an archive without data.pkl")?;
        Ok(Self { zip, folder, left })
    }

    fn has(&self, name: &str) -> bool {
        let name = format!("{}{name}", self.folder);
        self.zip.index_for_name(&name).is_some()
    }

    /// An entry's bytes, whose sum the archive states.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, String> {
        let name = format!("{}{name}", self.folder);
        let index = self.zip.index_for_name(&name);
        let index = index.ok_or_else(|| format!("it has no entry {name:?}"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{name:?}: {error}");
        self.left.set(limit.saturating_add(DIRECTORY));
        let entry = self.zip.by_index(index).map_err(|e| wrong(&e))?;
        let (size, stored) = (entry.size(), entry.compressed_size());
        if entry.compression() != CompressionMethod::Stored || size != stored || size > limit {
            return Err(wrong(&format!(
                "{size} bytes in {stored}: only stored entries are read"
            )));
        }
        let mut data = Vec::new();
        entry
            .take(limit)
            .read_to_end(&mut data)
            .map_err(|e| wrong(&e))?;
        if data.len() as u64 != size {
            return Err(too_short());
        }
        Ok(data)
    }
}

/// A name that stays in its folder, wherever it were unpacked.
fn is_plain(name: &str) -> bool {
    let part = |part: &str| part != ".." && part != ".";
    !name.starts_with('/') && !name.contains(['\\', '\0', ':']) && name.split('/').all(part)
}

/// The file, of which only so much may be read: the directory of a hostile archive may lead in circles.
struct Bounded<'a> {
    from: Cursor<&'a [u8]>,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left
            .set(left.ok_or_else(|| io::Error::other("the archive's directory is too large"))?);
        Ok(read)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.from.seek(to)
    }
}
