//! What an 8-bit number stands for: `real = scale * (q - zero_point)`.
//!
//! Values of these types have been checked, so that no kernel has to.

use thiserror::Error;

/// The real distance between two neighbouring 8-bit values: finite and positive.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Scale(f32);

impl Scale {
    /// # Errors
    /// If `value` is not finite and positive, or so extreme that ratios of two scales could overflow.
    pub fn new(value: f32) -> Result<Self, QuantError> {
        if (1e-12..=1e12).contains(&value) {
            Ok(Self(value))
        } else {
            Err(QuantError::Scale(value))
        }
    }

    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl std::hash::Hash for Scale {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// A scale is never NaN, so it equals itself.
impl Eq for Scale {}

/// The 8-bit value that stands for zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZeroPoint(pub u8);

impl ZeroPoint {
    #[must_use]
    pub fn get(self) -> i32 {
        i32::from(self.0)
    }
}

/// How a tensor's 8-bit values are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quant {
    pub scale: Scale,
    pub zero: ZeroPoint,
}

impl Quant {
    /// # Errors
    /// If the scale is not finite and positive or the zero point is outside `0..=255`.
    pub fn new(scale: f32, zero: i64) -> Result<Self, QuantError> {
        let zero = u8::try_from(zero).map_err(|_| QuantError::Zero(zero))?;
        Ok(Self {
            scale: Scale::new(scale)?,
            zero: ZeroPoint(zero),
        })
    }
}

/// How a backend keeps 8-bit activations in memory. What a bundle says, and what zero points count
/// from, is always `0..=255`; processors whose instructions multiply signed by signed keep `q - 128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// `q` itself, as u8.
    Unsigned,
    /// `q - 128`, as i8: the same byte with its top bit flipped.
    Signed,
}

impl Storage {
    /// What is subtracted from `q`.
    #[must_use]
    pub const fn offset(self) -> i32 {
        match self {
            Self::Unsigned => 0,
            Self::Signed => 128,
        }
    }

    /// `stored = q ^ flip`, and back.
    #[must_use]
    pub const fn flip(self) -> u8 {
        match self {
            Self::Unsigned => 0,
            Self::Signed => 0x80,
        }
    }
}

#[derive(Debug, Error, PartialEq)]
pub enum QuantError {
    #[error("scale {0} is not a positive finite number within 1e-12 to 1e12")]
    Scale(f32),
    #[error("zero point {0} is not within 0 to 255")]
    Zero(i64),
    #[error("{what}: {got} values where the layer has {want} output channels")]
    Count {
        what: &'static str,
        got: usize,
        want: usize,
    },
    #[error("the ratio of scales {0} is beyond what a sum can be multiplied by")]
    Ratio(f32),
    #[error("weight {0} is outside -127 to 127")]
    Weight(i8),
    #[error("bias {0} of output channel {1} can overflow the 32-bit sum")]
    Bias(i32, usize),
}
