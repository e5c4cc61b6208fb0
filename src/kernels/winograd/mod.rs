//! Exact int8 Winograd convolution F(4x4, 3x3): a 3x3 convolution of stride 1 with a quarter of the
//! products, and the same bits (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! 2015, with the transforms scaled to integers).
//!
//! Six by six inputs are transformed, multiplied elementwise with transformed weights, summed over the
//! input channels and transformed back to four by four outputs. Transformed inputs and weights fit 16
//! bits, products are summed in 32 bits that may wrap: the result is 576 = 9 * 64 times the true sum
//! modulo 2^32, and since 9 is odd the true sum follows wherever it is below 2^25 in magnitude, which
//! [`Winograd::new`] proves of every output channel. `transform` has the arithmetic; a backend brings
//! the multiplication ([`Products`]).
#![allow(unsafe_code)] // threads write disjoint parts of one output

pub mod transform;

use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use thiserror::Error;

use super::driver::Output;
use super::scratch;
use super::{Conv, Geometry, PackedWeights, Pool, Requant, Storage};
use transform::{EDGE, OUT, POINTS, Vectors};

/// Output channels in a block; input channels come in as many.
pub const CHANNELS: usize = 16;
/// Bytes of transformed inputs and sums that a core works on at a time.
const CACHED: usize = scratch::ROWS - (8 << 10);
/// Tasks per thread that are wanted at least.
const TASKS_PER_THREAD: usize = 3;
/// Magnitudes of a channel's weights whose sum of products, values being at most 128, is below 2^25.
const MOST_WEIGHT: i64 = (1 << 25) / 128;

/// Transformed weights: `[out / 16][36][in / pair][16][pair]`, where a backend multiplies `pair`
/// input channels at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Winograd {
    data: Vec<i16>,
    pair: usize,
    in_c: usize,
    /// As in [`Requant`], for inputs counted from 128.
    bias: Vec<i32>,
}

/// What one instruction set does differently: sums of products of transformed inputs and weights.
pub trait Products: Vectors + Send + Sync {
    /// Input channels multiplied at once.
    const PAIR: usize;
    /// Tiles multiplied at once.
    const TILES: usize;
    /// With fewer tiles in a layer a direct convolution is as fast: transformed weights are read from memory for each
    /// picture, and few tiles share them.
    const GAINS_FROM: usize;
    const STORAGE: Storage;

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

/// Whether a layer of this shape can be computed so.
fn fits(g: &Geometry) -> bool {
    (g.kernel_h, g.kernel_w, g.stride_h, g.stride_w) == (3, 3, 1, 1)
        && g.in_c.is_multiple_of(CHANNELS)
        && g.out_c.is_multiple_of(CHANNELS)
}

/// Output tiles of a layer, and how many of them are beside each other.
fn tiles(g: &Geometry) -> (usize, usize) {
    let columns = g.out_w().div_ceil(OUT);
    (columns * g.out_h().div_ceil(OUT), columns)
}

/// What of a layer's transformed weights depends on the backend.
#[derive(Debug, Clone, Copy)]
pub struct Wants {
    storage: Storage,
    pair: usize,
    gains_from: usize,
}

impl Wants {
    pub fn of<P: Products>(_: P) -> Self {
        Self {
            storage: P::STORAGE,
            pair: P::PAIR,
            gains_from: P::GAINS_FROM,
        }
    }
}

/// The environment variable that says how much memory transformed weights may take: `auto`, `all` or
/// `off`.
pub const VARIABLE: &str = "RESNETD_WINOGRAD";
/// Bytes of transformed weights that `auto` allows: in a ResNet50, at eight times the bytes of what they
/// replace, nine of thirteen layers where all gain by it, and a process of less than 60 MiB.
const AUTO: usize = 18 << 20;

/// Which layers of a network may still be transformed. Layers ask in the order in which they run, so that those with few
/// channels and many pixels, which gain most per byte, come first.
#[derive(Debug)]
pub struct Budget {
    /// Bytes of transformed weights.
    left: AtomicUsize,
    /// Those too that gain nothing by it.
    all: bool,
}

impl Budget {
    /// No layer.
    #[must_use]
    pub fn none() -> Self {
        Self {
            left: 0.into(),
            all: false,
        }
    }

    /// As `RESNETD_WINOGRAD` says.
    ///
    /// # Errors
    /// If it says something else.
    pub fn selected() -> Result<Self, BudgetError> {
        std::env::var(VARIABLE).unwrap_or_default().parse()
    }

    /// Takes what `g` needs, if that is left and it gains by it.
    fn take(&self, g: &Geometry, gains_from: usize) -> bool {
        let bytes = POINTS * g.in_c * g.out_c * size_of::<i16>();
        let left = |left: usize| left.checked_sub(bytes);
        (self.all || tiles(g).0 >= gains_from)
            && self.left.fetch_update(Relaxed, Relaxed, left).is_ok()
    }
}

impl std::str::FromStr for Budget {
    type Err = BudgetError;

    fn from_str(name: &str) -> Result<Self, BudgetError> {
        match name {
            "" | "auto" => Ok(Self {
                left: AUTO.into(),
                all: false,
            }),
            "all" => Ok(Self {
                left: usize::MAX.into(),
                all: true,
            }),
            "off" => Ok(Self::none()),
            _ => Err(BudgetError(name.to_owned())),
        }
    }
}

#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{VARIABLE}={0} is none of auto, all, off")]
pub struct BudgetError(String);

impl Winograd {
    /// Transforms a layer's weights; `None` if its shape, the size of its weights or `budget` forbids.
    #[must_use]
    pub fn new(
        conv: &Conv,
        weights: &PackedWeights,
        Wants {
            storage,
            pair,
            gains_from,
        }: Wants,
        budget: &Budget,
    ) -> Option<Self> {
        let g = &conv.geometry;
        let sums = weights.sums();
        let exact = sums.iter().all(|s| s.magnitude < MOST_WEIGHT);
        if !fits(g) || !exact || conv.input != storage || !budget.take(g, gains_from) {
            return None;
        }
        let plain = weights.plain();
        let mut data = vec![0; POINTS * g.in_c * g.out_c];
        let kernels = plain.chunks_exact(9 * g.in_c * CHANNELS);
        for (kernels, out) in kernels.zip(data.chunks_exact_mut(POINTS * g.in_c * CHANNELS)) {
            match pair {
                2 => block::<{ 2 * CHANNELS }>(kernels, g.in_c, out),
                _ => block::<CHANNELS>(kernels, g.in_c, out),
            }
        }
        let to_signed = i64::from(Storage::Signed.offset() - storage.offset());
        let bias = conv.requant.bias.iter().enumerate().map(|(c, &bias)| {
            let sum = sums.get(c).map_or(0, |s| s.signed);
            // modulo 2^32, as all of the sum
            #[allow(clippy::cast_possible_truncation)]
            let shift = (to_signed * sum) as i32;
            bias.wrapping_add(shift)
        });
        Some(Self {
            data,
            pair,
            in_c: g.in_c,
            bias: bias.collect(),
        })
    }

    /// Back to `[out][3][3][in]`.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // they were i8
    pub fn plain(&self) -> Vec<i8> {
        let block = POINTS * self.in_c * CHANNELS;
        let mut plain = vec![0; self.data.len() / POINTS * 9];
        for (o, kernel) in plain.chunks_exact_mut(9 * self.in_c).enumerate() {
            let (from, lane) = (&self.data[o / CHANNELS * block..][..block], o % CHANNELS);
            for c in 0..self.in_c {
                let at = (c / self.pair * CHANNELS + lane) * self.pair + c % self.pair;
                let points = std::array::from_fn(|e| from[e * self.in_c * CHANNELS + at]);
                for (k, value) in transform::untransformed(&points).into_iter().enumerate() {
                    kernel[k * self.in_c + c] = value as i8;
                }
            }
        }
        plain
    }
}

/// Transforms sixteen output channels: `[16][3][3][in_c]` to `[36][in_c / pair][16][pair]`, `L` values,
/// `16 * pair`, at a time.
fn block<const L: usize>(kernels: &[i8], in_c: usize, out: &mut [i16]) {
    let pair = L / CHANNELS;
    for c in (0..in_c).step_by(pair) {
        let mut nine = [[0; L]; 9];
        for (k, values) in nine.iter_mut().enumerate() {
            for (i, value) in values.iter_mut().enumerate() {
                let (lane, second) = (i / pair, i % pair);
                *value = i16::from(kernels[(lane * 9 + k) * in_c + c + second]);
            }
        }
        for (e, values) in transform::weights(&nine).iter().enumerate() {
            out[(e * in_c + c) * CHANNELS..][..L].copy_from_slice(values);
        }
    }
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
    fn new(g: &Geometry, threads: usize, group: usize) -> Self {
        let (tiles, columns) = tiles(g);
        let per_tile = POINTS * (g.in_c * size_of::<i16>() + CHANNELS * size_of::<i32>());
        let wanted = if threads == 1 {
            1
        } else {
            threads * TASKS_PER_THREAD
        };
        let chunk = (CACHED / per_tile).clamp(1, tiles.div_ceil(wanted).next_multiple_of(group));
        let chunk = if chunk > group {
            chunk / group * group
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
    let grid = Grid::new(g, pool.threads(), P::TILES);
    let (chunks, blocks) = (grid.tiles.div_ceil(grid.chunk), g.out_c / CHANNELS);
    let y = Output(y.as_mut_ptr());
    pool.run(chunks * blocks.div_ceil(grid.blocks), &|task| {
        let cut = |at: usize, step: usize, end: usize| at * step..((at + 1) * step).min(end);
        let tiles = cut(task % chunks, grid.chunk, grid.tiles);
        let blocks = cut(task / chunks, grid.blocks, blocks);
        scratch::with(|scratch| {
            let transformed = POINTS * grid.chunk * g.in_c;
            let sums = POINTS * grid.chunk * CHANNELS;
            let buffer = scratch.wide(transformed + 2 * sums);
            let (v, m) = buffer.split_at_mut(transformed);
            let m = m.as_mut_ptr().cast::<i32>();
            products.enter(
                #[inline(always)]
                || {
                    inputs(products, conv, x, grid, tiles.clone(), v);
                    for block in blocks {
                        let tiles = tiles.clone();
                        // SAFETY: `v` and `m` have room for a chunk of tiles (and `m` is aligned: the
                        // scratch is, and `transformed` is a multiple of 16); tasks are disjoint in
                        // tiles or in blocks, so that no two write the same bytes of `y`.
                        unsafe {
                            sum(products, weights, block, tiles.len(), v, m);
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
    weights: &Winograd,
    block: usize,
    tiles: usize,
    v: &[i16],
    m: *mut i32,
) {
    let in_c = weights.in_c;
    let weights = &weights.data[block * POINTS * in_c * CHANNELS..][..POINTS * in_c * CHANNELS];
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
