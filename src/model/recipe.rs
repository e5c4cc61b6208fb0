//! How a float network is made int8: which of the known improvements are applied.

use std::fmt;

use super::calibrate::Method;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// How ranges of activations are chosen.
    pub method: Method,
    /// Whether channels are made equally large between convolutions (`equalize`).
    pub equalize: bool,
    /// Whether biases make up for what rounded weights add to the mean (`round`).
    pub correct: bool,
    /// Whether weights' scales are fitted to them (`round`).
    pub fit: bool,
}

impl Recipe {
    pub const PLAIN: Self = Self {
        method: Method::Minmax,
        equalize: false,
        correct: false,
        fit: false,
    };

    /// Where nothing can be compared.
    pub const DEFAULT: Self = Self {
        correct: true,
        ..Self::PLAIN
    };

    /// What is compared: each improvement alone and with others, and each way to choose ranges. The most promising come
    /// first, for whoever has no time for all.
    pub const ALL: [Self; 9] = [
        Self::DEFAULT,
        Self {
            equalize: true,
            ..Self::PLAIN
        },
        Self {
            equalize: true,
            ..Self::DEFAULT
        },
        Self::PLAIN,
        Self::with(Method::Mse),
        Self::with(Method::Entropy),
        Self {
            equalize: true,
            fit: true,
            ..Self::DEFAULT
        },
        Self {
            fit: true,
            ..Self::PLAIN
        },
        Self::with(Method::Percentile),
    ];

    const fn with(method: Method) -> Self {
        Self {
            method,
            ..Self::PLAIN
        }
    }
}

/// What a recipe is called that equalizes, among other words.
const EQUALIZED: &str = "equalized";

/// Whether a bundle's method, as [`Recipe`] shows itself, divided channels by factors of their own.
#[must_use]
pub fn is_equalized(method: &str) -> bool {
    method.split(", ").any(|word| word == EQUALIZED)
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.method.to_string();
        for (yes, word) in [
            (self.equalize, EQUALIZED),
            (self.correct, "bias corrected"),
            (self.fit, "weights fitted"),
        ] {
            if yes {
                text += ", ";
                text += word;
            }
        }
        f.pad(&text)
    }
}
