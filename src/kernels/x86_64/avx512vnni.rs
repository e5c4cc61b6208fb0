//! `conv_i8_6x64c4_avx512vnni`: six pixels by 64 channels, four products per lane and `vpdpbusd`.
//!
//! Activations are the unsigned operand, four at a time broadcast; weights the signed one, as packed.
//! 24 accumulators and four weight vectors leave four of the 32 registers for activations, which
//! suffices, as each is used up before the next is wanted: ten loads for 24 `vpdpbusd`, so that two
//! ports of them (Sapphire Rapids) stay as busy as one (Zen 4).
#![allow(unsafe_code)] // assembly and intrinsics

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::driver::{Strip, Tile};
use super::super::{Layout, Requant, Storage};

const CHANNELS: usize = 64;
/// 32-bit lanes of a vector.
const LANES: usize = 16;
/// Vectors that hold a pixel's sums.
const VECTORS: usize = CHANNELS / LANES;

/// Proof that this processor, and its operating system, has AVX512 F, BW and VNNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512Vnni(());

impl Avx512Vnni {
    #[must_use]
    pub fn new() -> Option<Self> {
        use std::is_x86_feature_detected as has;
        (has!("avx512f") && has!("avx512bw") && has!("avx512vnni")).then_some(Self(()))
    }
}

impl Tile for Avx512Vnni {
    const LAYOUT: Layout = Layout::new(CHANNELS, 4);
    const STORAGE: Storage = Storage::Unsigned;
    const PIXELS: usize = 6;

    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn inside<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` proves the instructions.
        unsafe { inside(f) }
    }

    #[inline(always)]
    unsafe fn conv(self, pixels: usize, strip: &Strip) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe {
            match (pixels, strip.residual.is_null()) {
                (6, true) => strip_6::<false>(strip),
                (6, false) => strip_6::<true>(strip),
                (5, true) => strip_5::<false>(strip),
                (5, false) => strip_5::<true>(strip),
                (4, true) => strip_4::<false>(strip),
                (4, false) => strip_4::<true>(strip),
                (3, true) => strip_3::<false>(strip),
                (3, false) => strip_3::<true>(strip),
                (2, true) => strip_2::<false>(strip),
                (2, false) => strip_2::<true>(strip),
                (_, true) => strip_1::<false>(strip),
                (_, false) => strip_1::<true>(strip),
            }
        }
    }

    #[inline(always)]
    unsafe fn sums(self, x: *const u8, depth: usize, w: *const i8, _: *const u8, sums: *mut i32) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe { sums_of_one(x, depth, w, sums) };
    }
}

/// [`Tile::conv`] for `$n` pixels. What it rounds is written out pixel by pixel, as of six the compiler
/// would make a loop and spill their sums.
macro_rules! strip {
    ($n:literal $strip:ident $multiply:ident $($p:literal)*) => {
        /// # Safety
        /// As [`Tile::conv`], for this many pixels; there are residuals if `ADD`.
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn $strip<const ADD: bool>(strip: &Strip) {
            let rule = Rule::new(strip.rule);
            for block in 0..strip.blocks {
                let channel = block * CHANNELS;
                // SAFETY: the constants of a whole block are there; the rest is the caller's promise.
                unsafe {
                    let mut acc = [load(strip.bias.add(channel)); $n];
                    let w = strip.weights.add(channel * strip.taps * strip.depth);
                    $multiply(strip.rows, (strip.taps, strip.depth), w, &mut acc);
                    $(finish::<ADD>(strip, rule, channel, $p, acc[$p]);)*
                }
            }
        }
    };
}

strip!(6 strip_6 multiply_6 0 1 2 3 4 5);
strip!(5 strip_5 multiply_5 0 1 2 3 4);
strip!(4 strip_4 multiply_4 0 1 2 3);
strip!(3 strip_3 multiply_3 0 1 2);
strip!(2 strip_2 multiply_2 0 1);
strip!(1 strip_1 multiply_1 0);

/// # Safety
/// As [`Tile::sums`].
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn sums_of_one(x: *const u8, depth: usize, w: *const i8, sums: *mut i32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); VECTORS]];
        multiply_1(&x, (1, depth), w, &mut acc);
        for (v, &acc) in acc[0].iter().enumerate() {
            _mm512_storeu_si512(sums.add(LANES * v).cast(), acc);
        }
    }
}

/// # Safety
/// `from` points at 64 numbers.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const i32) -> [__m512i; VECTORS] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            _mm512_loadu_si512(from.cast()),
            _mm512_loadu_si512(from.add(LANES).cast()),
            _mm512_loadu_si512(from.add(2 * LANES).cast()),
            _mm512_loadu_si512(from.add(3 * LANES).cast()),
        ]
    }
}

/// One group of four of depth for `$n` pixels, looped over: the weights of 64 channels, four at a time
/// of each pixel's activations.
macro_rules! multiply {
    ($n:literal $multiply:ident $(($p:literal $x:ident $a:literal: $($s:literal $zs:tt $v:literal $w:literal),*))*) => {
        /// # Safety
        /// The processor has AVX512-VNNI; `rows` is `[taps][pixels]` pointers to `depth` values, a
        /// positive multiple of four, and `w` points at `taps * depth * 64` weights.
        #[inline]
        #[target_feature(enable = "avx512f,avx512vnni")]
        unsafe fn $multiply(
            rows: *const *const u8,
            (taps, depth): (usize, usize),
            w: *const i8,
            acc: &mut [[__m512i; VECTORS]; $n],
        ) {
            // SAFETY: reads what the caller promised: per tap `depth` values of each row, and 64
            // weights for each.
            unsafe {
                asm!(
                    "2:",
                    $(
                        concat!("mov {", stringify!($x), "}, [{rows} + 8 * ", $p, "]"),
                        concat!("add {", stringify!($x), "}, {depth}"),
                    )*
                    concat!("add {rows}, 8 * ", $n),
                    "mov {k}, {depth}",
                    "neg {k}",
                    ".p2align 5",
                    "3:",
                    concat!("# LLVM-MCA-BEGIN conv_i8_", $n, "x64c4_avx512vnni"),
                    "vmovdqu64 zmm24, [{w}]",
                    "vmovdqu64 zmm25, [{w} + 64]",
                    "vmovdqu64 zmm26, [{w} + 128]",
                    "vmovdqu64 zmm27, [{w} + 192]",
                    "add {w}, 256",
                    $(
                        concat!("vpbroadcastd zmm", $a, ", dword ptr [{", stringify!($x), "} + {k}]"),
                        concat!($("vpdpbusd zmm", $s, ", zmm", $a, ", zmm", $w, "\n"),*),
                    )*
                    "add {k}, 4",
                    "jnz 3b",
                    "# LLVM-MCA-END",
                    "dec {taps}",
                    "jnz 2b",
                    rows = inout(reg) rows => _,
                    w = inout(reg) w => _,
                    taps = inout(reg) taps => _,
                    depth = in(reg) depth,
                    k = out(reg) _,
                    $($x = out(reg) _,)*
                    $($(inout($zs) acc[$p][$v],)*)*
                    out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
                    out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
                    options(nostack, readonly),
                );
            }
        }
    };
}
multiply!(6 multiply_6
    (0 x0 28: 0 "zmm0" 0 24, 1 "zmm1" 1 25, 2 "zmm2" 2 26, 3 "zmm3" 3 27)
    (1 x1 29: 4 "zmm4" 0 24, 5 "zmm5" 1 25, 6 "zmm6" 2 26, 7 "zmm7" 3 27)
    (2 x2 30: 8 "zmm8" 0 24, 9 "zmm9" 1 25, 10 "zmm10" 2 26, 11 "zmm11" 3 27)
    (3 x3 31: 12 "zmm12" 0 24, 13 "zmm13" 1 25, 14 "zmm14" 2 26, 15 "zmm15" 3 27)
    (4 x4 28: 16 "zmm16" 0 24, 17 "zmm17" 1 25, 18 "zmm18" 2 26, 19 "zmm19" 3 27)
    (5 x5 29: 20 "zmm20" 0 24, 21 "zmm21" 1 25, 22 "zmm22" 2 26, 23 "zmm23" 3 27));
multiply!(5 multiply_5
    (0 x0 28: 0 "zmm0" 0 24, 1 "zmm1" 1 25, 2 "zmm2" 2 26, 3 "zmm3" 3 27)
    (1 x1 29: 4 "zmm4" 0 24, 5 "zmm5" 1 25, 6 "zmm6" 2 26, 7 "zmm7" 3 27)
    (2 x2 30: 8 "zmm8" 0 24, 9 "zmm9" 1 25, 10 "zmm10" 2 26, 11 "zmm11" 3 27)
    (3 x3 31: 12 "zmm12" 0 24, 13 "zmm13" 1 25, 14 "zmm14" 2 26, 15 "zmm15" 3 27)
    (4 x4 28: 16 "zmm16" 0 24, 17 "zmm17" 1 25, 18 "zmm18" 2 26, 19 "zmm19" 3 27));
multiply!(4 multiply_4
    (0 x0 28: 0 "zmm0" 0 24, 1 "zmm1" 1 25, 2 "zmm2" 2 26, 3 "zmm3" 3 27)
    (1 x1 29: 4 "zmm4" 0 24, 5 "zmm5" 1 25, 6 "zmm6" 2 26, 7 "zmm7" 3 27)
    (2 x2 30: 8 "zmm8" 0 24, 9 "zmm9" 1 25, 10 "zmm10" 2 26, 11 "zmm11" 3 27)
    (3 x3 31: 12 "zmm12" 0 24, 13 "zmm13" 1 25, 14 "zmm14" 2 26, 15 "zmm15" 3 27));
multiply!(3 multiply_3
    (0 x0 28: 0 "zmm0" 0 24, 1 "zmm1" 1 25, 2 "zmm2" 2 26, 3 "zmm3" 3 27)
    (1 x1 29: 4 "zmm4" 0 24, 5 "zmm5" 1 25, 6 "zmm6" 2 26, 7 "zmm7" 3 27)
    (2 x2 30: 8 "zmm8" 0 24, 9 "zmm9" 1 25, 10 "zmm10" 2 26, 11 "zmm11" 3 27));
multiply!(2 multiply_2
    (0 x0 28: 0 "zmm0" 0 24, 1 "zmm1" 1 25, 2 "zmm2" 2 26, 3 "zmm3" 3 27)
    (1 x1 29: 4 "zmm4" 0 24, 5 "zmm5" 1 25, 6 "zmm6" 2 26, 7 "zmm7" 3 27));
multiply!(1 multiply_1
    (0 x0 28: 0 "zmm0" 0 24, 1 "zmm1" 1 25, 2 "zmm2" 2 26, 3 "zmm3" 3 27));

/// A layer's constants, spread over vectors.
#[derive(Clone, Copy)]
struct Rule {
    /// The lowest output value, in bytes.
    lowest: __m512i,
    high: __m512,
    /// In 16 bits.
    output_zero: __m512i,
    residual_zero: __m512i,
    residual_multiplier: __m512,
    /// Puts sixteen groups of four bytes in order after packing, which works within 128 bits.
    order: __m512i,
}

impl Rule {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    #[allow(clippy::cast_possible_truncation)] // within 0..=255
    fn new(rule: &Requant) -> Self {
        let (zero, multiplier) = rule.residual.map_or((0, 0.0), |r| (r.zero, r.multiplier));
        Self {
            lowest: _mm512_set1_epi8((rule.low as i32 + rule.output_zero) as i8),
            high: _mm512_set1_ps(rule.high),
            output_zero: _mm512_set1_epi16(rule.output_zero as i16),
            residual_zero: _mm512_set1_epi32(zero),
            residual_multiplier: _mm512_set1_ps(multiplier),
            order: _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        }
    }

    /// Rounds 64 values half to even. Above, they are clamped before, as the rule says; below, where
    /// the conversion's answer to what is out of range is the lowest integer, it is as well to
    /// saturate and clamp afterwards, 64 at once.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn round(self, t: [__m512; VECTORS]) -> __m512i {
        let mut integers = [_mm512_setzero_si512(); VECTORS];
        for (integers, t) in integers.iter_mut().zip(t) {
            *integers = _mm512_cvtps_epi32(_mm512_min_ps(t, self.high));
        }
        let [a, b, c, d] = integers;
        let low = _mm512_add_epi16(_mm512_packs_epi32(a, b), self.output_zero);
        let high = _mm512_add_epi16(_mm512_packs_epi32(c, d), self.output_zero);
        let bytes = _mm512_permutexvar_epi32(self.order, _mm512_packus_epi16(low, high));
        _mm512_max_epu8(bytes, self.lowest)
    }

    /// What a residual's sixteen values add.
    ///
    /// # Safety
    /// `r` points at them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn residual(self, r: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        let r = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(r.cast()) });
        let r = _mm512_cvtepi32_ps(_mm512_sub_epi32(r, self.residual_zero));
        _mm512_mul_ps(r, self.residual_multiplier)
    }
}

/// Rounds and stores pixel `p`'s channels from `channel` on.
///
/// # Safety
/// As [`Tile::conv`]; there are residuals if `ADD`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn finish<const ADD: bool>(
    strip: &Strip,
    rule: Rule,
    channel: usize,
    p: usize,
    acc: [__m512i; VECTORS],
) {
    let offset = p * strip.stride + channel;
    let residual = strip.residual.wrapping_add(offset);
    let mut t = [_mm512_setzero_ps(); VECTORS];
    // SAFETY: the constants, outputs and residuals of a whole block are there.
    unsafe {
        for (v, &acc) in acc.iter().enumerate() {
            let multiplier = _mm512_loadu_ps(strip.multiplier.add(channel + LANES * v));
            t[v] = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), multiplier);
            if ADD {
                t[v] = _mm512_add_ps(t[v], rule.residual(residual.wrapping_add(LANES * v)));
            }
        }
        _mm512_storeu_si512(strip.y.add(offset).cast(), rule.round(t));
    }
}
