//! Reads a bundle's tensors for tract. 8-bit weights are packed for the chosen backend as they are
//! read, so that only one copy of them lives in memory; all other tensors go to tract as they are.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tract_nnef::internal::*;
use tract_nnef::resource::resource_path_to_id;
use tract_nnef::tensors::read_tensor;

use crate::kernels::{Backend, PackedWeights};

/// The weights of one layer, packed, and the backend that they are packed for.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `[out][kernel rows][kernel columns][in]`.
    pub shape: [usize; 4],
    pub packed: Arc<PackedWeights>,
    pub backend: Backend,
}

impl Resource for Weights {}

impl Weights {
    /// Packs an i8 tensor of shape `[out][kernel rows][kernel columns][in]`.
    ///
    /// # Errors
    /// If the tensor is neither i8 nor of that rank, or holds -128.
    pub fn new(tensor: &Tensor, backend: Backend) -> TractResult<Self> {
        let &[out, rows, columns, inputs] = tensor.shape() else {
            bail!(
                "weights of shape {:?} where OHWI was expected",
                tensor.shape()
            );
        };
        let plain = tensor.try_as_plain_ram()?.as_slice::<i8>()?;
        let packed = PackedWeights::new(plain, out, rows * columns * inputs, backend.layout())?;
        Ok(Self {
            shape: [out, rows, columns, inputs],
            packed: Arc::new(packed),
            backend,
        })
    }

    /// Back to an i8 tensor of shape OHWI.
    ///
    /// # Errors
    /// Only if tract cannot allocate it.
    pub fn to_tensor(&self) -> TractResult<Tensor> {
        Tensor::from_shape(&self.shape, &self.packed.plain())
    }
}

/// tract's `.dat` reader, except that i8 weights become a [`Weights`] resource.
#[derive(Debug, Clone, Copy)]
pub struct Loader(pub Backend);

impl ResourceLoader for Loader {
    fn name(&self) -> StaticName {
        "resnetd".into()
    }

    fn try_load(
        &self,
        path: &Path,
        reader: &mut dyn Read,
        _: &Nnef,
    ) -> TractResult<Option<(String, Arc<dyn Resource>)>> {
        if path.extension().is_none_or(|e| e != "dat") {
            return Ok(None);
        }
        let id = resource_path_to_id(path)?;
        let tensor = read_tensor(reader).with_context(|| format!("reading {}", path.display()))?;
        if tensor.datum_type() == i8::datum_type() && tensor.rank() == 4 {
            let weights = Weights::new(&tensor, self.0).with_context(|| format!("packing {id}"))?;
            return Ok(Some((id, Arc::new(weights))));
        }
        Ok(Some((id, Arc::new(tensor))))
    }
}
