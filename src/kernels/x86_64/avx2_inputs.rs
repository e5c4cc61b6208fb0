//! How AVX2's kernel reads a tile's inputs: cut at a cap, so that `vpmaddubsw` is exact, or widened. `avx2.rs` says why.
#![allow(unsafe_code)] // intrinsics

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::driver::Strip;

#[cfg(test)]
mod tests;

pub const CHANNELS: usize = 16;
/// Values multiplied at once in each lane.
pub const GROUP: usize = 4;
/// Weights of a block for one group of values.
pub const STEP: usize = CHANNELS * GROUP;
/// Two products of any weights and values up to this fit 16 bits.
pub const HALF: u8 = 128;
/// So many groups may have one entry in the list; with more of them the next way is faster.
const FEW: usize = 5;
/// Values looked at at once.
const LOOK: usize = 32;
/// Most entries in the list after one more look: a group has two where a value is above cap and half together.
const LISTED_AT_ONCE: usize = 2 * LOOK / GROUP;

/// Most entries in the list of a row of so many values.
fn most_listed(values: usize) -> usize {
    values / GROUP / FEW + LISTED_AT_ONCE
}

/// Bytes for the inputs of so many pixels, of so many values each: a list, and two rows for each pixel.
pub fn workspace(pixels: usize, values: usize) -> usize {
    most_listed(values) * (size_of::<u32>() + pixels * GROUP) + 2 * pixels * values
}

/// The inputs of `N` pixels, cut at a cap: rows of what is below, and a list of the groups of four in which some
/// pixel has more. If `FOUR`, four products of what is below fit 16 bits, else two.
pub struct Cut<const N: usize, const FOUR: bool> {
    /// `[N][groups][4]`.
    below: *mut u8,
    groups: usize,
    above: Above<N>,
}

/// What is above the cap.
struct Above<const N: usize> {
    /// Which groups.
    numbers: *mut u32,
    /// Their values, up to [`HALF`]: `[len][N][4]`.
    values: *mut u8,
    len: usize,
}

impl<const N: usize, const FOUR: bool> Cut<N, FOUR> {
    /// Cuts a strip's inputs, in its workspace. `None` if too many groups are above their caps.
    ///
    /// # Safety
    /// As `Tile::conv`, for `N` pixels; each value has a cap.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub unsafe fn new(strip: &Strip, caps: *const u8) -> Option<Self> {
        let (depth, row) = (strip.depth, strip.taps * strip.depth);
        let most = most_listed(row);
        // SAFETY: the workspace, which is aligned, is so large.
        let (numbers, values, below) = unsafe {
            let values = strip.workspace.add(most * size_of::<u32>());
            let below = values.add(most * N * GROUP);
            (strip.workspace.cast(), values, below)
        };
        let (groups, len) = (row / GROUP, 0);
        let mut above = Above {
            numbers,
            values,
            len,
        };
        for tap in 0..strip.taps {
            // SAFETY: there are `N` pointers for each tap, to `depth` values, and as much room in each row; the list
            // has room for one more look as long as it is not too long.
            unsafe {
                let x: [*const u8; N] = std::array::from_fn(|p| *strip.rows.add(tap * N + p));
                let mut at = 0;
                while at < depth {
                    let (from, to) = (x.map(|x| x.add(at)), tap * depth + at);
                    let caps = caps.add(to);
                    let (some, looked) = if at + LOOK <= depth {
                        (cut_groups(caps, from, below.add(to), row), LOOK)
                    } else {
                        (cut_group(caps, from, below.add(to), row), GROUP)
                    };
                    if above.len + some.count_ones() as usize > groups / FEW {
                        return None;
                    }
                    above.push_groups(caps, some, from, to / GROUP);
                    at += looked;
                }
            }
        }
        Some(Self {
            below,
            groups,
            above,
        })
    }

    /// # Safety
    /// `w` points at a block's weights for all groups.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub unsafe fn accumulate(&self, w: *const i8, acc: &mut [[__m256i; 2]; N]) {
        let row = self.groups * GROUP;
        // SAFETY: every group has weights, and a place in each row.
        unsafe {
            let x: [_; N] = std::array::from_fn(|p| self.below.add(p * row).cast_const());
            let pairs = if FOUR { self.groups / 2 } else { 0 };
            if let (1.., Some(acc)) = (pairs, as_five(acc)) {
                pairs_of_groups(pairs, (self.below, row), w, acc);
            } else {
                for pair in 0..pairs {
                    let x = x.map(|x| x.add(2 * pair * GROUP));
                    two_steps(x, w.add(2 * pair * STEP), acc);
                }
            }
            for group in 2 * pairs..self.groups {
                step(x.map(|x| x.add(group * GROUP)), w.add(group * STEP), acc);
            }
            for at in 0..self.above.len {
                let values = self.above.values.add(at * N * GROUP);
                let x = std::array::from_fn(|p| values.add(p * GROUP).cast_const());
                step(x, w.add(*self.above.numbers.add(at) as usize * STEP), acc);
            }
        }
    }
}

impl<const N: usize> Above<N> {
    /// Lists those of the groups from `first` on whose bit is set, with what of `x` is above the cap.
    ///
    /// # Safety
    /// There is room for two entries of each, `x` points at the groups of each pixel and `caps` at their caps.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn push_groups(&mut self, caps: *const u8, some: u32, x: [*const u8; N], first: usize) {
        let mut some = some;
        while some != 0 {
            let group = some.trailing_zeros() as usize;
            some &= some - 1;
            // SAFETY: the caller's promise.
            unsafe {
                let x = x.map(|x| read_group(x.add(group * GROUP)));
                let cap = read_group(caps.add(group * GROUP));
                self.push(first + group, x.map(|x| _mm_subs_epu8(x, cap)));
            }
        }
    }

    /// Lists a group, and what exceeds [`HALF`] once more.
    ///
    /// # Safety
    /// There is room for two entries.
    #[inline]
    #[target_feature(enable = "avx2")]
    #[allow(clippy::cast_possible_truncation)] // a channel has fewer weights
    unsafe fn push(&mut self, group: usize, mut rest: [__m128i; N]) {
        let half = _mm_set1_epi8(HALF.cast_signed());
        loop {
            let mut left = _mm_setzero_si128();
            // SAFETY: the caller's promise: no value is above twice the half.
            unsafe {
                self.numbers.add(self.len).write(group as u32);
                let values = self.values.add(self.len * N * GROUP);
                for (p, rest) in rest.iter_mut().enumerate() {
                    write_group(values.add(p * GROUP), _mm_min_epu8(*rest, half));
                    *rest = _mm_subs_epu8(*rest, half);
                    left = _mm_or_si128(left, *rest);
                }
            }
            self.len += 1;
            if _mm_cvtsi128_si32(left) == 0 {
                return;
            }
        }
    }
}

/// Writes what of 32 values of each pixel is below its cap; a bit for each group in which one has more.
///
/// # Safety
/// They are readable at `x`, as are their caps, and writable at `to`, `row` bytes from one pixel to the next.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn cut_groups<const N: usize>(
    caps: *const u8,
    x: [*const u8; N],
    to: *mut u8,
    row: usize,
) -> u32 {
    // SAFETY: the caller's promise.
    let cap = unsafe { _mm256_loadu_si256(caps.cast()) };
    let mut most = _mm256_setzero_si256();
    for (p, x) in x.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let values = _mm256_loadu_si256(x.cast());
            _mm256_storeu_si256(to.add(p * row).cast(), _mm256_min_epu8(values, cap));
            most = _mm256_max_epu8(most, values);
        }
    }
    let none = _mm256_cmpeq_epi32(_mm256_subs_epu8(most, cap), _mm256_setzero_si256());
    !_mm256_movemask_ps(_mm256_castsi256_ps(none)).cast_unsigned() & 0xff
}

/// As [`cut_groups`], of four values.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn cut_group<const N: usize>(
    caps: *const u8,
    x: [*const u8; N],
    to: *mut u8,
    row: usize,
) -> u32 {
    // SAFETY: the caller's promise.
    let cap = unsafe { read_group(caps) };
    let mut most = _mm_setzero_si128();
    for (p, x) in x.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let values = read_group(x);
            write_group(to.add(p * row), _mm_min_epu8(values, cap));
            most = _mm_max_epu8(most, values);
        }
    }
    u32::from(_mm_cvtsi128_si32(_mm_subs_epu8(most, cap)) != 0)
}

/// # Safety
/// Four values are readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn read_group(x: *const u8) -> __m128i {
    // SAFETY: the caller's promise.
    _mm_cvtsi32_si128(unsafe { x.cast::<i32>().read_unaligned() })
}

/// # Safety
/// Four values are writable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn write_group(to: *mut u8, values: __m128i) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<i32>().write_unaligned(_mm_cvtsi128_si32(values)) };
}

/// The inputs of `N` pixels in 16 bits: of each group the first and the third value, and the second and the fourth.
pub struct Wide<const N: usize> {
    /// `[N][groups][2]`.
    even: *const u8,
    odd: *const u8,
    groups: usize,
}

impl<const N: usize> Wide<N> {
    /// Widens a strip's inputs, in its workspace.
    ///
    /// # Safety
    /// As `Tile::conv`, for `N` pixels.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub unsafe fn new(strip: &Strip) -> Self {
        let (depth, row) = (strip.depth, strip.taps * strip.depth);
        // SAFETY: the workspace has room for two rows for each pixel, and a run has `depth` values, whole groups.
        unsafe {
            let even = strip.workspace;
            let odd = even.add(N * row);
            for tap in 0..strip.taps {
                for p in 0..N {
                    let x = *strip.rows.add(tap * N + p);
                    let to = p * row + tap * depth;
                    let first = _mm256_set1_epi16(0xff);
                    let mut at = 0;
                    while at + 32 <= depth {
                        let values = _mm256_loadu_si256(x.add(at).cast());
                        let (even, odd) = (even.add(to + at).cast(), odd.add(to + at).cast());
                        _mm256_storeu_si256(even, _mm256_and_si256(values, first));
                        _mm256_storeu_si256(odd, _mm256_srli_epi16::<8>(values));
                        at += 32;
                    }
                    while at < depth {
                        let values = read_group(x.add(at));
                        let first = _mm256_castsi256_si128(first);
                        write_group(even.add(to + at), _mm_and_si128(values, first));
                        write_group(odd.add(to + at), _mm_srli_epi16::<8>(values));
                        at += GROUP;
                    }
                }
            }
            Self {
                even,
                odd,
                groups: row / GROUP,
            }
        }
    }

    /// # Safety
    /// `w` points at a block's weights for all groups.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub unsafe fn accumulate(&self, w: *const i8, acc: &mut [[__m256i; 2]; N]) {
        for group in 0..self.groups {
            // SAFETY: every group has weights, and a place in each row.
            unsafe {
                let at = group * GROUP;
                let w = w.add(group * STEP);
                let load = |half: usize| _mm256_loadu_si256(w.add(32 * half).cast());
                let even = |w| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
                let odd = |w| _mm256_srai_epi16::<8>(w);
                self.products(self.even.add(at), [even(load(0)), even(load(1))], acc);
                self.products(self.odd.add(at), [odd(load(0)), odd(load(1))], acc);
            }
        }
    }

    /// Adds the products of a pair of values.
    ///
    /// # Safety
    /// `x` points at the first pixel's.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn products(&self, x: *const u8, w: [__m256i; 2], acc: &mut [[__m256i; 2]; N]) {
        for (p, acc) in acc.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let values = unsafe { broadcast(x.add(p * self.groups * GROUP)) };
            for (acc, w) in acc.iter_mut().zip(w) {
                *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(values, w));
            }
        }
    }
}

/// Adds the products of a group of values, two of which fit 16 bits.
///
/// # Safety
/// There are four values at each of `x`, and sixteen channels' weights for them at `w`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn step<const N: usize>(x: [*const u8; N], w: *const i8, acc: &mut [[__m256i; 2]; N]) {
    // SAFETY: the caller's promise.
    unsafe {
        let w = [0, 32].map(|at| _mm256_loadu_si256(w.add(at).cast()));
        for p in 0..N {
            let values = broadcast(x[p]);
            for half in 0..2 {
                let pairs = _mm256_maddubs_epi16(values, w[half]);
                acc[p][half] = _mm256_add_epi32(acc[p][half], sum_pairs(pairs));
            }
        }
    }
}

/// Adds the products of two groups of values, four of which fit 16 bits.
///
/// # Safety
/// There are eight values at each of `x`, and sixteen channels' weights for them at `w`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn two_steps<const N: usize>(x: [*const u8; N], w: *const i8, acc: &mut [[__m256i; 2]; N]) {
    // SAFETY: the caller's promise.
    unsafe {
        for p in 0..N {
            let (first, second) = (broadcast(x[p]), broadcast(x[p].add(GROUP)));
            for (half, acc) in acc[p].iter_mut().enumerate() {
                let w = [0, STEP].map(|at| _mm256_loadu_si256(w.add(at + 32 * half).cast()));
                let pairs = _mm256_maddubs_epi16(first, w[0]);
                let pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(second, w[1]));
                *acc = _mm256_add_epi32(*acc, sum_pairs(pairs));
            }
        }
    }
}

/// The sums of five pixels, if it is five.
#[inline]
fn as_five<const N: usize>(acc: &mut [[__m256i; 2]; N]) -> Option<&mut [[__m256i; 2]; 5]> {
    acc.as_mut_slice().try_into().ok()
}

/// Two groups of one pixel by sixteen channels.
macro_rules! pixel {
    ($x:literal $first:literal $second:literal) => {
        concat!(
            "vpbroadcastd {v0}, [",
            $x,
            "]\n",
            "vpbroadcastd {v1}, [",
            $x,
            " + 4]\n",
            "vpmaddubsw {t0}, {v0}, [{w}]\n",
            "vpmaddubsw {t1}, {v1}, [{w} + 64]\n",
            "vpaddw {t0}, {t0}, {t1}\n",
            "vpmaddwd {t0}, {t0}, {ones}\n",
            "vpaddd {",
            $first,
            "}, {",
            $first,
            "}, {t0}\n",
            "vpmaddubsw {v0}, {v0}, [{w} + 32]\n",
            "vpmaddubsw {v1}, {v1}, [{w} + 96]\n",
            "vpaddw {v0}, {v0}, {v1}\n",
            "vpmaddwd {v0}, {v0}, {ones}\n",
            "vpaddd {",
            $second,
            "}, {",
            $second,
            "}, {v0}",
        )
    };
}

/// [`two_steps`] in a loop, for a whole tile. Of the same in intrinsics the compiler made a sixth less.
///
/// # Safety
/// There are `pairs`, at least one, of groups in each of five rows, `row` bytes apart, and weights for them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pairs_of_groups(
    pairs: usize,
    (x, row): (*const u8, usize),
    w: *const i8,
    acc: &mut [[__m256i; 2]; 5],
) {
    // SAFETY: reads what the caller promises.
    unsafe {
        asm!(
            "2:",
            pixel!("{x}" "a0" "b0"),
            pixel!("{x} + {row}" "a1" "b1"),
            pixel!("{x} + 2*{row}" "a2" "b2"),
            pixel!("{x3}" "a3" "b3"),
            pixel!("{x} + 4*{row}" "a4" "b4"),
            "add {x}, 8",
            "add {x3}, 8",
            "add {w}, 128",
            "dec {pairs}",
            "jnz 2b",
            x = inout(reg) x => _,
            x3 = inout(reg) x.add(3 * row) => _,
            row = in(reg) row,
            w = inout(reg) w => _,
            pairs = inout(reg) pairs => _,
            a0 = inout(ymm_reg) acc[0][0],
            b0 = inout(ymm_reg) acc[0][1],
            a1 = inout(ymm_reg) acc[1][0],
            b1 = inout(ymm_reg) acc[1][1],
            a2 = inout(ymm_reg) acc[2][0],
            b2 = inout(ymm_reg) acc[2][1],
            a3 = inout(ymm_reg) acc[3][0],
            b3 = inout(ymm_reg) acc[3][1],
            a4 = inout(ymm_reg) acc[4][0],
            b4 = inout(ymm_reg) acc[4][1],
            ones = in(ymm_reg) _mm256_set1_epi16(1),
            v0 = out(ymm_reg) _,
            v1 = out(ymm_reg) _,
            t0 = out(ymm_reg) _,
            t1 = out(ymm_reg) _,
            options(nostack, readonly),
        );
    }
}

/// Neighbours' sums, in 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub fn sum_pairs(pairs: __m256i) -> __m256i {
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// Four values, eight times.
///
/// # Safety
/// They are readable.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn broadcast(x: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    _mm256_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}
