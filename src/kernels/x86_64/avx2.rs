//! `conv_u8_5x16c4_avx2`: five pixels by sixteen channels, four products per lane, with an instruction that saturates,
//! and still exact.
//!
//! `vpmaddubsw` multiplies 32 bytes at once, but adds neighbours in 16 bits, and 2 * 255 * 127 does not fit. 2 * 128 * 127
//! does, and 4 * 64 * 127, and larger values where their weights are smaller ([`Notes::Caps`]). So each value is cut into
//! what is below its cap and what is above it. Products of the first fit, two or four to a sum; and after a ReLU few values are
//! large. The groups of four values in which a pixel of the tile has one above the cap are listed, and only they are multiplied
//! once more ([`Cut`]). A tile that has many above the cap of four takes that of two, and one that has many above that the way
//! without, `vpmaddwd` ([`Wide`]). Which way is chosen changes how long it takes and never a bit.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::*;

use super::super::driver::{Strip, Tile};
use super::super::{Layout, Notes, Requant, Storage};
use super::avx2_inputs::{CHANNELS, Cut, GROUP, HALF, STEP, Wide};
use super::avx2_inputs::{broadcast, sum_pairs, workspace};

/// Proof that this processor has AVX2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    #[must_use]
    pub fn new() -> Option<Self> {
        std::is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Tile for Avx2 {
    const LAYOUT: Layout = Layout {
        notes: Notes::Caps,
        ..Layout::new(CHANNELS, GROUP)
    };
    const STORAGE: Storage = Storage::Unsigned;
    const PIXELS: usize = 5;

    fn workspace(values: usize) -> usize {
        workspace(Self::PIXELS, values)
    }

    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2")]
        fn inside<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { inside(f) }
    }

    #[inline(always)]
    unsafe fn conv(self, pixels: usize, strip: &Strip) {
        // SAFETY: the caller's promise; `self` proves that the processor has AVX2.
        unsafe {
            match pixels {
                5 => rows::<5>(strip),
                4 => rows::<4>(strip),
                3 => rows::<3>(strip),
                2 => rows::<2>(strip),
                _ => rows::<1>(strip),
            }
        }
    }

    #[inline(always)]
    unsafe fn sums(self, x: *const u8, depth: usize, w: *const i8, _: *const u8, sums: *mut i32) {
        // SAFETY: the caller's promise; `self` proves that the processor has AVX2.
        unsafe { row(x, depth, w, sums) }
    }
}

/// # Safety
/// As [`Tile::conv`], for `N` pixels.
#[target_feature(enable = "avx2")]
unsafe fn rows<const N: usize>(strip: &Strip) {
    // SAFETY: the caller's promise.
    unsafe {
        let (four, two) = (strip.notes, strip.notes.add(strip.taps * strip.depth));
        if let Some(cut) = Cut::<N, true>::new(strip, four) {
            blocks(strip, |w, acc| cut.accumulate(w, acc));
        } else if let Some(cut) = Cut::<N, false>::new(strip, two) {
            blocks(strip, |w, acc| cut.accumulate(w, acc));
        } else {
            let wide = Wide::<N>::new(strip);
            blocks(strip, |w, acc| wide.accumulate(w, acc));
        }
    }
}

/// All blocks of a strip, the products of which `accumulate` adds to sums.
///
/// # Safety
/// As [`Tile::conv`], for `N` pixels.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn blocks<const N: usize>(
    strip: &Strip,
    accumulate: impl Fn(*const i8, &mut [[__m256i; 2]; N]),
) {
    let rule = Rule::new(strip.rule);
    for block in 0..strip.blocks {
        // SAFETY: the caller's promise.
        unsafe {
            let bias = strip.bias.add(block * CHANNELS);
            let bias = [0, 8].map(|at| _mm256_loadu_si256(bias.add(at).cast()));
            let mut acc = [bias; N];
            let w = block * strip.taps * strip.depth * CHANNELS;
            accumulate(strip.weights.add(w), &mut acc);
            if strip.residual.is_null() {
                finish::<N, false>(strip, rule, block * CHANNELS, &acc);
            } else {
                finish::<N, true>(strip, rule, block * CHANNELS, &acc);
            }
        }
    }
}

/// # Safety
/// As [`Tile::sums`].
#[target_feature(enable = "avx2")]
unsafe fn row(x: *const u8, depth: usize, w: *const i8, sums: *mut i32) {
    let mut acc = [_mm256_setzero_si256(); 2];
    for group in 0..depth / GROUP {
        // SAFETY: the caller's promise.
        unsafe {
            let values = broadcast(x.add(group * GROUP));
            let half = _mm256_set1_epi8(HALF.cast_signed());
            for part in [
                _mm256_min_epu8(values, half),
                _mm256_subs_epu8(values, half),
            ] {
                for (at, acc) in acc.iter_mut().enumerate() {
                    let w = _mm256_loadu_si256(w.add(group * STEP + 32 * at).cast());
                    *acc = _mm256_add_epi32(*acc, sum_pairs(_mm256_maddubs_epi16(part, w)));
                }
            }
        }
    }
    // SAFETY: the caller's promise: room for sixteen.
    unsafe {
        _mm256_storeu_si256(sums.cast(), acc[0]);
        _mm256_storeu_si256(sums.add(8).cast(), acc[1]);
    }
}

/// A layer's constants, spread over vectors.
#[derive(Clone, Copy)]
pub struct Rule {
    /// What ReLU leaves at least, or 0, as bytes.
    low: __m256i,
    high: __m256,
    output_zero: __m256i,
    residual_zero: __m256i,
    residual_multiplier: __m256,
}

impl Rule {
    #[inline]
    #[target_feature(enable = "avx2")]
    #[allow(clippy::cast_possible_truncation)] // 8-bit values
    pub fn new(rule: &Requant) -> Self {
        let (zero, multiplier) = rule.residual.map_or((0, 0.0), |r| (r.zero, r.multiplier));
        let low = rule.low as i32 + rule.output_zero;
        Self {
            low: _mm256_set1_epi8(low as i8),
            high: _mm256_set1_ps(rule.high),
            output_zero: _mm256_set1_epi16(rule.output_zero as i16),
            residual_zero: _mm256_set1_epi32(zero),
            residual_multiplier: _mm256_set1_ps(multiplier),
        }
    }
}

/// Rounds and stores a tile's block of channels from `channel` on, two pixels at a time.
///
/// # Safety
/// As [`Tile::conv`], for `N` pixels.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish<const N: usize, const ADD: bool>(
    strip: &Strip,
    rule: Rule,
    channel: usize,
    acc: &[[__m256i; 2]; N],
) {
    // SAFETY: sixteen constants, residuals and outputs are there.
    unsafe {
        let multiplier = strip.multiplier.add(channel);
        let multiplier = [0, 8].map(|at| _mm256_loadu_ps(multiplier.add(at)));
        let mut p = 0;
        while p < N {
            let q = if p + 1 < N { p + 1 } else { p };
            let (first, second) = (p * strip.stride + channel, q * strip.stride + channel);
            let residual = strip.residual;
            let words = [
                words::<ADD>(rule, acc[p], multiplier, residual.wrapping_add(first)),
                words::<ADD>(rule, acc[q], multiplier, residual.wrapping_add(second)),
            ];
            let bytes = bytes(rule, words);
            _mm_storeu_si128(strip.y.add(first).cast(), _mm256_castsi256_si128(bytes));
            if q > p {
                let upper = _mm256_extracti128_si256::<1>(bytes);
                _mm_storeu_si128(strip.y.add(second).cast(), upper);
            }
            p += 2;
        }
    }
}

/// Sixteen channels of a pixel, bias included, to the output's integers in 16 bits. The lower clamp of
/// the rule is left to the saturation here and in [`bytes`], which is the same for integer bounds; the
/// upper one must come before the conversion, which makes the least integer of what is too large.
///
/// # Safety
/// Sixteen residuals are there, if `ADD`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn words<const ADD: bool>(
    rule: Rule,
    sums: [__m256i; 2],
    multiplier: [__m256; 2],
    residual: *const u8,
) -> __m256i {
    let mut rounded = sums;
    for half in 0..2 {
        let mut t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), multiplier[half]);
        if ADD {
            // SAFETY: the caller's promise.
            let r = unsafe { _mm_loadl_epi64(residual.add(8 * half).cast()) };
            let r = _mm256_sub_epi32(_mm256_cvtepu8_epi32(r), rule.residual_zero);
            let r = _mm256_mul_ps(_mm256_cvtepi32_ps(r), rule.residual_multiplier);
            t = _mm256_add_ps(t, r);
        }
        rounded[half] = _mm256_cvtps_epi32(_mm256_min_ps(t, rule.high)); // rounds half to even
    }
    _mm256_adds_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), rule.output_zero)
}

/// Two pixels' integers to bytes, sixteen each. Packing works within 128-bit lanes; the permutation puts
/// the bytes in order.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes(rule: Rule, words: [__m256i; 2]) -> __m256i {
    let bytes = _mm256_max_epu8(_mm256_packus_epi16(words[0], words[1]), rule.low);
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Rounds and stores sixteen channels of a pixel.
///
/// # Safety
/// Sixteen constants, outputs and, if `ADD`, residuals are there.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn round<const ADD: bool>(
    rule: Rule,
    (bias, multiplier): (*const i32, *const f32),
    sums: [__m256i; 2],
    residual: *const u8,
    y: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let add = |half: usize| {
            let bias = _mm256_loadu_si256(bias.add(8 * half).cast());
            _mm256_add_epi32(sums[half], bias)
        };
        let multiplier = [0, 8].map(|at| _mm256_loadu_ps(multiplier.add(at)));
        let words = words::<ADD>(rule, [add(0), add(1)], multiplier, residual);
        let bytes = bytes(rule, [words, words]);
        _mm_storeu_si128(y.cast(), _mm256_castsi256_si128(bytes));
    }
}
