//! What two networks give together where the better one is asked only if the other is not sure: how often it is asked
//! and how often the answer is right, for each bar that "sure" may be.

use super::confidence::{Answer, surest};
use super::eval::{Evaluation, share};
use crate::label::Prediction;

/// Bars that are tried: never, and always, are the networks alone.
const BARS: [f32; 11] = [0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995, 1.1];

/// One bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Less sure than this, the second is asked; above 1 that is always.
    pub below: f32,
    /// The share of pictures for which it is.
    pub asked: f64,
    pub top1: f64,
    /// Multiply-adds for one picture on average. Where the second is always asked the first is left out.
    pub macs: f64,
}

/// Of two bundles on the same pictures. The temperature is the first one's, which was fitted to every second picture:
/// only the others count here.
#[must_use]
#[allow(clippy::cast_precision_loss)] // multiply-adds, for people
pub fn curve(first: &Evaluation, second: &Evaluation, temperature: f32) -> Vec<Step> {
    let sure = confidences(&first.answers, temperature);
    let others = || {
        (0..first.answers.len().min(second.answers.len()))
            .skip(1)
            .step_by(2)
    };
    let right = |of: &Evaluation, i: usize| of.predicted[i] == of.answers[i].truth;
    let (one, two) = (first.macs as f64, second.macs as f64);
    let step = |below: f32| {
        let asks = |&i: &usize| sure[i] < below;
        let asked = share(others().filter(asks).count(), others().count());
        let correct = others().filter(|i| {
            let answers = if asks(i) { second } else { first };
            right(answers, *i)
        });
        let alone = below > 1.0;
        Step {
            below,
            asked,
            top1: share(correct.count(), others().count()),
            macs: if alone { two } else { one + asked * two },
        }
    };
    BARS.map(step).to_vec()
}

/// The bar with which the least is computed for as many right answers as the second network gives alone.
#[must_use]
pub fn cheapest(curve: &[Step]) -> Option<Step> {
    let (alone, cascades) = curve.split_last()?;
    let enough = cascades
        .iter()
        .filter(|step| step.top1 >= alone.top1 && step.macs < alone.macs);
    enough.min_by(|a, b| a.macs.total_cmp(&b.macs)).copied()
}

fn confidences(answers: &[Answer], temperature: f32) -> Vec<f32> {
    let mut prediction = Prediction::default();
    let of = |answer: &Answer| {
        let top = surest(&answer.logits, temperature, &mut prediction);
        top.map_or(0.0, |top| top.confidence)
    };
    answers.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes; each answer as (logit of the first class, truth).
    fn evaluation(answers: &[(f32, usize)], macs: u64) -> Evaluation {
        let answer = |&(logit, truth): &(f32, usize)| Answer {
            logits: vec![logit, 0.0],
            truth,
        };
        Evaluation {
            images: answers.len(),
            skipped: 0,
            labels: vec!["a".into(), "b".into()],
            top1: 0.0,
            top5: 0.0,
            confusion: Vec::new(),
            predicted: { answers.iter() }
                .map(|&(logit, _)| usize::from(logit < 0.0))
                .collect(),
            answers: answers.iter().map(answer).collect(),
            macs,
            temperature: None,
        }
    }

    /// Only every second picture counts.
    fn doubled(answers: &[(f32, usize)]) -> Vec<(f32, usize)> {
        answers
            .iter()
            .flat_map(|&answer| [(9.0, 1), answer])
            .collect()
    }

    #[test]
    fn asking_where_it_is_not_sure_gives_the_better_ones_answers_for_less() {
        // sure and right, sure and right, not sure and wrong, not sure and right
        let first = doubled(&[(9.0, 0), (-9.0, 1), (0.3, 1), (0.3, 0)]);
        let second = doubled(&[(9.0, 0), (-9.0, 1), (-2.0, 1), (2.0, 0)]);
        let curve = curve(&evaluation(&first, 100), &evaluation(&second, 200), 1.0);
        let at = |below: f32| *curve.iter().find(|step| step.below >= below).unwrap();
        let never = at(0.0);
        assert_eq!((never.asked, never.top1, never.macs), (0.0, 0.75, 100.0));
        let some = at(0.7);
        assert_eq!((some.asked, some.top1, some.macs), (0.5, 1.0, 200.0));
        let always = *curve.last().unwrap();
        assert_eq!((always.asked, always.top1, always.macs), (1.0, 1.0, 200.0));
        assert_eq!(
            cheapest(&curve),
            None,
            "not at half of the pictures, it is as dear"
        );
    }

    #[test]
    fn what_asks_rarely_is_cheaper_than_the_better_one_alone() {
        let mut answers = vec![(9.0, 0); 9];
        answers.push((0.1, 1));
        let first = evaluation(&doubled(&answers), 100);
        answers[9] = (-3.0, 1);
        let second = evaluation(&doubled(&answers), 200);
        let found = cheapest(&curve(&first, &second, 1.0)).unwrap();
        assert!((found.asked - 0.1).abs() < 1e-9 && (found.macs - 120.0).abs() < 1e-9);
    }
}
