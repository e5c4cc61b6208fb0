//! `resnetd classify`: what is on these pictures?

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Failure;
use super::model::Loaded;
use crate::config::Models;
use crate::cores::Threads;
use crate::daemon::Classifier;
use crate::label::Prediction;
use crate::source::images;
use crate::spec::Framing;

const EXAMPLES: &str = "\
Examples:
  resnetd classify photo.jpg
  resnetd classify --json --top 3 *.jpg
  resnetd classify --model mine.nnef.tar --json --logits photo.png

With --json one line per file: file, predictions, and with --logits what the last layer said. The same picture
and int8 bundle give the same bytes on every processor.";

/// Names what is on picture files.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The bundle [default: the one that comes with the program]
    #[arg(long, value_name = "BUNDLE")]
    model: Option<PathBuf>,
    /// One JSON object per file
    #[arg(long)]
    json: bool,
    /// How many labels of each picture
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// With --json: the last layer's output for every class
    #[arg(long, requires = "json")]
    logits: bool,
    /// How many threads run the network [default: one for each performance core]
    #[arg(long, value_name = "N")]
    threads: Option<Threads>,
    /// JPEG or PNG
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    /// A name that is no UTF-8 is shown as well as JSON can.
    file: Cow<'a, str>,
    predictions: Vec<One<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<&'a [f32]>,
}

#[derive(Serialize)]
struct One<'a> {
    class: &'a str,
    class_id: usize,
    confidence: f32,
}

/// Classifies every file; one that is no picture is told, and the last such decides the exit code.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let models = arguments.model.clone().map(|path| Models::List(vec![path]));
    let threads = arguments.threads.unwrap_or_else(Threads::suggested);
    let mut model = Loaded::open(models.as_ref(), threads)?;
    let mut prediction = Prediction::default();
    let mut failed = None;
    for file in &arguments.files {
        match classify(&mut model, file, &mut prediction) {
            Ok(()) => print(arguments, &model, file, &prediction).map_err(Failure::Output)?,
            Err(failure) => {
                if let Some(before) = failed.replace(failure) {
                    super::say(&format!("resnetd: {before}"));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn classify(model: &mut Loaded, file: &Path, out: &mut Prediction) -> Result<(), Failure> {
    let frame = images::load(file).map_err(|e| Failure::Input(e.to_string()))?;
    { model.begin(&frame) }
        .and_then(|()| model.classify(&frame, &Framing::default(), &mut |_| true, out))
        .map(|_| ())
        .map_err(|e| Failure::Input(format!("{}: {e}", file.display())))
}

fn print(
    arguments: &Arguments,
    model: &Loaded,
    file: &Path,
    prediction: &Prediction,
) -> io::Result<()> {
    let labels = model.engine.labels();
    let top = prediction.top(arguments.top);
    let mut out = io::stdout().lock();
    if arguments.json {
        let line = Line {
            file: file.to_string_lossy(),
            predictions: top
                .iter()
                .map(|s| One {
                    class: &labels[s.class_id],
                    class_id: s.class_id,
                    confidence: s.confidence,
                })
                .collect(),
            logits: arguments.logits.then_some(&prediction.logits),
        };
        return writeln!(out, "{}", serde_json::to_string(&line)?);
    }
    writeln!(out, "{}", file.display())?;
    for score in top {
        writeln!(
            out,
            "  {:6.2} %  {}",
            score.confidence * 100.0,
            labels[score.class_id]
        )?;
    }
    Ok(())
}
