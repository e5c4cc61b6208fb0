//! The loop that all fast backends share: tiles of output pixels by blocks of output channels.
//!
//! A backend says how to multiply one tile ([`Tile::accumulate`]) and, if it knows better, how to
//! round it ([`Tile::requantize`]); walking the layer, gathering inputs and the ragged edges are
//! written once, here.

use std::cell::RefCell;

use super::{Conv, Dense, Layout, Requant, gather};

/// Most pixels in any backend's tile.
const MAX_PIXELS: usize = 8;
/// Output channels in a tile.
pub const CHANNELS: usize = 16;

/// The sums of one pixel for a block of channels.
pub type Sums = [i32; CHANNELS];

/// What one instruction set does differently. A value of an implementing type proves that this
/// processor has the instructions.
pub trait Tile: Copy {
    const LAYOUT: Layout;
    /// Pixels in a full tile, at most [`MAX_PIXELS`].
    const PIXELS: usize;

    /// Adds up products: `x` holds `sums.len()` rows of `depth` widened activations each, `w` one
    /// block of weights of that depth.
    fn accumulate(self, x: &[i16], depth: usize, w: &[i8], sums: &mut [Sums]);

    /// Rounds one pixel's sums of channels `c ..` into `y` (and adds `residual`, as long as `y`).
    #[inline(always)]
    fn requantize(
        self,
        rule: &Requant,
        c: usize,
        sums: &Sums,
        residual: Option<&[u8]>,
        y: &mut [u8],
    ) {
        requantize_plain(rule, c, sums, residual, y);
    }
}

/// The rule applied value by value: the edges of a layer, and backends without anything better.
#[inline(always)]
pub fn requantize_plain(
    rule: &Requant,
    c: usize,
    sums: &Sums,
    residual: Option<&[u8]>,
    y: &mut [u8],
) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = rule.apply(sums[i], c + i, residual.map(|r| r[i]));
    }
}

thread_local! {
    /// Gathered rows of one tile; grows to the largest layer's and stays.
    static ROWS: RefCell<Vec<i16>> = const { RefCell::new(Vec::new()) };
}

/// Runs one convolution: `x` and `y` in NHWC, `residual` shaped as `y`.
#[inline(always)]
pub fn conv<T: Tile>(tile: T, conv: &Conv, x: &[u8], residual: Option<&[u8]>, y: &mut [u8]) {
    let g = &conv.geometry;
    let depth = conv.weights.depth_padded();
    ROWS.with_borrow_mut(|rows| {
        rows.resize(rows.len().max(T::PIXELS * depth), 0);
        let mut sums = [[0; CHANNELS]; MAX_PIXELS];
        for first in (0..g.out_pixels()).step_by(T::PIXELS) {
            let pixels = T::PIXELS.min(g.out_pixels() - first);
            for (p, row) in rows.chunks_exact_mut(depth).take(pixels).enumerate() {
                gather::window(g, &conv.border, x, first + p, row);
            }
            for c in (0..g.out_c).step_by(CHANNELS) {
                let w = conv.weights.block(c / CHANNELS);
                tile.accumulate(&rows[..pixels * depth], depth, w, &mut sums[..pixels]);
                let channels = CHANNELS.min(g.out_c - c);
                for (p, sums) in sums[..pixels].iter().enumerate() {
                    let at = (first + p) * g.out_c + c;
                    let residual = residual.map(|r| &r[at..at + channels]);
                    tile.requantize(&conv.requant, c, sums, residual, &mut y[at..at + channels]);
                }
            }
        }
    });
}

/// Runs the last layer.
#[inline(always)]
#[allow(clippy::cast_precision_loss)] // the rule's own rounding
pub fn dense<T: Tile>(tile: T, dense: &Dense, x: &[u8], y: &mut [f32]) {
    let depth = dense.weights.depth_padded();
    ROWS.with_borrow_mut(|rows| {
        rows.resize(rows.len().max(depth), 0);
        let (body, tail) = rows[..depth].split_at_mut(x.len());
        gather::widen(x, body);
        tail.fill(0);
        let mut sums = [[0; CHANNELS]; 1];
        for (block, y) in y.chunks_mut(CHANNELS).enumerate() {
            tile.accumulate(&rows[..depth], depth, dense.weights.block(block), &mut sums);
            for (i, y) in y.iter_mut().enumerate() {
                let c = block * CHANNELS + i;
                *y = sums[0][i].wrapping_add(dense.bias[c]) as f32 * dense.multiplier[c];
            }
        }
    });
}
