//! Compares recipes on pictures that nothing was measured on: how often the int8 network gives the float network's
//! label, and how far its logits are off.

use std::fmt;

use tract_nnef::internal::*;

use super::dataset::Dataset;
use super::error::ModelError;
use super::eval::share;
use super::quantize::Calibrated;
use super::recipe::Recipe;
use super::sweep::sweep;
use crate::infer::engine::{normalization, normalize};

/// What was found of each recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub pictures: usize,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub recipe: Recipe,
    /// Share of pictures with the float network's label.
    pub same: f64,
    /// Root mean square of the logits' difference over that of the logits.
    pub error: f64,
}

impl Compared {
    pub(super) fn new(
        calibrated: &Calibrated,
        (set, pictures): (&Dataset, &[usize]),
    ) -> Result<Self, ModelError> {
        let mut found = Self {
            pictures: pictures.len(),
            rows: Vec::new(),
        };
        if pictures.is_empty() {
            return Ok(found);
        }
        let p = &calibrated.manifest.preprocessing;
        let (table, size) = (normalization(p.mean, p.std), p.crop as usize);
        let float = sweep(
            "float",
            (set, pictures),
            p,
            || Ok(()),
            |(), picture| {
                let picture = normalize(picture, &table, size)?;
                calibrated.network.measure(picture, &mut [])
            },
        )?;
        for recipe in Recipe::ALL {
            let plan = calibrated.graph(recipe)?.into_runnable()?;
            let int8 = sweep(
                &recipe.to_string(),
                (set, pictures),
                p,
                || Ok(()),
                |(), picture| {
                    let input = Tensor::from_shape(&[1, size, size, 3], picture)?;
                    let output = plan.run(tvec!(input.into_tvalue()))?;
                    Ok(output[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
                },
            )?;
            let results = float.results.iter().zip(&int8.results);
            let pairs = results.map(|(f, i)| (&f.1[..], &i.1[..]));
            let (same, error) = compare(pairs);
            found.rows.push(Row {
                recipe,
                same,
                error,
            });
        }
        Ok(found)
    }

    /// The recipe whose logits are nearest to the float network's.
    #[must_use]
    pub fn best(&self) -> Recipe {
        let nearest = self.rows.iter().min_by(|a, b| a.error.total_cmp(&b.error));
        nearest.map_or(Recipe::DEFAULT, |row| row.recipe)
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(f, "not compared: all pictures were used to measure ranges");
        }
        let pictures = format!("on {} pictures", self.pictures);
        writeln!(f, "{pictures:50}{:>12}{:>14}", "same label", "logit error")?;
        for row in &self.rows {
            let same = row.same * 100.0;
            writeln!(f, "{:50}{same:>10.2} %{:>14.5}", row.recipe, row.error)?;
        }
        Ok(())
    }
}

fn compare<'a>(pairs: impl Iterator<Item = (&'a [f32], &'a [f32])>) -> (f64, f64) {
    let top = |v: &[f32]| (0..v.len()).max_by(|&a, &b| v[a].total_cmp(&v[b]));
    let (mut same, mut count, mut error, mut power) = (0, 0, 0.0, 0.0);
    for (float, int8) in pairs {
        count += 1;
        same += usize::from(top(float) == top(int8));
        for (f, i) in float.iter().zip(int8) {
            error += f64::from(f - i).powi(2);
            power += f64::from(*f).powi(2);
        }
    }
    (share(same, count), (error / power).sqrt())
}
