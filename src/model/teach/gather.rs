//! The pictures of a lesson: each file is run through the network once as it is and once mirrored; files with the
//! same pixels become one picture with all their labels.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_128;

use super::fit::Example;
use super::head::Base;
use super::{Lesson, NAMED};
use crate::bundle::faulty_label;
use crate::cores::Threads;
use crate::infer::Engine;
use crate::label::Prediction;
use crate::model::dataset::Dataset;
use crate::model::error::ModelError;
use crate::model::sweep::{Swept, sweep};

/// For more pictures than this a linear head is the wrong tool, and comparing all pairs takes too long.
const MOST: usize = 20_000;
/// Pictures that a class must have.
const LEAST: usize = 2;

/// One picture.
pub struct Sample {
    /// The first of its files.
    pub name: PathBuf,
    /// Ascending; none, one, or several.
    pub labels: Vec<usize>,
    /// What the network saw in it, and in its mirror image: 8-bit values, as many as the last layer reads.
    pub views: [Vec<u8>; 2],
    /// Its coarse shape; near-duplicates differ in few bits.
    pub shape: u64,
}

pub struct Pictures {
    pub labels: Vec<String>,
    pub samples: Vec<Sample>,
    /// Files that could not be read.
    pub skipped: usize,
    pub warnings: Vec<String>,
}

/// What is kept of a file's picture.
struct Seen {
    digest: u128,
    shape: u64,
    views: [Vec<u8>; 2],
}

impl Pictures {
    /// # Errors
    /// If the folder does not hold what a lesson needs.
    pub fn gather(lesson: &Lesson, base: &Base) -> Result<Self, ModelError> {
        let set = if lesson.several {
            Dataset::open_loose(lesson.folder)?
        } else {
            Dataset::open(lesson.folder)?
        };
        let labels: Vec<String> = set.folders().into_iter().map(str::to_owned).collect();
        let refuse = |reason: String| {
            Err(ModelError::Dataset {
                path: lesson.folder.to_owned(),
                reason,
            })
        };
        if labels.len() < 2 && !(lesson.several && labels.len() == 1) {
            return refuse("only one class; a second folder, of anything else, is needed".into());
        }
        if let Some((label, fault)) = faulty_label(&labels) {
            return refuse(format!("the folder {label:?} {fault}, which no label may"));
        }
        if set.len() > MOST {
            let have = set.len();
            return refuse(format!(
                "{have} pictures; at most {MOST} can be taught from, more are for training"
            ));
        }
        // before an hour is spent on the others
        let files = |label: &String| {
            let of = (0..set.len()).filter(|&i| set.folder_of(i) == Some(label));
            of.count()
        };
        few(lesson, &labels, files)?;
        let seen = look(&set, lesson, base)?;
        let mut found = Self {
            samples: merge(&set, &labels, &seen.results),
            labels,
            skipped: seen.skipped,
            warnings: Vec::new(),
        };
        if !lesson.several {
            found.set_aside_contradictions(lesson)?;
        }
        let counts = found.counts();
        let of = |label: &String| {
            let class = found.labels.iter().position(|l| l == label);
            class.map_or(0, |class| counts[class])
        };
        few(lesson, &found.labels, of)?;
        if found.labels.len() == 1 && counts[0] + 1 >= found.samples.len() {
            return refuse(format!(
                "hardly a picture without {}; put some beside its folder",
                found.labels[0]
            ));
        }
        Ok(found)
    }

    /// Pictures with several labels, where only one is meant.
    fn set_aside_contradictions(&mut self, lesson: &Lesson) -> Result<(), ModelError> {
        let all = self.samples.len();
        let named = |s: &Sample| {
            let labels: Vec<&str> = s.labels.iter().map(|&l| &*self.labels[l]).collect();
            format!("{} ({})", s.name.display(), labels.join(", "))
        };
        let several: Vec<String> = { self.samples.iter() }
            .filter(|s| s.labels.len() > 1)
            .map(named)
            .collect();
        if several.is_empty() {
            return Ok(());
        }
        let shown = several[..several.len().min(NAMED)].join(", ");
        if several.len() * 10 > all {
            return Err(ModelError::Dataset {
                path: lesson.folder.to_owned(),
                reason: format!(
                    "{} of {all} pictures lie in several classes' folders: {shown}; --multi-label teaches several labels for a picture",
                    several.len()
                ),
            });
        }
        self.warnings.push(format!(
            "left out, because they lie in several classes' folders: {shown}{}",
            if several.len() > NAMED { ", ..." } else { "" }
        ));
        self.samples.retain(|s| s.labels.len() == 1);
        Ok(())
    }

    /// Pictures of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.labels.len()];
        for &label in self.samples.iter().flat_map(|s| &s.labels) {
            counts[label] += 1;
        }
        counts
    }

    /// Everything, to learn from.
    pub fn all(&self) -> Vec<Example<'_>> {
        self.samples.iter().map(Sample::example).collect()
    }
}

impl Sample {
    pub fn example(&self) -> Example<'_> {
        Example {
            views: &self.views,
            labels: &self.labels,
        }
    }
}

/// Refuses classes with too few pictures, by name.
fn few(
    lesson: &Lesson,
    labels: &[String],
    count: impl Fn(&String) -> usize,
) -> Result<(), ModelError> {
    let few: Vec<String> = labels
        .iter()
        .map(|label| (label, count(label)))
        .filter(|(_, count)| *count < LEAST)
        .map(|(label, count)| format!("{label} ({count})"))
        .collect();
    if few.is_empty() {
        return Ok(());
    }
    Err(ModelError::Dataset {
        path: lesson.folder.to_owned(),
        reason: format!(
            "fewer than {LEAST} different pictures in {}; add some, or take the folder away",
            few.join(", ")
        ),
    })
}

fn look(set: &Dataset, lesson: &Lesson, base: &Base) -> Result<Swept<(), Seen>, ModelError> {
    let all: Vec<usize> = (0..set.len()).collect();
    let swept = sweep(
        "looking at pictures",
        (set, &all),
        &base.manifest.preprocessing,
        || {
            let engine = Engine::load(lesson.base, Threads::ONE)?;
            Ok((engine, Prediction::default()))
        },
        |(engine, prediction), picture| {
            let side = base.manifest.preprocessing.crop as usize;
            let mut view = |picture: &[u8]| -> Result<Vec<u8>, ModelError> {
                engine.picture()?.copy_from_slice(picture);
                engine.run(prediction)?;
                let features = engine.features().ok_or_else(|| base.no_features())?;
                Ok(features.pooled.values().collect())
            };
            Ok(Seen {
                digest: xxh3_128(picture),
                shape: shape(picture, side),
                views: [view(picture)?, view(&mirrored(picture, side))?],
            })
        },
    )?;
    Ok(Swept {
        results: swept.results,
        states: Vec::new(),
        skipped: swept.skipped,
    })
}

/// Left and right exchanged.
fn mirrored(picture: &[u8], side: usize) -> Vec<u8> {
    let rows = picture.chunks_exact(3 * side);
    rows.flat_map(|row| row.chunks_exact(3).rev().flatten().copied())
        .collect()
}

/// Where brightness falls from one cell to its right neighbour, on a grid of 8 rows of 9 cells (the difference hash of
/// Krawetz, "Kind of like that", 2013).
fn shape(picture: &[u8], side: usize) -> u64 {
    let cell = |row: usize, column: usize| -> f32 {
        let span =
            |i: usize, of: usize| i * side / of..((i + 1) * side / of).max(i * side / of + 1);
        let (mut sum, mut count) = (0u32, 0u32);
        for y in span(row, 8) {
            for x in span(column, 9) {
                let at = 3 * (y * side + x);
                let pixel = picture.get(at..at + 3).unwrap_or_default();
                sum += pixel.iter().map(|&b| u32::from(b)).sum::<u32>();
                count += 1;
            }
        }
        #[allow(clippy::cast_precision_loss)] // at most 255 * 3 * 2^26 / 72, compared only
        {
            sum as f32 / count as f32
        }
    };
    let mut bits = 0;
    for row in 0..8 {
        for column in 0..8 {
            bits = bits << 1 | u64::from(cell(row, column) > cell(row, column + 1));
        }
    }
    bits
}

/// One picture of all files with the same pixels.
fn merge(set: &Dataset, labels: &[String], seen: &[(usize, Seen)]) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut places = HashMap::new();
    for (index, seen) in seen {
        let label = set.folder_of(*index);
        let label = label.and_then(|folder| labels.iter().position(|l| l == folder));
        let place = match places.entry(seen.digest) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(vacant) => {
                samples.push(Sample {
                    name: set.name(*index).to_owned(),
                    labels: Vec::new(),
                    views: seen.views.clone(),
                    shape: seen.shape,
                });
                *vacant.insert(samples.len() - 1)
            }
        };
        samples[place].labels.extend(label);
    }
    for sample in &mut samples {
        sample.labels.sort_unstable();
        sample.labels.dedup();
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_image_exchanges_left_and_right() {
        let picture: Vec<u8> = (0..12).collect();
        let want = [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8];
        assert_eq!(mirrored(&picture, 2), want);
        assert_eq!(mirrored(&mirrored(&picture, 2), 2), picture);
    }

    #[test]
    fn the_shape_survives_brightness_and_noise_but_not_mirroring() {
        let side = 72;
        let made = |light: usize, noise: usize| -> Vec<u8> {
            let pixel = |i: usize| (i % side * 2 + light + i * 7 % (noise + 1)).to_le_bytes()[0];
            (0..side * side).flat_map(|i| [pixel(i); 3]).collect()
        };
        let plain = shape(&made(0, 0), side);
        assert_eq!(plain, 0, "brightness only grows");
        assert_eq!(shape(&made(60, 3), side), plain);
        assert_eq!(shape(&mirrored(&made(0, 0), side), side), u64::MAX);
    }
}
