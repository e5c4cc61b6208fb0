//! How often heads were right on pictures that they were taught without.

use std::collections::BTreeMap;

use super::gather::Pictures;
use crate::spec::Activation;

/// Pairs of labels are named as confused from so many pictures on.
const WORTH_KNOWING: usize = 2;

#[derive(Debug)]
pub struct Report {
    pub classes: Vec<Class>,
    pub pictures: usize,
    /// Those that have a label.
    pub labelled: usize,
    /// Labelled pictures whose most probable label is theirs.
    pub first: usize,
    /// Labelled pictures of whose labels one is among the five most probable.
    pub among_five: usize,
    /// Pictures that were given exactly their labels.
    pub exact: usize,
    /// Most frequent first.
    pub confused: Vec<Confused>,
}

#[derive(Debug)]
pub struct Class {
    pub label: String,
    pub pictures: usize,
    /// How many pictures were given this label, and how many of them have it.
    pub given: usize,
    pub right: usize,
}

/// Pictures with one label that were given another instead.
#[derive(Debug, PartialEq)]
pub struct Confused {
    pub label: String,
    pub given: String,
    pub pictures: usize,
}

impl Class {
    /// Share of right ones among the pictures that were given the label, if any.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        (self.given > 0).then(|| crate::model::eval::share(self.right, self.given))
    }

    /// Share of the label's pictures that were given it.
    #[must_use]
    pub fn recall(&self) -> f64 {
        crate::model::eval::share(self.right, self.pictures)
    }
}

impl Report {
    /// `logits` of each picture, by a head that was taught without it.
    pub(super) fn of(pictures: &Pictures, logits: &[Vec<f32>], activation: Activation) -> Self {
        let counts = pictures.counts();
        let named = pictures.labels.iter().zip(counts);
        let mut report = Self {
            classes: named
                .map(|(label, pictures)| Class {
                    label: label.clone(),
                    pictures,
                    given: 0,
                    right: 0,
                })
                .collect(),
            pictures: logits.len(),
            labelled: 0,
            first: 0,
            among_five: 0,
            exact: 0,
            confused: Vec::new(),
        };
        let mut confused = BTreeMap::new();
        for (sample, logits) in pictures.samples.iter().zip(logits) {
            report.add(&sample.labels, logits, activation, &mut confused);
        }
        let mut confused: Vec<_> = { confused.into_iter() }
            .filter(|(_, pictures)| *pictures >= WORTH_KNOWING)
            .map(|((label, given), pictures)| Confused {
                label: report.classes[label].label.clone(),
                given: report.classes[given].label.clone(),
                pictures,
            })
            .collect();
        confused.sort_by_key(|c| usize::MAX - c.pictures);
        report.confused = confused;
        report
    }

    fn add(
        &mut self,
        labels: &[usize],
        logits: &[f32],
        activation: Activation,
        confused: &mut BTreeMap<(usize, usize), usize>,
    ) {
        let given = given(logits, activation);
        for &class in &given {
            self.classes[class].given += 1;
            self.classes[class].right += usize::from(labels.contains(&class));
        }
        self.exact += usize::from(given == labels);
        for &missed in labels.iter().filter(|l| !given.contains(l)) {
            for &wrong in given.iter().filter(|g| !labels.contains(g)) {
                *confused.entry((missed, wrong)).or_default() += 1;
            }
        }
        if labels.is_empty() {
            return;
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let within = |n: usize| order.iter().take(n).any(|class| labels.contains(class));
        self.labelled += 1;
        self.first += usize::from(within(1));
        self.among_five += usize::from(within(5));
    }
}

/// The labels that a head gives: the most probable, or all that are more probable than not.
fn given(logits: &[f32], activation: Activation) -> Vec<usize> {
    match activation {
        Activation::Softmax => (0..logits.len())
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)))
            .into_iter()
            .collect(),
        Activation::Sigmoid => (0..logits.len()).filter(|&i| logits[i] >= 0.0).collect(),
    }
}

/// Pictures that two heads give different labels.
pub(super) fn differing(a: &[Vec<f32>], b: &[Vec<f32>], activation: Activation) -> usize {
    let differ = |(a, b): &(&Vec<f32>, &Vec<f32>)| given(a, activation) != given(b, activation);
    a.iter().zip(b).filter(differ).count()
}

#[cfg(test)]
mod tests {
    use super::super::gather::Sample;
    use super::*;

    fn pictures(labels: &[&[usize]]) -> Pictures {
        let sample = |labels: &&[usize]| Sample {
            name: "x".into(),
            labels: labels.to_vec(),
            views: [Vec::new(), Vec::new()],
            shape: 0,
        };
        Pictures {
            labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
            samples: labels.iter().map(sample).collect(),
            skipped: 0,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn precision_recall_and_confusion_are_counted() {
        let pictures = pictures(&[&[0], &[0], &[0], &[1], &[2]]);
        let said = [0, 1, 1, 1, 2].map(|class: usize| {
            let mut logits = vec![0.0; 3];
            logits[class] = 1.0;
            logits
        });
        let report = Report::of(&pictures, &said, Activation::Softmax);
        assert_eq!((report.first, report.exact, report.pictures), (3, 3, 5));
        let [a, b, _] = &report.classes[..] else {
            unreachable!()
        };
        assert_eq!((a.precision(), a.recall()), (Some(1.0), 1.0 / 3.0));
        assert_eq!((b.precision(), b.recall()), (Some(1.0 / 3.0), 1.0));
        let confused = Confused {
            label: "a".into(),
            given: "b".into(),
            pictures: 2,
        };
        assert_eq!(report.confused, [confused]);
    }

    #[test]
    fn of_several_labels_each_counts() {
        let pictures = pictures(&[&[0, 1], &[], &[2]]);
        let said = [vec![2.0, -1.0, -3.0], vec![-1.0; 3], vec![1.0, -1.0, 2.0]];
        let report = Report::of(&pictures, &said, Activation::Sigmoid);
        assert_eq!((report.exact, report.labelled, report.first), (1, 2, 2));
        assert_eq!(report.classes[0].precision(), Some(0.5));
        assert_eq!(report.classes[1].precision(), None);
        assert_eq!(report.classes[1].recall(), 0.0);
    }
}
