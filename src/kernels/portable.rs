//! `conv_i8_6x16c1_portable`: plain Rust that the compiler vectorizes for whatever the target's
//! baseline is. Six pixels by sixteen channels, one product at a time, channels along the vector.
#![allow(unsafe_code)] // the driver speaks in pointers

use super::driver::{Strip, Tile};
use super::{Layout, Storage};

const CHANNELS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portable;

impl Tile for Portable {
    const LAYOUT: Layout = Layout::new(CHANNELS, 1);
    const STORAGE: Storage = Storage::Unsigned;
    const PIXELS: usize = 6;

    #[inline(always)]
    unsafe fn conv(self, pixels: usize, strip: &Strip) {
        for block in 0..strip.blocks {
            // SAFETY: the caller's promise, cut into rows of at most six pixels.
            unsafe {
                match pixels {
                    6 => rows::<6>(strip, block, 6, 0),
                    4 => rows::<4>(strip, block, 4, 0),
                    _ => (0..pixels).for_each(|p| rows::<1>(strip, block, pixels, p)),
                }
            }
        }
    }

    unsafe fn sums(self, x: *const u8, depth: usize, w: *const i8, _: *const u8, sums: *mut i32) {
        let mut acc = [[0; CHANNELS]];
        // SAFETY: the caller's promise.
        unsafe {
            accumulate(&[x], depth, w, &mut acc);
            sums.cast::<[i32; CHANNELS]>().write_unaligned(acc[0]);
        }
    }
}

/// Pixels `first .. first + N` of a tile of `pixels`.
///
/// # Safety
/// As [`Tile::conv`].
#[inline(always)]
unsafe fn rows<const N: usize>(strip: &Strip, block: usize, pixels: usize, first: usize) {
    let mut acc = [[0i32; CHANNELS]; N];
    for tap in 0..strip.taps {
        // SAFETY: `rows` is `[taps][pixels]`, and weights lie in the order of blocks and taps.
        unsafe {
            let x = std::array::from_fn(|p| *strip.rows.add(tap * pixels + first + p));
            let tap = block * strip.taps + tap;
            let w = strip.weights.add(tap * strip.depth * CHANNELS);
            accumulate::<N>(&x, strip.depth, w, &mut acc);
        }
    }
    let channel = block * CHANNELS;
    for (p, acc) in acc.iter().enumerate() {
        let offset = (first + p) * strip.stride + channel;
        for (c, &acc) in acc.iter().enumerate() {
            // SAFETY: a whole block of channels is there for each pixel.
            unsafe {
                let residual = (!strip.residual.is_null()).then(|| *strip.residual.add(offset + c));
                let (bias, multiplier) = (
                    strip.bias.add(channel + c),
                    strip.multiplier.add(channel + c),
                );
                *strip.y.add(offset + c) = strip.rule.apply_with(acc, *bias, *multiplier, residual);
            }
        }
    }
}

/// # Safety
/// `x` points at `depth` values each, `w` at `depth * CHANNELS` weights.
#[inline(always)]
unsafe fn accumulate<const N: usize>(
    x: &[*const u8; N],
    depth: usize,
    w: *const i8,
    acc: &mut [[i32; CHANNELS]; N],
) {
    for k in 0..depth {
        // SAFETY: the caller's promise.
        let w = unsafe { &*w.add(k * CHANNELS).cast::<[i8; CHANNELS]>() };
        for p in 0..N {
            // SAFETY: as above.
            let value = i32::from(unsafe { *x[p].add(k) });
            for c in 0..CHANNELS {
                acc[p][c] = acc[p][c].wrapping_add(value * i32::from(w[c]));
            }
        }
    }
}
