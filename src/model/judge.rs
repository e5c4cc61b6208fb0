//! Judges int8 networks by the float network's logits, on pictures that no range was measured on.

use tract_nnef::internal::*;

use super::dataset::Dataset;
use super::error::ModelError;
use super::eval::share;
use super::quantize::Calibrated;
use super::sweep::sweep;

/// How near an int8 network is to the float one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Share of pictures with the float network's label.
    pub same: f64,
    /// Root mean square of the logits' difference over that of the logits.
    pub error: f64,
}

/// Pictures, and what the float network says of them.
pub struct Judge<'a> {
    calibrated: &'a Calibrated,
    set: &'a Dataset,
    pub pictures: Vec<usize>,
    float: Vec<Vec<f32>>,
}

impl<'a> Judge<'a> {
    /// # Errors
    /// If the pictures cannot be read.
    pub(super) fn new(
        calibrated: &'a Calibrated,
        set: &'a Dataset,
        pictures: Vec<usize>,
    ) -> Result<Self, ModelError> {
        let run = calibrated.runner();
        let float = sweep(
            "float",
            (set, &pictures),
            &calibrated.manifest.preprocessing,
            || Ok(()),
            |(), picture| run(picture, &mut []),
        )?;
        Ok(Self {
            calibrated,
            set,
            pictures,
            float: float
                .results
                .into_iter()
                .map(|(_, logits)| logits)
                .collect(),
        })
    }

    /// # Errors
    /// If the graph cannot be run.
    pub fn verdict(&self, what: &str, graph: TypedModel) -> Result<Verdict, ModelError> {
        let plan = graph.into_runnable()?;
        let p = &self.calibrated.manifest.preprocessing;
        let size = p.crop as usize;
        let int8 = sweep(
            what,
            (self.set, &self.pictures),
            p,
            || Ok(()),
            |(), picture| {
                let input = Tensor::from_shape(&[1, size, size, 3], picture)?;
                let output = plan.run(tvec!(input.into_tvalue()))?;
                Ok(output[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
            },
        )?;
        let int8 = int8.results.iter().map(|(_, logits)| &logits[..]);
        let float = self.float.iter().map(|logits| &logits[..]);
        Ok(verdict(float.zip(int8)))
    }
}

fn verdict<'a>(pairs: impl Iterator<Item = (&'a [f32], &'a [f32])>) -> Verdict {
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
    Verdict {
        same: share(same, count),
        error: if error == 0.0 {
            0.0
        } else {
            (error / power).sqrt()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_counts_labels_and_sums_errors() {
        let float: [&[f32]; 2] = [&[3.0, 0.0], &[0.0, 4.0]];
        let int8: [&[f32]; 2] = [&[3.0, 0.5], &[5.0, 4.0]];
        let found = verdict(float.into_iter().zip(int8));
        assert_eq!(found.same, 0.5);
        assert!((found.error - (25.25f64 / 25.0).sqrt()).abs() < 1e-12);
        let same = verdict(float.into_iter().zip(float));
        assert_eq!((same.same, same.error), (1.0, 0.0));
    }
}
