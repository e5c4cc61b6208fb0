//! Compares recipes on pictures that nothing was measured on, and takes the one whose logits are nearest to the float
//! network's.

use std::fmt;
use std::time::Instant;

use super::effort::Effort;
use super::error::ModelError;
use super::judge::{Judge, Verdict};
use super::quantize::Calibrated;
use super::recipe::Recipe;

/// What was found of each recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub pictures: usize,
    /// In the order of [`Recipe::ALL`], as far as there was time.
    pub rows: Vec<(Recipe, Verdict)>,
}

impl Compared {
    pub(super) fn new(
        calibrated: &Calibrated,
        judge: &Judge,
        effort: Effort,
    ) -> Result<Self, ModelError> {
        let mut found = Self {
            pictures: judge.pictures.len(),
            rows: Vec::new(),
        };
        if judge.pictures.is_empty() {
            return Ok(found);
        }
        for recipe in Recipe::ALL {
            let began = Instant::now();
            let verdict = judge.verdict(&recipe.to_string(), calibrated.graph(recipe)?)?;
            found.rows.push((recipe, verdict));
            // the bundle is still to be made, which is less work than this was
            if !effort.allows(began.elapsed() * 2) {
                break;
            }
        }
        Ok(found)
    }

    /// The recipe whose logits are nearest to the float network's.
    #[must_use]
    pub fn best(&self) -> Recipe {
        let rows = self.rows.iter();
        let nearest = rows.min_by(|(_, a), (_, b)| a.error.total_cmp(&b.error));
        nearest.map_or(Recipe::DEFAULT, |(recipe, _)| *recipe)
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(f, "too few pictures to compare recipes on");
        }
        let pictures = format!("on {} pictures", self.pictures);
        writeln!(f, "{pictures:50}{:>12}{:>14}", "same label", "logit error")?;
        for (recipe, verdict) in &self.rows {
            let same = verdict.same * 100.0;
            writeln!(f, "{recipe:50}{same:>10.2} %{:>14.5}", verdict.error)?;
        }
        Ok(())
    }
}
