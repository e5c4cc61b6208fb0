//! From logits to probabilities: one routine, in a fixed order, with one `exp` (crate libm), so that
//! the same logits give the same bytes on every processor and C library.

use crate::spec::Activation;

/// Writes the probabilities of `logits`, divided by `temperature`, to `out`, which has the same length.
pub fn probabilities(activation: Activation, temperature: f32, logits: &[f32], out: &mut [f32]) {
    match activation {
        Activation::Softmax => softmax(temperature, logits, out),
        Activation::Sigmoid => {
            for (out, &x) in out.iter_mut().zip(logits) {
                *out = 1.0 / (1.0 + libm::expf(-x / temperature));
            }
        }
    }
}

fn softmax(temperature: f32, logits: &[f32], out: &mut [f32]) {
    let highest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut sum = 0.0;
    for (out, &x) in out.iter_mut().zip(logits) {
        *out = libm::expf((x - highest) / temperature);
        sum += *out;
    }
    for out in out {
        *out /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_survives_large_logits() {
        let mut out = [0.0; 3];
        probabilities(
            Activation::Softmax,
            1.0,
            &[1000.0, 999.0, -1000.0],
            &mut out,
        );
        assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((out[0] - 0.731_058_6).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn sigmoid_scores_each_label_for_itself() {
        let mut out = [0.0; 2];
        probabilities(Activation::Sigmoid, 1.0, &[0.0, 100.0], &mut out);
        assert_eq!(out, [0.5, 1.0]);
    }

    #[test]
    fn a_higher_temperature_makes_less_sure_and_changes_no_order() {
        let (mut cold, mut warm) = ([0.0; 3], [0.0; 3]);
        for activation in [Activation::Softmax, Activation::Sigmoid] {
            probabilities(activation, 1.0, &[1.0, 3.0, 2.0], &mut cold);
            probabilities(activation, 2.0, &[1.0, 3.0, 2.0], &mut warm);
            assert!(warm[1] < cold[1] && warm[1] > warm[2] && warm[2] > warm[0]);
        }
    }
}
