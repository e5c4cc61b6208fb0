//! The rounding rule of [`Requant`] in NEON, for four channels at a time.
//!
//! The rule clamps before it rounds; here the narrowing instructions saturate after it. Both give the
//! same: the bounds are integers and rounding is monotonic. `fcvtns` rounds half to even.
#![allow(unsafe_code)] // intrinsics on raw pointers

use std::arch::aarch64::*;

use super::super::Requant;
use super::super::driver::Strip;

/// A layer's constants, spread over vectors.
#[derive(Clone, Copy)]
pub struct Rule {
    output_zero: int16x8_t,
    /// As stored, 16 times: what ReLU leaves at least, or the least value.
    low: int8x16_t,
    residual_zero: int8x16_t,
    residual_multiplier: float32x4_t,
}

impl Rule {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // 8-bit values, -128..=127
    pub fn new(rule: &Requant) -> Self {
        let residual = rule.residual.map_or((128, 0.0), |r| (r.zero, r.multiplier));
        let zero = rule.output_zero - 128;
        // SAFETY: every aarch64 processor that runs Linux has NEON.
        unsafe {
            Self {
                output_zero: vdupq_n_s16(zero as i16),
                low: vdupq_n_s8((rule.low as i32 + zero) as i8),
                residual_zero: vdupq_n_s8((residual.0 - 128) as i8),
                residual_multiplier: vdupq_n_f32(residual.1),
            }
        }
    }

    /// Eight residuals less their zero point.
    #[inline(always)]
    pub fn residual(&self, r: int8x8_t) -> int16x8_t {
        // SAFETY: as in `new`.
        unsafe { vsubl_s8(r, vget_low_s8(self.residual_zero)) }
    }

    /// Four sums, bias included, scaled.
    #[inline(always)]
    pub fn scale(sums: int32x4_t, multiplier: float32x4_t) -> float32x4_t {
        // SAFETY: as in `new`.
        unsafe { vmulq_f32(vcvtq_f32_s32(sums), multiplier) }
    }

    /// Adds four residuals; the multiplication and the addition round separately.
    #[inline(always)]
    pub fn add(&self, t: float32x4_t, residual: int16x4_t) -> float32x4_t {
        // SAFETY: as in `new`.
        unsafe {
            let r = vcvtq_f32_s32(vmovl_s16(residual));
            vaddq_f32(t, vmulq_f32(r, self.residual_multiplier))
        }
    }

    /// Sixteen sums, bias included, scaled.
    #[inline(always)]
    pub fn scaled(sums: [int32x4_t; 4], multipliers: [float32x4_t; 4]) -> [float32x4_t; 4] {
        std::array::from_fn(|q| Self::scale(sums[q], multipliers[q]))
    }

    /// Adds sixteen residuals as they are stored.
    #[inline(always)]
    pub fn added(&self, t: [float32x4_t; 4], residuals: int8x16_t) -> [float32x4_t; 4] {
        // SAFETY: as in `new`.
        unsafe {
            let low = self.residual(vget_low_s8(residuals));
            let high = vsubl_high_s8(residuals, self.residual_zero);
            [
                self.add(t[0], vget_low_s16(low)),
                self.add(t[1], vget_high_s16(low)),
                self.add(t[2], vget_low_s16(high)),
                self.add(t[3], vget_high_s16(high)),
            ]
        }
    }

    /// Eight values to the output's integers, not yet within 8 bits.
    #[inline(always)]
    pub fn round(&self, t: [float32x4_t; 2]) -> int16x8_t {
        // SAFETY: as in `new`.
        unsafe {
            let low = vqmovn_s32(vcvtnq_s32_f32(t[0]));
            let both = vqmovn_high_s32(low, vcvtnq_s32_f32(t[1]));
            vqaddq_s16(both, self.output_zero)
        }
    }

    /// Sixteen values as they are stored.
    #[inline(always)]
    pub fn sixteen(&self, t: [float32x4_t; 4]) -> int8x16_t {
        let (low, high) = (self.round([t[0], t[1]]), self.round([t[2], t[3]]));
        // SAFETY: as in `new`.
        unsafe { vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), self.low) }
    }

    /// Eight values as they are stored.
    #[inline(always)]
    pub fn eight(&self, t: [float32x4_t; 2]) -> int8x8_t {
        // SAFETY: as in `new`.
        unsafe { vmax_s8(vqmovn_s16(self.round(t)), vget_low_s8(self.low)) }
    }
}

/// `Tile::conv`: block after block of `CHANNELS` channels begins as its biases, is multiplied and rounded. `multiply` takes
/// where a block's weights are and says where the next one's are; `finish` has the block's first channel and its sums.
/// The closures want `inline(always)`: a call would take the sums through memory.
///
/// # Safety
/// As `Tile::conv`; the closures may rely on it, and `bias` on a whole block's constants.
#[inline(always)]
pub unsafe fn blocks<const CHANNELS: usize, W, S>(
    strip: &Strip,
    mut w: W,
    bias: impl Fn(*const i32) -> S,
    multiply: impl Fn(W, &mut S) -> W,
    finish: impl Fn(Rule, usize, &S),
) {
    let rule = Rule::new(strip.rule);
    for block in 0..strip.blocks {
        let channel = block * CHANNELS;
        // SAFETY: there are constants for all blocks.
        let mut acc = bias(unsafe { strip.bias.add(channel) });
        w = multiply(w, &mut acc);
        finish(rule, channel, &acc);
    }
}

/// Rounds and stores a tile's block of sixteen channels from `channel` on.
///
/// # Safety
/// As `Tile::conv`, for `N` pixels.
#[inline(always)]
pub unsafe fn finish<const N: usize>(
    strip: &Strip,
    rule: Rule,
    channel: usize,
    acc: &[[int32x4_t; 4]; N],
) {
    // SAFETY: the constants, outputs and residuals of a whole block are there.
    unsafe {
        let m = strip.multiplier.add(channel);
        let m: [_; 4] = std::array::from_fn(|q| vld1q_f32(m.add(4 * q)));
        let (mut y, mut r) = (strip.y.add(channel), strip.residual.wrapping_add(channel));
        if strip.residual.is_null() {
            for &acc in acc {
                vst1q_s8(y.cast(), rule.sixteen(Rule::scaled(acc, m)));
                y = y.wrapping_add(strip.stride);
            }
        } else {
            for &acc in acc {
                let t = rule.added(Rule::scaled(acc, m), vld1q_s8(r.cast()));
                vst1q_s8(y.cast(), rule.sixteen(t));
                y = y.wrapping_add(strip.stride);
                r = r.wrapping_add(strip.stride);
            }
        }
    }
}
