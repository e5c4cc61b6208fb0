//! From a float bundle to an int8 one: measure activations on pictures, choose ranges, round.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use tract_nnef::internal::*;

use super::calibrate::{Histogram, Method};
use super::dataset::Dataset;
use super::error::ModelError;
use super::eval::share;
use super::float::FloatNetwork;
use super::save;
use super::sweep::sweep;
use crate::bundle::{Bundle, Manifest, Quantization};
use crate::infer::EngineError;
use crate::infer::engine::{normalization, normalize, read_graph};
use crate::infer::registry::OPERATORS;
use crate::kernels::Backend;
use crate::random::Random;

/// What measured best: see docs/QUANTIZATION.md.
pub const METHOD: Method = Method::Minmax;
/// Pictures that ranges are measured on.
const CALIBRATION: usize = 512;
/// Other pictures that `--report` compares on.
const HELD_OUT: usize = 1000;

/// A float bundle whose activations have been measured.
pub struct Calibrated {
    network: FloatNetwork,
    histograms: Vec<Histogram>,
    manifest: Manifest,
    path: PathBuf,
    data: String,
    /// The pictures that were measured, as places in their set.
    measured: Vec<usize>,
    images: usize,
    backend: Backend,
}

impl Calibrated {
    /// Runs the float network at `path` over a spread of `set`'s pictures.
    ///
    /// # Errors
    /// If the bundle is not a float ResNet, or the pictures cannot be read.
    pub fn measure(path: &Path, set: &Dataset) -> Result<Self, ModelError> {
        let mut found = Self::open(&Bundle::open(path, OPERATORS)?)?;
        let chosen = set.spread(CALIBRATION, &[]);
        let table = normalization(
            found.manifest.preprocessing.mean,
            found.manifest.preprocessing.std,
        );
        let size = found.manifest.preprocessing.crop as usize;
        let swept = sweep(
            "measuring activations",
            (set, &chosen),
            &found.manifest.preprocessing,
            || Ok(vec![Histogram::default(); found.network.measured.len()]),
            |histograms, picture| {
                found
                    .network
                    .measure(normalize(picture, &table, size)?, histograms)
                    .map(|_| ())
            },
        )?;
        found.images = swept.results.len();
        found.measured = chosen;
        found.data = set
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for state in swept.states {
            found
                .histograms
                .iter_mut()
                .zip(state)
                .for_each(|(sum, h)| sum.merge(h));
        }
        Ok(found)
    }

    fn open(bundle: &Bundle) -> Result<Self, ModelError> {
        if bundle.manifest.quantization.is_some() {
            return Err(ModelError::Quantized {
                path: bundle.path.clone(),
            });
        }
        let backend = Backend::selected().map_err(EngineError::from)?;
        let network = FloatNetwork::new(&read_graph(bundle, backend)?)?;
        Ok(Self {
            histograms: vec![Histogram::default(); network.measured.len()],
            network,
            manifest: bundle.manifest.clone(),
            path: bundle.path.clone(),
            data: String::new(),
            measured: Vec::new(),
            images: 0,
            backend,
        })
    }

    /// Pictures measured.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    fn graph(&self, method: Method) -> Result<TypedModel, ModelError> {
        self.network.quantize(
            &self.histograms,
            method,
            (&self.manifest.preprocessing, &BTreeSet::new()),
            self.backend,
        )
    }

    /// The int8 bundle, called `name`.
    ///
    /// # Errors
    /// If it cannot be put together.
    pub fn bundle(&self, method: Method, name: String) -> Result<Bundle, ModelError> {
        let mut manifest = self.manifest.clone();
        manifest.name = name;
        manifest.quantization = Some(Quantization {
            method: method.to_string(),
            calibration: self.data.clone(),
            images: self.images,
        });
        manifest.accuracy = None;
        save::bundle(&self.path, self.graph(method)?, manifest)
    }

    /// A table of the methods, on pictures that ranges were not measured on: how often the int8
    /// network gives the float network's label, and how far its logits are off.
    ///
    /// # Errors
    /// As for [`Self::measure`].
    pub fn report(&self, set: &Dataset) -> Result<String, ModelError> {
        let p = &self.manifest.preprocessing;
        let (table, size) = (normalization(p.mean, p.std), p.crop as usize);
        let pictures = set.spread(HELD_OUT, &self.measured);
        if pictures.is_empty() {
            let measured = self.measured.len();
            return Ok(format!(
                "not compared: all {measured} pictures were used to measure ranges\n"
            ));
        }
        let float = sweep(
            "float",
            (set, &pictures),
            p,
            || Ok(()),
            |(), picture| {
                self.network
                    .measure(normalize(picture, &table, size)?, &mut [])
            },
        )?;
        let mut text = format!("{:12}{:>12}{:>14}\n", "method", "same label", "logit error");
        for method in Method::ALL {
            let plan = self.graph(method)?.into_runnable()?;
            let int8 = sweep(
                &method.to_string(),
                (set, &pictures),
                p,
                || Ok(()),
                |(), picture| {
                    let input = Tensor::from_shape(&[1, size, size, 3], picture)?;
                    let output = plan.run(tvec!(input.into_tvalue()))?;
                    Ok(output[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
                },
            )?;
            let pairs = float
                .results
                .iter()
                .zip(&int8.results)
                .map(|(f, i)| (&f.1[..], &i.1[..]));
            let (same, error) = compare(pairs);
            writeln!(text, "{method:12}{:>10.2} %{error:>14.5}", same * 100.0).ok();
        }
        Ok(text)
    }
}

/// Share of equal labels, and the root mean square of the logits' difference over that of the logits.
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

/// Quantizes a float bundle, its ranges measured on RGB pictures of the network's size.
///
/// # Errors
/// If the bundle is not a float ResNet.
pub fn on_pictures(bundle: &Bundle, pictures: &[Vec<u8>]) -> Result<Bundle, ModelError> {
    let mut found = Calibrated::open(bundle)?;
    let p = &found.manifest.preprocessing;
    let (table, size) = (normalization(p.mean, p.std), p.crop as usize);
    for picture in pictures {
        found
            .network
            .measure(normalize(picture, &table, size)?, &mut found.histograms)?;
    }
    found.images = pictures.len();
    found.data = "made pictures".into();
    found.bundle(METHOD, bundle.manifest.name.clone())
}

/// As [`on_pictures`], on two pictures of seeded noise: for networks without meaning.
///
/// # Errors
/// If the bundle is not a float ResNet.
pub fn synthetic(bundle: &Bundle, seed: u64) -> Result<Bundle, ModelError> {
    let size = bundle.manifest.preprocessing.crop as usize;
    let mut random = Random::new(seed ^ 0x5eed);
    let mut noise = || (0..3 * size * size).map(|_| random.byte()).collect();
    on_pictures(bundle, &[noise(), noise()])
}
