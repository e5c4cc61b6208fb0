//! The loop that all fast backends share: tiles of output pixels by blocks of output channels,
//! spread over the threads of a [`Pool`].
//!
//! A backend says how one tile is multiplied, rounded and stored ([`Tile`]). Walking the layer,
//! finding each pixel's inputs, choosing what stays in the cache and the ragged edges are written
//! once, here. Where a backend reads activations as they lie in memory, a tile's inputs are pointers
//! into them (Dukhan, "The Indirect Convolution Algorithm", 2019); else a tile's worth of rows is
//! gathered and flipped. No picture is ever unrolled (im2col).
#![allow(unsafe_code)] // threads write disjoint parts of one output

use std::ops::Range;

use super::gather;
use super::scratch::{self, Scratch};
use super::{Conv, Dense, Layout, PackedWeights, Pool, Requant, Storage};

/// Most pixels in any backend's tile.
pub const MAX_PIXELS: usize = 16;
/// Most output channels in any backend's block.
pub const MAX_CHANNELS: usize = 64;
/// Weights that a core keeps close while it walks over pixels.
const CACHED_WEIGHTS: usize = 192 << 10;
/// Tasks per thread, so that a slow core does not hold up the others.
const TASKS_PER_THREAD: usize = 4;

/// A tile's work: some output pixels by consecutive whole blocks of output channels.
pub struct Strip<'a> {
    /// `[taps][pixels]`: where each pixel's run of `depth` values starts.
    pub rows: *const *const u8,
    pub taps: usize,
    /// Values per run, a multiple of the layout's `kc`.
    pub depth: usize,
    pub blocks: usize,
    /// The blocks' weights, `taps * depth * nr` each.
    pub weights: *const i8,
    /// The backend's notes (see [`super::Notes`]).
    pub notes: *const u8,
    /// The first output channel's.
    pub bias: *const i32,
    pub multiplier: *const f32,
    pub rule: &'a Requant,
    /// Null, or the residual of the first pixel's first channel, `stride` bytes from one pixel to the next.
    pub residual: *const u8,
    /// The output of the first pixel's first channel.
    pub y: *mut u8,
    pub stride: usize,
    /// [`Tile::workspace`] bytes of no particular content, aligned for vectors.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // only AVX2 prepares anything
    pub workspace: *mut u8,
}

/// What one instruction set does differently. A value of an implementing type proves that this
/// processor has the instructions.
pub trait Tile: Copy + Send + Sync {
    const LAYOUT: Layout;
    const STORAGE: Storage;
    /// Pixels in a full tile, at most [`MAX_PIXELS`].
    const PIXELS: usize;

    /// Bytes that [`Self::conv`] needs to prepare a tile's inputs, where a pixel's runs have so many values in all.
    fn workspace(_values: usize) -> usize {
        0
    }

    /// Calls `f`, compiled for the backend's instructions where it is inlined.
    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    /// Computes `pixels` pixels (1 to [`Self::PIXELS`]) of whole blocks of channels.
    ///
    /// # Safety
    /// All that `strip` points at is as its fields say, for `pixels` pixels.
    unsafe fn conv(self, pixels: usize, strip: &Strip);

    /// The sums of one pixel with one run, without bias.
    ///
    /// # Safety
    /// `x` points at `depth` values, a multiple of `kc`, `weights` at a block of that depth with its
    /// `notes`, and `sums` has room for `nr`.
    unsafe fn sums(
        self,
        x: *const u8,
        depth: usize,
        weights: *const i8,
        notes: *const u8,
        sums: *mut i32,
    );
}

/// An output that tasks share: each writes a part of its own.
#[derive(Clone, Copy)]
pub struct Output<T>(pub *mut T);
// SAFETY: whoever makes one gives each task a part that no other task touches.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T> Output<T> {
    /// As a method, so that a closure captures the whole value and not the bare pointer.
    pub fn get(&self) -> *mut T {
        self.0
    }
}

/// How a layer is cut into tasks: groups of channel blocks, whose weights fit a cache, by ranges of
/// tiles.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    tiles: usize,
    blocks: usize,
    blocks_per_task: usize,
    tiles_per_task: usize,
}

impl Split {
    pub fn new(threads: usize, tiles: usize, blocks: usize, block_bytes: usize) -> Self {
        let wanted = if threads == 1 {
            1
        } else {
            threads * TASKS_PER_THREAD
        };
        let cached = (CACHED_WEIGHTS / block_bytes.max(1)).clamp(1, blocks);
        let groups = blocks.div_ceil(cached);
        let ranges = wanted.div_ceil(groups).min(tiles);
        let groups = groups.max(wanted.div_ceil(ranges)).min(blocks);
        Self {
            tiles,
            blocks,
            blocks_per_task: blocks.div_ceil(groups),
            tiles_per_task: tiles.div_ceil(ranges),
        }
    }

    fn ranges(&self) -> usize {
        self.tiles.div_ceil(self.tiles_per_task)
    }

    pub fn tasks(&self) -> usize {
        self.ranges() * self.blocks.div_ceil(self.blocks_per_task)
    }

    /// The tiles and the blocks of a task.
    pub fn part(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (group, range) = (task / self.ranges(), task % self.ranges());
        let cut = |at: usize, step: usize, end: usize| at * step..((at + 1) * step).min(end);
        (
            cut(range, self.tiles_per_task, self.tiles),
            cut(group, self.blocks_per_task, self.blocks),
        )
    }
}

/// Runs one convolution: `x` and `y` in NHWC, `residual` shaped as `y`.
pub fn conv<T: Tile>(
    tile: T,
    pool: &Pool,
    (conv, weights): (&Conv, &PackedWeights),
    x: &[u8],
    residual: Option<&[u8]>,
    y: &mut [u8],
) {
    let g = &conv.geometry;
    let block_bytes = T::LAYOUT.nr * weights.depth_padded();
    let split = Split::new(
        pool.threads(),
        g.out_pixels().div_ceil(T::PIXELS),
        g.out_c.div_ceil(T::LAYOUT.nr),
        block_bytes,
    );
    let y = Output(y.as_mut_ptr());
    pool.run(split.tasks(), &|task| {
        let (tiles, blocks) = split.part(task);
        scratch::with(|scratch| {
            tile.enter(
                #[inline(always)]
                || {
                    for at in tiles {
                        let (layer, blocks) = ((conv, weights), blocks.clone());
                        // SAFETY: tasks are disjoint in tiles or in blocks, so that no two write the
                        // same bytes of `y`, which outlives the run and is not used elsewhere.
                        unsafe {
                            walk(tile, layer, x, residual, y.get(), at, blocks, scratch);
                        }
                    }
                },
            );
        });
    });
}

/// One tile of pixels by some blocks of channels.
///
/// # Safety
/// `y` points at the whole output, of which nobody else uses this tile's blocks.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // a loop body
unsafe fn walk<T: Tile>(
    tile: T,
    (conv, weights): (&Conv, &PackedWeights),
    x: &[u8],
    residual: Option<&[u8]>,
    y: *mut u8,
    at: usize,
    blocks: Range<usize>,
    scratch: &mut Scratch,
) {
    let g = &conv.geometry;
    let first = at * T::PIXELS;
    let pixels = T::PIXELS.min(g.out_pixels() - first);
    let Layout { nr, kc, .. } = T::LAYOUT;
    let tile_pixels = first..first + pixels;
    let rows = gather::rows(
        conv,
        (T::STORAGE, kc, T::workspace),
        x,
        tile_pixels,
        scratch,
    );
    let channel = blocks.start * nr;
    let offset = first * g.out_c + channel;
    let whole = blocks.end.min(g.out_c / nr) - blocks.start;
    let mut strip = Strip {
        rows: rows.pointers,
        taps: rows.taps,
        depth: rows.depth,
        blocks: whole,
        weights: weights.from_block(blocks.start).as_ptr(),
        notes: weights.notes_from_block(blocks.start).as_ptr(),
        bias: conv.requant.bias[channel..blocks.end * nr].as_ptr(),
        multiplier: conv.requant.multiplier[channel..blocks.end * nr].as_ptr(),
        rule: &conv.requant,
        residual: residual.map_or(std::ptr::null(), |r| r[offset..].as_ptr()),
        // SAFETY: within the output, by the geometry.
        y: unsafe { y.add(offset) },
        stride: g.out_c,
        workspace: rows.workspace,
    };
    // SAFETY: `rows` points at `taps` runs of `depth` values for each pixel, the weights are packed
    // for that depth, and whole blocks of `y` and `residual` are there, or are lent.
    unsafe {
        if whole > 0 {
            tile.conv(pixels, &strip);
        }
        if whole < blocks.len() {
            let skip = whole * nr;
            strip.blocks = 1;
            strip.weights = weights.from_block(blocks.start + whole).as_ptr();
            strip.notes = weights.notes_from_block(blocks.start + whole).as_ptr();
            strip.bias = strip.bias.add(skip);
            strip.multiplier = strip.multiplier.add(skip);
            strip.residual = strip
                .residual
                .wrapping_add(if residual.is_some() { skip } else { 0 });
            strip.y = strip.y.add(skip);
            edge(tile, pixels, g.out_c % nr, &mut strip);
        }
    }
}

/// The last block of a layer whose channels do not fill it: through a buffer that holds a whole one.
///
/// # Safety
/// As [`Tile::conv`], except that `y` and `residual` hold only `channels` per pixel.
#[cold]
#[inline(never)]
unsafe fn edge<T: Tile>(tile: T, pixels: usize, channels: usize, strip: &mut Strip) {
    const LEN: usize = MAX_PIXELS * MAX_CHANNELS;
    let nr = T::LAYOUT.nr;
    let (mut y, mut residual) = ([0; LEN], [0; LEN]);
    let (real_y, stride) = (strip.y, strip.stride);
    if !strip.residual.is_null() {
        for p in 0..pixels {
            // SAFETY: the caller's promise.
            let from =
                unsafe { std::slice::from_raw_parts(strip.residual.add(p * stride), channels) };
            residual[p * nr..][..channels].copy_from_slice(from);
        }
        strip.residual = residual.as_ptr();
    }
    strip.y = y.as_mut_ptr();
    strip.stride = nr;
    // SAFETY: the buffers hold whole blocks; the rest is the caller's promise.
    unsafe { tile.conv(pixels, strip) };
    for p in 0..pixels {
        // SAFETY: the caller's promise.
        let to = unsafe { std::slice::from_raw_parts_mut(real_y.add(p * stride), channels) };
        to.copy_from_slice(&y[p * nr..][..channels]);
    }
}

/// Runs the last layer.
#[allow(clippy::cast_precision_loss)] // the rule's own rounding
pub fn dense<T: Tile>(tile: T, pool: &Pool, dense: &Dense, x: &[u8], y: &mut [f32]) {
    let nr = T::LAYOUT.nr;
    let weights = &dense.weights;
    let depth = weights.depth_padded();
    let classes = y.len();
    let split = Split::new(pool.threads(), 1, classes.div_ceil(nr), nr * depth);
    let y = Output(y.as_mut_ptr());
    pool.run(split.tasks(), &|task| {
        scratch::with(|scratch| {
            let (row, _) = scratch.rows_and_pointers(depth, 0);
            row[..x.len()].copy_from_slice(x);
            row[x.len()..].fill(0);
            let mut sums = [0i32; MAX_CHANNELS];
            for b in split.part(task).1 {
                // SAFETY: `row` holds `depth` values, and a block is packed for them.
                unsafe {
                    let (w, notes) = (weights.from_block(b), weights.notes_from_block(b));
                    let (w, notes) = (w.as_ptr(), notes.as_ptr());
                    tile.sums(row.as_ptr(), depth, w, notes, sums.as_mut_ptr());
                }
                for c in b * nr..((b + 1) * nr).min(classes) {
                    let sum = sums[c - b * nr].wrapping_add(dense.bias[c]);
                    // SAFETY: within `y`, and this block's classes are this task's alone.
                    unsafe { *y.get().add(c) = sum as f32 * dense.multiplier[c] };
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_every_tile_and_block_once() {
        for threads in [1, 2, 3, 4, 16] {
            for (tiles, blocks, bytes) in [
                (1, 1, 9),
                (627, 4, 9216),
                (10, 32, 73_728),
                (10, 128, 8192),
                (3, 7, 1 << 20),
            ] {
                let split = Split::new(threads, tiles, blocks, bytes);
                let mut seen = vec![0; tiles * blocks];
                for task in 0..split.tasks() {
                    let (tiles, range) = split.part(task);
                    for t in tiles {
                        range.clone().for_each(|b| seen[t * blocks + b] += 1);
                    }
                }
                assert!(seen.iter().all(|&n| n == 1), "{threads} {split:?}");
                assert!(
                    threads == 1 || split.tasks() >= (2 * threads).min(tiles * blocks),
                    "{split:?}"
                );
            }
        }
    }
}
