//! Weight layouts. On disk weights are OHWI; each backend wants them in the order in which its tile
//! reads them, so that one pass over memory suffices.

use super::quant::QuantError;
use super::requant::WeightSum;

/// `[out / nr][depth / kc][nr][kc]`: blocks of `nr` output channels, in them groups of `kc`
/// consecutive products. Both ends are padded with zeros, which add nothing to any sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    pub nr: usize,
    pub kc: usize,
    pub notes: Notes,
}

/// What a backend wants to know of how large the weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notes {
    Nothing,
    /// Of each group: 0 where every eighth of a channel's weights sum to a magnitude whose products fit 16 bits, else 1.
    Groups,
    /// Of each of the values that an output is made of: how large it may be, so that its products, its neighbour's and
    /// those in their place in the next group fit 16 bits together, whichever the output channel; and then, how large
    /// if it is two neighbours. Groups are of four.
    Caps,
}

impl Layout {
    /// OHWI itself.
    pub const PLAIN: Self = Self::new(1, 1);

    #[must_use]
    pub const fn new(nr: usize, kc: usize) -> Self {
        Self {
            nr,
            kc,
            notes: Notes::Nothing,
        }
    }
}

/// One layer's weights in a backend's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeights {
    pub layout: Layout,
    pub out_c: usize,
    /// Products per output value, as in the file.
    pub depth: usize,
    data: Vec<i8>,
    notes: Vec<u8>,
    sums: Vec<WeightSum>,
}

/// Lanes of 16 bits in which a backend that wants notes sums a group's products.
const LANES: usize = 8;
/// Magnitudes of weights whose products with 8-bit values (at most 128 in magnitude) fit 16 bits.
const MOST_IN_A_LANE: u32 = 255;

impl PackedWeights {
    /// Packs `[out_c][depth]`.
    ///
    /// # Errors
    /// If a weight is -128: kernels add two products in 16 bits.
    ///
    /// # Panics
    /// If `plain` does not hold `out_c * depth` values.
    pub fn new(
        plain: &[i8],
        out_c: usize,
        depth: usize,
        layout: Layout,
    ) -> Result<Self, QuantError> {
        assert_eq!(
            plain.len(),
            out_c * depth,
            "weights do not match their shape"
        );
        let largest = plain.iter().fold(0, |a, &b| a.max(b.unsigned_abs()));
        if largest > 127 {
            return Err(QuantError::Weight(i8::MIN));
        }
        let block = layout.nr * depth.next_multiple_of(layout.kc);
        let mut data = vec![0; out_c.div_ceil(layout.nr) * block];
        let pack = match layout.kc {
            1 => block_of::<1>,
            4 => block_of::<4>,
            8 => block_of::<8>,
            32 => block_of::<32>,
            _ => block_of_any,
        };
        if block > 0 {
            let rows = plain.chunks(layout.nr * depth);
            for (rows, block) in rows.zip(data.chunks_exact_mut(block)) {
                pack(rows, depth, layout, block);
            }
        }
        let mut packed = Self {
            layout,
            out_c,
            depth,
            data,
            notes: Vec::new(),
            sums: plain.chunks_exact(depth).map(sum).collect(),
        };
        packed.notes = match layout.notes {
            Notes::Nothing => Vec::new(),
            Notes::Groups => {
                let groups = packed.data.chunks_exact(layout.nr * layout.kc);
                groups.map(|group| note(group, layout.kc)).collect()
            }
            Notes::Caps => caps(&packed.data, block, layout.nr * layout.kc),
        };
        Ok(packed)
    }

    /// The notes that the layout asks for; those of groups from output channels `nr * block` on.
    #[inline]
    #[must_use]
    pub fn notes_from_block(&self, block: usize) -> &[u8] {
        let groups = match self.layout.notes {
            Notes::Groups => self.depth_padded() / self.layout.kc,
            Notes::Nothing | Notes::Caps => 0,
        };
        self.notes.get(block * groups..).unwrap_or_default()
    }

    /// `depth` rounded up to whole groups.
    #[must_use]
    pub fn depth_padded(&self) -> usize {
        self.depth.next_multiple_of(self.layout.kc)
    }

    /// The weights of output channels `nr * block` and all after, block by block.
    #[inline]
    #[must_use]
    pub fn from_block(&self, block: usize) -> &[i8] {
        &self.data[block * self.layout.nr * self.depth_padded()..]
    }

    /// How many bytes weights of this shape take in a layout.
    #[must_use]
    pub fn bytes(out_c: usize, depth: usize, layout: Layout) -> usize {
        out_c.next_multiple_of(layout.nr) * depth.next_multiple_of(layout.kc)
    }

    #[inline]
    fn index(&self, o: usize, k: usize) -> usize {
        let Layout { nr, kc, .. } = self.layout;
        ((o / nr * (self.depth_padded() / kc) + k / kc) * nr + o % nr) * kc + k % kc
    }

    /// The weight of product `k` of output channel `o`.
    #[inline]
    #[must_use]
    pub fn at(&self, o: usize, k: usize) -> i8 {
        self.data[self.index(o, k)]
    }

    /// Back to `[out_c][depth]`.
    #[must_use]
    pub fn plain(&self) -> Vec<i8> {
        let Layout { nr, kc, .. } = self.layout;
        let mut plain = vec![0; self.out_c * self.depth];
        for (o, row) in plain.chunks_exact_mut(self.depth).enumerate() {
            let groups = self
                .from_block(o / nr)
                .chunks_exact(kc)
                .skip(o % nr)
                .step_by(nr);
            for (to, group) in row.chunks_mut(kc).zip(groups) {
                to.copy_from_slice(&group[..to.len()]);
            }
        }
        plain
    }

    /// What each output channel's weights sum to.
    #[must_use]
    pub fn sums(&self) -> &[WeightSum] {
        &self.sums
    }
}

fn note(group: &[i8], kc: usize) -> u8 {
    let too_large = group.chunks_exact(kc).any(|channel| {
        (0..LANES).any(|lane| {
            let weights = channel.iter().skip(lane).step_by(LANES);
            weights.map(|w| u32::from(w.unsigned_abs())).sum::<u32>() > MOST_IN_A_LANE
        })
    });
    u8::from(too_large)
}

/// The notes called [`Notes::Caps`] of blocks of so many weights, in groups of so many. In vectors, as every start waits
/// for it: one pair of neighbours at a time took seven times as long.
fn caps(data: &[i8], block: usize, group: usize) -> Vec<u8> {
    assert!(group.is_multiple_of(2 * LANES), "groups of whole vectors");
    let groups = block / group;
    let mut two = vec![[0; LANES]; groups];
    let mut four = vec![[0; LANES]; groups.div_ceil(2)];
    for block in data.chunks_exact(block.max(1)) {
        let pairs_of_groups = block.chunks(2 * group);
        for ((weights, two), four) in pairs_of_groups.zip(two.chunks_mut(2)).zip(&mut four) {
            let (first, second) = weights.split_at(group);
            let mut second = second.as_chunks().0.iter();
            for weights in first.as_chunks().0 {
                let mut sums = pairs(weights);
                raise(&mut two[0], &sums);
                if let Some(weights) = second.next() {
                    let next = pairs(weights);
                    raise(&mut two[1], &next);
                    for (sum, next) in sums.as_flattened_mut().iter_mut().zip(next.as_flattened()) {
                        *sum += next;
                    }
                }
                raise(four, &sums);
            }
        }
    }
    let four = (0..groups).map(|group| four[group / 2]);
    four.chain(two.iter().copied())
        .flat_map(caps_of_group)
        .collect()
}

/// The caps of a group's four values, by sums whose lanes are the first two neighbours' and the last two's in turn.
fn caps_of_group(sums: [i16; LANES]) -> [u8; 4] {
    let most = |from: usize| sums.iter().skip(from).step_by(2).fold(1, |a, &b| a.max(b));
    let [first, last] = [0, 1].map(|from| u8::try_from(i16::MAX / most(from)).unwrap_or(u8::MAX));
    [first, first, last, last]
}

/// Of each two neighbours what the positive ones sum to and what the negative ones do, in magnitude: whichever the
/// values are, no sum of products is beyond these.
#[inline(always)]
fn pairs(weights: &[i8; 2 * LANES]) -> [[i16; LANES]; 2] {
    let mut sums = [[0; LANES]; 2];
    for (lane, two) in weights.as_chunks().0.iter().enumerate() {
        let both = i16::from_le_bytes(two.map(i8::cast_unsigned));
        let (a, b) = (both << 8 >> 8, both >> 8);
        sums[0][lane] = a.max(0) + b.max(0);
        sums[1][lane] = -(a.min(0) + b.min(0));
    }
    sums
}

#[inline(always)]
fn raise(most: &mut [i16; LANES], sums: &[[i16; LANES]; 2]) {
    for (lane, most) in most.iter_mut().enumerate() {
        *most = (*most).max(sums[0][lane]).max(sums[1][lane]);
    }
}

/// Packs the rows of one block whose layout has groups of `KC`.
fn block_of<const KC: usize>(rows: &[i8], depth: usize, layout: Layout, block: &mut [i8]) {
    for (o, row) in rows.chunks_exact(depth).enumerate() {
        let (groups, rest) = row.as_chunks::<KC>();
        let (places, _) = block.as_chunks_mut::<KC>();
        let mut places = places.iter_mut().skip(o).step_by(layout.nr);
        // in this order, as zip drops what its first has and its second has not
        for (group, place) in groups.iter().zip(places.by_ref()) {
            *place = *group;
        }
        if let Some(place) = places.next() {
            place[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// As [`block_of`], for groups of any size.
fn block_of_any(rows: &[i8], depth: usize, layout: Layout, block: &mut [i8]) {
    for (o, row) in rows.chunks_exact(depth).enumerate() {
        let places = block.chunks_exact_mut(layout.kc).skip(o).step_by(layout.nr);
        for (place, group) in places.zip(row.chunks(layout.kc)) {
            place[..group.len()].copy_from_slice(group);
        }
    }
}

/// Runs are so short that their sums fit 16 bits: eight at a time on the oldest x86.
fn sum(row: &[i8]) -> WeightSum {
    let runs = row.chunks(128);
    runs.fold(WeightSum::default(), |total, run| {
        let (mut signed, mut magnitude) = (0i16, 0i16);
        for &w in run {
            signed += i16::from(w);
            magnitude += i16::from(w).abs();
        }
        WeightSum {
            signed: total.signed + i64::from(signed),
            magnitude: total.magnitude + i64::from(magnitude),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_loses_nothing_in_any_layout() {
        for (out_c, depth) in [(1, 1), (5, 7), (16, 32), (17, 33)] {
            let plain: Vec<i8> = (0..out_c * depth)
                .map(|i| i8::try_from(i % 255).unwrap_or(-3))
                .collect();
            for (nr, kc) in [(1, 1), (4, 16), (16, 2), (16, 4), (6, 3)] {
                let packed = PackedWeights::new(&plain, out_c, depth, Layout::new(nr, kc)).unwrap();
                assert_eq!(packed.plain(), plain, "{out_c}x{depth} in {nr}x{kc}");
                for (row, sum) in plain.chunks(depth).zip(packed.sums()) {
                    let signed: i64 = row.iter().map(|&w| i64::from(w)).sum();
                    let magnitude: i64 = row.iter().map(|&w| i64::from(w).abs()).sum();
                    assert_eq!((sum.signed, sum.magnitude), (signed, magnitude));
                }
            }
        }
    }

    #[test]
    fn caps_are_what_the_largest_sums_of_weights_allow() {
        let layout = Layout {
            notes: Notes::Caps,
            ..Layout::new(4, 4)
        };
        let caps = |plain: &[i8]| {
            let packed = PackedWeights::new(plain, 2, plain.len() / 2, layout).unwrap();
            let caps = packed.notes_from_block(0);
            let [four, two] = [0, 1].map(|i| caps[i * caps.len() / 2..][..caps.len() / 2].to_vec());
            (four, two)
        };
        assert_eq!(caps(&[127; 16]), (vec![64; 8], vec![129; 8]));
        assert_eq!(caps(&[-127; 16]), (vec![64; 8], vec![129; 8]));
        assert_eq!(
            caps(&[127, -127, 127, -127, 127, -127, 127, -127].repeat(2)),
            (vec![129; 8], vec![255; 8])
        );
        // neighbours, and those of the next group in their place; not those of other places; the worst of the channels
        let one = [100, 120, 5, 0, 50, 30, 1, -7];
        let other = [0, 0, 0, 0, 0, 0, 127, 127];
        let (four, two) = caps(&[one, other].concat());
        assert_eq!(four, [109, 109, 129, 129, 109, 109, 129, 129]);
        assert_eq!(two, [148, 148, 255, 255, 255, 255, 129, 129]);
        // an odd number of groups
        let (four, two) = caps(&[120, 100, 0, 0, 0, 0, 0, 0]);
        assert_eq!(four, [148, 148, 255, 255]);
        assert_eq!(four, two);
    }

    #[test]
    fn minus_128_is_refused() {
        let packed = PackedWeights::new(&[1, -128], 1, 2, Layout::PLAIN);
        assert_eq!(packed, Err(QuantError::Weight(-128)));
    }
}
