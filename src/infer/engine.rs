//! Loads a bundle, plans it with tract, runs it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tract_nnef::internal::*;
use tract_nnef::tract_core::plan::{SimpleState, eval};

use super::activation::probabilities;
use super::features::{Features, Kept};
use super::inspect::{self, LayerInfo};
use super::layer::{self, Buffers};
use super::map::ActivationMap;
use super::quiet;
use super::registry::{self, OPERATORS, nnef};
use super::room;
use super::weights::Tensors;
use crate::bundle::{self, Bundle, BundleError, Graph, Manifest};
use crate::cores::Threads;
use crate::kernels::{Backend, Budget, BudgetError, Isa, IsaError, Pool};
use crate::label::{Labels, Prediction};

#[derive(Debug, Error)]
pub enum EngineError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(
        "{path}: loading it takes {mib} MiB of memory, more than the system grants; raise the limit (LimitAS=, ulimit -v), end other programs or use a smaller model",
        path = path.display()
    )]
    Memory { path: PathBuf, mib: u64 },
    #[error(transparent)]
    Isa(#[from] IsaError),
    #[error(transparent)]
    Winograd(#[from] BudgetError),
    #[error("{path}: the network cannot be built: {reason}; make the bundle anew with `resnetd-model`", path = path.display())]
    Graph { path: PathBuf, reason: String },
    #[error("{path} contradicts itself: {reason}; it must not serve labels", path = path.display())]
    Contradiction { path: PathBuf, reason: String },
    #[error(
        "cannot start {threads} threads: {error}; ask for fewer by --threads, or allow more (TasksMax=, ulimit -u)"
    )]
    Threads {
        threads: Threads,
        error: std::io::Error,
    },
    #[error("inference failed: {0}")]
    Run(String),
}

/// What the network's input tensor is made of.
enum Input {
    /// The picture's bytes, `[1, h, w, 3]`: mean and std are folded into the first layer.
    Bytes(Arc<Tensor>),
    /// `(x / 255 - mean) / std` as f32, `[1, 3, h, w]`, made from the bytes.
    Normalized {
        bytes: Vec<u8>,
        table: Box<[[f32; 256]; 3]>,
    },
}

/// Hears of each node's name and wall time.
type Seen<'a> = &'a mut dyn FnMut(&str, Duration);

/// A network ready to run, one picture at a time.
pub struct Engine {
    manifest: Manifest,
    labels: Labels,
    layers: Vec<LayerInfo>,
    isa: Isa,
    pool: Pool,
    input: Input,
    buffers: Buffers,
    kept: Option<Kept>,
    state: SimpleState<TypedFact, Box<dyn TypedOp>>,
}

impl Engine {
    /// Reads, checks and plans a bundle, for the backend that this processor (or `RESNETD_ISA`)
    /// selects, to run its int8 layers on `threads` threads, the caller's included. A float network runs on
    /// the caller's alone.
    ///
    /// # Errors
    /// If the bundle is not sound, its labels do not match its network, the selected instruction
    /// set is missing, or the system grants no more memory or threads.
    pub fn load(path: &Path, threads: Threads) -> Result<Self, EngineError> {
        let backend = Backend::selected()?;
        let budget = Budget::selected()?;
        room::for_file(path).map_err(|mib| EngineError::Memory {
            path: path.to_owned(),
            mib,
        })?;
        let pool = pool(threads)?;
        let mut tensors = Tensors::new(backend);
        // tract parses its own library of operators each time: meanwhile
        let (contents, nnef) = std::thread::scope(|scope| {
            let nnef = std::thread::Builder::new().spawn_scoped(scope, nnef);
            let contents = bundle::read(path, OPERATORS, &mut tensors);
            (contents, nnef.ok().and_then(|thread| thread.join().ok()))
        });
        let (contents, nnef) = (contents?, nnef.unwrap_or_else(registry::nnef));
        let model = model(path, &contents.graph, (tensors, budget), &nnef)?;
        let manifest = contents.manifest;
        let contradiction = |reason| EngineError::Contradiction {
            path: path.to_owned(),
            reason,
        };
        let input = check(&model, &manifest).map_err(contradiction)?;
        let layers = guarded(path, || inspect::layers(&model))?;
        let state = guarded(path, || {
            model
                .into_optimized()
                .and_then(TypedModel::into_runnable)
                .and_then(|plan| plan.spawn())
        })?;
        let labels = manifest.labels.clone().into();
        Ok(Self {
            manifest,
            labels,
            layers,
            isa: backend.isa(),
            pool,
            input,
            buffers: Buffers::default(),
            kept: None,
            state,
        })
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The network's layers in the order in which they run, as its bundle describes them.
    #[must_use]
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// The instruction set that the int8 layers run on.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many threads the int8 layers run on.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Runs the int8 layers on another number of threads from now on.
    ///
    /// # Errors
    /// If the system starts no more threads; everything then stays as it is.
    pub fn set_threads(&mut self, threads: Threads) -> Result<(), EngineError> {
        if threads.get().get() != self.pool.threads() {
            self.pool = pool(threads)?;
        }
        Ok(())
    }

    /// What the network saw in the last picture; nothing before the first, and of a float network.
    #[must_use]
    pub fn features(&self) -> Option<Features<'_>> {
        self.kept.as_ref().and_then(Kept::features)
    }

    /// Where in the last picture the scores of these classes come from, together; nothing before the first, and of a
    /// network that does not end with an average and an int8 layer.
    #[must_use]
    pub fn map(&self, classes: &[usize]) -> Option<ActivationMap> {
        let dense = ActivationMap::dense(self.state.model())?;
        ActivationMap::of(dense, &self.features()?.last, classes)
    }

    /// The picture to classify, for the caller to fill: `crop * crop` pixels of three bytes in the
    /// bundle's channel order. Where the network takes bytes this is its input tensor itself.
    ///
    /// # Errors
    /// Only if tract still holds the tensor, which it does not between two runs.
    pub fn picture(&mut self) -> Result<&mut [u8], EngineError> {
        match &mut self.input {
            Input::Normalized { bytes, .. } => Ok(bytes),
            Input::Bytes(tensor) => Arc::get_mut(tensor)
                .map(Tensor::as_bytes_mut)
                .ok_or_else(|| EngineError::Run("the input tensor is still in use".into())),
        }
    }

    /// Classifies what [`Self::picture`] holds. An int8 network allocates nothing once it has run and `out` has
    /// been filled.
    ///
    /// # Errors
    /// If tract fails; a plan that was made does not.
    pub fn run(&mut self, out: &mut Prediction) -> Result<(), EngineError> {
        self.evaluate(out, None)
            .map_err(|e| EngineError::Run(format!("{e:#}")))
    }

    /// As [`Self::run`]; `seen` is told each node's name, as [`super::inspect::layers`] has it, and its wall
    /// time, in the order in which they run. It hears of the input too, and a float network's nodes are those
    /// that tract made of its layers.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_timed(
        &mut self,
        out: &mut Prediction,
        mut seen: impl FnMut(&str, Duration),
    ) -> Result<(), EngineError> {
        self.evaluate(out, Some(&mut seen))
            .map_err(|e| EngineError::Run(format!("{e:#}")))
    }

    fn evaluate(&mut self, out: &mut Prediction, seen: Option<Seen>) -> TractResult<()> {
        self.kept = None; // its tensors are needed again
        let input = match &self.input {
            Input::Bytes(tensor) => tensor.clone().into_tvalue(),
            Input::Normalized { bytes, table } => {
                normalize(bytes, table, self.manifest.preprocessing.crop as usize)?.into_tvalue()
            }
        };
        let outputs = self.forward(input, seen)?;
        let logits = outputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        ensure!(
            logits.iter().all(|x| x.is_finite()),
            "the network's scores are no numbers"
        );
        out.logits.clear();
        out.logits.extend_from_slice(logits);
        out.probabilities.resize(logits.len(), 0.0);
        let temperature = self.manifest.temperature();
        probabilities(
            self.manifest.activation,
            temperature,
            logits,
            &mut out.probabilities,
        );
        Ok(())
    }

    /// tract walks its plan; our layers write into our tensors.
    fn forward(&mut self, input: TValue, mut seen: Option<Seen>) -> TractResult<TVec<TValue>> {
        let (buffers, pool, kept) = (&mut self.buffers, &self.pool, &mut self.kept);
        self.state.run_plan_with_eval(
            tvec!(input),
            |context, state, node, inputs| -> TractResult<TVec<TValue>> {
                let started = seen.is_some().then(Instant::now);
                let outputs = match layer::of(node) {
                    None => eval(context, state, node, inputs)?,
                    Some(layer) => {
                        let output = buffers.run(pool, layer, &inputs)?;
                        *kept = Kept::of(node, &inputs, &output).or(kept.take());
                        tvec!(output)
                    }
                };
                if let (Some(seen), Some(started)) = (&mut seen, started) {
                    seen(&node.name, started.elapsed());
                }
                Ok(outputs)
            },
        )
    }
}

fn pool(threads: Threads) -> Result<Pool, EngineError> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if threads.get().get() > cores {
        log::warn!("{threads} threads on {cores} cores will be slower than {cores}");
    }
    Pool::new(threads.get()).map_err(|error| EngineError::Threads { threads, error })
}

/// Builds the network of a bundle in memory.
///
/// # Errors
/// If tract cannot build it, or it asks for more memory than any real one.
pub fn read_graph(bundle: &Bundle, backend: Backend) -> Result<TypedModel, EngineError> {
    let mut tensors = Tensors::new(backend);
    let contents = bundle.read(OPERATORS, &mut tensors)?;
    model(
        &bundle.path,
        &contents.graph,
        (tensors, Budget::none()),
        &nnef(),
    )
}

fn model(
    path: &Path,
    graph: &Graph,
    (tensors, budget): (Tensors, Budget),
    nnef: &Nnef,
) -> Result<TypedModel, EngineError> {
    guarded(path, || {
        let model = tensors.into_model(budget, graph, nnef)?;
        match oversized(&model).or_else(|| misread(&model)) {
            None => Ok(model),
            Some(reason) => bail!(reason),
        }
    })
}

/// Calls tract on a file's network; a panic in it is an error of the file, and nothing is printed.
fn guarded<T>(path: &Path, call: impl FnOnce() -> TractResult<T>) -> Result<T, EngineError> {
    let reason = match quiet::catch(call) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(e)) => one_line(&e.root_cause().to_string()),
        Err(_) => "tract gave up on it".to_owned(),
    };
    Err(EngineError::Graph {
        path: path.to_owned(),
        reason,
    })
}

/// No activation of a network that we run is larger: a ResNet's first, in float, at 2048 x 2048.
const MAX_TENSOR: usize = 512 << 20;

/// A tensor that would take more memory than any real one; only its shape exists so far.
fn oversized(model: &TypedModel) -> Option<String> {
    let outlets = model
        .nodes
        .iter()
        .flat_map(|n| n.outputs.iter().map(move |o| (n, &o.fact)));
    for (node, fact) in outlets {
        let size = fact.datum_type.size_of();
        let bytes = fact.shape.as_concrete().map(|dims| {
            dims.iter()
                .fold(size, |product, &d| product.saturating_mul(d))
        });
        if bytes.is_none_or(|bytes| bytes > MAX_TENSOR) {
            return Some(format!("{} has an output of {:?}", node.name, fact.shape));
        }
    }
    None
}

/// An operator that is none of ours but would read our activations, whose bytes only ours understand.
fn misread(model: &TypedModel) -> Option<String> {
    let foreign = model.nodes.iter().filter(|node| layer::of(node).is_none());
    let reads_bytes = |node: &&TypedNode| {
        let mut facts = node
            .inputs
            .iter()
            .filter_map(|&i| model.outlet_fact(i).ok());
        facts.any(|fact| fact.datum_type == u8::datum_type())
    };
    let node = { foreign }.find(reads_bytes)?;
    Some(format!("{} reads 8-bit values as numbers", node.name))
}

/// The parser's errors span many lines; the first few words say what there is to say.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

/// One input that the preprocessing fills, one output that the labels name.
fn check(model: &TypedModel, manifest: &Manifest) -> Result<Input, String> {
    let (&[input], &[output]) = (&model.inputs[..], &model.outputs[..]) else {
        return Err("its network has not one input and one output".into());
    };
    let fact = |outlet| model.outlet_fact(outlet).map_err(|e| e.to_string());
    let (input, output) = (fact(input)?, fact(output)?);
    let classes = manifest.labels.len();
    let scores = output.shape.as_concrete();
    if output.datum_type != f32::datum_type() || scores.map(|s| s.iter().product()) != Some(classes)
    {
        return Err(format!(
            "{classes} labels for a network whose output is {output:?}"
        ));
    }
    let size = manifest.preprocessing.crop as usize;
    match (input.datum_type, input.shape.as_concrete()) {
        (DatumType::U8, Some(shape)) if shape == [1, size, size, 3] => Tensor::zero::<u8>(shape)
            .map(|t| Input::Bytes(Arc::new(t)))
            .map_err(|e| e.to_string()),
        (DatumType::F32, Some(shape)) if shape == [1, 3, size, size] => Ok(Input::Normalized {
            bytes: vec![0; size * size * 3],
            table: normalization(manifest.preprocessing.mean, manifest.preprocessing.std),
        }),
        _ => Err(format!(
            "pictures of {size} x {size} for a network whose input is {input:?}"
        )),
    }
}

/// `(x / 255 - mean) / std` for every byte and channel.
#[must_use]
pub fn normalization(mean: [f32; 3], std: [f32; 3]) -> Box<[[f32; 256]; 3]> {
    let mut table = Box::new([[0.0; 256]; 3]);
    for (row, (mean, std)) in table.iter_mut().zip(mean.into_iter().zip(std)) {
        for (value, byte) in row.iter_mut().zip(0u8..=255) {
            *value = (f32::from(byte) / 255.0 - mean) / std;
        }
    }
    table
}

/// Bytes `[h][w][3]` to f32 `[1, 3, h, w]`.
///
/// # Errors
/// Only if tract cannot allocate the tensor.
pub fn normalize(bytes: &[u8], table: &[[f32; 256]; 3], size: usize) -> TractResult<Tensor> {
    let mut tensor = Tensor::zero::<f32>(&[1, 3, size, size])?;
    let mut view = tensor.try_as_plain_ram_mut()?;
    let planes = view.as_slice_mut::<f32>()?.chunks_exact_mut(size * size);
    for (channel, (plane, table)) in planes.zip(table).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(bytes.chunks_exact(3)) {
            *value = table[usize::from(pixel[channel])];
        }
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dispatch::available;

    /// Every layer's name and output, as values however they are stored.
    fn outputs(
        bundle: &Bundle,
        backend: Backend,
        winograd: &str,
        threads: usize,
    ) -> Vec<(String, Vec<u8>)> {
        let mut tensors = Tensors::new(backend);
        let contents = bundle.read(OPERATORS, &mut tensors).unwrap();
        let tensors = (tensors, winograd.parse().unwrap());
        let model = model(&bundle.path, &contents.graph, tensors, &nnef()).unwrap();
        let shape = model
            .input_fact(0)
            .unwrap()
            .shape
            .as_concrete()
            .unwrap()
            .to_vec();
        let mut picture = Tensor::zero::<u8>(&shape).unwrap();
        for (i, byte) in picture.as_bytes_mut().iter_mut().enumerate() {
            *byte = i.wrapping_mul(2_654_435_761).to_le_bytes()[3];
        }
        let pool = Pool::new(threads.try_into().unwrap()).unwrap();
        let (mut buffers, mut seen) = (Buffers::default(), Vec::new());
        let mut state = model.into_runnable().unwrap().spawn().unwrap();
        let input = tvec!(picture.into_tvalue());
        let run =
            state.run_plan_with_eval(input, |context, state, node, inputs| -> TractResult<_> {
                let Some(layer) = layer::of(node) else {
                    return eval(context, state, node, inputs);
                };
                let output = buffers.run(&pool, layer, &inputs)?;
                let flip = match output.datum_type() {
                    DatumType::U8 => backend.storage().flip(),
                    _ => 0,
                };
                let bytes: Vec<u8> = output.as_bytes().iter().map(|byte| byte ^ flip).collect();
                seen.push((node.name.clone(), bytes));
                Ok(tvec!(output))
            });
        run.unwrap();
        seen
    }

    #[test]
    fn every_layer_gives_the_same_bytes_on_every_backend_and_number_of_threads() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("models/resnet50-imagenette.nnef.tar");
        let bundle = Bundle::open(&path, OPERATORS).unwrap();
        let portable = Backend::new(Isa::Portable).unwrap();
        let want = outputs(&bundle, portable, "off", 1);
        assert_eq!(
            want.len(),
            56,
            "53 convolutions, two poolings and the dense layer"
        );
        // the reference itself would take a minute: it is compared with the others layer by layer in `kernels`
        for isa in available().into_iter().filter(|&isa| isa != Isa::Scalar) {
            let backend = Backend::new(isa).unwrap();
            for (winograd, threads) in [("off", 1), ("off", 4), ("all", 2)] {
                let got = outputs(&bundle, backend, winograd, threads);
                for ((name, want), (_, got)) in want.iter().zip(&got) {
                    assert!(
                        want == got,
                        "{name} differs: {isa}, {threads} threads, {winograd} layers by Winograd"
                    );
                }
                assert_eq!(got.len(), want.len());
            }
        }
    }
}
