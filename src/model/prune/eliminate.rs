//! In which order the channels of one convolution go, what each costs, and what its reader's weights become.
//!
//! A reader sees its input `x` through `W x`. If channel `c` goes and the remaining weights are fitted anew by least squares,
//! the output's error grows by `|w_c|^2 / P_cc`, where `P` is the inverse of the covariance of `x`: the saliency of the Optimal
//! Brain Surgeon (Hassibi and Stork, 1993) for whole channels, without gradients. The cheapest channel goes first, `W` and
//! `P` are brought up to date, and so on to the last (as Frantar and Alistarh, 2022, do for single weights). Of a 3x3
//! reader the nine weights of a channel count together, as if neighbouring pixels were independent.

use tract_nnef::internal::tract_ndarray::{Array2, Axis};

use super::linear::Cholesky;
use crate::model::error::ModelError;

/// Added to the covariance's diagonal, as a share of its mean: channels that hardly vary have an inverse, too.
const RIDGE: f64 = 1e-3;

/// How the channels of a map vary together.
#[derive(Debug, Clone)]
pub struct Covariance {
    pub mean: Vec<f64>,
    pub matrix: Array2<f64>,
}

/// A reader's weights as a matrix: a row for each output and pixel of the kernel, a column for each channel.
pub type Columns = Array2<f64>;

/// The channels of one map in the order in which they go.
#[derive(Debug, Clone)]
pub struct Elimination {
    pub order: Vec<usize>,
    /// `error[n]`: what is lost of the reader's output without the first `n`, as a share of its variance.
    pub error: Vec<f64>,
}

impl Covariance {
    fn ridge(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // channels
        let mean = self.matrix.diag().sum() / self.matrix.nrows().max(1) as f64;
        (mean * RIDGE).max(1e-12)
    }

    fn damped(&self) -> Array2<f64> {
        let mut damped = self.matrix.clone();
        let ridge = self.ridge();
        damped.diag_mut().iter_mut().for_each(|v| *v += ridge);
        damped
    }
}

impl Elimination {
    /// Of channels of which nothing is known yet.
    #[must_use]
    pub fn nothing(channels: usize) -> Self {
        Self {
            order: (0..channels).collect(),
            error: vec![0.0; channels + 1],
        }
    }

    /// # Errors
    /// If the covariance holds what is no number; `name` is the layer's.
    pub fn of(covariance: &Covariance, reader: &Columns, name: &str) -> Result<Self, ModelError> {
        let not_finite = || ModelError::NotFinite(name.to_owned());
        let n = covariance.mean.len();
        let factor = Cholesky::of(covariance.damped()).ok_or_else(not_finite)?;
        let mut inverse = factor.inverse();
        let ridge = covariance.ridge();
        let mut gram = reader.t().dot(reader);
        let whole = (&gram * &covariance.matrix).sum();
        let mut left: Vec<usize> = (0..n).collect();
        let (mut order, mut error, mut lost) = (Vec::with_capacity(n), vec![0.0], 0.0);
        while !left.is_empty() {
            let cost = |c: usize| {
                // what of the channel the others cannot say, less what the ridge added to it
                let own = (1.0 / inverse[[c, c]] - ridge).max(0.0);
                gram[[c, c]].max(0.0) * own
            };
            let cheapest = (0..left.len()).min_by(|&a, &b| {
                let (a, b) = (left[a], left[b]);
                cost(a).total_cmp(&cost(b)).then(a.cmp(&b))
            });
            let c = left.remove(cheapest.unwrap_or(0));
            lost += cost(c);
            order.push(c);
            error.push(if whole > 0.0 {
                (lost / whole).min(1.0)
            } else {
                0.0
            });
            remove(c, &left, &mut inverse, &mut gram);
        }
        if error.iter().all(|e| e.is_finite()) {
            Ok(Self { order, error })
        } else {
            Err(not_finite())
        }
    }

    /// The channels that stay where `count` do, ascending.
    #[must_use]
    pub fn kept(&self, count: usize) -> Vec<usize> {
        let mut kept = self.order[self.order.len().saturating_sub(count)..].to_vec();
        kept.sort_unstable();
        kept
    }
}

/// Takes channel `c` out of the inverse covariance, and out of the weights' products: each remaining column `j` takes up
/// `-w_c P_cj / P_cc`.
fn remove(c: usize, left: &[usize], inverse: &mut Array2<f64>, gram: &mut Array2<f64>) {
    let row = inverse.row(c).to_owned();
    let products = gram.row(c).to_owned();
    let (pivot, own) = (row[c], products[c]);
    for &i in left {
        let share = row[i] / pivot;
        for &j in left {
            let other = row[j] / pivot;
            inverse[[i, j]] -= share * row[j];
            gram[[i, j]] += share * other * own - share * products[j] - products[i] * other;
        }
    }
}

/// What a reader does without the removed channels.
pub struct Refitted {
    /// The columns of the kept channels.
    pub columns: Columns,
    /// Per row, what its bias takes up.
    pub bias: Vec<f64>,
}

/// The least squares fit of the reader's output by the `kept` channels alone (ascending).
///
/// # Errors
/// If the covariance holds what is no number.
pub fn refit(
    covariance: &Covariance,
    reader: &Columns,
    kept: &[usize],
    name: &str,
) -> Result<Refitted, ModelError> {
    let removed: Vec<usize> = (0..covariance.mean.len())
        .filter(|c| kept.binary_search(c).is_err())
        .collect();
    let damped = covariance.damped();
    let inner = damped.select(Axis(0), kept).select(Axis(1), kept);
    let factor = Cholesky::of(inner).ok_or_else(|| ModelError::NotFinite(name.to_owned()))?;
    // each removed channel as a sum of kept ones
    let mut shares = covariance
        .matrix
        .select(Axis(0), &removed)
        .select(Axis(1), kept);
    let mut rest = Vec::with_capacity(removed.len());
    for (&channel, mut row) in removed.iter().zip(shares.rows_mut()) {
        let mut share = row.to_vec();
        factor.solve(&mut share);
        let predicted: f64 = share
            .iter()
            .zip(kept)
            .map(|(s, &k)| s * covariance.mean[k])
            .sum();
        rest.push(covariance.mean[channel] - predicted);
        row.iter_mut().zip(share).for_each(|(to, s)| *to = s);
    }
    let gone = reader.select(Axis(1), &removed);
    let columns = reader.select(Axis(1), kept) + gone.dot(&shares);
    let bias = gone
        .rows()
        .into_iter()
        .map(|row| row.iter().zip(&rest).map(|(w, r)| w * r).sum());
    Ok(Refitted {
        bias: bias.collect(),
        columns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Channels that are sums of fewer independent ones, and one that is always the same.
    fn made(channels: usize, hidden: usize) -> Covariance {
        let mut random = Random::new(5);
        let mixed = Array2::from_shape_fn((channels, hidden), |_| f64::from(random.normal()));
        let mut matrix = mixed.dot(&mixed.t());
        matrix.row_mut(0).fill(0.0);
        matrix.column_mut(0).fill(0.0);
        Covariance {
            mean: (0..channels).map(|c| c as f64).collect(),
            matrix,
        }
    }

    fn weights(channels: usize) -> Columns {
        let mut random = Random::new(6);
        Array2::from_shape_fn((7, channels), |_| f64::from(random.normal()))
    }

    /// Share of the output's variance that is lost by a fit.
    fn lost(covariance: &Covariance, reader: &Columns, kept: &[usize]) -> f64 {
        let fitted = refit(covariance, reader, kept, "made").unwrap();
        let mut off = reader.clone();
        for (i, &k) in kept.iter().enumerate() {
            let column = reader.column(k).to_owned() - fitted.columns.column(i);
            off.column_mut(k).assign(&column);
        }
        let variance = |w: &Columns| (w.t().dot(w) * &covariance.matrix).sum();
        variance(&off) / variance(reader)
    }

    #[test]
    fn what_never_varies_goes_first_and_what_others_can_say_goes_for_almost_nothing() {
        let (covariance, reader) = (made(12, 4), weights(12));
        let found = Elimination::of(&covariance, &reader, "made").unwrap();
        assert_eq!(found.order[0], 0);
        assert!(found.error[8] < 0.02, "{:?}", found.error);
        assert!(found.error[10] > 0.05, "{:?}", found.error);
        assert!(found.error.windows(2).all(|e| e[0] <= e[1]));
    }

    #[test]
    fn the_errors_told_are_those_of_the_fit() {
        let (mut covariance, reader) = (made(12, 12), weights(12));
        covariance
            .matrix
            .diag_mut()
            .iter_mut()
            .for_each(|v| *v += 0.5);
        let found = Elimination::of(&covariance, &reader, "made").unwrap();
        for count in [3, 6, 9] {
            let real = lost(&covariance, &reader, &found.kept(count));
            let told = found.error[12 - count];
            assert!(
                (real - told).abs() < 0.02 * told + 1e-3,
                "{count}: {real} {told}"
            );
        }
    }

    #[test]
    fn the_bias_takes_up_what_a_constant_channel_gave() {
        let (covariance, reader) = (made(6, 6), weights(6));
        let mut constant = covariance;
        constant.mean[0] = 3.0;
        let fitted = refit(&constant, &reader, &[1, 2, 3, 4, 5], "made").unwrap();
        for (bias, w) in fitted.bias.iter().zip(reader.column(0)) {
            assert!((bias - 3.0 * w).abs() < 1e-9);
        }
    }
}
