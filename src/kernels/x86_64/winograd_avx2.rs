//! Winograd's method on AVX2: `winograd_i16_6x16c2_avx2` multiplies six tiles by sixteen channels with
//! `vpmaddwd`, sixteen products an instruction, each worth four of a direct convolution, and of values
//! that need no widening.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::*;

use super::super::driver::Tile;
use super::super::winograd::transform::{NINTH, Vectors};
use super::super::winograd::{CHANNELS, Products};
use super::super::{Requant, Storage};
use super::avx2::{Avx2, Rule, round};

/// Every function below: `self` proves that the processor has AVX2.
impl Vectors for Avx2 {
    const LANES: usize = 16;
    type Values = __m256i;
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn load(self, bytes: *const u8, flip: u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let flips = _mm_set1_epi8(flip.cast_signed());
            _mm256_cvtepi8_epi16(_mm_xor_si128(_mm_loadu_si128(bytes.cast()), flips))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i16, values: __m256i) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), values) }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: AVX2.
        unsafe { _mm256_add_epi16(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: AVX2.
        unsafe { _mm256_sub_epi16(a, b) }
    }

    #[inline(always)]
    fn add_times<const K: i16>(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: AVX2.
        unsafe { _mm256_add_epi16(a, _mm256_mullo_epi16(b, _mm256_set1_epi16(K))) }
    }

    #[inline(always)]
    unsafe fn load_sums(self, from: *const i32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_sums(self, to: *mut i32, sums: __m256i) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), sums) }
    }

    #[inline(always)]
    fn add_sums(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn sub_sums(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: AVX2.
        unsafe { _mm256_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn shift_sums<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: AVX2.
        unsafe { _mm256_slli_epi32::<N>(a) }
    }

    /// Two shifts: a 32-bit multiplication takes longer.
    #[inline(always)]
    fn add_sums_times<const K: i32>(self, a: __m256i, b: __m256i) -> __m256i {
        let (low, high) = (K.trailing_zeros(), K.ilog2());
        let sum = self.add_sums(a, shift(b, low));
        if low == high {
            sum
        } else {
            self.add_sums(sum, shift(b, high))
        }
    }

    #[inline(always)]
    fn exact(self, sum: __m256i) -> __m256i {
        // SAFETY: AVX2.
        unsafe { _mm256_srai_epi32::<6>(_mm256_mullo_epi32(sum, _mm256_set1_epi32(NINTH))) }
    }
}

#[inline(always)]
fn shift(a: __m256i, bits: u32) -> __m256i {
    // SAFETY: called where a value of `Avx2` is at hand.
    unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(bits.cast_signed())) }
}

impl Products for Avx2 {
    const PAIR: usize = 2;
    const TILES: usize = 6;
    const STORAGE: Storage = Storage::Unsigned;

    /// 28x28 pixels: at 14x14 both take the same time where two units multiply, and half of it where one does.
    fn gains_from(self) -> usize {
        let [vendor, signature] = [__cpuid(0), __cpuid(1)];
        if has_one_multiplier([vendor.ebx, vendor.edx, vendor.ecx], signature.eax) {
            1
        } else {
            49
        }
    }

    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        Tile::enter(self, f)
    }

    #[inline(always)]
    unsafe fn multiply(self, tiles: usize, in_c: usize, v: *const i16, u: *const i16, m: *mut i32) {
        // SAFETY: the caller's promise; `self` proves that the processor has AVX2.
        unsafe {
            match tiles {
                6 => products::<6>(in_c, v, u, m),
                5 => products::<5>(in_c, v, u, m),
                4 => products::<4>(in_c, v, u, m),
                3 => products::<3>(in_c, v, u, m),
                2 => products::<2>(in_c, v, u, m),
                _ => products::<1>(in_c, v, u, m),
            }
        }
    }

    #[inline(always)]
    unsafe fn round(
        self,
        rule: &Requant,
        constants: (*const i32, *const f32),
        sums: &[i32; CHANNELS],
        residual: *const u8,
        y: *mut u8,
    ) {
        // SAFETY: the caller's promise; `self` proves that the processor has AVX2.
        unsafe {
            let sums = sums.as_ptr();
            let sums = [0, 8].map(|at| _mm256_loadu_si256(sums.add(at).cast()));
            if residual.is_null() {
                round::<false>(Rule::new(rule), constants, sums, residual, y);
            } else {
                round::<true>(Rule::new(rule), constants, sums, residual, y);
            }
        }
    }
}

/// Whether a processor multiplies vectors of 8- or 16-bit integers in one of its units only, by CPUID's vendor and
/// signature: AMD's Zen to Zen 2, Intel's Haswell and Broadwell (Fog, "Instruction tables": `pmaddubsw`, `pmaddwd`).
fn has_one_multiplier(vendor: [u32; 3], signature: u32) -> bool {
    let family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
    let model = signature >> 4 & 0xf | signature >> 12 & 0xf0;
    match vendor.map(u32::to_le_bytes).as_flattened() {
        b"AuthenticAMD" => family == 0x17,
        b"GenuineIntel" => {
            family == 6 && [0x3c, 0x3d, 0x3f, 0x45, 0x46, 0x47, 0x4f, 0x56].contains(&model)
        }
        _ => false,
    }
}

/// # Safety
/// As [`Products::multiply`], for `N` tiles.
#[target_feature(enable = "avx2")]
unsafe fn products<const N: usize>(in_c: usize, v: *const i16, u: *const i16, m: *mut i32) {
    let mut acc = [[_mm256_setzero_si256(); 2]; N];
    for pair in 0..in_c / 2 {
        // SAFETY: each pair of channels has 32 weights and a pair of values in each row.
        unsafe {
            let u = u.add(32 * pair);
            let weights = [0, 16].map(|at| _mm256_loadu_si256(u.add(at).cast()));
            for (p, acc) in acc.iter_mut().enumerate() {
                let pair = v.add(p * in_c).cast::<i32>().add(pair).read_unaligned();
                let pair = _mm256_set1_epi32(pair);
                for half in 0..2 {
                    let products = _mm256_madd_epi16(pair, weights[half]);
                    acc[half] = _mm256_add_epi32(acc[half], products);
                }
            }
        }
    }
    for (p, acc) in acc.into_iter().enumerate() {
        for (half, acc) in acc.into_iter().enumerate() {
            // SAFETY: `m` has room for sixteen sums of each tile.
            unsafe { _mm256_storeu_si256(m.add(16 * p + 8 * half).cast(), acc) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_that_multiply_in_one_unit_are_known_by_family_and_model() {
        let vendor = |name: &[u8; 12]| {
            [0, 4, 8].map(|at| u32::from_le_bytes(name[at..at + 4].try_into().unwrap()))
        };
        let [amd, intel] = [b"AuthenticAMD", b"GenuineIntel"].map(vendor);
        for (vendor, signature, one) in [
            (amd, 0x0080_0f12, true),    // EPYC 7001, Zen
            (amd, 0x0083_0f10, true),    // EPYC 7002, Zen 2
            (amd, 0x00a0_0f11, false),   // EPYC 7003, Zen 3
            (intel, 0x0003_06c3, true),  // Core i5-4590, Haswell
            (intel, 0x0004_06f1, true),  // Xeon E5 v4, Broadwell
            (intel, 0x0005_06e3, false), // Core i5-6500, Skylake
            ([0; 3], 0x0080_0f12, false),
        ] {
            assert_eq!(has_one_multiplier(vendor, signature), one, "{signature:#x}");
        }
    }
}
