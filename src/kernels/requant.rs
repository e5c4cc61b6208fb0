//! The one rounding rule: how a 32-bit sum of products becomes an 8-bit activation.
//!
//! ```text
//! t = f32(acc) * m[c]  (+ f32(r - z_r) * m_r  where a residual input is fused)
//! y = round_half_even(clamp(t, lo - z_y, hi - z_y)) + z_y
//! ```
//!
//! with `m[c] = s_x * s_w[c] / s_y` and `m_r = s_r / s_y`. Converting, multiplying and adding are
//! three roundings to f32, never a fused multiply-add, so that every processor gives the same bits.
//! The clamp comes first: out of range, conversions to integers differ between processors.

use super::quant::{Quant, QuantError, Scale, Storage};

/// Per-layer constants of the rule. `bias` and `multiplier` are padded with zeros to a multiple of
/// [`Requant::PAD`] channels, so that a kernel may read whole vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Requant {
    /// In units of `s_x * s_w[c]`, the input's zero point folded in: `b - z_x * sum(w)`, counted as
    /// activations are stored.
    pub bias: Vec<i32>,
    pub multiplier: Vec<f32>,
    /// Lowest and highest output value less the output's zero point.
    pub low: f32,
    pub high: f32,
    pub output_zero: i32,
    /// Where a residual is added.
    pub residual: Option<Residual>,
}

/// How a residual input enters the sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    pub zero: i32,
    /// `s_r / s_y`.
    pub multiplier: f32,
}

impl Residual {
    /// # Errors
    /// If the ratio of scales is absurd.
    pub fn new(input: Quant, output: Quant) -> Result<Self, QuantError> {
        Ok(Self {
            zero: input.zero.get(),
            multiplier: bounded(input.scale.get() / output.scale.get())?,
        })
    }

    /// What `r` adds, in units of the output's scale.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // within -255..=255
    pub fn value(&self, r: u8) -> f32 {
        (i32::from(r) - self.zero) as f32 * self.multiplier
    }
}

impl Requant {
    /// Channels that a kernel may read at once.
    pub const PAD: usize = 64;

    /// # Errors
    /// If the number of biases or scales is not `weight_sums.len()`, or a sum could overflow.
    pub fn new(
        storage: Storage,
        (input, output, residual): (Quant, Quant, Option<Quant>),
        (bias, weight_scales): (&[i32], &[Scale]),
        weight_sums: &[WeightSum],
        relu: bool,
    ) -> Result<Self, QuantError> {
        let mut bias = fold_zero_point(storage, input, bias, weight_sums)?;
        let mut multiplier = multipliers(
            input.scale,
            weight_scales,
            Some(output.scale),
            weight_sums.len(),
        )?;
        let padded = weight_sums.len().next_multiple_of(Self::PAD);
        bias.resize(padded, 0);
        multiplier.resize(padded, 0.0);
        Ok(Self {
            bias,
            multiplier,
            residual: residual.map(|r| Residual::new(r, output)).transpose()?,
            ..Self::rounding(output, relu)
        })
    }

    /// Only the rule's end, for layers whose sums are not of products: no channel has a bias or multiplier.
    #[must_use]
    pub fn rounding(output: Quant, relu: bool) -> Self {
        let lowest = if relu { output.zero.0 } else { 0 };
        Self {
            bias: Vec::new(),
            multiplier: Vec::new(),
            low: f32::from(lowest) - f32::from(output.zero.0),
            high: 255.0 - f32::from(output.zero.0),
            output_zero: output.zero.get(),
            residual: None,
        }
    }

    /// The rule for one value of channel `c`; `acc` is the raw sum of products.
    #[inline(always)]
    #[must_use]
    pub fn apply(&self, acc: i32, c: usize, residual: Option<u8>) -> u8 {
        self.apply_with(acc, self.bias[c], self.multiplier[c], residual)
    }

    /// The same with the channel's constants at hand.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // the rule's own rounding
    pub fn apply_with(&self, acc: i32, bias: i32, multiplier: f32, residual: Option<u8>) -> u8 {
        let mut t = acc.wrapping_add(bias) as f32 * multiplier;
        if let (Some(rule), Some(r)) = (self.residual, residual) {
            t += rule.value(r);
        }
        self.round(t)
    }

    /// Clamps and rounds half to even.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0..=255
    pub fn round(&self, t: f32) -> u8 {
        (round_half_even(t.max(self.low).min(self.high)) + self.output_zero) as u8
    }
}

/// Rounds a number of magnitude below 2^22 half to even: adding 1.5 * 2^23 leaves no bits for a
/// fraction, and the low bits of the sum are the integer. Unlike `round_ties_even` it is two
/// instructions on every processor.
#[inline(always)]
fn round_half_even(t: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (t + MAGIC)
        .to_bits()
        .wrapping_sub(MAGIC.to_bits())
        .cast_signed()
}

/// What a channel's weights sum to: as they are, and in magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WeightSum {
    pub signed: i64,
    pub magnitude: i64,
}

/// `b - z_x * sum(w)` per channel, `z_x` as it is stored.
///
/// # Errors
/// If the counts differ, or `|bias| + 255 * sum|w|` does not fit 31 bits, so that some input could
/// overflow the sum.
pub fn fold_zero_point(
    storage: Storage,
    input: Quant,
    bias: &[i32],
    sums: &[WeightSum],
) -> Result<Vec<i32>, QuantError> {
    if bias.len() != sums.len() {
        return Err(QuantError::Count {
            what: "bias",
            got: bias.len(),
            want: sums.len(),
        });
    }
    bias.iter()
        .zip(sums)
        .enumerate()
        .map(|(c, (&b, sum))| {
            let bound = i64::from(b).abs() + 255 * sum.magnitude;
            if bound > i64::from(i32::MAX) {
                return Err(QuantError::Bias(b, c));
            }
            let zero = i64::from(input.zero.get() - storage.offset());
            let folded = i64::from(b) - zero * sum.signed;
            i32::try_from(folded).map_err(|_| QuantError::Bias(b, c))
        })
        .collect()
}

/// `s_x * s_w[c]`, divided by `s_y` if there is one, in that order.
///
/// # Errors
/// If there are not `channels` weight scales, or a ratio is absurd.
pub fn multipliers(
    input: Scale,
    weights: &[Scale],
    output: Option<Scale>,
    channels: usize,
) -> Result<Vec<f32>, QuantError> {
    if weights.len() != channels {
        return Err(QuantError::Count {
            what: "scales",
            got: weights.len(),
            want: channels,
        });
    }
    let product = |w: &Scale| input.get() * w.get();
    let ratio = |w: &Scale| output.map_or(product(w), |output| product(w) / output.get());
    weights.iter().map(|w| bounded(ratio(w))).collect()
}

/// Any 32-bit sum times the ratio stays finite, so that no processor's notion of infinities matters.
fn bounded(ratio: f32) -> Result<f32, QuantError> {
    if ratio < 1e20 {
        Ok(ratio)
    } else {
        Err(QuantError::Ratio(ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_both_ways() {
        let cases = [
            (0.5, 0),
            (1.5, 2),
            (2.5, 2),
            (-0.5, 0),
            (-1.5, -2),
            (254.5, 254),
            (3.49, 3),
        ];
        for (t, want) in cases {
            assert_eq!(round_half_even(t), want, "{t}");
        }
    }

    #[test]
    fn rounding_agrees_with_the_standard_library_over_the_whole_range() {
        for i in -2560..=2560 {
            let t = f64::from(i) / 10.0;
            #[allow(clippy::cast_possible_truncation)]
            let t = t as f32;
            #[allow(clippy::cast_possible_truncation)]
            let want = t.round_ties_even() as i32;
            assert_eq!(round_half_even(t), want, "{t}");
        }
    }

    #[test]
    fn a_sum_that_could_overflow_is_refused() {
        let input = Quant::new(1.0, 0).unwrap();
        let sums = [WeightSum {
            signed: 0,
            magnitude: 9_000_000,
        }];
        assert_eq!(
            fold_zero_point(Storage::Unsigned, input, &[7], &sums),
            Err(QuantError::Bias(7, 0))
        );
    }
}
