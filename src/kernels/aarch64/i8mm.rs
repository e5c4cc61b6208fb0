//! `conv_i8_6x16c8_i8mm`: six pixels by sixteen channels with `smmla`, which multiplies two rows of eight by two: 32
//! products an instruction where `sdot` has sixteen.
//!
//! A vector of activations holds eight values of two pixels, one of weights eight of two channels, a sum four of theirs.
//! 24 sums, three vectors of activations, four of weights: per eight of depth 24 `smmla`, six loads of activations, two of
//! weights. `asm!`, because the intrinsics are unstable.
#![allow(unsafe_code)] // assembly

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::driver::{Strip, Tile};
use super::super::{Layout, Storage};
use super::epilogue::{blocks, finish};

const CHANNELS: usize = 16;
/// Values of depth in a row of a matrix.
const GROUP: usize = 8;

/// Proof that this processor has the 8-bit matrix multiplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct I8mm(());

impl I8mm {
    #[must_use]
    pub fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("i8mm").then_some(Self(()))
    }
}

impl Tile for I8mm {
    const LAYOUT: Layout = Layout::new(CHANNELS, GROUP);
    const STORAGE: Storage = Storage::Signed;
    const PIXELS: usize = 6;

    #[inline(always)]
    unsafe fn conv(self, pixels: usize, strip: &Strip) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe {
            match pixels {
                6 => strip_6(strip),
                5 => strip_5(strip),
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
            let mut acc = [[vdupq_n_s32(0); 8]];
            multiply_1(&x, 1, depth, w, &mut acc);
            for (q, sum) in pixel(&acc[0], false).into_iter().enumerate() {
                vst1q_s32(sums.add(4 * q), sum);
            }
        }
    }
}

/// The first or the second pixel's sums, sixteen channels.
#[inline(always)]
fn pixel(sums: &[int32x4_t; 8], second: bool) -> [int32x4_t; 4] {
    std::array::from_fn(|q| {
        // SAFETY: every aarch64 processor that runs Linux has NEON.
        unsafe {
            let (a, b) = (sums[2 * q], sums[2 * q + 1]);
            let [a, b] = [a, b].map(|v| vreinterpretq_s64_s32(v));
            let both = if second {
                vzip2q_s64(a, b)
            } else {
                vzip1q_s64(a, b)
            };
            vreinterpretq_s32_s64(both)
        }
    })
}

/// Eight values of a pixel, or of two.
macro_rules! activations {
    ($a:literal $x:ident) => {
        concat!("ldr d", $a, ", [{", stringify!($x), "}], #8\n")
    };
    ($a:literal $x:ident $y:ident) => {
        concat!(
            "ldr d",
            $a,
            ", [{",
            stringify!($x),
            "}], #8\n",
            "ld1 {{v",
            $a,
            ".d}}[1], [{",
            stringify!($y),
            "}], #8\n",
        )
    };
}

/// Eight of depth.
macro_rules! group {
    ($(($a:literal [$($x:ident)*]: $s0:literal $s1:literal $s2:literal $s3:literal $s4:literal $s5:literal $s6:literal $s7:literal))*) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{w}], #64\n",
            $(activations!($a $($x)*),)*
            $(
                "smmla v", $s0, ".4s, v", $a, ".16b, v28.16b\n",
                "smmla v", $s1, ".4s, v", $a, ".16b, v29.16b\n",
                "smmla v", $s2, ".4s, v", $a, ".16b, v30.16b\n",
                "smmla v", $s3, ".4s, v", $a, ".16b, v31.16b\n",
            )*
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{w}], #64\n",
            $(
                "smmla v", $s4, ".4s, v", $a, ".16b, v28.16b\n",
                "smmla v", $s5, ".4s, v", $a, ".16b, v29.16b\n",
                "smmla v", $s6, ".4s, v", $a, ".16b, v30.16b\n",
                "smmla v", $s7, ".4s, v", $a, ".16b, v31.16b\n",
            )*
        )
    };
}

/// `$n` pixels: `multiply(rows, taps, depth, weights, sums)` adds up products and says where the next
/// block's weights are; `strip(strip)` is [`Tile::conv`].
macro_rules! tile {
    ($n:literal $multiply:ident $strip:ident macs=$macs:literal ($($pointer:ident)*)
     $(($pair:literal $a:literal $va:tt [$($x:ident)*]: $($s:literal $vs:tt $q:literal),*))*) => {
        /// # Safety
        /// The processor has the matrix multiplication; `rows` is `[taps][pixels]` pointers to `depth` values, whole
        /// groups, `w` points at `taps * depth * 16` weights.
        #[inline(always)]
        unsafe fn $multiply(
            rows: *const *const u8,
            taps: usize,
            depth: usize,
            mut w: *const i8,
            acc: &mut [[int32x4_t; 8]; usize::div_ceil($n, 2)],
        ) -> *const i8 {
            // SAFETY: reads what the caller promised: per tap `depth` values of each row, eight at a time, and 16
            // weights for each value of depth.
            unsafe {
                asm!(
                    ".arch_extension i8mm",
                    "2:",
                    $(concat!("ldr {", stringify!($pointer), "}, [{rows}], #8"),)*
                    "cbz {steps}, 4f",
                    "mov {k}, {steps}",
                    "3:",
                    concat!("// LLVM-MCA-BEGIN conv_i8_", $n, "x16c8_i8mm macs=", $macs),
                    group!($(($a [$($x)*]: $($s)*))*),
                    group!($(($a [$($x)*]: $($s)*))*),
                    group!($(($a [$($x)*]: $($s)*))*),
                    group!($(($a [$($x)*]: $($s)*))*),
                    group!($(($a [$($x)*]: $($s)*))*),
                    group!($(($a [$($x)*]: $($s)*))*),
                    group!($(($a [$($x)*]: $($s)*))*),
                    group!($(($a [$($x)*]: $($s)*))*),
                    "subs {k}, {k}, #1",
                    "b.ne 3b",
                    "// LLVM-MCA-END",
                    "4:",
                    "cbz {rest}, 6f",
                    "mov {k}, {rest}",
                    "5:",
                    group!($(($a [$($x)*]: $($s)*))*),
                    "subs {k}, {k}, #1",
                    "b.ne 5b",
                    "6:",
                    "subs {taps}, {taps}, #1",
                    "b.ne 2b",
                    rows = inout(reg) rows => _,
                    w = inout(reg) w,
                    taps = inout(reg) taps => _,
                    steps = in(reg) depth / (8 * GROUP),
                    rest = in(reg) depth % (8 * GROUP) / GROUP,
                    k = out(reg) _,
                    $($pointer = out(reg) _,)*
                    $(out($va) _,)*
                    $($(inout($vs) acc[$pair][$q],)*)*
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
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
                    |bias| {
                        let twice = |q| {
                            let two = vld1_s32(bias.add(2 * q));
                            vcombine_s32(two, two)
                        };
                        [std::array::from_fn(twice); usize::div_ceil($n, 2)]
                    },
                    #[inline(always)]
                    |w, acc| $multiply(strip.rows, strip.taps, strip.depth, w, acc),
                    #[inline(always)]
                    |rule, channel, acc| {
                        let acc: [_; $n] = std::array::from_fn(|p| pixel(&acc[p / 2], p % 2 == 1));
                        finish(strip, rule, channel, &acc);
                    },
                );
            }
        }
    };
}

tile!(6 multiply_6 strip_6 macs=6144
    (x0 x1 x2 x3 x4 x5)
    (0 24 "v24" [x0 x1]: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3, 4 "v4" 4, 5 "v5" 5, 6 "v6" 6, 7 "v7" 7)
    (1 25 "v25" [x2 x3]: 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3, 12 "v12" 4, 13 "v13" 5, 14 "v14" 6, 15 "v15" 7)
    (2 26 "v26" [x4 x5]: 16 "v16" 0, 17 "v17" 1, 18 "v18" 2, 19 "v19" 3, 20 "v20" 4, 21 "v21" 5, 22 "v22" 6, 23 "v23" 7));
tile!(5 multiply_5 strip_5 macs=5120
    (x0 x1 x2 x3 x4)
    (0 24 "v24" [x0 x1]: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3, 4 "v4" 4, 5 "v5" 5, 6 "v6" 6, 7 "v7" 7)
    (1 25 "v25" [x2 x3]: 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3, 12 "v12" 4, 13 "v13" 5, 14 "v14" 6, 15 "v15" 7)
    (2 26 "v26" [x4]: 16 "v16" 0, 17 "v17" 1, 18 "v18" 2, 19 "v19" 3, 20 "v20" 4, 21 "v21" 5, 22 "v22" 6, 23 "v23" 7));
tile!(4 multiply_4 strip_4 macs=4096
    (x0 x1 x2 x3)
    (0 24 "v24" [x0 x1]: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3, 4 "v4" 4, 5 "v5" 5, 6 "v6" 6, 7 "v7" 7)
    (1 25 "v25" [x2 x3]: 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3, 12 "v12" 4, 13 "v13" 5, 14 "v14" 6, 15 "v15" 7));
tile!(3 multiply_3 strip_3 macs=3072
    (x0 x1 x2)
    (0 24 "v24" [x0 x1]: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3, 4 "v4" 4, 5 "v5" 5, 6 "v6" 6, 7 "v7" 7)
    (1 25 "v25" [x2]: 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3, 12 "v12" 4, 13 "v13" 5, 14 "v14" 6, 15 "v15" 7));
tile!(2 multiply_2 strip_2 macs=2048
    (x0 x1)
    (0 24 "v24" [x0 x1]: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3, 4 "v4" 4, 5 "v5" 5, 6 "v6" 6, 7 "v7" 7));
tile!(1 multiply_1 strip_1 macs=1024
    (x0)
    (0 24 "v24" [x0]: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3, 4 "v4" 4, 5 "v5" 5, 6 "v6" 6, 7 "v7" 7));
