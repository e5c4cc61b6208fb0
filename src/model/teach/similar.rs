//! Finds pictures that are nearly the same: frames of one scene, the same photograph saved twice. Two such on both sides
//! of a cross-validation would make its figures better than life.

use super::fit::{Standard, dot};
use super::gather::Sample;

/// Bits of 64 in which the shapes of near-duplicates differ at most.
const BITS: u32 = 8;
/// Least cosine of what the network sees in near-duplicates, less what it sees in all pictures. A camera that never
/// moves gives pictures of one shape: what is in them must be alike too.
const COSINE: f32 = 0.85;

#[derive(Debug, Default)]
pub struct Similar {
    /// For each picture the first of those that are nearly the same, directly or through others.
    pub groups: Vec<usize>,
    /// Pairs with different labels.
    pub across: Vec<(usize, usize)>,
    /// Pictures that have a near-duplicate.
    pub pictures: usize,
}

impl Similar {
    pub fn find(samples: &[Sample]) -> Self {
        let plain: Vec<&[u8]> = samples.iter().map(|s| &s.views[0][..]).collect();
        let standard = Standard::of(plain.iter().copied());
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let mut length = |features: &[u8]| {
            standard.apply(features, &mut one);
            dot(&one, &one).sqrt()
        };
        let lengths: Vec<f32> = plain.iter().map(|f| length(f)).collect();
        let mut groups: Vec<usize> = (0..samples.len()).collect();
        let mut across = Vec::new();
        let mut has = vec![false; samples.len()];
        for i in 0..samples.len() {
            standard.apply(plain[i], &mut one);
            for j in i + 1..samples.len() {
                if (samples[i].shape ^ samples[j].shape).count_ones() > BITS {
                    continue;
                }
                standard.apply(plain[j], &mut other);
                if dot(&one, &other) < COSINE * lengths[i] * lengths[j] {
                    continue;
                }
                (has[i], has[j]) = (true, true);
                if samples[i].labels != samples[j].labels {
                    across.push((i, j));
                }
                join(&mut groups, i, j);
            }
        }
        for i in 0..groups.len() {
            groups[i] = first(&groups, i);
        }
        Self {
            groups,
            across,
            pictures: has.iter().filter(|&&h| h).count(),
        }
    }
}

/// The first of a picture's group; each points to an earlier one, or to itself.
fn first(groups: &[usize], mut i: usize) -> usize {
    while groups[i] != i {
        i = groups[i];
    }
    i
}

fn join(groups: &mut [usize], i: usize, j: usize) {
    let (a, b) = (first(groups, i), first(groups, j));
    groups[a.max(b)] = a.min(b);
    // later ways are short
    (groups[i], groups[j]) = (a.min(b), a.min(b));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(label: usize, shape: u64, features: &[u8]) -> Sample {
        Sample {
            name: "x".into(),
            labels: vec![label],
            views: [features.to_vec(), features.to_vec()],
            shape,
        }
    }

    #[test]
    fn only_pictures_alike_in_shape_and_content_are_near_duplicates() {
        let found = Similar::find(&[
            sample(0, 0, &[200, 0, 0, 90]),
            sample(1, 0, &[0, 200, 0, 10]),
            sample(1, 3, &[198, 0, 0, 90]),
            sample(0, u64::MAX, &[200, 0, 0, 90]),
            sample(0, 7, &[199, 0, 0, 91]),
        ]);
        assert_eq!(found.groups, [0, 1, 0, 3, 0]);
        assert_eq!(found.across, [(0, 2), (2, 4)]);
        assert_eq!(found.pictures, 3);
    }

    #[test]
    fn groups_that_meet_become_one() {
        let mut groups = vec![0, 1, 2, 3, 4];
        join(&mut groups, 1, 2);
        join(&mut groups, 3, 4);
        join(&mut groups, 2, 4);
        let firsts: Vec<usize> = (0..5).map(|i| first(&groups, i)).collect();
        assert_eq!(firsts, [0, 1, 1, 1, 1]);
    }
}
