//! `conv_i8_6x16c2_avx2`: six pixels by sixteen channels, two products per lane and instruction.
//!
//! `vpmaddwd` multiplies sixteen pairs of 16-bit values and adds neighbours: exact, where
//! `vpmaddubsw` would saturate. Activations come widened, two at a time broadcast; weights are
//! widened as they are loaded. Twelve accumulators, two weight vectors and one activation fill the
//! sixteen registers.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::*;

use super::super::driver::{CHANNELS, Sums, Tile, conv, dense, requantize_plain};
use super::super::{Conv, Dense, Layout, Requant};

/// Proof that this processor has AVX2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    #[must_use]
    pub fn new() -> Option<Self> {
        std::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub fn conv(self, layer: &Conv, x: &[u8], residual: Option<&[u8]>, y: &mut [u8]) {
        #[target_feature(enable = "avx2")]
        fn inner(tile: Avx2, layer: &Conv, x: &[u8], residual: Option<&[u8]>, y: &mut [u8]) {
            conv(tile, layer, x, residual, y);
        }
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { inner(self, layer, x, residual, y) }
    }

    pub fn dense(self, layer: &Dense, x: &[u8], y: &mut [f32]) {
        #[target_feature(enable = "avx2")]
        fn inner(tile: Avx2, layer: &Dense, x: &[u8], y: &mut [f32]) {
            dense(tile, layer, x, y);
        }
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { inner(self, layer, x, y) }
    }
}

impl Tile for Avx2 {
    const LAYOUT: Layout = Layout {
        nr: CHANNELS,
        kc: 2,
    };
    const PIXELS: usize = 6;

    #[inline(always)]
    fn accumulate(self, x: &[i16], depth: usize, w: &[i8], sums: &mut [Sums]) {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe {
            match sums.len() {
                6 => rows::<6>(x, depth, w, sums),
                5 => rows::<5>(x, depth, w, sums),
                4 => rows::<4>(x, depth, w, sums),
                3 => rows::<3>(x, depth, w, sums),
                2 => rows::<2>(x, depth, w, sums),
                _ => rows::<1>(x, depth, w, sums),
            }
        }
    }

    #[inline(always)]
    fn requantize(
        self,
        rule: &Requant,
        c: usize,
        sums: &Sums,
        residual: Option<&[u8]>,
        y: &mut [u8],
    ) {
        let Ok(y) = <&mut [u8; CHANNELS]>::try_from(&mut *y) else {
            return requantize_plain(rule, c, sums, residual, y);
        };
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { requantize(rule, c, sums, residual, y) }
    }
}

#[target_feature(enable = "avx2")]
fn rows<const N: usize>(x: &[i16], depth: usize, w: &[i8], sums: &mut [Sums]) {
    assert!(x.len() == N * depth && w.len() == CHANNELS * depth && sums.len() == N);
    let x: [&[i16]; N] = std::array::from_fn(|p| &x[p * depth..][..depth]);
    let mut acc = [[_mm256_setzero_si256(); 2]; N];
    for (pair, w) in w.chunks_exact(2 * CHANNELS).enumerate() {
        // SAFETY: a chunk holds 32 weights.
        let w = unsafe { [load_widen(w.as_ptr()), load_widen(w.as_ptr().add(16))] };
        for p in 0..N {
            // SAFETY: there are depth / 2 chunks, so that 2 * pair + 1 < depth, a row's length.
            let pair = unsafe { x[p].as_ptr().cast::<i32>().add(pair).read_unaligned() };
            let pair = _mm256_set1_epi32(pair);
            acc[p][0] = _mm256_add_epi32(acc[p][0], _mm256_madd_epi16(pair, w[0]));
            acc[p][1] = _mm256_add_epi32(acc[p][1], _mm256_madd_epi16(pair, w[1]));
        }
    }
    for (sums, acc) in sums.iter_mut().zip(acc) {
        let (low, high) = sums.split_at_mut(8);
        // SAFETY: each half holds eight i32.
        unsafe {
            _mm256_storeu_si256(low.as_mut_ptr().cast(), acc[0]);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), acc[1]);
        }
    }
}

/// Sixteen weights, sign-extended to 16 bits.
///
/// # Safety
/// `w` must point at 16 readable bytes.
#[target_feature(enable = "avx2")]
unsafe fn load_widen(w: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(w.cast()) })
}

#[target_feature(enable = "avx2")]
fn requantize(
    rule: &Requant,
    c: usize,
    sums: &Sums,
    residual: Option<&[u8]>,
    y: &mut [u8; CHANNELS],
) {
    let bias = &rule.bias[c..c + CHANNELS];
    let multiplier = &rule.multiplier[c..c + CHANNELS];
    let mut rounded = [_mm256_setzero_si256(); 2];
    for (half, rounded) in rounded.iter_mut().enumerate() {
        let at = 8 * half;
        // SAFETY: `sums`, `bias` and `multiplier` hold 16 values each, read at 0 and at 8.
        let mut t = unsafe {
            let acc = _mm256_add_epi32(
                _mm256_loadu_si256(sums.as_ptr().add(at).cast()),
                _mm256_loadu_si256(bias.as_ptr().add(at).cast()),
            );
            _mm256_mul_ps(
                _mm256_cvtepi32_ps(acc),
                _mm256_loadu_ps(multiplier.as_ptr().add(at)),
            )
        };
        if let (Some(add), Some(r)) = (rule.residual, residual) {
            let r = &r[at..at + 8];
            // SAFETY: `r` holds eight bytes.
            let r = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(r.as_ptr().cast()) });
            let r = _mm256_cvtepi32_ps(_mm256_sub_epi32(r, _mm256_set1_epi32(add.zero)));
            t = _mm256_add_ps(t, _mm256_mul_ps(r, _mm256_set1_ps(add.multiplier)));
        }
        t = _mm256_max_ps(t, _mm256_set1_ps(rule.low));
        t = _mm256_min_ps(t, _mm256_set1_ps(rule.high));
        let integers = _mm256_cvtps_epi32(t); // rounds half to even
        *rounded = _mm256_add_epi32(integers, _mm256_set1_epi32(rule.output_zero));
    }
    // both packs work within 128-bit lanes; the permutation puts the sixteen bytes in order
    let words = _mm256_packs_epi32(rounded[0], rounded[1]);
    let bytes = _mm256_packus_epi16(words, words);
    let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    let bytes = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(bytes, order));
    // SAFETY: `y` holds sixteen bytes.
    unsafe { _mm_storeu_si128(y.as_mut_ptr().cast(), bytes) }
}
