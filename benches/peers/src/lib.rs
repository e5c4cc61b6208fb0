//! What the runners share: arguments in, two lines of JSON out (see run.py beside this, which speaks the same).

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `MODEL THREADS WARMUP ITERS`
pub struct Arguments {
    pub model: String,
    pub threads: usize,
    warmup: usize,
    iters: usize,
}

impl Arguments {
    /// # Errors
    /// If there are not four of them, or the last three are no numbers.
    pub fn parse() -> Result<Self> {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let [model, threads, warmup, iters] = given.as_slice() else {
            return Err("arguments: MODEL THREADS WARMUP ITERS".into());
        };
        Ok(Self {
            model: model.clone(),
            threads: threads.parse()?,
            warmup: warmup.parse()?,
            iters: iters.parse()?,
        })
    }
}

/// The same picture of noise for everyone: values between 0 and 1, in NCHW.
#[must_use]
#[allow(clippy::cast_precision_loss)] // a byte
pub fn picture() -> Vec<f32> {
    (0..3 * 224 * 224_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32 / 255.0)
        .collect()
}

/// Loads, says when the first label is there, then times inferences; an inference gives the logits.
///
/// # Errors
/// What `load` or an inference says.
pub fn measure<R>(arguments: &Arguments, load: impl FnOnce() -> Result<R>) -> Result<()>
where
    R: FnMut() -> Result<Vec<f32>>,
{
    let started = Instant::now();
    let mut infer = load()?;
    let load_ms = started.elapsed().as_secs_f64() * 1000.0;
    let label = label(&infer()?).ok_or("the network has no outputs")?;
    let mut out = io::stdout();
    writeln!(out, r#"{{"load_ms": {load_ms:.3}, "label": {label}}}"#)?;
    for _ in 1..arguments.warmup {
        infer()?;
    }
    let mut times = Vec::new();
    for _ in 0..arguments.iters {
        let started = Instant::now();
        infer()?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    writeln!(out, r#"{{"times_ms": {times:?}}}"#)?;
    Ok(())
}

fn label(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}
