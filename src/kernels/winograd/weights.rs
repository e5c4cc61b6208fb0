//! A layer's weights for Winograd's method. Transformed they take eight times the bytes, so only some layers keep them; the
//! others transform a block of channels whenever its turn comes, while it is in the cache anyway.
#![allow(unsafe_code)] // vectors at pointers

use super::budget::Budget;
use super::transform::{self, POINTS};
use super::{CHANNELS, Grid, Products};
use crate::kernels::{Conv, Geometry, PackedWeights, Storage};

/// Products of an input and an output channel in a direct convolution.
const TAPS: usize = 9;
/// Magnitudes of a channel's weights whose sum of products, values being at most 128, is below 2^25.
const MOST_WEIGHT: i64 = (1 << 25) / 128;

/// Weights of a layer; a backend multiplies `pair` input channels at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Winograd {
    /// As they were: `[out / 16][in / pair][3][3][16][pair]`.
    kernels: Vec<i8>,
    /// `[out / 16][36][in / pair][16][pair]`, if they are kept.
    transformed: Option<Vec<i16>>,
    pair: usize,
    in_c: usize,
    /// As in [`crate::kernels::Requant`], for inputs counted from 128.
    pub bias: Vec<i32>,
}

/// Whether a layer of this shape can be computed so.
fn fits(g: &Geometry) -> bool {
    (g.kernel_h, g.kernel_w, g.stride_h, g.stride_w) == (3, 3, 1, 1)
        && g.in_c.is_multiple_of(CHANNELS)
        && g.out_c.is_multiple_of(CHANNELS)
}

impl Winograd {
    /// A layer's weights; `None` if its shape, the size of its weights or `budget` forbids.
    #[must_use]
    pub fn new<P: Products>(
        products: P,
        conv: &Conv,
        weights: &PackedWeights,
        budget: &Budget,
    ) -> Option<Self> {
        let g = &conv.geometry;
        let sums = weights.sums();
        let exact = sums.iter().all(|s| s.magnitude < MOST_WEIGHT);
        if !fits(g) || !exact || conv.input != P::STORAGE {
            return None;
        }
        let gains = Grid::tiles(g).0 >= products.gains_from();
        if !budget.wants(gains) {
            return None;
        }
        let kept = budget.take(POINTS * g.in_c * g.out_c * size_of::<i16>());
        if !kept && !Grid::can_transform_weights::<P>(g) {
            return None;
        }
        let to_signed = i64::from(Storage::Signed.offset() - P::STORAGE.offset());
        let bias = conv.requant.bias.iter().enumerate().map(|(c, &bias)| {
            let sum = sums.get(c).map_or(0, |s| s.signed);
            // modulo 2^32, as all of the sum
            #[allow(clippy::cast_possible_truncation)]
            let shift = (to_signed * sum) as i32;
            bias.wrapping_add(shift)
        });
        let mut winograd = Self {
            kernels: in_blocks(&weights.plain(), g.in_c, P::PAIR),
            transformed: None,
            pair: P::PAIR,
            in_c: g.in_c,
            bias: bias.collect(),
        };
        winograd.transformed = kept.then(|| winograd.all(products));
        Some(winograd)
    }

    /// All blocks, transformed.
    fn all<P: Products>(&self, products: P) -> Vec<i16> {
        let block = POINTS * self.in_c * CHANNELS;
        let mut all = vec![0; self.kernels.len() / TAPS * POINTS];
        products.enter(
            #[inline(always)]
            || {
                for (at, room) in all.chunks_exact_mut(block).enumerate() {
                    self.transform(products, at, room);
                }
            },
        );
        all
    }

    /// How many values a block of channels has that is not kept.
    pub fn room(&self) -> usize {
        match self.transformed {
            Some(_) => 0,
            None => POINTS * self.in_c * CHANNELS,
        }
    }

    /// A block of channels, `[36][in / pair][16][pair]`; `room` is for [`Self::room`] values.
    #[inline(always)]
    pub fn block<'a, P: Products>(
        &'a self,
        products: P,
        block: usize,
        room: &'a mut [i16],
    ) -> &'a [i16] {
        if let Some(all) = &self.transformed {
            let len = POINTS * self.in_c * CHANNELS;
            return &all[block * len..][..len];
        }
        self.transform(products, block, room);
        room
    }

    #[inline(always)]
    fn transform<P: Products>(&self, products: P, block: usize, to: &mut [i16]) {
        let values = CHANNELS * P::PAIR;
        let len = self.in_c * CHANNELS;
        assert_eq!(to.len(), POINTS * len);
        let kernels = &self.kernels[block * TAPS * len..][..TAPS * len];
        for (at, nine) in kernels.chunks_exact(TAPS * values).enumerate() {
            for lane in (0..values).step_by(P::LANES) {
                // SAFETY: there is a vector of each of the nine, and room for one at each point.
                unsafe {
                    let to = to.as_mut_ptr().add(at * values + lane);
                    transform::weights(products, nine.as_ptr().add(lane), values, to, len);
                }
            }
        }
    }

    /// Back to `[out][3][3][in]`.
    #[must_use]
    pub fn plain(&self) -> Vec<i8> {
        let mut plain = vec![0; self.kernels.len()];
        for (row, values) in plain.chunks_exact_mut(self.in_c).enumerate() {
            let places = places(row, self.in_c, self.pair);
            for (to, place) in values.chunks_exact_mut(self.pair).zip(places) {
                to.copy_from_slice(&self.kernels[place..place + self.pair]);
            }
        }
        plain
    }
}

/// `[out][3][3][in]` as [`Winograd`] has it.
fn in_blocks(plain: &[i8], in_c: usize, pair: usize) -> Vec<i8> {
    let mut kernels = vec![0; plain.len()];
    for (row, values) in plain.chunks_exact(in_c).enumerate() {
        for (from, place) in values.chunks_exact(pair).zip(places(row, in_c, pair)) {
            kernels[place..place + pair].copy_from_slice(from);
        }
    }
    kernels
}

/// Where a row of `[out][3][3][in]` lies, `pair` values at a time, in `[out / 16][in / pair][3][3][16][pair]`.
fn places(row: usize, in_c: usize, pair: usize) -> impl Iterator<Item = usize> {
    let (channel, tap) = (row / TAPS, row % TAPS);
    let (block, lane) = (channel / CHANNELS, channel % CHANNELS);
    let step = TAPS * CHANNELS * pair;
    let first = block * in_c / pair * step + (tap * CHANNELS + lane) * pair;
    (first..).step_by(step)
}
