//! From a float bundle to an int8 one: measure activations on pictures, choose a recipe, round.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tract_nnef::internal::*;

use super::compare::Compared;
use super::dataset::Dataset;
use super::effort::Effort;
use super::error::ModelError;
use super::float::FloatNetwork;
use super::judge::Judge;
use super::pictures;
use super::profile::Profile;
use super::recipe::Recipe;
use super::sample::{is_of_one_colour, to_keep, warn_of_few};
use super::save;
use super::sensitivity::Sensitivity;
use super::sweep::{sweep, sweep_made};
use crate::bundle::{Bundle, Manifest, Quantization};
use crate::infer::EngineError;
use crate::infer::engine::{normalization, normalize, read_graph};
use crate::infer::registry::OPERATORS;
use crate::kernels::Backend;
use crate::random::Random;

/// What the progress bar says.
const MEASURING: &str = "measuring activations";
/// Pictures that ranges are measured on.
const CALIBRATION: usize = 512;
/// Other pictures that recipes are compared on.
const HELD_OUT: usize = 1000;
/// Of them, where only a choice is made.
const TO_CHOOSE: usize = 200;
/// Of them, where every layer is left in float once.
const BY_LAYER: usize = 64;
/// Made-up pictures, where there are no others.
const MADE_UP: usize = 64;
/// Of a limited time, the share in which ranges are measured.
const TO_MEASURE: f64 = 0.35;

/// A float bundle whose activations have been measured.
pub struct Calibrated {
    pub(super) network: FloatNetwork,
    pub(super) manifest: Manifest,
    profiles: Vec<Profile>,
    path: PathBuf,
    data: String,
    /// The pictures that were measured, as places in their set.
    measured: Vec<usize>,
    images: usize,
    skipped: usize,
    backend: Backend,
    pub(super) keep_float: BTreeSet<String>,
    effort: Effort,
    /// What the float network takes for one picture on one core; only known where time is limited.
    each: Duration,
}

impl Calibrated {
    /// Runs the float network at `path` over a spread of `set`'s pictures.
    ///
    /// # Errors
    /// If the bundle is not a float ResNet, the pictures cannot be read, or nothing is on them.
    pub fn measure(path: &Path, set: &Dataset, effort: Effort) -> Result<Self, ModelError> {
        Self::measure_bundle(&Bundle::open(path, OPERATORS)?, set, effort)
    }

    /// As [`Self::measure`], of a bundle in memory.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub fn measure_bundle(
        bundle: &Bundle,
        set: &Dataset,
        effort: Effort,
    ) -> Result<Self, ModelError> {
        let mut found = Self::open(bundle)?;
        found.effort = effort;
        if effort.is_limited() {
            found.each = found.time()?;
        }
        let most = effort.pictures(CALIBRATION, TO_MEASURE, found.each);
        let chosen = set.spread(most.min(set.len() - to_keep(set.len())), &[]);
        let float = found.runner();
        let swept = sweep(
            MEASURING,
            (set, &chosen),
            &found.manifest.preprocessing,
            || Ok(found.profiles.clone()),
            |profiles, picture| float(picture, profiles).map(|_| is_of_one_colour(picture)),
        )?;
        drop(float);
        warn_of_few(set, swept.results.iter().map(|(_, one_colour)| *one_colour))?;
        found.images = swept.results.len();
        found.skipped = swept.skipped;
        found.measured = chosen;
        found.data = set
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        found.add(swept.states);
        Ok(found)
    }

    /// What each core measured.
    fn add(&mut self, states: Vec<Vec<Profile>>) {
        for state in states {
            let sums = self.profiles.iter_mut().zip(state);
            sums.for_each(|(sum, p)| sum.merge(p));
        }
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
            profiles: vec![Profile::default(); network.measured.len()],
            network,
            manifest: bundle.manifest.clone(),
            path: bundle.path.clone(),
            data: String::new(),
            measured: Vec::new(),
            images: 0,
            skipped: 0,
            backend,
            keep_float: BTreeSet::new(),
            effort: Effort::WHOLE,
            each: Duration::ZERO,
        })
    }

    /// What one picture takes, and what is done with it.
    fn time(&self) -> Result<Duration, ModelError> {
        let (float, mut profiles) = (self.runner(), self.profiles.clone());
        let mut took = Duration::ZERO;
        // the first one warms up
        let size = self.manifest.preprocessing.crop as usize;
        for picture in pictures::dead_leaves(size, 1).take(2) {
            let began = Instant::now();
            float(&picture, &mut profiles)?;
            took = began.elapsed();
        }
        Ok(took)
    }

    /// Runs the float network on a picture of bytes: adds its activations to profiles, if there are any, and gives the logits.
    pub(super) fn runner(
        &self,
    ) -> impl Fn(&[u8], &mut [Profile]) -> Result<Vec<f32>, ModelError> + Sync {
        let p = &self.manifest.preprocessing;
        let (table, size) = (normalization(p.mean, p.std), p.crop as usize);
        move |picture, profiles| {
            let picture = normalize(picture, &table, size)?;
            self.network.measure(picture, profiles)
        }
    }

    /// The float bundle.
    pub(super) fn float(&self) -> Result<Bundle, ModelError> {
        Ok(Bundle::open(&self.path, OPERATORS)?)
    }

    /// Layers of these names stay float.
    ///
    /// # Errors
    /// If there is no layer of a name.
    pub fn keep_float(&mut self, names: &[String]) -> Result<(), ModelError> {
        for name in names {
            if !self.network.layers.iter().any(|l| l.name == *name) {
                return Err(ModelError::NoLayer(name.clone()));
            }
            self.keep_float.insert(name.clone());
        }
        Ok(())
    }

    /// Pictures measured.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// Pictures that could not be read.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The int8 graph after `recipe`.
    pub(super) fn graph(&self, recipe: Recipe) -> Result<TypedModel, ModelError> {
        self.graph_but(recipe, &self.keep_float)
    }

    /// As [`Self::graph`], with other layers left in float.
    pub(super) fn graph_but(
        &self,
        recipe: Recipe,
        keep_float: &BTreeSet<String>,
    ) -> Result<TypedModel, ModelError> {
        let how = (&self.manifest.preprocessing, keep_float);
        self.network
            .quantize(&self.profiles, recipe, how, self.backend)
    }

    /// The int8 bundle, called `name`.
    ///
    /// # Errors
    /// If it cannot be put together.
    pub fn bundle(&self, recipe: Recipe, name: String) -> Result<Bundle, ModelError> {
        let mut manifest = self.manifest.clone();
        manifest.name = name;
        manifest.quantization = Some(Quantization {
            method: recipe.to_string(),
            calibration: self.data.clone(),
            images: self.images,
        });
        manifest.forget_measured();
        save::bundle(&self.path, self.graph(recipe)?, manifest)
    }

    /// The recipes, on pictures of `set` that ranges were not measured on; fewer pictures where `only_choose`.
    ///
    /// # Errors
    /// As for [`Self::measure`].
    pub fn compare(&self, set: &Dataset, only_choose: bool) -> Result<Compared, ModelError> {
        let most = if only_choose { TO_CHOOSE } else { HELD_OUT };
        // the float network, and then each recipe
        #[allow(clippy::cast_precision_loss)]
        let share = 1.0 / (1 + Recipe::ALL.len()) as f64;
        let most = self.effort.pictures(most, share, self.each);
        let judge = Judge::new(self, set, set.spread(most, &self.measured))?;
        Compared::new(self, &judge, self.effort)
    }

    /// Where `recipe` hurts, on pictures of `set` that ranges were not measured on; on those, where there are no others.
    ///
    /// # Errors
    /// As for [`Self::measure`].
    pub fn sensitivity(&self, set: &Dataset, recipe: Recipe) -> Result<Sensitivity, ModelError> {
        let mut pictures = set.spread(BY_LAYER, &self.measured);
        if pictures.is_empty() {
            pictures = set.spread(BY_LAYER, &[]);
        }
        Sensitivity::new(self, recipe, (set, pictures))
    }
}

/// Quantizes a float bundle, its ranges measured on RGB pictures of the network's size, which `data` names.
///
/// # Errors
/// If the bundle is not a float ResNet.
pub fn on_pictures(
    bundle: &Bundle,
    pictures: impl ExactSizeIterator<Item = Vec<u8>> + Send,
    data: &str,
) -> Result<Bundle, ModelError> {
    let mut found = Calibrated::open(bundle)?;
    let (float, images) = (found.runner(), pictures.len());
    let states = sweep_made(
        MEASURING,
        pictures,
        || Ok(found.profiles.clone()),
        |profiles, picture| float(picture, profiles).map(|_| ()),
    )?;
    drop(float);
    found.add(states);
    (found.images, found.data) = (images, data.into());
    found.bundle(Recipe::DEFAULT, bundle.manifest.name.clone())
}

/// As [`on_pictures`], on two pictures of seeded noise: for networks without meaning.
///
/// # Errors
/// If the bundle is not a float ResNet.
pub fn synthetic(bundle: &Bundle, seed: u64) -> Result<Bundle, ModelError> {
    let size = bundle.manifest.preprocessing.crop as usize;
    let mut random = Random::new(seed ^ 0x5eed);
    let noise = (0..2).map(|_| (0..3 * size * size).map(|_| random.byte()).collect());
    on_pictures(bundle, noise, "made pictures")
}

/// As [`on_pictures`], without anybody's pictures: on made-up ones that have a photograph's statistics.
///
/// # Errors
/// If the bundle is not a float ResNet.
pub fn data_free(bundle: &Bundle) -> Result<Bundle, ModelError> {
    let size = bundle.manifest.preprocessing.crop as usize;
    let made = pictures::dead_leaves(size, 1).take(MADE_UP);
    on_pictures(bundle, made, "no pictures: dead leaves")
}
