//! A bundle ready to classify frames: preprocessing and the network as one, and where bundles are
//! looked for when none is named.

use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Failure;
use super::relabel::{Mismatch, Names, Relabelling};
use crate::bundle::{self, BundleError};
use crate::config::Models;
use crate::cores::Threads;
use crate::daemon::{Classified, Classifier, ClassifyError, Model, Worth};
use crate::frame::{Frame, Square};
use crate::infer::registry::OPERATORS;
use crate::infer::{ActivationMap, Engine};
use crate::label::{Labels, Prediction};
use crate::preprocess::{ImageSize, Preprocessor};
use crate::publish::wire::ModelInfo;
use crate::spec::{Framing, Preprocessing};

/// The bundle that comes with the program.
const DEFAULT: &str = "resnet50-imagenette.nnef.tar";
/// Where an installation has it, below its prefix.
const INSTALLED: &str = "share/resnetd/models";
/// What a bundle's file name ends in.
pub const ENDING: &str = ".nnef.tar";

pub struct Loaded {
    pub engine: Engine,
    preprocessor: Preprocessor,
    /// What the present frame's took, if that is not told yet.
    decoding: Duration,
    relabelling: Option<Relabelling>,
    /// While the governor wants no fewer.
    threads: Threads,
}

impl Loaded {
    /// The first of the models that can be loaded.
    ///
    /// # Errors
    /// If there is no bundle, or none can be run.
    pub fn open(models: Option<&Models>, threads: Threads) -> Result<Self, Failure> {
        let mut paths = candidates(models)?.paths.into_iter();
        let first = paths.next().unwrap_or_default();
        let mut outcome = Self::load(&first, threads);
        for path in paths {
            match outcome {
                Ok(_) => break,
                Err(failure) => log::warn!("{failure}; trying {}", path.display()),
            }
            outcome = Self::load(&path, threads);
        }
        outcome
    }

    /// # Errors
    /// If the bundle cannot be run.
    pub fn load(path: &Path, threads: Threads) -> Result<Self, Failure> {
        let started = Instant::now();
        let engine = Engine::load(path, threads)?;
        let preprocessor = Preprocessor::new(&engine.manifest().preprocessing)
            .map_err(|e| Failure::Model(format!("{}: {e}", path.display())))?;
        log::info!(
            "{} loaded in {} ms, int8 layers on {} with {}",
            path.display(),
            started.elapsed().as_millis(),
            engine.isa(),
            counted(engine.threads())
        );
        Ok(Self {
            engine,
            preprocessor,
            decoding: Duration::ZERO,
            relabelling: None,
            threads,
        })
    }

    /// What messages say of it.
    #[must_use]
    pub fn info(&self) -> ModelInfo {
        let manifest = self.engine.manifest();
        ModelInfo {
            name: manifest.name.clone(),
            arch: manifest.arch.clone(),
            precision: precision(&self.engine).into(),
            labels: self.labels().len(),
        }
    }

    /// As the daemon wants it; `why` it is this one.
    #[must_use]
    pub fn into_model(self, why: &str) -> Model {
        let manifest = self.engine.manifest();
        let accuracy = manifest.accuracy.as_ref().map_or(String::new(), |a| {
            format!(", {:.1} % top-1 on {}", a.top1 * 100.0, a.data)
        });
        Model {
            info: self.info(),
            labels: self.labels(),
            activation: manifest.activation,
            speakers: vec![manifest.name.clone()],
            detail: format!("{why}{accuracy}"),
            others: Vec::new(),
            classifier: Box::new(self),
        }
    }
}

fn counted(threads: usize) -> String {
    match threads {
        1 => "1 thread".into(),
        more => format!("{more} threads"),
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

impl Loaded {
    /// The labels of what it says.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let renamed = self.relabelling.as_ref().map(Relabelling::labels);
        renamed.unwrap_or_else(|| self.engine.labels()).clone()
    }

    /// Calls labels by other names from now on, and says them in a given order.
    ///
    /// # Errors
    /// The label that is missing here, or there.
    pub fn relabel(&mut self, names: &Names, order: Option<&Labels>) -> Result<(), Mismatch> {
        let activation = self.engine.manifest().activation;
        self.relabelling = Relabelling::new(self.engine.labels(), names, order, activation)?;
        Ok(())
    }

    /// How it prepares pictures.
    #[must_use]
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.engine.manifest().preprocessing
    }

    /// Decodes a frame, if that is to be done; how long it took is told with the first part that is prepared.
    pub fn decode(&mut self, frame: &Frame) -> Result<(), ClassifyError> {
        let started = Instant::now();
        self.preprocessor.decode(frame).map_err(failed)?;
        self.decoding = started.elapsed();
        Ok(())
    }

    /// Prepares a part of the frame that was decoded last.
    pub fn prepare(
        &mut self,
        frame: &Frame,
        framing: &Framing,
    ) -> Result<Prepared<'_>, ClassifyError> {
        let started = Instant::now();
        let picture = self.engine.picture().map_err(failed)?;
        let viewed = { &mut self.preprocessor }.view(frame, framing, picture);
        let (size, square) = viewed.map_err(failed)?;
        Ok(Prepared {
            square,
            size,
            took: mem::take(&mut self.decoding) + started.elapsed(),
        })
    }

    /// What was prepared last.
    pub fn shown(&mut self) -> Result<&[u8], ClassifyError> {
        self.engine
            .picture()
            .map(|picture| &*picture)
            .map_err(failed)
    }

    /// Takes a picture that another, which prepares them alike, has prepared.
    pub fn show(&mut self, picture: &[u8]) -> Result<(), ClassifyError> {
        let own = self.engine.picture().map_err(failed)?;
        if own.len() != picture.len() {
            return Err(failed("a picture of another size was prepared"));
        }
        own.copy_from_slice(picture);
        Ok(())
    }

    /// Classifies what was prepared last; how long that took.
    pub fn infer(&mut self, out: &mut Prediction) -> Result<Duration, ClassifyError> {
        let started = Instant::now();
        self.engine.run(out).map_err(failed)?;
        if let Some(relabelling) = &mut self.relabelling {
            relabelling.apply(&mut out.probabilities);
        }
        Ok(started.elapsed())
    }
}

/// A part of a frame as the network sees it.
pub struct Prepared<'a> {
    pub square: Square<'a>,
    /// Of the whole picture.
    pub size: ImageSize,
    pub took: Duration,
}

impl Prepared<'_> {
    /// With what came of it.
    #[must_use]
    pub fn classified(size: ImageSize, preparing: Duration, inference: Duration) -> Classified {
        let milliseconds = |time: Duration| time.as_secs_f32() * 1000.0;
        Classified {
            image_width: size.width,
            image_height: size.height,
            preprocess_ms: milliseconds(preparing),
            inference_ms: milliseconds(inference),
            opinion_ms: 0.0,
            speaker: 0,
        }
    }
}

impl Classifier for Loaded {
    fn begin(&mut self, frame: &Frame) -> Result<(), ClassifyError> {
        self.decode(frame)
    }

    fn classify(
        &mut self,
        frame: &Frame,
        framing: &Framing,
        worth: Worth,
        out: &mut Prediction,
    ) -> Result<Option<Classified>, ClassifyError> {
        let Prepared { square, size, took } = self.prepare(frame, framing)?;
        if !worth(&square) {
            return Ok(None);
        }
        let inference = self.infer(out)?;
        Ok(Some(Prepared::classified(size, took, inference)))
    }

    fn seen(&self) -> [f32; 4] {
        self.preprocessor.seen()
    }

    fn map(&self, class_id: usize) -> Option<ActivationMap> {
        match &self.relabelling {
            None => self.engine.map(&[class_id]),
            Some(relabelling) => self.engine.map(&relabelling.origins(class_id)),
        }
    }

    fn spare(&mut self, half: bool) {
        let threads = if half {
            self.threads.half()
        } else {
            self.threads
        };
        if let Err(error) = self.engine.set_threads(threads) {
            log::warn!("{error}; they stay as they are");
        }
    }
}

fn failed(error: impl std::fmt::Display) -> ClassifyError {
    ClassifyError {
        message: error.to_string(),
    }
}

/// Bundles in the order in which they are tried, one at least.
pub struct Candidates {
    pub paths: Vec<PathBuf>,
    pub why: Why,
}

/// Why a bundle was taken, in words.
pub struct Why {
    pub first: &'static str,
    pub others: &'static str,
}

/// The bundles that are tried, in this order.
///
/// # Errors
/// If there is none.
pub fn paths(models: Option<&Models>) -> Result<Vec<PathBuf>, Failure> {
    candidates(models).map(|found| found.paths)
}

/// Those of a list, those of a folder, else the one that comes with the program.
///
/// # Errors
/// If there is none.
pub fn candidates(models: Option<&Models>) -> Result<Candidates, Failure> {
    let (paths, why) = match models {
        Some(Models::List(list)) => (
            list.clone(),
            Why {
                first: "the first of the models named",
                others: "the first usable one of the models named",
            },
        ),
        Some(Models::Folder(folder)) => (
            by_accuracy(folder)?,
            Why {
                first: "the most accurate of the folder",
                others: "the most accurate usable one of the folder",
            },
        ),
        None => {
            let only = "the model that comes with the program";
            let why = Why {
                first: only,
                others: only,
            };
            (vec![default()?], why)
        }
    };
    if paths.is_empty() {
        let empty = "the list of models is empty; name one";
        return Err(Failure::Model(empty.into()));
    }
    Ok(Candidates { paths, why })
}

/// The sound bundles of a folder: the most accurate first, and after those whose accuracy is known the largest first.
fn by_accuracy(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = |error| {
        Failure::from(BundleError::Read {
            path: folder.to_owned(),
            error,
        })
    };
    let mut found: Vec<(f64, u64, PathBuf)> = Vec::new();
    let mut unsound = None;
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if !path.to_string_lossy().ends_with(ENDING) {
            continue;
        }
        match bundle::read(&path, OPERATORS, &mut ()) {
            Ok(contents) => {
                let top1 = contents.manifest.accuracy.map_or(0.0, |a| a.top1);
                let size = fs::metadata(&path).map_or(0, |file| file.len());
                found.push((top1, size, path));
            }
            Err(error) => {
                log::warn!("skipped: {error}");
                unsound = Some(error);
            }
        }
    }
    found.sort_by(|(a, small, first), (b, large, second)| {
        let larger = large.cmp(small);
        b.total_cmp(a).then(larger).then_with(|| first.cmp(second))
    });
    match unsound {
        Some(error) if found.is_empty() => Err(error.into()),
        None if found.is_empty() => Err(Failure::Model(format!(
            "{} holds no bundle (*{ENDING})",
            folder.display()
        ))),
        _ => Ok(found.into_iter().map(|(_, _, path)| path).collect()),
    }
}

/// In `models/` here, in the source tree that the program was built in, or installed.
pub fn default() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().ok();
    // target/release/resnetd
    let tree = program.as_deref().and_then(|exe| exe.ancestors().nth(3));
    // /usr/local/bin/resnetd
    let prefix = program.as_deref().and_then(|exe| exe.ancestors().nth(2));
    let places = [
        Some(Path::new("models").join(DEFAULT)),
        tree.map(|root| root.join("models").join(DEFAULT)),
        prefix.map(|prefix| prefix.join(INSTALLED).join(DEFAULT)),
        Some(Path::new("/usr").join(INSTALLED).join(DEFAULT)),
    ];
    places.into_iter().flatten().find(|path| path.exists()).ok_or_else(|| {
        Failure::Model(format!(
            "there is no {DEFAULT} in models/ here, in the source tree of the build or in /usr/share/resnetd/models; name a bundle by --model"
        ))
    })
}
