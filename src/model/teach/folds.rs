//! Parts pictures for cross-validation so that every part has its share of every label (iterative stratification:
//! Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011), near-duplicates together.

use super::gather::Sample;

const MOST: usize = 5;

/// The part of every picture, and how many parts there are: fewer where a label has fewer groups of pictures.
pub fn split(samples: &[Sample], groups: &[usize], labels: usize) -> (Vec<usize>, usize) {
    let mut members = vec![Vec::new(); samples.len()];
    for (i, &group) in groups.iter().enumerate() {
        members[group].push(i);
    }
    members.retain(|m: &Vec<usize>| !m.is_empty());
    // how many pictures of a group have a label
    let with = |group: &[usize], label: usize| {
        let of = group
            .iter()
            .filter(|&&i| samples[i].labels.contains(&label));
        of.count()
    };
    let groups_with: Vec<usize> = (0..labels)
        .map(|label| members.iter().filter(|g| with(g, label) > 0).count())
        .collect();
    let least = groups_with.iter().copied().min().unwrap_or(0);
    let count = least.clamp(2, MOST);
    let mut rarest: Vec<usize> = (0..labels).collect();
    rarest.sort_by_key(|&label| groups_with[label]);
    // large groups first: the small ones even out what they leave; pictures without labels come last
    members.sort_by_key(|group| usize::MAX - group.len());
    let mut folds = vec![usize::MAX; samples.len()];
    let mut have = vec![vec![0; labels]; count];
    let mut sizes = vec![0; count];
    for label in rarest.into_iter().map(Some).chain([None]) {
        for group in &members {
            let wanted = label.is_none_or(|label| with(group, label) > 0);
            if !wanted || folds[group[0]] != usize::MAX {
                continue;
            }
            let fold = (0..count)
                .min_by_key(|&f| (label.map_or(0, |label| have[f][label]), sizes[f]))
                .unwrap_or(0);
            for &i in group {
                folds[i] = fold;
                samples[i].labels.iter().for_each(|&l| have[fold][l] += 1);
            }
            sizes[fold] += group.len();
        }
    }
    (folds, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(labels: &[&[usize]]) -> Vec<Sample> {
        let sample = |labels: &&[usize]| Sample {
            name: "x".into(),
            labels: labels.to_vec(),
            views: [Vec::new(), Vec::new()],
            shape: 0,
        };
        labels.iter().map(sample).collect()
    }

    #[test]
    fn every_part_has_its_share_of_every_label() {
        let all: Vec<&[usize]> = (0..60).map(|i| [&[0][..], &[1], &[0, 2]][i / 20]).collect();
        let samples = samples(&all);
        let alone: Vec<usize> = (0..60).collect();
        let (folds, count) = split(&samples, &alone, 3);
        assert_eq!(count, 5);
        for fold in 0..5 {
            for (label, want) in [(0, 8), (1, 4), (2, 4)] {
                let of = (0..60).filter(|&i| folds[i] == fold && all[i].contains(&label));
                assert_eq!(of.count(), want, "label {label} in part {fold}");
            }
        }
    }

    #[test]
    fn near_duplicates_stay_together_and_small_classes_make_fewer_parts() {
        let samples = samples(&[&[0], &[0], &[0], &[0], &[1], &[1], &[1], &[]]);
        let (folds, count) = split(&samples, &[0, 0, 2, 3, 4, 5, 6, 7], 2);
        assert_eq!(count, 3);
        assert_eq!(folds[0], folds[1]);
        assert_ne!(folds[2], folds[3]);
        assert!(folds.iter().all(|&f| f < 3));
    }
}
