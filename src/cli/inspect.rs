//! `resnetd inspect`: what is in a bundle?

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::Failure;
use crate::bundle::Bundle;
use crate::infer::EngineError;
use crate::infer::engine::read_graph;
use crate::infer::inspect::{self, LayerInfo};
use crate::infer::registry::OPERATORS;
use crate::kernels::Backend;

const EXAMPLES: &str = "\
Examples:
  resnetd inspect models/resnet50-imagenette.nnef.tar
  resnetd inspect --json mine.nnef.tar | jq .macs

Parameters are counted as published: each convolution's weights and two per output channel for the batch
normalization that is folded into it, the dense layer's weights and biases. `stored_values` is what the file holds.";

/// Shows a bundle's layers, size, labels and what is known of its accuracy.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    bundle: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What is counted in a bundle.
struct Counted {
    bundle: Bundle,
    layers: Vec<LayerInfo>,
    params: u64,
    macs: u64,
    stored_values: u64,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let counted = count(arguments)?;
    let mut out = io::stdout().lock();
    let shown = if arguments.json {
        writeln!(out, "{}", to_json(&counted))
    } else {
        table(&counted, &mut out)
    };
    shown.map_err(Failure::Output)
}

fn count(arguments: &Arguments) -> Result<Counted, Failure> {
    let bundle = Bundle::open(&arguments.bundle, OPERATORS)?;
    let layers = layers(&bundle)?;
    Ok(Counted {
        params: layers.iter().map(|l| l.params).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        stored_values: bundle.stored_values(),
        layers,
        bundle,
    })
}

/// The layers of a bundle's network.
///
/// # Errors
/// If tract cannot build it.
pub fn layers(bundle: &Bundle) -> Result<Vec<LayerInfo>, EngineError> {
    let model = read_graph(bundle, Backend::selected()?)?;
    inspect::layers(&model).map_err(|e| EngineError::Graph {
        path: bundle.path.clone(),
        reason: format!("{e:#}"),
    })
}

fn to_json(c: &Counted) -> serde_json::Value {
    let m = &c.bundle.manifest;
    json!({
        "name": m.name, "arch": m.arch, "params": c.params, "macs": c.macs,
        "stored_values": c.stored_values, "bytes": c.bundle.bytes().len(),
        "labels": m.labels, "preprocessing": m.preprocessing, "activation": m.activation,
        "quantization": m.quantization, "provenance": m.provenance, "accuracy": m.accuracy,
        "confidence": m.confidence,
        "checksum": m.checksum,
        "layers": c.layers.iter().map(|l| json!({
            "name": l.name, "kind": l.kind, "input": l.input, "output": l.output,
            "macs": l.macs, "params": l.params,
        })).collect::<Vec<_>>(),
    })
}

fn table(c: &Counted, out: &mut impl Write) -> io::Result<()> {
    let width = c.layers.iter().map(|l| l.name.len()).max().unwrap_or(0);
    writeln!(
        out,
        "{:width$}  {:16}{:>15}{:>15}{:>10}{:>12}",
        "layer", "kind", "input", "output", "M macs", "parameters"
    )?;
    let size = |[h, w, c]: [usize; 3]| format!("{h}x{w}x{c}");
    for l in &c.layers {
        writeln!(
            out,
            "{:width$}  {:16}{:>15}{:>15}{:>10.1}{:>12}",
            l.name,
            l.kind,
            size(l.input),
            size(l.output),
            millions(l.macs),
            l.params
        )?;
    }
    let m = &c.bundle.manifest;
    let (p, bytes) = (&m.preprocessing, c.bundle.bytes().len() as u64);
    writeln!(out, "\n{:16}{} ({})", "model", m.name, m.arch)?;
    writeln!(
        out,
        "{:16}{} as published, {} stored",
        "parameters", c.params, c.stored_values
    )?;
    writeln!(
        out,
        "{:16}{:.3} G",
        "multiply-adds",
        millions(c.macs) / 1000.0
    )?;
    writeln!(out, "{:16}{:.1} MB", "file", millions(bytes))?;
    writeln!(
        out,
        "{:16}{}, crop {}, {:?}",
        "resize", p.resize, p.crop, p.interpolation
    )?;
    match &m.quantization {
        Some(q) => {
            let data = format!("{} pictures of {}", q.images, q.calibration);
            writeln!(
                out,
                "{:16}int8, ranges by {} on {data}",
                "precision", q.method
            )?;
        }
        None => writeln!(out, "{:16}f32", "precision")?,
    }
    if let Some(a) = &m.accuracy {
        let (top1, top5) = (a.top1 * 100.0, a.top5 * 100.0);
        let data = format!("{} pictures of {}", a.images, a.data);
        writeln!(
            out,
            "{:16}{top1:.2} % top-1, {top5:.2} % top-5 on {data}",
            "accuracy"
        )?;
    }
    if let Some(c) = &m.confidence {
        writeln!(
            out,
            "{:16}temperature {:.3}, calibration error {:.2} % ({:.2} % without it)",
            "confidence",
            c.temperature,
            c.error * 100.0,
            c.error_before * 100.0
        )?;
    }
    writeln!(
        out,
        "{:16}{} ({})",
        "made from", m.provenance.source, m.provenance.tool
    )?;
    let shown: Vec<&str> = m.labels.iter().take(12).map(|l| &**l).collect();
    let more = if m.labels.len() > shown.len() {
        ", ..."
    } else {
        ""
    };
    writeln!(
        out,
        "{:16}{}: {}{more}",
        "labels",
        m.labels.len(),
        shown.join(", ")
    )
}

#[allow(clippy::cast_precision_loss)] // for people
fn millions(n: u64) -> f64 {
    n as f64 / 1e6
}
