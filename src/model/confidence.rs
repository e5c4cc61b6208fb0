//! How sure a network may say it is: temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks").
//! One number divides the logits so that, of the labels told with 80 % confidence, four of five are right. It changes no
//! label.

use crate::infer::activation::probabilities;
use crate::label::{Prediction, Score};
use crate::spec::Activation;

/// Temperatures that are tried, as natural logarithms: e^-3 to e^3.
const RANGE: (f64, f64) = (-3.0, 3.0);
/// Halvings of it, nearly: to four digits.
const STEPS: usize = 40;
/// Confidences are compared with shares in so many groups of equal width.
const BINS: usize = 15;

/// What the network said of a labelled picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub logits: Vec<f32>,
    pub truth: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    pub temperature: f32,
    /// Expected calibration error at temperature 1, and at this one, on pictures that were not fitted to: the mean
    /// distance of confidence and share of right labels.
    pub before: f64,
    pub after: f64,
    /// How many were fitted to.
    pub images: usize,
}

/// Fits on every second answer and measures on the others.
#[must_use]
#[allow(clippy::cast_possible_truncation)] // four digits
pub fn fit(answers: &[Answer]) -> Fitted {
    let half = |odd: usize| answers.iter().skip(odd).step_by(2);
    let temperature = least(|log| likelihood(half(0), log.exp())).exp();
    let temperature = ((temperature * 1e4).round() / 1e4) as f32;
    Fitted {
        temperature,
        before: calibration_error(half(1), 1.0),
        after: calibration_error(half(1), temperature),
        images: half(0).count(),
    }
}

/// Where a function with one valley is least, by the golden section.
fn least(of: impl Fn(f64) -> f64) -> f64 {
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = RANGE;
    for _ in 0..STEPS {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if of(left) < of(right) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high)
}

/// The negative logarithm of the likelihood of the true labels.
fn likelihood<'a>(answers: impl Iterator<Item = &'a Answer>, temperature: f64) -> f64 {
    answers
        .map(|Answer { logits, truth }| {
            let scaled = || logits.iter().map(|&x| f64::from(x) / temperature);
            let highest = scaled().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scaled().map(|x| (x - highest).exp()).sum();
            let right = logits
                .get(*truth)
                .map_or(highest, |&x| f64::from(x) / temperature);
            highest + sum.ln() - right
        })
        .sum()
}

/// The most probable class; `prediction` is where that is found out.
pub fn surest(logits: &[f32], temperature: f32, prediction: &mut Prediction) -> Option<Score> {
    let found = &mut prediction.probabilities;
    found.resize(logits.len(), 0.0);
    probabilities(Activation::Softmax, temperature, logits, found);
    prediction.top(1).first().copied()
}

/// Answers of which the network was about equally sure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    pub count: usize,
    /// How many of them were right.
    pub right: usize,
    /// The sum of their confidences.
    pub confidence: f64,
}

/// All answers in groups of equal width, the least sure first.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // 0 to 1
pub fn bins<'a>(answers: impl Iterator<Item = &'a Answer>, temperature: f32) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    let mut prediction = Prediction::default();
    for Answer { logits, truth } in answers {
        let Some(top) = surest(logits, temperature, &mut prediction) else {
            continue;
        };
        let confidence = f64::from(top.confidence);
        let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.count += 1;
        bin.right += usize::from(top.class_id == *truth);
        bin.confidence += confidence;
    }
    bins
}

#[allow(clippy::cast_precision_loss)] // counts of pictures
fn calibration_error<'a>(answers: impl Iterator<Item = &'a Answer>, temperature: f32) -> f64 {
    let bins = bins(answers, temperature);
    let distances = bins
        .iter()
        .map(|bin| (bin.confidence - bin.right as f64).abs());
    let all: usize = bins.iter().map(|bin| bin.count).sum();
    distances.sum::<f64>() / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Answers of a network that knows exactly how sure it may be, its logits then multiplied.
    fn answers(times: f32) -> Vec<Answer> {
        let mut random = Random::new(7);
        let mut draw = || random.uniform();
        (0..4000)
            .map(|_| {
                let logits: Vec<f32> = (0..4).map(|_| draw() * 5.0).collect();
                let mut honest = vec![0.0; 4];
                probabilities(Activation::Softmax, 1.0, &logits, &mut honest);
                let mut left = draw();
                let truth = honest.iter().position(|&p| {
                    left -= p;
                    left <= 0.0
                });
                Answer {
                    logits: logits.iter().map(|x| x * times).collect(),
                    truth: truth.unwrap_or(3),
                }
            })
            .collect()
    }

    #[test]
    fn what_was_multiplied_is_found_and_taken_back() {
        for times in [0.5, 1.0, 3.0] {
            let fitted = fit(&answers(times));
            let found = fitted.temperature / times;
            assert!((0.93..1.07).contains(&found), "{times}: {fitted:?}");
            assert!(fitted.after < 0.04, "{fitted:?}");
            assert_eq!(fitted.images, 2000);
        }
        assert!(fit(&answers(3.0)).before > 0.1);
    }

    #[test]
    fn without_answers_nothing_breaks() {
        let fitted = fit(&[]);
        assert!(fitted.temperature.is_finite() && fitted.after == 0.0);
    }
}
