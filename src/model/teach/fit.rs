//! Learns a linear head: multinomial logistic regression for one label per picture, one logistic regression per label for
//! several (Hastie, Tibshirani and Friedman, "The elements of statistical learning", 4.4), with L2 regularization, on
//! standardized features.

use super::lbfgs;
use crate::spec::Activation;

/// Length of the gradient at which a head counts as learned; the loss of a head that knows nothing is about 1.
const TOLERANCE: f64 = 1e-4;

/// One picture to learn from: each view teaches the same labels.
#[derive(Clone, Copy)]
pub struct Example<'a> {
    pub views: &'a [Vec<u8>],
    pub labels: &'a [usize],
}

/// How features are made comparable: `(x - mean) * scale`. All together have a length of about 1.
#[derive(Debug, Clone)]
pub struct Standard {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
}

impl Standard {
    /// Of these pictures. A feature that varies by less than one step of its 8 bits varies by rounding, and is not
    /// made larger than one that varies by a step.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // counts; f32 is what is kept
    pub fn of<'a>(features: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut sums, mut squares, mut count) = (Vec::new(), Vec::new(), 0u64);
        for x in features {
            sums.resize(x.len(), 0u64);
            squares.resize(x.len(), 0u64);
            for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(x) {
                *sum += u64::from(x);
                *square += u64::from(x) * u64::from(x);
            }
            count += 1;
        }
        let count = count.max(1) as f64;
        let root = (sums.len().max(1) as f64).sqrt();
        let means = sums.iter().map(|&sum| sum as f64 / count);
        let scale = |(mean, &square): (f64, &u64)| {
            let variance = (square as f64 / count - mean * mean).max(1.0);
            (1.0 / (variance.sqrt() * root)) as f32
        };
        Self {
            scale: means.clone().zip(&squares).map(scale).collect(),
            mean: means.map(|m| m as f32).collect(),
        }
    }

    pub fn apply(&self, x: &[u8], out: &mut Vec<f32>) {
        let each = x.iter().zip(&self.mean).zip(&self.scale);
        out.clear();
        out.extend(each.map(|((&x, mean), scale)| (f32::from(x) - mean) * scale));
    }
}

/// A head on standardized features.
#[derive(Debug, Clone)]
pub struct Head {
    pub standard: Standard,
    /// The weights, class by class, then a bias per class.
    pub parameters: Vec<f32>,
    pub classes: usize,
}

impl Head {
    /// The weights of each class, and its bias.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], f32)> {
        let depth = self.standard.mean.len();
        let (weights, biases) = self.parameters.split_at(self.classes * depth);
        weights
            .chunks_exact(depth.max(1))
            .zip(biases.iter().copied())
    }

    pub fn logits(&self, features: &[u8]) -> Vec<f32> {
        let mut x = Vec::new();
        self.standard.apply(features, &mut x);
        self.rows().map(|(w, bias)| dot(w, &x) + bias).collect()
    }
}

/// What is to be learned from.
pub struct Problem<'a> {
    examples: &'a [Example<'a>],
    standard: Standard,
    classes: usize,
    activation: Activation,
}

impl<'a> Problem<'a> {
    pub fn new(examples: &'a [Example<'a>], classes: usize, activation: Activation) -> Self {
        let views = examples.iter().flat_map(|e| e.views).map(|v| &v[..]);
        Self {
            standard: Standard::of(views),
            examples,
            classes,
            activation,
        }
    }

    /// The head with the least mean loss plus `strength / 2` times the squares of its weights; `near` is a head of this
    /// problem to start from.
    pub fn fit(&self, near: Option<&Head>, strength: f32) -> Head {
        let depth = self.standard.mean.len();
        let nothing = || vec![0.0; self.classes * (depth + 1)];
        let mut parameters = near.map_or_else(nothing, |head| head.parameters.clone());
        let mut x = Vec::new();
        lbfgs::minimize(&mut parameters, TOLERANCE, |at, gradient| {
            self.loss((at, gradient), strength, &mut x)
        });
        Head {
            standard: self.standard.clone(),
            parameters,
            classes: self.classes,
        }
    }

    fn loss(&self, (at, gradient): (&[f32], &mut [f32]), strength: f32, x: &mut Vec<f32>) -> f64 {
        let depth = self.standard.mean.len().max(1);
        let (weights, biases) = at.split_at(self.classes * depth);
        let (into, bias_into) = gradient.split_at_mut(self.classes * depth);
        let mut sum = 0.0;
        for (into, weight) in into.iter_mut().zip(weights) {
            *into = strength * weight;
            sum += f64::from(strength / 2.0) * f64::from(weight * weight);
        }
        bias_into.fill(0.0);
        let views: usize = self.examples.iter().map(|e| e.views.len()).sum();
        #[allow(clippy::cast_precision_loss)] // a few thousand
        let share = 1.0 / views.max(1) as f32;
        let mut scores = vec![0.0; self.classes];
        for example in self.examples {
            for view in example.views {
                self.standard.apply(view, x);
                let rows = weights.chunks_exact(depth).zip(biases);
                for (score, (w, bias)) in scores.iter_mut().zip(rows) {
                    *score = dot(w, x) + bias;
                }
                sum += f64::from(share) * loss(self.activation, &mut scores, example.labels);
                let rows = into.chunks_exact_mut(depth).zip(&mut *bias_into);
                for (&off, (row, bias)) in scores.iter().zip(rows) {
                    let off = off * share;
                    row.iter_mut().zip(&*x).for_each(|(g, x)| *g += off * x);
                    *bias += off;
                }
            }
        }
        sum
    }
}

/// What a picture's scores cost, given its labels: the negative logarithm of the probability that they give them.
/// The scores become the loss's derivatives by them.
#[allow(clippy::cast_possible_truncation)] // back to the scores' precision
pub fn loss(activation: Activation, scores: &mut [f32], labels: &[usize]) -> f64 {
    let mut sum = 0.0;
    match activation {
        Activation::Softmax => {
            let highest = scores.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            let power = |s: f32| libm::exp(f64::from(s) - f64::from(highest));
            let whole: f64 = scores.iter().map(|&s| power(s)).sum();
            for (class, score) in scores.iter_mut().enumerate() {
                let right = labels.contains(&class);
                if right {
                    sum += libm::log(whole) + f64::from(highest) - f64::from(*score);
                }
                *score = (power(*score) / whole - f64::from(u8::from(right))) as f32;
            }
        }
        Activation::Sigmoid => {
            for (class, score) in scores.iter_mut().enumerate() {
                let (s, y) = (
                    f64::from(*score),
                    f64::from(u8::from(labels.contains(&class))),
                );
                sum += s.max(0.0) + libm::log1p(libm::exp(-s.abs())) - y * s;
                *score = (1.0 / (1.0 + libm::exp(-s)) - y) as f32;
            }
        }
    }
    sum
}

/// Summed in sixteen lanes: in one order on every processor, yet fast.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (a16, a_rest) = a.as_chunks::<16>();
    let (b16, b_rest) = b.as_chunks::<16>();
    for (a, b) in a16.iter().zip(b16) {
        for ((sum, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Pictures of two features, the first of which tells the class.
    fn views(count: usize) -> Vec<(Vec<Vec<u8>>, Vec<usize>)> {
        let mut random = Random::new(3);
        let mut one = |i: usize| {
            let class = i % 2;
            let noise = random.byte() / 4;
            let x = u8::try_from(class * 100).unwrap() + noise;
            (vec![vec![x, random.byte()]], vec![class])
        };
        (0..count).map(&mut one).collect()
    }

    fn examples(views: &[(Vec<Vec<u8>>, Vec<usize>)]) -> Vec<Example<'_>> {
        views
            .iter()
            .map(|(views, labels)| Example { views, labels })
            .collect()
    }

    #[test]
    fn a_head_learns_what_tells_classes_apart() {
        let views = views(40);
        let examples = examples(&views);
        for activation in [Activation::Softmax, Activation::Sigmoid] {
            let head = Problem::new(&examples, 2, activation).fit(None, 1e-3);
            for example in &examples {
                let logits = head.logits(&example.views[0]);
                let right = example.labels[0];
                assert!(logits[right] > logits[1 - right], "{logits:?}");
            }
            let weights: Vec<&[f32]> = head.rows().map(|(w, _)| w).collect();
            assert!(weights[1][0] > 5.0 * weights[1][1].abs(), "{weights:?}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let views = views(7);
        let examples = examples(&views);
        for activation in [Activation::Softmax, Activation::Sigmoid] {
            let problem = Problem::new(&examples, 2, activation);
            let at = [0.3f32, -0.2, 0.5, 0.1, 0.05, -0.4];
            let (mut gradient, mut ignored, mut x) = ([0.0; 6], [0.0; 6], Vec::new());
            problem.loss((&at, &mut gradient), 0.1, &mut x);
            for i in 0..6 {
                let mut height = |by: f32| {
                    let mut moved = at;
                    moved[i] += by;
                    problem.loss((&moved, &mut ignored), 0.1, &mut x)
                };
                let slope = (height(1e-2) - height(-1e-2)) / 2e-2;
                assert!(
                    (slope - f64::from(gradient[i])).abs() < 1e-4,
                    "{i}: {slope}"
                );
            }
        }
    }

    #[test]
    fn strength_makes_weights_small() {
        let views = views(20);
        let examples = examples(&views);
        let problem = Problem::new(&examples, 2, Activation::Softmax);
        let size = |head: &Head| head.rows().map(|(w, _)| dot(w, w)).sum::<f32>();
        let weak = problem.fit(None, 1e-4);
        let strong = problem.fit(Some(&weak), 1.0);
        assert!(size(&strong) < size(&weak) / 100.0);
    }
}
