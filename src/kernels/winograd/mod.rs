//! Exact int8 Winograd convolution F(4x4, 3x3): a 3x3 convolution of stride 1 with a quarter of the
//! products, and the same bits (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! 2015, with the transforms scaled to integers).
//!
//! Six by six inputs are transformed, multiplied elementwise with transformed weights, summed over the
//! input channels and transformed back to four by four outputs. Transformed inputs and weights fit 16
//! bits, products are summed in 32 bits that may wrap: the result is 576 = 9 * 64 times the true sum
//! modulo 2^32, and since 9 is odd the true sum follows wherever it is below 2^25 in magnitude, which
//! [`Winograd::new`] proves of every output channel. `transform` has the arithmetic, `weights` a layer's weights, `budget` how
//! much memory they may take; a backend brings the multiplication ([`Products`]).
#![allow(unsafe_code)] // threads write disjoint parts of one output

mod budget;
pub mod transform;
mod weights;

use std::ops::Range;

use super::driver::Output;
use super::scratch;
use super::{Conv, Geometry, Pool, Requant, Storage};
pub use budget::{Budget, BudgetError};
use transform::{EDGE, OUT, POINTS, Vectors};
pub use weights::Winograd;

/// Output channels in a block; input channels come in as many.
pub const CHANNELS: usize = 16;
/// Bytes of transformed inputs and sums that a core works on at a time.
const CACHED: usize = 248 << 10;
/// Of a thread's scratch, what is not for them nor for transformed weights.
const SPARE: usize = 8 << 10;
/// Tasks per thread that are wanted at least; where each transforms its weights, they are split by channels, evenly, and each
/// transforms all inputs.
const TASKS_PER_THREAD: [usize; 2] = [3, 2];

/// What one instruction set does differently: sums of products of transformed inputs and weights.
pub trait Products: Vectors + Send + Sync {
    /// Input channels multiplied at once.
    const PAIR: usize;
    /// Tiles multiplied at once.
    const TILES: usize;
    const STORAGE: Storage;

    /// With fewer tiles in a layer a direct convolution is as fast: transformed weights are read from memory for each
    /// picture, and few tiles share them.
    fn gains_from(self) -> usize {
        1
    }

    /// Calls `f`, compiled for the backend's instructions where it is inlined.
    fn enter<R>(self, f: impl FnOnce() -> R) -> R;

    /// `m[t][o] = sum over c of v[t * in_c + c] * u[c][o]` for `tiles` tiles (1 to [`Self::TILES`]).
    ///
    /// # Safety
    /// `v` points at `tiles` rows of `in_c` values, a multiple of 16, `u` at `in_c * 16` weights and
    /// `m` at room for `tiles * 16` sums.
    unsafe fn multiply(self, tiles: usize, in_c: usize, v: *const i16, u: *const i16, m: *mut i32);

    /// Rounds the sums of sixteen channels.
    ///
    /// # Safety
    /// `bias`, `multiplier`, `y` and (unless null) `residual` are there for sixteen channels.
    unsafe fn round(
        self,
        rule: &Requant,
        constants: (*const i32, *const f32),
        sums: &[i32; CHANNELS],
        residual: *const u8,
        y: *mut u8,
    );
}

/// The grid of output tiles, and how it is cut into tasks.
#[derive(Clone, Copy)]
struct Grid {
    columns: usize,
    tiles: usize,
    /// Tiles per task.
    chunk: usize,
    /// Blocks of channels per task: not all of them where there are too few tiles for all threads.
    /// Then inputs are transformed more than once.
    blocks: usize,
}

impl Grid {
    /// For a layer that transforms its weights for each picture (`anew`), or has them.
    fn new<P: Products>(g: &Geometry, threads: usize, anew: bool) -> Self {
        let (tiles, columns) = Self::tiles(g);
        let wanted = match threads {
            1 => 1,
            _ => threads * TASKS_PER_THREAD[usize::from(anew)],
        };
        let share = if anew { tiles } else { tiles.div_ceil(wanted) };
        let chunk = Self::tiles_at_once(g, anew).clamp(1, share.next_multiple_of(P::TILES));
        let chunk = if chunk > P::TILES {
            chunk / P::TILES * P::TILES
        } else {
            chunk
        };
        let blocks = g.out_c / CHANNELS;
        let groups = wanted.div_ceil(tiles.div_ceil(chunk)).min(blocks);
        Self {
            columns,
            tiles,
            chunk,
            blocks: blocks.div_ceil(groups),
        }
    }

    /// Output tiles of a layer, and how many of them are beside each other.
    fn tiles(g: &Geometry) -> (usize, usize) {
        let columns = g.out_w().div_ceil(OUT);
        (columns * g.out_h().div_ceil(OUT), columns)
    }

    /// How many tiles' inputs and sums fit where they are worked on.
    fn tiles_at_once(g: &Geometry, anew: bool) -> usize {
        let per_tile = POINTS * (g.in_c * size_of::<i16>() + CHANNELS * size_of::<i32>());
        let room = if anew {
            let weights = POINTS * g.in_c * CHANNELS * size_of::<i16>();
            (scratch::ROWS - SPARE).saturating_sub(weights)
        } else {
            CACHED
        };
        room / per_tile
    }

    /// Whether there is room for a block's transformed weights beside as many tiles as are multiplied at once.
    fn can_transform_weights<P: Products>(g: &Geometry) -> bool {
        Self::tiles_at_once(g, true) >= P::TILES.min(Self::tiles(g).0)
    }
}

/// Runs one convolution: `x` and `y` in NHWC, `residual` shaped as `y`.
pub fn conv<P: Products>(
    products: P,
    pool: &Pool,
    (conv, weights): (&Conv, &Winograd),
    x: &[u8],
    residual: Option<&[u8]>,
    y: &mut [u8],
) {
    let g = &conv.geometry;
    let grid = Grid::new::<P>(g, pool.threads(), weights.room() > 0);
    let (chunks, blocks) = (grid.tiles.div_ceil(grid.chunk), g.out_c / CHANNELS);
    let y = Output(y.as_mut_ptr());
    pool.run(chunks * blocks.div_ceil(grid.blocks), &|task| {
        let cut = |at: usize, step: usize, end: usize| at * step..((at + 1) * step).min(end);
        let tiles = cut(task % chunks, grid.chunk, grid.tiles);
        let blocks = cut(task / chunks, grid.blocks, blocks);
        scratch::with(|scratch| {
            let transformed = POINTS * grid.chunk * g.in_c;
            let sums = POINTS * grid.chunk * CHANNELS;
            let buffer = scratch.wide(transformed + 2 * sums + weights.room());
            let (v, buffer) = buffer.split_at_mut(transformed);
            let (m, u) = buffer.split_at_mut(2 * sums);
            let m = m.as_mut_ptr().cast::<i32>();
            products.enter(
                #[inline(always)]
                || {
                    inputs(products, conv, x, grid, tiles.clone(), v);
                    for block in blocks {
                        let tiles = tiles.clone();
                        let u = weights.block(products, block, u);
                        // SAFETY: `v` and `m` have room for a chunk of tiles (and `m` is aligned: the
                        // scratch is, and `transformed` is a multiple of 16); tasks are disjoint in
                        // tiles or in blocks, so that no two write the same bytes of `y`.
                        unsafe {
                            sum(products, u, g.in_c, tiles.len(), v, m);
                            let layer = (conv, weights);
                            outputs(products, layer, block, grid, tiles, m, residual, y.get());
                        }
                    }
                },
            );
        });
    });
}

/// Transforms the inputs of a chunk of tiles: `v` is `[36][tiles][in_c]`.
#[inline(always)]
fn inputs<P: Products>(
    products: P,
    conv: &Conv,
    x: &[u8],
    grid: Grid,
    tiles: Range<usize>,
    v: &mut [i16],
) {
    let g = &conv.geometry;
    let count = tiles.len();
    let flip = P::STORAGE.flip() ^ Storage::Signed.flip();
    assert!(v.len() >= POINTS * count * g.in_c);
    for (t, tile) in tiles.enumerate() {
        let top = (tile / grid.columns * OUT).wrapping_sub(g.pad.top);
        let left = (tile % grid.columns * OUT).wrapping_sub(g.pad.left);
        // rows and columns beyond the picture, also those that wrapped around, are border
        let mut pixels: [*const u8; POINTS] = std::array::from_fn(|e| {
            let (row, column) = (top.wrapping_add(e / EDGE), left.wrapping_add(e % EDGE));
            if row < g.in_h && column < g.in_w {
                x[(row * g.in_w + column) * g.in_c..][..g.in_c].as_ptr()
            } else {
                conv.border[..g.in_c].as_ptr()
            }
        });
        for c in (0..g.in_c).step_by(P::LANES) {
            let to = v[t * g.in_c + c..].as_mut_ptr();
            // SAFETY: every pixel has `in_c` channels, a multiple of `P::LANES`, and `v` all points of all
            // tiles, a plane of `count` tiles for each.
            unsafe { transform::input(products, &pixels, flip, to, count * g.in_c) };
            for pixel in &mut pixels {
                *pixel = pixel.wrapping_add(P::LANES);
            }
        }
    }
}

/// The sums of a chunk of tiles and a block of channels: `m` is `[36][tiles][16]`.
///
/// # Safety
/// `m` has room for them.
#[inline(always)]
unsafe fn sum<P: Products>(
    products: P,
    weights: &[i16],
    in_c: usize,
    tiles: usize,
    v: &[i16],
    m: *mut i32,
) {
    for (e, u) in weights.chunks_exact(in_c * CHANNELS).enumerate() {
        for first in (0..tiles).step_by(P::TILES) {
            let group = P::TILES.min(tiles - first);
            let at = e * tiles + first;
            let v = &v[at * in_c..][..group * in_c];
            // SAFETY: `at + group` tiles are within `m`.
            unsafe {
                products.multiply(group, in_c, v.as_ptr(), u.as_ptr(), m.add(at * CHANNELS));
            }
        }
    }
}

/// Transforms back and rounds: the pixels of a chunk of tiles, a block of channels.
///
/// # Safety
/// `m` holds the sums, `y` points at the whole output, and nobody else uses these tiles of it.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // a loop body
unsafe fn outputs<P: Products>(
    products: P,
    (conv, weights): (&Conv, &Winograd),
    block: usize,
    grid: Grid,
    tiles: Range<usize>,
    m: *const i32,
    residual: Option<&[u8]>,
    y: *mut u8,
) {
    let g = &conv.geometry;
    let count = tiles.len();
    let channel = block * CHANNELS;
    let bias = weights.bias[channel..channel + CHANNELS].as_ptr();
    let multiplier = conv.requant.multiplier[channel..channel + CHANNELS].as_ptr();
    for (t, tile) in tiles.enumerate() {
        let mut sums = [[[0; CHANNELS]; OUT]; OUT];
        // SAFETY: `m` is `[36][count][16]`.
        unsafe {
            let from = m.add(t * CHANNELS);
            let to = sums.as_mut_ptr().cast();
            transform::output(products, from, count * CHANNELS, CHANNELS, to);
        }
        let (top, left) = (tile / grid.columns * OUT, tile % grid.columns * OUT);
        for (i, row) in sums.iter().enumerate().take(g.out_h() - top) {
            for (j, sums) in row.iter().enumerate().take(g.out_w() - left) {
                let at = ((top + i) * g.out_w() + left + j) * g.out_c + channel;
                let residual = residual.map_or(std::ptr::null(), |r| r[at..].as_ptr());
                // SAFETY: sixteen channels of a pixel of this tile, which is this task's.
                unsafe {
                    products.round(&conv.requant, (bias, multiplier), sums, residual, y.add(at));
                }
            }
        }
    }
}
