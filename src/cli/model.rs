//! A bundle ready to classify frames: preprocessing and the network as one, and where bundles are
//! looked for when none is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Failure;
use crate::bundle::{Bundle, BundleError};
use crate::config::Models;
use crate::daemon::{Classified, Classifier, ClassifyError, Model};
use crate::frame::Frame;
use crate::infer::Engine;
use crate::infer::registry::OPERATORS;
use crate::label::Prediction;
use crate::preprocess::Preprocessor;
use crate::publish::wire::ModelInfo;

/// The bundle that comes with the program.
const DEFAULT: &str = "resnet50-imagenette.nnef.tar";
/// What a bundle's file name ends in.
const ENDING: &str = ".nnef.tar";

pub struct Loaded {
    pub engine: Engine,
    preprocessor: Preprocessor,
    /// Why this bundle and no other.
    why: &'static str,
}

impl Loaded {
    /// # Errors
    /// If there is no bundle, or it cannot be run.
    pub fn open(models: Option<&Models>) -> Result<Self, Failure> {
        let (path, why) = choose(models)?;
        let started = Instant::now();
        let engine = Engine::load(&path)?;
        let preprocessor = Preprocessor::new(&engine.manifest().preprocessing)
            .map_err(|e| Failure::Model(format!("{}: {e}", path.display())))?;
        log::info!(
            "{} loaded in {} ms, int8 layers on {}",
            path.display(),
            started.elapsed().as_millis(),
            engine.isa()
        );
        Ok(Self {
            engine,
            preprocessor,
            why,
        })
    }

    /// As the daemon wants it.
    #[must_use]
    pub fn into_model(self) -> Model {
        let manifest = self.engine.manifest();
        let accuracy = manifest.accuracy.as_ref().map_or(String::new(), |a| {
            format!(", {:.1} % top-1 on {}", a.top1 * 100.0, a.data)
        });
        Model {
            info: ModelInfo {
                name: manifest.name.clone(),
                arch: manifest.arch.clone(),
                precision: precision(&self.engine).into(),
                labels: manifest.labels.len(),
            },
            labels: self.engine.labels().clone(),
            detail: format!("{}{accuracy}", self.why),
            classifier: Box::new(self),
        }
    }
}

/// `int8` or `f32`.
#[must_use]
pub fn precision(engine: &Engine) -> &'static str {
    match engine.manifest().quantization {
        Some(_) => "int8",
        None => "f32",
    }
}

impl Classifier for Loaded {
    fn classify(
        &mut self,
        frame: &Frame,
        out: &mut Prediction,
    ) -> Result<Classified, ClassifyError> {
        let failed = |e: &dyn std::fmt::Display| ClassifyError {
            message: e.to_string(),
        };
        let started = Instant::now();
        let picture = self.engine.picture().map_err(|e| failed(&e))?;
        let size = self
            .preprocessor
            .run(frame, picture)
            .map_err(|e| failed(&e))?;
        let prepared = Instant::now();
        self.engine.run(out).map_err(|e| failed(&e))?;
        let milliseconds = |from: Instant, to: Instant| (to - from).as_secs_f32() * 1000.0;
        Ok(Classified {
            image_width: size.width,
            image_height: size.height,
            preprocess_ms: milliseconds(started, prepared),
            inference_ms: milliseconds(prepared, Instant::now()),
        })
    }
}

/// The first of a list, the most accurate of a folder, else the one that comes with the program; and
/// in words which of these.
fn choose(models: Option<&Models>) -> Result<(PathBuf, &'static str), Failure> {
    match models {
        Some(Models::List(list)) => match list.first() {
            Some(first) => Ok((first.clone(), "the first of the models named")),
            None => Err(Failure::Model(
                "the list of models is empty; name one".into(),
            )),
        },
        Some(Models::Folder(folder)) => {
            most_accurate(folder).map(|path| (path, "the most accurate of the folder"))
        }
        None => default().map(|path| (path, "the model that comes with the program")),
    }
}

fn most_accurate(folder: &Path) -> Result<PathBuf, Failure> {
    let read = |error| {
        Failure::from(BundleError::Read {
            path: folder.to_owned(),
            error,
        })
    };
    let mut best: Option<(f64, PathBuf)> = None;
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if !path.to_string_lossy().ends_with(ENDING) {
            continue;
        }
        let accuracy = Bundle::open(&path, OPERATORS)?.manifest.accuracy;
        let top1 = accuracy.map_or(0.0, |a| a.top1);
        if best.as_ref().is_none_or(|(other, _)| top1 > *other) {
            best = Some((top1, path));
        }
    }
    let none = || Failure::Model(format!("{} holds no bundle (*{ENDING})", folder.display()));
    best.map(|(_, path)| path).ok_or_else(none)
}

/// Beside the source tree's build, installed, or in the working folder's `models/`.
fn default() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(|exe| exe.ancestors().nth(3));
    let places = [
        Some(Path::new("models").join(DEFAULT)),
        beside.map(|root| root.join("models").join(DEFAULT)),
        Some(Path::new("/usr/share/resnetd/models").join(DEFAULT)),
    ];
    places.into_iter().flatten().find(|path| path.exists()).ok_or_else(|| {
        Failure::Model(format!(
            "there is no {DEFAULT} in models/, beside the program or in /usr/share/resnetd/models; name a bundle by --model"
        ))
    })
}
