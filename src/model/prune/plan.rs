//! Which channels and blocks go: step by step what costs least for each multiply-add that it saves.
//!
//! The cost of a cut is what it is expected to do to the logits: the share of its reader's output that is lost
//! (`eliminate`), times what the network would miss of the whole block (`measure`). A step is the cheapest 16 channels of a
//! convolution, or a whole block. Steps are never taken back, so every smaller network is a part of every larger one.

use super::eliminate::Elimination;

/// What kernels like: channels come in multiples of this, and at least as many are left.
pub const STEP: usize = 16;

/// One residual block, as far as its size and cost go.
#[derive(Debug, Clone)]
pub struct Room {
    pub inputs: usize,
    /// Per convolution.
    pub widths: Vec<usize>,
    /// Per convolution: multiply-adds for each pair of an input and an output channel.
    pub per_pair: Vec<u64>,
    /// Per convolution, where its outputs may be removed.
    pub curves: Vec<Option<Elimination>>,
    /// What the network would miss of it.
    pub sensitivity: f64,
    pub removable: bool,
}

/// Per block the channels of each convolution; nothing of a block that is removed.
pub type Cut = Vec<Option<Vec<usize>>>;

impl Room {
    #[must_use]
    pub fn macs(&self, widths: &[usize]) -> u64 {
        let mut inputs = self.inputs;
        let mut sum = 0;
        for (&width, per_pair) in widths.iter().zip(&self.per_pair) {
            sum += (inputs * width) as u64 * per_pair;
            inputs = width;
        }
        sum
    }

    fn error(&self, widths: &[usize]) -> f64 {
        let lost = self
            .curves
            .iter()
            .zip(widths)
            .filter_map(|(curve, &width)| {
                let curve = curve.as_ref()?;
                curve.error.get(curve.order.len() - width)
            });
        self.sensitivity * lost.sum::<f64>().min(1.0)
    }

    /// The ways to narrow it by one step.
    fn narrower<'a>(&'a self, widths: &'a [usize]) -> impl Iterator<Item = Vec<usize>> + 'a {
        let can = |&place: &usize| self.curves[place].is_some() && widths[place] > STEP;
        (0..widths.len()).filter(can).map(|place| {
            let mut narrower = widths.to_vec();
            narrower[place] = (widths[place] - 1) / STEP * STEP;
            narrower
        })
    }
}

/// A network's blocks, and the multiply-adds of all the rest.
#[derive(Debug)]
pub struct Rooms {
    pub rooms: Vec<Room>,
    pub rest: u64,
}

impl Rooms {
    #[must_use]
    pub fn whole(&self) -> Cut {
        self.rooms.iter().map(|r| Some(r.widths.clone())).collect()
    }

    #[must_use]
    pub fn macs(&self, cut: &Cut) -> u64 {
        let each = self.rooms.iter().zip(cut);
        let blocks = each.map(|(room, widths)| widths.as_ref().map_or(0, |w| room.macs(w)));
        self.rest + blocks.sum::<u64>()
    }

    /// The fewest multiply-adds that can be reached.
    #[must_use]
    pub fn least(&self) -> u64 {
        let least = |room: &Room| {
            let narrow = |(&width, curve): (&usize, &Option<Elimination>)| {
                if curve.is_some() {
                    width.min(STEP)
                } else {
                    width
                }
            };
            let widths = room.widths.iter().zip(&room.curves).map(narrow).collect();
            (!room.removable).then_some(widths)
        };
        self.macs(&self.rooms.iter().map(least).collect())
    }

    /// The cuts on the way to `target` that first come down to each of `stations` (descending, the last one the target).
    #[must_use]
    pub fn cuts(&self, stations: &[u64]) -> Vec<Cut> {
        let target = stations.last().copied().unwrap_or(0);
        let mut cut = self.whole();
        let mut found = Vec::new();
        for &station in stations {
            while self.macs(&cut) > station {
                let Some((block, next)) = self.cheapest(&cut, target) else {
                    break;
                };
                cut[block] = next;
            }
            found.push(cut.clone());
        }
        found
    }

    /// The next step: a block, and what is left of it. A whole block goes only where that does not overshoot the target,
    /// unless there is nothing else to take.
    fn cheapest(&self, cut: &Cut, target: u64) -> Option<(usize, Option<Vec<usize>>)> {
        let macs = self.macs(cut);
        let mut best: Option<(bool, f64, usize, Option<Vec<usize>>)> = None;
        for (block, (room, widths)) in self.rooms.iter().zip(cut).enumerate() {
            let Some(widths) = widths else { continue };
            let (cost, error) = (room.macs(widths), room.error(widths));
            #[allow(clippy::cast_precision_loss)] // a ratio
            let price = |error_after: f64, after: u64| {
                (error_after - error).max(0.0) / (cost - after).max(1) as f64
            };
            let narrower = room.narrower(widths).map(|next| {
                let price = price(room.error(&next), room.macs(&next));
                (false, price, block, Some(next))
            });
            let removed = room.removable.then(|| {
                let overshoots = macs - cost < target;
                (overshoots, price(room.sensitivity, 0), block, None)
            });
            for step in narrower.chain(removed) {
                let better = |b: &(bool, f64, usize, _)| (step.0, step.1) < (b.0, b.1);
                if best.as_ref().is_none_or(better) {
                    best = Some(step);
                }
            }
        }
        best.map(|(.., block, next)| (block, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bottleneck of 64 channels whose `n`th removed one costs `n` of 64 squared.
    fn room(sensitivity: f64, removable: bool) -> Room {
        let curve = Elimination {
            order: (0..64).collect(),
            error: (0..=64).map(|n| f64::from(n * n) / 4096.0).collect(),
        };
        Room {
            inputs: 256,
            widths: vec![64, 64, 256],
            per_pair: vec![100, 900, 100],
            curves: vec![Some(curve.clone()), Some(curve), None],
            sensitivity,
            removable,
        }
    }

    fn rooms() -> Rooms {
        Rooms {
            rooms: vec![room(1.0, false), room(0.5, true), room(0.001, true)],
            rest: 1_000_000,
        }
    }

    #[test]
    fn a_block_that_hardly_matters_goes_first_and_widths_stay_multiples() {
        let rooms = rooms();
        let whole = rooms.macs(&rooms.whole());
        let target = whole - rooms.rooms[0].macs(&[64, 64, 256]) - 2_000_000;
        let cut = &rooms.cuts(&[target])[0];
        assert_eq!(cut[2], None);
        let left: Vec<_> = cut.iter().flatten().collect();
        assert_eq!(left.len(), 2);
        assert!(
            left.iter()
                .all(|w| w[0] % STEP == 0 && w[1] % STEP == 0 && w[2] == 256)
        );
        assert!(rooms.macs(cut) <= target && target < rooms.macs(cut) + 16 * 100 * (256 + 9 * 64));
    }

    #[test]
    fn the_way_is_nested_and_ends_at_the_least() {
        let rooms = rooms();
        let least = rooms.least();
        assert_eq!(least, 1_000_000 + rooms.rooms[0].macs(&[16, 16, 256]));
        let whole = rooms.macs(&rooms.whole());
        let cuts = rooms.cuts(&[whole * 3 / 4, whole / 2, least]);
        assert_eq!(rooms.macs(&cuts[2]), least);
        for pair in cuts.windows(2) {
            for (wide, narrow) in pair[0].iter().zip(&pair[1]) {
                let Some(narrow) = narrow else { continue };
                let wide = wide.as_ref().unwrap();
                assert!(narrow.iter().zip(wide).all(|(n, w)| n <= w));
            }
        }
    }

    #[test]
    fn a_block_does_not_go_where_a_few_channels_are_enough() {
        let rooms = rooms();
        let target = rooms.macs(&rooms.whole()) - 1000;
        let cut = &rooms.cuts(&[target])[0];
        assert!(cut.iter().all(Option::is_some));
    }
}
