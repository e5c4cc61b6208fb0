//! The same conversion and resampling, compiled for AVX2, which x86-64 does not imply: the bytes are equal,
//! in less than half of the time. LLVM makes vectors of the conversion and of the columns; the sum of a row's
//! pixels is written out here because it does not. (NEON is part of every aarch64: nothing to do there.)

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_cvtepu8_epi32, _mm_cvtsi32_si128, _mm_cvtsi64_si128,
    _mm_cvtsi128_si32, _mm_mullo_epi32, _mm_packs_epi32, _mm_packus_epi16, _mm_set1_epi32,
    _mm_srai_epi32, _mm256_add_epi32, _mm256_castsi128_si256, _mm256_castsi256_si128,
    _mm256_cvtepu8_epi32, _mm256_extracti128_si256, _mm256_mullo_epi32,
    _mm256_permutevar8x32_epi32, _mm256_setr_epi32, _mm256_setzero_si256,
};

use super::convert::Rgbx;
use super::pixels::Picture;
use super::resample::{HALF, PRECISION, Plan, Scratch};

/// Does what [`Plan::run`] does, if this processor has AVX2; else nothing, and says false.
pub(super) fn run(
    plan: &Plan,
    picture: &Picture<'_>,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> bool {
    let here = std::arch::is_x86_feature_detected!("avx2");
    if here {
        // SAFETY: the one thing that a function compiled for AVX2 asks of its caller is a processor with AVX2,
        // and the line above has found it.
        #[allow(unsafe_code)]
        unsafe {
            run_here(plan, picture, scratch, out);
        }
    }
    here
}

#[target_feature(enable = "avx2")]
fn run_here(plan: &Plan, picture: &Picture<'_>, scratch: &mut Scratch, out: &mut [u8]) {
    plan.run_with(
        |axis, source, out| axis.each_output(source, out, |pixels, weights| sum(pixels, weights)),
        picture,
        scratch,
        out,
    );
}

/// The weighted sum of pixels, rounded to bytes: two pixels at a time, a word for each channel.
#[target_feature(enable = "avx2")]
#[inline]
fn sum(pixels: &[Rgbx], weights: &[i32]) -> [u8; 3] {
    let (pixel_pairs, odd_pixel) = pixels.as_chunks();
    let (weight_pairs, odd_weight) = weights.as_chunks();
    let spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    let mut sums = _mm256_setzero_si256();
    for (&pixels, &weights) in pixel_pairs.iter().zip(weight_pairs) {
        let channels = _mm256_cvtepu8_epi32(two(pixels));
        let weights = two(weights.map(i32::cast_unsigned));
        let weights = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(weights), spread);
        sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(channels, weights));
    }
    let mut total = _mm_add_epi32(
        _mm256_castsi256_si128(sums),
        _mm256_extracti128_si256::<1>(sums),
    );
    if let (&[pixel], &[weight]) = (odd_pixel, odd_weight) {
        let channels = _mm_cvtepu8_epi32(_mm_cvtsi32_si128(pixel.cast_signed()));
        total = _mm_add_epi32(total, _mm_mullo_epi32(channels, _mm_set1_epi32(weight)));
    }
    let rounded =
        _mm_srai_epi32::<{ PRECISION.cast_signed() }>(_mm_add_epi32(total, _mm_set1_epi32(HALF)));
    let words = _mm_packs_epi32(rounded, rounded);
    let [r, g, b, _] = _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes();
    [r, g, b]
}

/// Two words beside each other, in one load.
#[target_feature(enable = "avx2")]
#[inline]
fn two([first, second]: [u32; 2]) -> __m128i {
    _mm_cvtsi64_si128((u64::from(first) | u64::from(second) << 32).cast_signed())
}
