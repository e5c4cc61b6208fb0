//! Labels by other names: what the configuration calls them, and in the order of another model that says the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::label::Labels;
use crate::spec::Activation;

/// From a bundle's label to what it is to be called. Several may be called the same.
pub type Names = BTreeMap<String, String>;

/// A label that only one of two models has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("only one of them has the label {0:?}")]
pub struct Mismatch(pub String);

/// From a bundle's classes to what is said.
pub struct Relabelling {
    labels: Labels,
    /// Of each class the place of its label.
    to: Vec<usize>,
    activation: Activation,
    probabilities: Vec<f32>,
}

impl Relabelling {
    /// `None` if nothing is to be done.
    ///
    /// # Errors
    /// If `order` has other labels.
    pub fn new(
        own: &Labels,
        names: &Names,
        order: Option<&Labels>,
        activation: Activation,
    ) -> Result<Option<Self>, Mismatch> {
        let called = |label: &String| names.get(label).unwrap_or(label).clone();
        let mine: Vec<String> = own.iter().map(called).collect();
        let labels: Labels = match order {
            Some(order) => order.clone(),
            None => {
                let mut different: Vec<String> = Vec::new();
                for label in &mine {
                    if !different.contains(label) {
                        different.push(label.clone());
                    }
                }
                Arc::from(different)
            }
        };
        if let Some(missing) = labels.iter().find(|label| !mine.contains(label)) {
            return Err(Mismatch(missing.clone()));
        }
        let place = |label: &String| {
            let found = labels.iter().position(|one| one == label);
            found.ok_or_else(|| Mismatch(label.clone()))
        };
        let to = mine.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        if labels == *own && mine == **own {
            return Ok(None);
        }
        Ok(Some(Self {
            probabilities: Vec::with_capacity(labels.len()),
            labels,
            to,
            activation,
        }))
    }

    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The bundle's classes that are called as this one.
    pub fn origins(&self, class_id: usize) -> Vec<usize> {
        let same = |&class: &usize| self.to[class] == class_id;
        (0..self.to.len()).filter(same).collect()
    }

    /// Of labels that are called the same the probabilities add up, if there is only one to a picture; else the
    /// surest counts.
    pub fn apply(&mut self, probabilities: &mut Vec<f32>) {
        self.probabilities.clear();
        self.probabilities.resize(self.labels.len(), 0.0);
        for (&to, &probability) in self.to.iter().zip(probabilities.iter()) {
            let slot = &mut self.probabilities[to];
            *slot = match self.activation {
                Activation::Softmax => *slot + probability,
                Activation::Sigmoid => slot.max(probability),
            };
        }
        std::mem::swap(probabilities, &mut self.probabilities);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels<const N: usize>(names: [&str; N]) -> Labels {
        Arc::from(names.map(String::from).to_vec())
    }

    fn names<const N: usize>(pairs: [(&str, &str); N]) -> Names {
        pairs.map(|(a, b)| (a.into(), b.into())).into()
    }

    fn asked(
        own: &Labels,
        names: &Names,
        order: Option<&Labels>,
    ) -> Result<Option<Relabelling>, Mismatch> {
        Relabelling::new(own, names, order, Activation::Softmax)
    }

    #[test]
    fn equal_labels_stay_as_they_are() {
        let own = labels(["cat", "dog"]);
        assert!(asked(&own, &Names::new(), None).unwrap().is_none());
        assert!(asked(&own, &Names::new(), Some(&own)).unwrap().is_none());
    }

    #[test]
    fn another_order_is_that_of_the_first_model() {
        let (own, order) = (labels(["cat", "dog", "cow"]), labels(["cow", "cat", "dog"]));
        let mut there = asked(&own, &Names::new(), Some(&order)).unwrap().unwrap();
        let mut probabilities = vec![0.5, 0.25, 0.125];
        there.apply(&mut probabilities);
        assert_eq!(probabilities, [0.125, 0.5, 0.25]);
        assert_eq!(*there.labels(), order);
        assert_eq!(there.origins(1), [0]);
    }

    #[test]
    fn labels_that_are_called_the_same_are_one() {
        let own = labels(["tabby", "tiger cat", "dog"]);
        let cat = names([("tabby", "cat"), ("tiger cat", "cat")]);
        for (activation, both) in [(Activation::Softmax, 0.75), (Activation::Sigmoid, 0.5)] {
            let mut one = Relabelling::new(&own, &cat, None, activation)
                .unwrap()
                .unwrap();
            assert_eq!(*one.labels(), labels(["cat", "dog"]));
            let mut probabilities = vec![0.5, 0.25, 0.25];
            one.apply(&mut probabilities);
            assert_eq!(probabilities, [both, 0.25]);
            assert_eq!(one.origins(0), [0, 1]);
        }
    }

    #[test]
    fn labels_that_change_their_names_with_each_other_do() {
        let own = labels(["cat", "dog"]);
        let swapped = names([("cat", "dog"), ("dog", "cat")]);
        let mut there = asked(&own, &swapped, Some(&own)).unwrap().unwrap();
        let mut probabilities = vec![0.75, 0.25];
        there.apply(&mut probabilities);
        assert_eq!(probabilities, [0.25, 0.75]);
    }

    #[test]
    fn other_labels_are_refused_by_name_whichever_model_has_them() {
        let (two, three) = (labels(["cat", "dog"]), labels(["cat", "dog", "cow"]));
        for (own, order) in [(&two, &three), (&three, &two)] {
            let refused = asked(own, &Names::new(), Some(order)).err().unwrap();
            assert_eq!(refused, Mismatch("cow".into()));
        }
    }
}
