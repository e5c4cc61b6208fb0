//! Makes a float network smaller: removes channels inside residual blocks, and whole blocks where that is better, until
//! the network has no more multiply-adds than are wanted.
//!
//! `blocks` finds where may be cut, `measure` what the calibration pictures say of it, `eliminate` orders the channels of one
//! layer, `plan` decides over all layers, `surgery` carries the decision out, and `settle` brings the layers that are left
//! back to the statistics that they had. Nothing is trained: what is lost can be won back by fine-tuning (`export`).

pub mod blocks;
pub mod cost;
mod eliminate;
mod linear;
mod measure;
mod plan;
mod settle;
mod surgery;
#[cfg(test)]
mod tests;
mod walk;

use std::path::{Path, PathBuf};

use tract_nnef::internal::*;

use self::blocks::{Block, conv};
use self::eliminate::Elimination;
use self::measure::Measured;
use self::plan::{Room, Rooms};
pub use self::settle::Spread;
pub use self::walk::Statistics;
use self::walk::{Maps, each};
use super::dataset::Dataset;
use super::emit;
use super::error::{ModelError, tract};
use super::eval::share;
use super::export::Outline;
use super::layers::Layer;
use super::lower;
use super::save;
use super::sweep::{Swept, progress, sweep};
use crate::bundle::{Bundle, Manifest};
use crate::infer::EngineError;
use crate::infer::engine::{normalization, normalize, read_graph};
use crate::infer::inspect;
use crate::infer::registry::OPERATORS;
use crate::kernels::Backend;
use crate::spec::Preprocessing;

/// Pictures that are measured on; all of them are in memory at once, layer by layer.
const CALIBRATION: usize = 96;
/// Other pictures that the curve is made on.
const HELD_OUT: usize = 500;
/// With fewer pictures nothing of use is measured.
const LEAST_PICTURES: usize = 16;
/// Points of the curve behind the first, which is the network as it was.
const POINTS: u64 = 5;

/// How far to go.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Macs(u64),
    /// As many multiply-adds as a published network has: `resnet50`.
    Like(String),
}

/// One point of the curve of accuracy against cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub macs: u64,
    pub params: u64,
    pub blocks: usize,
    /// Share of the held-out pictures to which it gives the original's label.
    pub agreement: f64,
    /// Share of them with the right label; nothing where the folders are not the labels'.
    pub top1: Option<f64>,
}

/// A pruned network and how it came about.
#[derive(Debug)]
pub struct Outcome {
    pub bundle: Bundle,
    pub layers: Vec<Layer>,
    pub spread: Spread,
    /// From the original to the target.
    pub points: Vec<Point>,
    /// Pictures measured on, compared on, and not readable.
    pub calibrated: usize,
    pub held_out: usize,
    pub skipped: usize,
}

/// Prunes the float bundle at `path` on the pictures of `set`; the new one is called `name`.
///
/// # Errors
/// If the bundle is not a float network, the target is out of reach, or the pictures are too few.
pub fn prune(
    path: &Path,
    set: &Dataset,
    target: &Target,
    name: String,
) -> Result<Outcome, ModelError> {
    let network = Network::open(path)?;
    let found = network.blocks()?;
    let target = network.target(target, &found)?;
    let pictures = Pictures::gather(set, &network.manifest.preprocessing)?;
    let measured = network.measure(&found, &pictures)?;
    let rooms = network.rooms(&found, &measured)?;
    let total = rooms.macs(&rooms.whole());
    let station = |i: u64| total - (total - target) * i / POINTS;
    let stations: Vec<u64> = (1..=POINTS).map(station).collect();
    let first = network.labels(&network.layers, set, &pictures.held_out)?;
    let truth = set.classes(&network.manifest.labels);
    let told = |error: &ModelError| log::info!("which labels are right is not known: {error}");
    let truth = truth.inspect_err(told).ok();
    let compare = |layers: &[Layer], labels: &Labels| {
        network.point(layers, (&first.results, labels), truth.as_deref())
    };
    let mut points = vec![compare(&network.layers, &first.results)?];
    let (mut layers, mut spread) = Default::default();
    let mut cuts = rooms.cuts(&stations);
    cuts.dedup(); // a large step passes several stations
    for cut in cuts {
        let pruned = surgery::apply(&network.layers, &found, &measured, &rooms.rooms, &cut)?;
        let maps = pictures.maps()?;
        (layers, spread) = settle::settle(&pruned, &measured, network.source, maps)?;
        let labels = network.labels(&layers, set, &pictures.held_out)?;
        points.push(compare(&layers, &labels.results)?);
    }
    Ok(Outcome {
        bundle: network.bundle(&layers, (total, points.last().map_or(0, |p| p.macs)), name)?,
        layers,
        spread,
        points,
        calibrated: pictures.measured.len(),
        held_out: first.results.len(),
        skipped: pictures.skipped + first.skipped,
    })
}

/// The most probable class of each picture, by its place in the set.
type Labels = Vec<(usize, usize)>;

/// A float bundle as layers.
struct Network {
    path: PathBuf,
    manifest: Manifest,
    layers: Vec<Layer>,
    source: OutletId,
}

impl Network {
    fn open(path: &Path) -> Result<Self, ModelError> {
        let bundle = Bundle::open(path, OPERATORS)?;
        let path = path.to_owned();
        if bundle.manifest.quantization.is_some() {
            return Err(ModelError::PruneQuantized { path });
        }
        let backend = Backend::selected().map_err(EngineError::from)?;
        let graph = read_graph(&bundle, backend)?;
        let source = graph.inputs.first().copied();
        Ok(Self {
            path,
            layers: lower::layers(&graph)?,
            source: source.ok_or_else(|| tract("the graph has no input"))?,
            manifest: bundle.manifest,
        })
    }

    fn side(&self) -> usize {
        self.manifest.preprocessing.crop as usize
    }

    fn graph(&self, layers: &[Layer]) -> Result<TypedModel, ModelError> {
        let last = layers
            .last()
            .ok_or_else(|| tract("a network without layers"))?;
        let shape = [1, 3, self.side(), self.side()];
        Ok(emit::graph(layers, (self.source, &shape), &[last.output])?)
    }

    fn blocks(&self) -> Result<Vec<Block>, ModelError> {
        let found = blocks::blocks(&self.layers);
        if found.is_empty() {
            return Err(ModelError::PruneTarget {
                wanted: "Fewer".into(),
                reason: "not to be had: the network has no residual blocks".into(),
            });
        }
        Ok(found)
    }

    /// The multiply-adds that are wanted, if they can be had.
    fn target(&self, target: &Target, found: &[Block]) -> Result<u64, ModelError> {
        let refuse =
            |wanted: String, reason: String| Err(ModelError::PruneTarget { wanted, reason });
        let (wanted, macs) = match target {
            Target::Macs(macs) => (giga(*macs), *macs),
            Target::Like(name) => {
                let classes = self.manifest.labels.len();
                let Some(macs) = cost::published(name, self.side(), classes) else {
                    let known = super::arch::depths().join(", ");
                    return refuse(
                        format!("The {name}'s"),
                        format!("not known; known are {known}"),
                    );
                };
                (format!("The {name}'s {}", giga(macs)), macs)
            }
        };
        let rooms = self.empty_rooms(found)?;
        let (total, least) = (rooms.macs(&rooms.whole()), rooms.least());
        if macs >= total {
            return refuse(wanted, format!("not fewer than it has: {}", giga(total)));
        }
        if macs < least {
            let reason = "out of reach by pruning: the least possible here is";
            return refuse(wanted, format!("{reason} {}", giga(least)));
        }
        Ok(macs)
    }

    /// The blocks' sizes; what their channels are worth is not known yet.
    fn empty_rooms(&self, found: &[Block]) -> Result<Rooms, ModelError> {
        let counted = inspect::layers(&self.graph(&self.layers)?)?;
        let total: u64 = counted.iter().map(|l| l.macs).sum();
        let room = |block: &Block| {
            let convs = block.convs.iter().filter_map(|&i| conv(&self.layers, i));
            let shape = |c: &super::layers::Convolution| c.weights.weights.shape().to_vec();
            let shapes: Vec<Vec<usize>> = convs.map(shape).collect();
            let groups = conv(&self.layers, block.convs[0]).map_or(1, |c| c.groups);
            let per_pair = |(&i, shape): (&usize, &Vec<usize>)| {
                let named = |l: &&inspect::LayerInfo| {
                    l.name.trim_end_matches("_conv") == self.layers[i].name
                };
                let macs = counted.iter().find(named).map_or(0, |l| l.macs);
                let inputs = shape[1] * conv(&self.layers, i).map_or(1, |c| c.groups);
                macs / (shape[0] * inputs).max(1) as u64
            };
            let narrowable = blocks::narrowable(&self.layers, block);
            let nothing = |place: usize| {
                let channels = shapes[place][0];
                narrowable
                    .contains(&place)
                    .then(|| Elimination::nothing(channels))
            };
            Room {
                inputs: shapes[0][1] * groups,
                widths: shapes.iter().map(|s| s[0]).collect(),
                per_pair: block.convs.iter().zip(&shapes).map(per_pair).collect(),
                curves: (0..shapes.len()).map(nothing).collect(),
                sensitivity: 0.0,
                removable: block.removable,
            }
        };
        let rooms: Vec<Room> = found.iter().map(room).collect();
        let inside: u64 = rooms.iter().map(|r| r.macs(&r.widths)).sum();
        let rest = total.saturating_sub(inside);
        Ok(Rooms { rooms, rest })
    }

    fn measure(&self, found: &[Block], pictures: &Pictures) -> Result<Measured, ModelError> {
        measure::measure(&self.layers, found, self.source, pictures.maps()?)
    }

    fn rooms(&self, found: &[Block], measured: &Measured) -> Result<Rooms, ModelError> {
        let mut rooms = self.empty_rooms(found)?;
        let mut wanted = Vec::new();
        for (number, (room, block)) in rooms.rooms.iter_mut().zip(found).enumerate() {
            room.sensitivity = measured.sensitivity[number];
            let places = (0..room.curves.len()).filter(|&p| room.curves[p].is_some());
            wanted.extend(places.map(|p| (number, p, block.convs[p], block.convs[p + 1])));
        }
        let bar = progress(wanted.len(), "ordering channels");
        let curves = each(wanted.len(), |i| {
            let (.., producer, reader) = wanted[i];
            let covariance = measured.covariance.get(&producer);
            let covariance = covariance.ok_or_else(|| tract("a layer was not measured"))?;
            let columns = surgery::columns(&self.layers, reader)?;
            let name = &self.layers[producer].name;
            let found = Elimination::of(covariance, &columns, name);
            bar.inc(1);
            found
        })?;
        bar.finish_and_clear();
        for ((number, place, ..), curve) in wanted.into_iter().zip(curves) {
            rooms.rooms[number].curves[place] = Some(curve);
        }
        Ok(rooms)
    }

    /// What the layers say of some pictures.
    fn labels(
        &self,
        layers: &[Layer],
        set: &Dataset,
        pictures: &[usize],
    ) -> Result<Swept<(), usize>, ModelError> {
        let plan = self.graph(layers)?.into_optimized()?.into_runnable()?;
        let p = &self.manifest.preprocessing;
        let table = normalization(p.mean, p.std);
        sweep(
            "comparing",
            (set, pictures),
            p,
            || Ok(()),
            |(), picture| {
                let picture = normalize(picture, &table, self.side())?;
                let outputs = plan.run(tvec!(picture.into_tvalue()))?;
                let logits = walk::floats(&outputs[0])?;
                let best = |&a: &usize, &b: &usize| logits[a].total_cmp(&logits[b]).then(b.cmp(&a));
                Ok((0..logits.len()).max_by(best).unwrap_or(0))
            },
        )
    }

    fn point(
        &self,
        layers: &[Layer],
        (first, labels): (&Labels, &Labels),
        truth: Option<&[usize]>,
    ) -> Result<Point, ModelError> {
        let counted = inspect::layers(&self.graph(layers)?)?;
        let same = first.iter().zip(labels).filter(|(a, b)| a == b).count();
        let right = |truth: &[usize]| {
            labels
                .iter()
                .filter(|(i, label)| truth[*i] == *label)
                .count()
        };
        Ok(Point {
            macs: counted.iter().map(|l| l.macs).sum(),
            params: counted.iter().map(|l| l.params).sum(),
            blocks: blocks::blocks(layers).len(),
            agreement: share(same, labels.len()),
            top1: truth.map(|truth| share(right(truth), labels.len())),
        })
    }

    fn bundle(
        &self,
        layers: &[Layer],
        (before, after): (u64, u64),
        name: String,
    ) -> Result<Bundle, ModelError> {
        let mut manifest = self.manifest.clone();
        let outline = Outline::of(layers).map(|outline| outline.name());
        manifest.arch = outline.unwrap_or_else(|_| format!("{}-pruned", manifest.arch));
        manifest.name = name;
        manifest.forget_measured();
        let (source, before, after) = (manifest.provenance.source, giga(before), giga(after));
        let source = format!("{source}, pruned from {before} to {after} multiply-adds");
        manifest.provenance.source = source;
        manifest.provenance.tool = save::tool();
        save::bundle(&self.path, self.graph(layers)?, manifest)
    }
}

/// For people: `2.04 G`.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn giga(macs: u64) -> String {
    if macs < 100_000_000 {
        format!("{:.2} M", macs as f64 / 1e6)
    } else {
        format!("{:.3} G", macs as f64 / 1e9)
    }
}

/// The pictures that are measured on, and the others.
struct Pictures {
    measured: Vec<Vec<u8>>,
    held_out: Vec<usize>,
    skipped: usize,
    table: Box<[[f32; 256]; 3]>,
    side: usize,
}

impl Pictures {
    fn gather(set: &Dataset, p: &Preprocessing) -> Result<Self, ModelError> {
        if set.len() < LEAST_PICTURES {
            let have = set.len();
            return Err(ModelError::Dataset {
                path: set.path.clone(),
                reason: format!(
                    "{have} pictures; pruning needs {LEAST_PICTURES}, half of them to measure on, half to compare on"
                ),
            });
        }
        let chosen = set.spread(CALIBRATION.min(set.len() / 2), &[]);
        let read = sweep(
            "reading pictures",
            (set, &chosen),
            p,
            || Ok(()),
            |(), picture| Ok(picture.to_vec()),
        )?;
        Ok(Self {
            held_out: set.spread(HELD_OUT, &chosen),
            measured: read.results.into_iter().map(|(_, p)| p).collect(),
            skipped: read.skipped,
            table: normalization(p.mean, p.std),
            side: p.crop as usize,
        })
    }

    fn maps(&self) -> Result<Maps, ModelError> {
        let normal = |p: &Vec<u8>| Ok(normalize(p, &self.table, self.side)?);
        self.measured.iter().map(normal).collect()
    }
}
