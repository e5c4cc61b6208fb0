//! A safetensors file as named f32 tensors, each of which must be used exactly once.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::model::error::ModelError;

/// Named tensors, taken one by one.
#[derive(Debug, Default)]
pub struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

/// What a file says of itself, by key: `labels` (a JSON list), `mean`, `std`, `resize`, `crop`; `arch` is what a checkpoint
/// calls its network.
pub type Metadata = std::collections::HashMap<String, String>;

/// The format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// True if the bytes begin as a safetensors file does: with the length of a header and the header, in JSON.
#[must_use]
pub fn are_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= LONGEST_HEADER
}

/// Reads f64, f32, f16 and bf16 tensors, and the file's metadata.
///
/// # Errors
/// If the bytes are no safetensors file or hold another type.
pub fn read(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata), ModelError> {
    let weights = |e: safetensors::SafeTensorError| ModelError::Weights {
        path: path.to_owned(),
        kind: "safetensors",
        reason: e.to_string(),
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(weights)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(bytes).map_err(weights)?;
    let mut tensors = Tensors::default();
    for (name, view) in file.iter() {
        if is_counter(name) {
            continue;
        }
        let values = floats(name, view.dtype(), view.data())?;
        tensors
            .0
            .insert(name.to_owned(), (view.shape().to_vec(), values));
    }
    Ok((tensors, metadata))
}

/// A counter of training, not a weight.
#[must_use]
pub fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name == "n_averaged"
}

fn floats(name: &str, dtype: Dtype, data: &[u8]) -> Result<Vec<f32>, ModelError> {
    let pairs = || data.chunks_exact(2).map(|b| [b[0], b[1]]);
    Ok(match dtype {
        Dtype::F32 => data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        #[allow(clippy::cast_possible_truncation)] // to the precision that the graph has
        Dtype::F64 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b) as f32)
            .collect(),
        Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        other => {
            return Err(ModelError::Dtype {
                name: name.to_owned(),
                dtype: format!("{other:?}"),
            });
        }
    })
}

impl Tensors {
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(|(shape, _)| &shape[..])
    }

    /// Takes `prefix` off every name that begins with it.
    ///
    /// # Errors
    /// If two tensors would then have one name.
    pub fn strip(&mut self, prefix: &str) -> Result<(), ModelError> {
        let mut stripped = BTreeMap::new();
        for (name, tensor) in std::mem::take(&mut self.0) {
            let short = name.strip_prefix(prefix).unwrap_or(&name).to_owned();
            if stripped.insert(short, tensor).is_some() {
                return Err(ModelError::Several(name));
            }
        }
        self.0 = stripped;
        Ok(())
    }

    /// Puts a tensor in.
    pub fn insert(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        self.0.insert(name, (shape, values));
    }

    /// Takes a tensor of `rank` dimensions, none of them zero, out.
    ///
    /// # Errors
    /// If there is none of that name or it is shaped otherwise.
    pub fn take(&mut self, name: &str, rank: usize) -> Result<(Vec<usize>, Vec<f32>), ModelError> {
        let found = self
            .0
            .remove(name)
            .ok_or_else(|| ModelError::Missing(name.to_owned()))?;
        if found.0.len() != rank {
            let (name, found) = (name.to_owned(), found.0.len());
            return Err(ModelError::Rank {
                name,
                found,
                wanted: rank,
            });
        }
        if found.0.contains(&0) {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                shape: found.0,
                inputs: 0,
            });
        }
        Ok(found)
    }

    /// Everything must have been taken: what is left over was not understood.
    ///
    /// # Errors
    /// If something is left.
    pub fn finish(self) -> Result<(), ModelError> {
        let names: Vec<_> = self.0.into_keys().collect();
        if names.is_empty() {
            return Ok(());
        }
        let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 5 {
            format!(" and {} more", names.len() - 5)
        } else {
            String::new()
        };
        Err(ModelError::LeftOver(shown + &more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_kinds_of_floats_are_read_and_others_refused() {
        let read = |dtype, data: &[u8]| floats("x", dtype, data);
        assert_eq!(read(Dtype::F32, &1.5f32.to_le_bytes()).unwrap(), [1.5]);
        assert_eq!(read(Dtype::F64, &2.5f64.to_le_bytes()).unwrap(), [2.5]);
        assert_eq!(
            read(Dtype::F16, &f16::from_f32(-0.25).to_le_bytes()).unwrap(),
            [-0.25]
        );
        assert_eq!(
            read(Dtype::BF16, &bf16::from_f32(3.0).to_le_bytes()).unwrap(),
            [3.0]
        );
        assert!(
            read(Dtype::I64, &[0; 8])
                .unwrap_err()
                .to_string()
                .contains("I64")
        );
    }

    #[test]
    fn what_is_missing_or_left_over_is_named() {
        let mut tensors = Tensors::default();
        tensors.insert("a".into(), vec![1], vec![0.0]);
        assert!(tensors.take("b", 1).unwrap_err().to_string().contains('b'));
        assert!(
            tensors
                .take("a", 2)
                .unwrap_err()
                .to_string()
                .contains("1 dimensions")
        );
        tensors.insert("extra".into(), vec![1], vec![0.0]);
        assert!(tensors.finish().unwrap_err().to_string().contains("extra"));
    }
}
