//! Reads a bundle's tensors for tract. 8-bit weights are packed for the chosen backend as they are
//! read, so that only one copy of them lives in memory; all other tensors go to tract as they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tract_nnef::ProtoModel;
use tract_nnef::internal::*;

use super::document::document;
use crate::bundle::{Graph, Kind, Sink, TensorInfo};
use crate::kernels::{Backend, Budget, Filter, PackedWeights};

/// The weights of one layer, made ready for a backend.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `[out][kernel rows][kernel columns][in]`.
    pub shape: [usize; 4],
    pub filter: Filter,
    pub backend: Backend,
}

/// Weights among the resources that tract's reader sees, until their layer takes them: it alone has them then, and if it
/// packs them in another way, what they were packed in before is freed before the next layer.
#[derive(Debug)]
pub struct Waiting(Mutex<Option<Weights>>);

impl Resource for Waiting {}

impl Waiting {
    /// Nothing, if they have been taken.
    pub fn take(&self) -> Option<Weights> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Bytes that a layer's weights may take, or four times those in the file: blocks of channels are filled
/// up, so that few channels of great depth would take many times what the file holds.
const MOST_PADDED: usize = 64 << 20;

/// What a graph's layers run on, among the resources that its reader sees.
#[derive(Debug)]
pub struct Target {
    pub backend: Backend,
    /// For transformed weights.
    pub budget: Budget,
}

impl Resource for Target {}

impl Target {
    /// No tensor has this name: a bundle's are identifiers.
    pub const NAME: &'static str = "the backend";
}

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
        Self::pack(plain, [out, rows, columns, inputs], backend)
    }

    fn pack(plain: &[i8], shape: [usize; 4], backend: Backend) -> TractResult<Self> {
        let depth = shape[1..].iter().product();
        let bytes = PackedWeights::bytes(shape[0], depth, backend.layout());
        ensure!(
            bytes <= MOST_PADDED.max(4 * plain.len()),
            "weights of shape {shape:?} would take {} MiB packed",
            bytes >> 20
        );
        let packed = PackedWeights::new(plain, shape[0], depth, backend.layout())?;
        Ok(Self {
            shape,
            filter: Filter::Direct(Arc::new(packed)),
            backend,
        })
    }

    /// The weights as they were packed.
    ///
    /// # Errors
    /// If they have been packed in another way for a layer since.
    pub fn packed(&self) -> TractResult<&Arc<PackedWeights>> {
        match &self.filter {
            Filter::Direct(packed) => Ok(packed),
            Filter::Winograd(_) => bail!("these weights were packed for Winograd's method"),
        }
    }

    /// Back to an i8 tensor of shape OHWI.
    ///
    /// # Errors
    /// Only if tract cannot allocate it.
    pub fn to_tensor(&self) -> TractResult<Tensor> {
        let plain = match &self.filter {
            Filter::Direct(packed) => packed.plain(),
            Filter::Winograd(weights) => weights.plain(),
        };
        Tensor::from_shape(&self.shape, &plain)
    }
}

/// A bundle's tensors as tract's reader of graphs wants them, filled while the file is read.
pub struct Tensors {
    backend: Backend,
    plain: HashMap<Identifier, Arc<Tensor>>,
    packed: HashMap<String, Arc<dyn Resource>>,
}

impl Tensors {
    /// Nothing yet; weights will be packed for `backend`.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            plain: HashMap::new(),
            packed: HashMap::new(),
        }
    }

    /// The network that `graph` describes over these tensors.
    ///
    /// # Errors
    /// If the graph and the tensors do not fit together.
    pub fn into_model(
        mut self,
        budget: Budget,
        graph: &Graph,
        nnef: &Nnef,
    ) -> TractResult<TypedModel> {
        let backend = self.backend;
        let target = Arc::new(Target { backend, budget });
        self.packed.insert(Target::NAME.into(), target);
        let proto = ProtoModel {
            doc: document(graph),
            tensors: self.plain,
            quantization: None,
            resources: self.packed,
        };
        nnef.model_for_proto_model(&proto)
    }

    fn take(&mut self, info: &TensorInfo, values: &[u8]) -> TractResult<()> {
        let shape = &info.shape[..];
        let tensor = match (info.kind, shape) {
            (Kind::I8, &[out, rows, columns, inputs]) => {
                let shape = [out, rows, columns, inputs];
                let weights = Weights::pack(signed(values), shape, self.backend)?;
                let waiting = Waiting(Mutex::new(Some(weights)));
                self.packed.insert(info.name.clone(), Arc::new(waiting));
                return Ok(());
            }
            (Kind::I8, _) => Tensor::from_shape(shape, signed(values))?,
            (Kind::F32, _) => words(shape, values, f32::from_le_bytes)?,
            (Kind::I32, _) => words(shape, values, i32::from_le_bytes)?,
            (Kind::I64, _) => words(shape, values, i64::from_le_bytes)?,
        };
        let name = Identifier(info.name.clone());
        self.plain.insert(name, Arc::new(tensor));
        Ok(())
    }
}

impl Sink for Tensors {
    fn tensor(&mut self, info: &TensorInfo, values: &[u8]) -> Result<(), String> {
        self.take(info, values)
            .map_err(|error| error.root_cause().to_string())
    }
}

/// A tensor of numbers of `N` bytes.
fn words<const N: usize, T: Datum + Copy>(
    shape: &[usize],
    bytes: &[u8],
    read: fn([u8; N]) -> T,
) -> TractResult<Tensor> {
    let (words, _) = bytes.as_chunks::<N>();
    let values: Vec<T> = words.iter().map(|&word| read(word)).collect();
    Tensor::from_shape(shape, &values)
}

/// Bytes as signed numbers.
#[allow(unsafe_code)]
fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: i8 has the size and alignment of u8, every byte is one, and the result borrows `bytes`.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}
