//! Winograd's method on NEON: `winograd_i16_5x16_neon` multiplies five tiles by sixteen channels with
//! `smlal`, four products an instruction, each worth four of a direct convolution.
#![allow(unsafe_code)] // assembly and intrinsics

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::winograd::Products;
use super::super::winograd::transform::{NINTH, Vectors};
use super::super::{Requant, Storage};
use super::epilogue::Rule;
use super::neon::Neon;

/// Every function below: `self` proves that the processor has NEON.
impl Vectors for Neon {
    const LANES: usize = 8;
    type Values = int16x8_t;
    type Sums = int32x4_t;

    #[inline(always)]
    unsafe fn load(self, bytes: *const u8, flip: u8) -> int16x8_t {
        // SAFETY: the caller's promise.
        unsafe { vmovl_s8(vreinterpret_s8_u8(veor_u8(vld1_u8(bytes), vdup_n_u8(flip)))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i16, values: int16x8_t) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_s16(to, values) }
    }

    #[inline(always)]
    fn add(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        // SAFETY: NEON.
        unsafe { vaddq_s16(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        // SAFETY: NEON.
        unsafe { vsubq_s16(a, b) }
    }

    #[inline(always)]
    fn add_times<const K: i16>(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        // SAFETY: NEON.
        unsafe { vmlaq_s16(a, b, vdupq_n_s16(K)) }
    }

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_s32(from) }
    }

    #[inline(always)]
    unsafe fn store_sums(self, to: *mut i32, sums: int32x4_t) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_s32(to, sums) }
    }

    #[inline(always)]
    fn add_sums(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: NEON.
        unsafe { vaddq_s32(a, b) }
    }

    #[inline(always)]
    fn sub_sums(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: NEON.
        unsafe { vsubq_s32(a, b) }
    }

    #[inline(always)]
    fn shift_sums<const N: i32>(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: NEON.
        unsafe { vshlq_n_s32::<N>(a) }
    }

    #[inline(always)]
    fn add_sums_times<const K: i32>(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: NEON.
        unsafe { vmlaq_s32(a, b, vdupq_n_s32(K)) }
    }

    #[inline(always)]
    fn exact(self, sum: int32x4_t) -> int32x4_t {
        // SAFETY: NEON.
        unsafe { vshrq_n_s32::<6>(vmulq_s32(sum, vdupq_n_s32(NINTH))) }
    }
}

impl Products for Neon {
    const PAIR: usize = 1;
    const TILES: usize = 5;
    const STORAGE: Storage = Storage::Signed;

    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline(always)]
    unsafe fn multiply(self, tiles: usize, in_c: usize, v: *const i16, u: *const i16, m: *mut i32) {
        // SAFETY: the caller's promise; `self` proves the instructions.
        unsafe {
            match tiles {
                5 => products_5(in_c, v, u, m),
                4 => products_4(in_c, v, u, m),
                3 => products_3(in_c, v, u, m),
                2 => products_2(in_c, v, u, m),
                _ => products_1(in_c, v, u, m),
            }
        }
    }

    #[inline(always)]
    unsafe fn round(
        self,
        rule: &Requant,
        (bias, multiplier): (*const i32, *const f32),
        sums: &[i32; 16],
        residual: *const u8,
        y: *mut u8,
    ) {
        let vectors = Rule::new(rule);
        // SAFETY: the caller's promise: sixteen of everything.
        unsafe {
            let mut t: [_; 4] = std::array::from_fn(|q| {
                let sum = vld1q_s32(sums[4 * q..4 * q + 4].as_ptr());
                let sum = vaddq_s32(sum, vld1q_s32(bias.add(4 * q)));
                Rule::scale(sum, vld1q_f32(multiplier.add(4 * q)))
            });
            if !residual.is_null() {
                t = vectors.added(t, vld1q_s8(residual.cast()));
            }
            vst1q_s8(y.cast(), vectors.sixteen(t));
        }
    }
}

/// Two input channels of sixteen output channels, lanes `$l0` and `$l1` of each tile's inputs.
macro_rules! channels {
    ($l0:literal $l1:literal; $(($a:literal: $s0:literal $s1:literal $s2:literal $s3:literal))*) => {
        concat!(
            "ld1 {{v28.8h, v29.8h, v30.8h, v31.8h}}, [{u}], #64\n",
            $(
                "smlal v", $s0, ".4s, v28.4h, v", $a, ".h[", $l0, "]\n",
                "smlal2 v", $s1, ".4s, v28.8h, v", $a, ".h[", $l0, "]\n",
                "smlal v", $s2, ".4s, v29.4h, v", $a, ".h[", $l0, "]\n",
                "smlal2 v", $s3, ".4s, v29.8h, v", $a, ".h[", $l0, "]\n",
            )*
            $(
                "smlal v", $s0, ".4s, v30.4h, v", $a, ".h[", $l1, "]\n",
                "smlal2 v", $s1, ".4s, v30.8h, v", $a, ".h[", $l1, "]\n",
                "smlal v", $s2, ".4s, v31.4h, v", $a, ".h[", $l1, "]\n",
                "smlal2 v", $s3, ".4s, v31.8h, v", $a, ".h[", $l1, "]\n",
            )*
        )
    };
}

/// [`Products::multiply`] for `$n` tiles. Lanes of 16 bits are addressed in the first sixteen registers
/// only: inputs have the first of them, sums those from 8 on.
macro_rules! products {
    ($n:literal $name:ident macs=$macs:literal
     $(($p:literal $x:ident $a:literal $va:tt: $($s:literal $vs:tt $q:literal),*))*) => {
        /// # Safety
        /// As [`Products::multiply`], for this many tiles.
        #[inline(always)]
        unsafe fn $name(in_c: usize, v: *const i16, u: *const i16, m: *mut i32) {
            // SAFETY: reads `in_c` values of each row, eight at a time, and sixteen weights for each.
            unsafe {
                let mut acc = [[vdupq_n_s32(0); 4]; $n];
                asm!(
                    "2:",
                    concat!("// LLVM-MCA-BEGIN winograd_i16_", $n, "x16_neon macs=", $macs),
                    $(concat!("ldr q", $a, ", [{", stringify!($x), "}], #16"),)*
                    channels!("0" "1"; $(($a: $($s)*))*),
                    channels!("2" "3"; $(($a: $($s)*))*),
                    channels!("4" "5"; $(($a: $($s)*))*),
                    channels!("6" "7"; $(($a: $($s)*))*),
                    "subs {k}, {k}, #8",
                    "b.ne 2b",
                    "// LLVM-MCA-END",
                    u = inout(reg) u => _,
                    k = inout(reg) in_c => _,
                    $($x = inout(reg) v.add($p * in_c) => _, out($va) _,)*
                    $($(inout($vs) acc[$p][$q],)*)*
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(nostack, readonly),
                );
                for (p, acc) in acc.iter().enumerate() {
                    for (q, &acc) in acc.iter().enumerate() {
                        vst1q_s32(m.add(16 * p + 4 * q), acc);
                    }
                }
            }
        }
    };
}

products!(5 products_5 macs=640
    (0 x0 0 "v0": 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3)
    (1 x1 1 "v1": 12 "v12" 0, 13 "v13" 1, 14 "v14" 2, 15 "v15" 3)
    (2 x2 2 "v2": 16 "v16" 0, 17 "v17" 1, 18 "v18" 2, 19 "v19" 3)
    (3 x3 3 "v3": 20 "v20" 0, 21 "v21" 1, 22 "v22" 2, 23 "v23" 3)
    (4 x4 4 "v4": 24 "v24" 0, 25 "v25" 1, 26 "v26" 2, 27 "v27" 3));
products!(4 products_4 macs=512
    (0 x0 0 "v0": 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3)
    (1 x1 1 "v1": 12 "v12" 0, 13 "v13" 1, 14 "v14" 2, 15 "v15" 3)
    (2 x2 2 "v2": 16 "v16" 0, 17 "v17" 1, 18 "v18" 2, 19 "v19" 3)
    (3 x3 3 "v3": 20 "v20" 0, 21 "v21" 1, 22 "v22" 2, 23 "v23" 3));
products!(3 products_3 macs=384
    (0 x0 0 "v0": 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3)
    (1 x1 1 "v1": 12 "v12" 0, 13 "v13" 1, 14 "v14" 2, 15 "v15" 3)
    (2 x2 2 "v2": 16 "v16" 0, 17 "v17" 1, 18 "v18" 2, 19 "v19" 3));
products!(2 products_2 macs=256
    (0 x0 0 "v0": 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3)
    (1 x1 1 "v1": 12 "v12" 0, 13 "v13" 1, 14 "v14" 2, 15 "v15" 3));
products!(1 products_1 macs=128
    (0 x0 0 "v0": 8 "v8" 0, 9 "v9" 1, 10 "v10" 2, 11 "v11" 3));
