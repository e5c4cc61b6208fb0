//! Runs an int8 network with every layer's output in view, for whoever compares networks. A plan of its own, so that
//! the engine, which labels frames, knows nothing of it.

use std::collections::HashMap;

use tract_nnef::internal::*;
use tract_nnef::tract_core::plan::{SimpleState, eval};

use super::EngineError;
use super::engine::read_graph;
use super::features::FeatureMap;
use super::layer::{self, Buffers};
use super::qadd::QAdd;
use super::qcast::Quantize;
use super::qconv::QConv;
use super::qgroup::QGroupConv;
use super::qpool::{QAverage, QGlobalAverage, QMaxPool};
use crate::bundle::Bundle;
use crate::kernels::{Backend, Pool, Quant, Storage};

/// One layer's output.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    Map(FeatureMap<'a>),
    /// The last layer's.
    Scores(&'a [f32]),
}

/// A network whose layers can be watched.
pub struct Observer {
    state: SimpleState<TypedFact, Box<dyn TypedOp>>,
    /// How the bytes are to be read that a node writes.
    quants: HashMap<usize, Quant>,
    storage: Storage,
    buffers: Buffers,
    pool: Pool,
}

impl Observer {
    /// On one thread.
    ///
    /// # Errors
    /// If the network cannot be built.
    pub fn new(bundle: &Bundle) -> Result<Self, EngineError> {
        let backend = Backend::selected()?;
        let model = read_graph(bundle, backend)?;
        let unusable = |e: TractError| EngineError::Graph {
            path: bundle.path.clone(),
            reason: format!("{e:#}"),
        };
        let quants = quants(&model).map_err(unusable)?;
        let plan = model.into_runnable().and_then(|plan| plan.spawn());
        Ok(Self {
            state: plan.map_err(unusable)?,
            quants,
            storage: backend.storage(),
            buffers: Buffers::default(),
            pool: Pool::serial(),
        })
    }

    /// Runs a picture of `side * side` pixels, as [`super::Engine::picture`] wants it; `seen` is told each layer's name and
    /// output in the order in which they run, where it is known how the output is to be read.
    ///
    /// # Errors
    /// If tract fails, or the picture has another size than the network's.
    pub fn run(
        &mut self,
        picture: &[u8],
        side: usize,
        mut seen: impl FnMut(&str, Output),
    ) -> Result<(), EngineError> {
        let failed = |e: TractError| EngineError::Run(format!("{e:#}"));
        let input = Tensor::from_shape(&[1, side, side, 3], picture).map_err(failed)?;
        let (buffers, pool, quants) = (&mut self.buffers, &self.pool, &self.quants);
        let storage = self.storage;
        let run = self.state.run_plan_with_eval(
            tvec!(input.into_tvalue()),
            |context, state, node, inputs| -> TractResult<TVec<TValue>> {
                let Some(layer) = layer::of(node) else {
                    return eval(context, state, node, inputs);
                };
                let output = buffers.run(pool, layer, &inputs)?;
                let quant = quants.get(&node.id).copied();
                if let Some(shown) = show(&output, storage, quant)? {
                    seen(&node.name, shown);
                }
                Ok(tvec!(output))
            },
        );
        run.map(|_| ()).map_err(failed)
    }
}

fn show(
    output: &TValue,
    storage: Storage,
    quant: Option<Quant>,
) -> TractResult<Option<Output<'_>>> {
    let plain = output.try_as_plain_ram()?;
    if output.datum_type() == f32::datum_type() {
        return Ok(Some(Output::Scores(plain.as_slice::<f32>()?)));
    }
    Ok(match (quant, output.shape()) {
        (Some(quant), &[1, rows, columns, channels]) => Some(Output::Map(FeatureMap {
            stored: plain.as_slice::<u8>()?,
            storage,
            rows,
            columns,
            channels,
            quant,
        })),
        _ => None,
    })
}

/// What each node's bytes stand for, by its place in the graph.
fn quants(model: &TypedModel) -> TractResult<HashMap<usize, Quant>> {
    let mut found = HashMap::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        macro_rules! output_of {
            ($($operator:ty => $output:expr),*) => {
                None$(.or_else(|| node.op_as::<$operator>().map($output)))*
            };
        }
        let quant = output_of!(
            QConv => |op| op.params.output,
            QGroupConv => |op| op.params.output,
            QGlobalAverage => |op| op.output,
            QAverage => |op| op.output,
            QAdd => |op| op.output,
            Quantize => |op| op.output
        );
        let pooled = node.op_is::<QMaxPool>();
        let input = node.inputs.first().filter(|_| pooled);
        let quant = quant.or_else(|| found.get(&input?.node).copied());
        found.extend(quant.map(|quant| (id, quant)));
    }
    Ok(found)
}
