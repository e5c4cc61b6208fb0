//! `conv_i8_5x4c32_neon`: five pixels by four channels for cores without the dot product
//! (Cortex-A53, A57, A72).
//!
//! `smull` and `smlal` multiply eight pairs of 8-bit values into 16-bit lanes, `sadalp` adds the lanes
//! in pairs to 32-bit sums. Two products always fit a lane, since weights stay within ±127. Four fit
//! where the four weights' magnitudes add up to at most 255 (values are at most 128 in magnitude):
//! most groups of 32 of depth are such, which one note per group says, and save a `sadalp` of six.
//! Twenty accumulators, eight weight vectors, two activation vectors and two of lanes.
#![allow(unsafe_code)] // assembly

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::driver::{Strip, Tile};
use super::super::{Layout, Notes, Storage};
use super::epilogue::{Rule, blocks};

const CHANNELS: usize = 4;
const GROUP: usize = 32;

/// Every 64-bit ARM processor that Linux runs on has NEON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    #[must_use]
    pub fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl Tile for Neon {
    const LAYOUT: Layout = Layout {
        nr: CHANNELS,
        kc: GROUP,
        notes: Notes::Groups,
    };
    const STORAGE: Storage = Storage::Signed;
    const PIXELS: usize = 5;

    #[inline(always)]
    unsafe fn conv(self, pixels: usize, strip: &Strip) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe {
            match pixels {
                5 => strip_5(strip),
                4 => strip_4(strip),
                3 => strip_3(strip),
                2 => strip_2(strip),
                _ => strip_1(strip),
            }
        }
    }

    unsafe fn sums(
        self,
        x: *const u8,
        depth: usize,
        w: *const i8,
        notes: *const u8,
        sums: *mut i32,
    ) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe {
            let mut acc = [[vdupq_n_s32(0); CHANNELS]];
            multiply_1(&x, 1, depth, (w, notes), &mut acc);
            vst1q_s32(sums, add_across(&acc[0]));
        }
    }
}

/// One pixel's products with a group of 32 of four channels: two channels at a time, so that
/// neighbouring instructions do not wait for one another.
macro_rules! pixel {
    (four $x:ident: $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            "ldp q28, q29, [{", stringify!($x), "}], #32\n",
            pixel!(four_of $s0 $s1 20 21 22 23),
            pixel!(four_of $s2 $s3 24 25 26 27),
        )
    };
    (four_of $s0:literal $s1:literal $a0:literal $a1:literal $b0:literal $b1:literal) => {
        concat!(
            "smull v30.8h, v28.8b, v", $a0, ".8b\n",
            "smull v31.8h, v28.8b, v", $b0, ".8b\n",
            "smlal2 v30.8h, v28.16b, v", $a0, ".16b\n",
            "smlal2 v31.8h, v28.16b, v", $b0, ".16b\n",
            "smlal v30.8h, v29.8b, v", $a1, ".8b\n",
            "smlal v31.8h, v29.8b, v", $b1, ".8b\n",
            "smlal2 v30.8h, v29.16b, v", $a1, ".16b\n",
            "smlal2 v31.8h, v29.16b, v", $b1, ".16b\n",
            "sadalp v", $s0, ".4s, v30.8h\n",
            "sadalp v", $s1, ".4s, v31.8h\n",
        )
    };
    (two $x:ident: $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            "ldp q28, q29, [{", stringify!($x), "}], #32\n",
            pixel!(two_of 28 $s0 $s1 20 22),
            pixel!(two_of 29 $s0 $s1 21 23),
            pixel!(two_of 28 $s2 $s3 24 26),
            pixel!(two_of 29 $s2 $s3 25 27),
        )
    };
    (two_of $x:literal $s0:literal $s1:literal $a:literal $b:literal) => {
        concat!(
            "smull v30.8h, v", $x, ".8b, v", $a, ".8b\n",
            "smull v31.8h, v", $x, ".8b, v", $b, ".8b\n",
            "smlal2 v30.8h, v", $x, ".16b, v", $a, ".16b\n",
            "smlal2 v31.8h, v", $x, ".16b, v", $b, ".16b\n",
            "sadalp v", $s0, ".4s, v30.8h\n",
            "sadalp v", $s1, ".4s, v31.8h\n",
        )
    };
}

/// `$n` pixels: `multiply(rows, taps, depth, (weights, notes), sums)` adds up products and says where
/// the next block's weights and notes are; `strip(strip)` is [`Tile::conv`].
macro_rules! tile {
    ($n:literal $multiply:ident $strip:ident macs=$macs:literal
     $(($p:literal $x:ident: $($s:literal $vs:tt $c:literal),*))*) => {
        /// # Safety
        /// `rows` is `[taps][pixels]` pointers to `depth` values, a multiple of 32; `w` points at
        /// `taps * depth * 4` weights and `notes` at one note for each 32 of depth.
        #[inline(always)]
        unsafe fn $multiply(
            rows: *const *const u8,
            taps: usize,
            depth: usize,
            (mut w, mut notes): (*const i8, *const u8),
            acc: &mut [[int32x4_t; CHANNELS]; $n],
        ) -> (*const i8, *const u8) {
            // SAFETY: reads what the caller promised: per tap `depth / 32` groups, each 32 values of
            // every row, 128 weights and a note.
            unsafe {
                asm!(
                    "2:",
                    $(concat!("ldr {", stringify!($x), "}, [{rows}], #8"),)*
                    "mov {k}, {groups}",
                    "3:",
                    concat!("// LLVM-MCA-BEGIN conv_i8_", $n, "x4c32_neon macs=", $macs),
                    "ldrb {note:w}, [{notes}], #1",
                    "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{w}], #64",
                    "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{w}], #64",
                    "cbnz {note}, 4f",
                    $(pixel!(four $x: $($s)*),)*
                    "subs {k}, {k}, #1",
                    "b.ne 3b",
                    "// LLVM-MCA-END",
                    "b 5f",
                    "4:",
                    $(pixel!(two $x: $($s)*),)*
                    "subs {k}, {k}, #1",
                    "b.ne 3b",
                    "5:",
                    "subs {taps}, {taps}, #1",
                    "b.ne 2b",
                    rows = inout(reg) rows => _,
                    w = inout(reg) w,
                    notes = inout(reg) notes,
                    taps = inout(reg) taps => _,
                    groups = in(reg) depth / GROUP,
                    k = out(reg) _,
                    note = out(reg) _,
                    $($x = out(reg) _,)*
                    $($(inout($vs) acc[$p][$c],)*)*
                    out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(nostack, readonly),
                );
            }
            (w, notes)
        }

        /// # Safety
        /// As [`Tile::conv`], for this many pixels.
        #[inline(always)]
        unsafe fn $strip(strip: &Strip) {
            // SAFETY: the caller's promise; the constants of a whole block are there.
            unsafe {
                blocks::<CHANNELS, _, _>(
                    strip,
                    (strip.weights, strip.notes),
                    #[inline(always)]
                    |bias| {
                        let zero = vdupq_n_s32(0);
                        [std::array::from_fn(|c| vsetq_lane_s32::<0>(*bias.add(c), zero)); $n]
                    },
                    #[inline(always)]
                    |w, acc| $multiply(strip.rows, strip.taps, strip.depth, w, acc),
                    #[inline(always)]
                    |rule, channel, acc| finish(strip, rule, channel, acc),
                );
            }
        }
    };
}

tile!(5 multiply_5 strip_5 macs=640
    (0 x0: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3)
    (1 x1: 4 "v4" 0, 5 "v5" 1, 6 "v6" 2, 7 "v7" 3)
    (2 x2: 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3)
    (3 x3: 12 "v12" 0, 13 "v13" 1, 14 "v14" 2, 15 "v15" 3)
    (4 x4: 16 "v16" 0, 17 "v17" 1, 18 "v18" 2, 19 "v19" 3));
tile!(4 multiply_4 strip_4 macs=512
    (0 x0: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3)
    (1 x1: 4 "v4" 0, 5 "v5" 1, 6 "v6" 2, 7 "v7" 3)
    (2 x2: 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3)
    (3 x3: 12 "v12" 0, 13 "v13" 1, 14 "v14" 2, 15 "v15" 3));
tile!(3 multiply_3 strip_3 macs=384
    (0 x0: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3)
    (1 x1: 4 "v4" 0, 5 "v5" 1, 6 "v6" 2, 7 "v7" 3)
    (2 x2: 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3));
tile!(2 multiply_2 strip_2 macs=256
    (0 x0: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3)
    (1 x1: 4 "v4" 0, 5 "v5" 1, 6 "v6" 2, 7 "v7" 3));
tile!(1 multiply_1 strip_1 macs=128
    (0 x0: 0 "v0" 0, 1 "v1" 1, 2 "v2" 2, 3 "v3" 3));

/// Adds up the lanes of each of four vectors.
#[inline(always)]
fn add_across(acc: &[int32x4_t; CHANNELS]) -> int32x4_t {
    // SAFETY: every aarch64 processor that runs Linux has NEON.
    unsafe { vpaddq_s32(vpaddq_s32(acc[0], acc[1]), vpaddq_s32(acc[2], acc[3])) }
}

/// Rounds and stores a tile's block of channels from `channel` on, two pixels at a time.
///
/// # Safety
/// As [`Tile::conv`], for `N` pixels.
#[inline(always)]
unsafe fn finish<const N: usize>(
    strip: &Strip,
    rule: Rule,
    channel: usize,
    acc: &[[int32x4_t; CHANNELS]; N],
) {
    // SAFETY: the constants, outputs and residuals of a whole block are there.
    unsafe {
        let m = vld1q_f32(strip.multiplier.add(channel));
        let (y, r) = (strip.y.add(channel), strip.residual.wrapping_add(channel));
        let value = |p: usize| Rule::scale(add_across(&acc[p]), m);
        let added = |p: usize| {
            let four = r
                .wrapping_add(p * strip.stride)
                .cast::<u32>()
                .read_unaligned();
            let four = rule.residual(vreinterpret_s8_u32(vdup_n_u32(four)));
            rule.add(value(p), vget_low_s16(four))
        };
        for p in (0..N).step_by(2) {
            let q = (p + 1).min(N - 1);
            let both = if strip.residual.is_null() {
                rule.eight([value(p), value(q)])
            } else {
                rule.eight([added(p), added(q)])
            };
            let fours = vreinterpret_u32_s8(both);
            let to = y.add(p * strip.stride).cast::<u32>();
            to.write_unaligned(vget_lane_u32::<0>(fours));
            if q > p {
                let to = to.byte_add(strip.stride);
                to.write_unaligned(vget_lane_u32::<1>(fours));
            }
        }
    }
}
