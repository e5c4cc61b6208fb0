//! `conv_i8_4x16c4_dotprod`: four pixels by sixteen channels, four products per lane and `sdot`.
//!
//! Sixteen accumulators, eight activation vectors and four weight vectors of the 32 registers: per 32
//! of depth 128 `sdot`, four `ldp` and eight `ld1` of 64 bytes, so 9.4 % of loads. Five pixels leave
//! one activation vector for each (`ldr` in place of `ldp`): 11.3 %; six leave two for weights: 14.6 %.
//! `asm!`, because the intrinsics of the dot product are unstable.
#![allow(unsafe_code)] // assembly

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::driver::{Strip, Tile};
use super::super::{Layout, Storage};
use super::epilogue::{blocks, finish};

const CHANNELS: usize = 16;

/// Proof that this processor has the 8-bit dot product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dotprod(());

impl Dotprod {
    #[must_use]
    pub fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }
}

impl Tile for Dotprod {
    const LAYOUT: Layout = Layout::new(CHANNELS, 4);
    const STORAGE: Storage = Storage::Signed;
    const PIXELS: usize = 4;

    #[inline(always)]
    unsafe fn conv(self, pixels: usize, strip: &Strip) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe {
            match pixels {
                4 => strip_4(strip),
                3 => strip_3(strip),
                2 => strip_2(strip),
                _ => strip_1(strip),
            }
        }
    }

    unsafe fn sums(self, x: *const u8, depth: usize, w: *const i8, _: *const u8, sums: *mut i32) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe {
            let mut acc = [[vdupq_n_s32(0); 4]];
            multiply_1(&x, 1, depth, w, &mut acc);
            for (q, &acc) in acc[0].iter().enumerate() {
                vst1q_s32(sums.add(4 * q), acc);
            }
        }
    }
}

/// One group of four of depth: the weights of sixteen channels, and lane `$lane` of each pixel's
/// activations.
macro_rules! group {
    ($lane:literal; $(($a:literal: $s0:literal $s1:literal $s2:literal $s3:literal))*) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{w}], #64\n",
            $(
                "sdot v", $s0, ".4s, v24.16b, v", $a, ".4b[", $lane, "]\n",
                "sdot v", $s1, ".4s, v25.16b, v", $a, ".4b[", $lane, "]\n",
                "sdot v", $s2, ".4s, v26.16b, v", $a, ".4b[", $lane, "]\n",
                "sdot v", $s3, ".4s, v27.16b, v", $a, ".4b[", $lane, "]\n",
            )*
        )
    };
}

/// Sixteen of depth that are loaded.
macro_rules! sixteen {
    ($(($a:literal: $($s:literal)*))*) => {
        concat!(
            group!("0"; $(($a: $($s)*))*),
            group!("1"; $(($a: $($s)*))*),
            group!("2"; $(($a: $($s)*))*),
            group!("3"; $(($a: $($s)*))*),
        )
    };
}

/// 32 of depth.
macro_rules! step {
    ($(($x:ident $a:literal $b:literal: $($s:literal)*))*) => {
        concat!(
            $("ldp q", $a, ", q", $b, ", [{", stringify!($x), "}], #32\n",)*
            sixteen!($(($a: $($s)*))*),
            sixteen!($(($b: $($s)*))*),
        )
    };
}

/// `$n` pixels: `multiply(rows, taps, depth, weights, sums)` adds up products and says where the next
/// block's weights are; `strip(strip)` is [`Tile::conv`].
macro_rules! tile {
    ($n:literal $multiply:ident $strip:ident macs=$macs:literal
     $(($p:literal $x:ident $a:literal $va:tt $b:literal $vb:tt: $($s:literal $vs:tt $q:literal),*))*) => {
        /// # Safety
        /// The processor has the dot product; `rows` is `[taps][pixels]` pointers to `depth` values,
        /// `w` points at `taps * depth * 16` weights.
        #[inline(always)]
        unsafe fn $multiply(
            rows: *const *const u8,
            taps: usize,
            depth: usize,
            mut w: *const i8,
            acc: &mut [[int32x4_t; 4]; $n],
        ) -> *const i8 {
            // SAFETY: reads what the caller promised: per tap `depth` values of each row, in steps of
            // 64, 16 and 4, and 16 weights for each value of depth.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "2:",
                    $(concat!("ldr {", stringify!($x), "}, [{rows}], #8"),)*
                    "cbz {steps}, 4f",
                    "mov {k}, {steps}",
                    "3:",
                    concat!("// LLVM-MCA-BEGIN conv_i8_", $n, "x16c4_dotprod macs=", $macs),
                    step!($(($x $a $b: $($s)*))*),
                    step!($(($x $a $b: $($s)*))*),
                    "subs {k}, {k}, #1",
                    "b.ne 3b",
                    "// LLVM-MCA-END",
                    "4:",
                    "cbz {rest}, 8f",
                    "lsr {k}, {rest}, #4",
                    "cbz {k}, 6f",
                    "5:",
                    $(concat!("ldr q", $a, ", [{", stringify!($x), "}], #16"),)*
                    sixteen!($(($a: $($s)*))*),
                    "subs {k}, {k}, #1",
                    "b.ne 5b",
                    "6:",
                    "and {k}, {rest}, #12",
                    "cbz {k}, 8f",
                    "7:",
                    $(concat!("ldr s", $a, ", [{", stringify!($x), "}], #4"),)*
                    group!("0"; $(($a: $($s)*))*),
                    "subs {k}, {k}, #4",
                    "b.ne 7b",
                    "8:",
                    "subs {taps}, {taps}, #1",
                    "b.ne 2b",
                    rows = inout(reg) rows => _,
                    w = inout(reg) w,
                    taps = inout(reg) taps => _,
                    steps = in(reg) depth / 64,
                    rest = in(reg) depth % 64,
                    k = out(reg) _,
                    $($x = out(reg) _, out($va) _, out($vb) _,)*
                    $($(inout($vs) acc[$p][$q],)*)*
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    options(nostack, readonly),
                );
            }
            w
        }

        /// # Safety
        /// As [`Tile::conv`], for this many pixels.
        #[inline(always)]
        unsafe fn $strip(strip: &Strip) {
            // SAFETY: the caller's promise; the constants of a whole block are there.
            unsafe {
                blocks::<CHANNELS, _, _>(
                    strip,
                    strip.weights,
                    #[inline(always)]
                    |bias| [std::array::from_fn(|q| vld1q_s32(bias.add(4 * q))); $n],
                    #[inline(always)]
                    |w, acc| $multiply(strip.rows, strip.taps, strip.depth, w, acc),
                    #[inline(always)]
                    |rule, channel, acc| finish(strip, rule, channel, acc),
                );
            }
        }
    };
}

tile!(4 multiply_4 strip_4 macs=4096
    (0 x0 16 "v16" 17 "v17": 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3)
    (1 x1 18 "v18" 19 "v19": 4 "v4" 0, 5 "v5" 1, 6 "v6" 2, 7 "v7" 3)
    (2 x2 20 "v20" 21 "v21": 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3)
    (3 x3 22 "v22" 23 "v23": 12 "v12" 0, 13 "v13" 1, 14 "v14" 2, 15 "v15" 3));
tile!(3 multiply_3 strip_3 macs=3072
    (0 x0 16 "v16" 17 "v17": 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3)
    (1 x1 18 "v18" 19 "v19": 4 "v4" 0, 5 "v5" 1, 6 "v6" 2, 7 "v7" 3)
    (2 x2 20 "v20" 21 "v21": 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3));
tile!(2 multiply_2 strip_2 macs=2048
    (0 x0 16 "v16" 17 "v17": 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3)
    (1 x1 18 "v18" 19 "v19": 4 "v4" 0, 5 "v5" 1, 6 "v6" 2, 7 "v7" 3));
tile!(1 multiply_1 strip_1 macs=1024
    (0 x0 16 "v16" 17 "v17": 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3));
