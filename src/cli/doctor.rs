//! `resnetd doctor`: what is this machine, what does resnetd make of it, and what is wrong?
//!
//! It only looks: no camera is started, no socket or folder made.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Failure;
use super::machine::{self, Memory};
use super::model;
use crate::adapt::sensors;
use crate::bundle;
use crate::cores::Threads;
use crate::infer::EngineError;
use crate::infer::registry::OPERATORS;
use crate::kernels::dispatch::{VARIABLE, available};
use crate::kernels::{Backend, Isa};
use crate::publish::path::Places;
use crate::source::v4l2::{self, Listed};

const EXAMPLES: &str = "\
Examples:
  resnetd doctor
  resnetd doctor --json | jq .problems

Each problem comes with its remedy. The exit code is 0 unless one of them keeps `resnetd run` from starting.";

/// Less memory than this that is available is too little beside the network's own.
const SCARCE_MIB: u64 = 100;

/// As Raspberry Pi OS is commonly started.
const UNLIMITED: &str = "memory limits (MemoryMax= of the service) have no effect, because Linux was started without counting \
    memory by control groups; on a Raspberry Pi add `cgroup_enable=memory` to the line in /boot/firmware/cmdline.txt";

/// Says what this machine is, what of it resnetd uses, and what is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
struct Report {
    processor: Option<String>,
    board: Option<String>,
    kernel: Option<String>,
    cores: usize,
    threads: Threads,
    memory: Option<Memory>,
    isas: Isas,
    model: Option<Model>,
    cameras: Vec<Listed>,
    socket: PathBuf,
    problems: Vec<Problem>,
}

/// Which instruction sets there are.
struct Isas {
    available: Vec<Isa>,
    selected: Option<Isa>,
    /// What `RESNETD_ISA` says.
    forced: Option<String>,
}

/// The bundle that `run` takes if none is named.
struct Model {
    path: PathBuf,
    name: String,
    precision: &'static str,
}

struct Problem {
    message: String,
    /// If `run` cannot start: how it would end.
    failure: Option<Failure>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let report = Report::gather();
    let mut out = io::stdout().lock();
    let shown = if arguments.json {
        writeln!(out, "{}", report.json())
    } else {
        report.text(&mut out)
    };
    shown.map_err(Failure::Output)?;
    let failure = report.problems.into_iter().find_map(|p| p.failure);
    failure.map_or(Ok(()), Err)
}

impl Problem {
    fn stops(failure: Failure) -> Self {
        Self {
            message: failure.to_string(),
            failure: Some(failure),
        }
    }

    fn hinders(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            failure: None,
        }
    }
}

impl Report {
    fn gather() -> Self {
        let mut problems = Vec::new();
        let isas = Isas::look(&mut problems);
        let memory = machine::memory();
        if let Some(memory) = memory.filter(|memory| memory.available < SCARCE_MIB) {
            problems.push(Problem::hinders(format!(
                "{} MiB of memory are available, and a ResNet50 takes 60; end other programs",
                memory.available
            )));
        }
        if sensors::limits_have_no_effect(&sensors::root()) {
            problems.push(Problem::hinders(UNLIMITED));
        }
        let model = Model::look().map_err(|failure| problems.push(Problem::stops(failure)));
        let cameras = v4l2::list();
        problems.extend(without_camera(&cameras));
        Self {
            processor: machine::processor(),
            board: machine::board(),
            kernel: machine::kernel(),
            cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads: Threads::suggested(),
            memory,
            isas,
            model: model.ok(),
            cameras,
            socket: Places::from_environment().expected(),
            problems,
        }
    }

    fn json(&self) -> Value {
        let isa = |isa: Isa| {
            json!({
                "name": isa.name(), "available": self.isas.available.contains(&isa),
                "selected": self.isas.selected == Some(isa),
            })
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"), "arch": std::env::consts::ARCH, "kernel": self.kernel,
            "board": self.board, "processor": self.processor, "cores": self.cores,
            "threads": self.threads.get().get(), "memory_mib": self.memory.map(|m| m.total),
            "available_mib": self.memory.map(|m| m.available),
            "isas": Isa::ALL.map(isa), "forced_isa": self.isas.forced,
            "model": self.model.as_ref().map(|m| json!({
                "path": m.path.to_string_lossy(), "name": m.name, "precision": m.precision,
            })),
            "cameras": self.cameras.iter().map(|c| json!({
                "path": c.path.to_string_lossy(), "card": c.card, "usable": c.offers.is_ok(),
            })).collect::<Vec<_>>(),
            "socket": self.socket.to_string_lossy(),
            "problems": self.problems.iter().map(|p| json!({
                "message": p.message, "stops_run": p.failure.is_some(),
            })).collect::<Vec<_>>(),
        })
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut row = |name: &str, value: &str| writeln!(out, "{name:18}{value}");
        let version = env!("CARGO_PKG_VERSION");
        row(
            "resnetd",
            &format!("{version} for {}", std::env::consts::ARCH),
        )?;
        if let Some(board) = &self.board {
            row("board", board)?;
        }
        row(
            "processor",
            self.processor.as_deref().unwrap_or("not known"),
        )?;
        row(
            "cores",
            &format!(
                "{} usable, {} threads unless --threads says",
                self.cores, self.threads
            ),
        )?;
        if let Some(Memory { total, available }) = self.memory {
            row("memory", &format!("{total} MiB, {available} available"))?;
        }
        if let Some(kernel) = &self.kernel {
            row("system", &format!("Linux {kernel}"))?;
        }
        for (i, isa) in Isa::ALL.into_iter().enumerate() {
            let name = if i == 0 { "instruction sets" } else { "" };
            row(name, &format!("{:12}{}", isa.name(), self.isas.state(isa)))?;
        }
        match &self.model {
            Some(m) => row(
                "model",
                &format!("{}, {} ({})", m.name, m.precision, m.path.display()),
            )?,
            None => row("model", "none")?,
        }
        for (i, camera) in self.cameras.iter().enumerate() {
            let state = if camera.offers.is_ok() {
                "usable"
            } else {
                "not usable"
            };
            let name = if i == 0 { "cameras" } else { "" };
            row(
                name,
                &format!("{}  {}, {state}", camera.path.display(), camera.card),
            )?;
        }
        if self.cameras.is_empty() {
            row("cameras", "none")?;
        }
        row("socket", &self.socket.to_string_lossy())?;
        if self.problems.is_empty() {
            return writeln!(out, "\nno problem found");
        }
        writeln!(out)?;
        for problem in &self.problems {
            let kind = if problem.failure.is_some() {
                "error"
            } else {
                "note"
            };
            writeln!(out, "{kind}: {}", problem.message)?;
        }
        Ok(())
    }
}

impl Isas {
    fn look(problems: &mut Vec<Problem>) -> Self {
        let selected = Backend::selected().map(Backend::isa);
        let selected =
            selected.map_err(|e| problems.push(Problem::stops(EngineError::from(e).into())));
        let isas = Self {
            available: available(),
            selected: selected.ok(),
            forced: std::env::var(VARIABLE).ok().filter(|name| !name.is_empty()),
        };
        problems.extend(isas.slow().map(Problem::hinders));
        isas
    }

    /// What makes inference slower than this processor could.
    fn slow(&self) -> Option<String> {
        let (selected, best) = (self.selected?, *self.available.last()?);
        if selected != best {
            return Some(format!(
                "{VARIABLE} forces {selected} where {best} is faster; unset it"
            ));
        }
        matches!(best, Isa::Scalar | Isa::Portable).then(|| {
            "there are no kernels for this processor's own instructions, and the portable ones are several times \
             slower; on x86 it takes AVX2, on ARM a 64-bit system"
                .to_owned()
        })
    }

    fn state(&self, isa: Isa) -> &'static str {
        match (self.selected == Some(isa), self.available.contains(&isa)) {
            (true, _) if self.forced.is_some() => "forced by RESNETD_ISA",
            (true, _) => "in use",
            (false, true) => "available",
            (false, false) => "-",
        }
    }
}

impl Model {
    fn look() -> Result<Self, Failure> {
        let path = model::default()?;
        let manifest = bundle::read(&path, OPERATORS, &mut ())?.manifest;
        Ok(Self {
            path,
            name: manifest.name,
            precision: if manifest.quantization.is_some() {
                "int8"
            } else {
                "f32"
            },
        })
    }
}

/// What to do where no camera is usable.
fn without_camera(cameras: &[Listed]) -> Vec<Problem> {
    if cameras.is_empty() {
        let message =
            "there is no /dev/video*: plug a camera in, or try `resnetd run --source demo:`";
        return vec![Problem::hinders(message)];
    }
    let errors: Option<Vec<String>> = cameras
        .iter()
        .map(|camera| camera.offers.as_ref().err().map(ToString::to_string))
        .collect();
    let errors = errors.unwrap_or_default(); // one camera is usable: the others are no problem
    errors.into_iter().map(Problem::hinders).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;

    fn isas(selected: Isa, available: &[Isa]) -> Isas {
        Isas {
            available: available.to_vec(),
            selected: Some(selected),
            forced: None,
        }
    }

    #[test]
    fn a_slow_choice_is_told_with_its_remedy() {
        let both = [Isa::Scalar, Isa::Avx2];
        assert_eq!(isas(Isa::Avx2, &both).slow(), None);
        let forced = isas(Isa::Scalar, &both).slow().unwrap();
        assert!(
            forced.contains("avx2") && forced.contains("unset"),
            "{forced}"
        );
        let portable = isas(Isa::Portable, &[Isa::Scalar, Isa::Portable]).slow();
        assert!(portable.unwrap().contains("slower"));
    }

    #[test]
    fn unusable_cameras_are_a_problem_only_where_none_is_usable() {
        let camera = |path: &str, busy: bool| Listed {
            path: path.into(),
            card: "Webcam".into(),
            driver: "uvcvideo".into(),
            offers: if busy {
                Err(SourceError::Busy(path.into()))
            } else {
                Ok(v4l2::Offers::default())
            },
        };
        assert_eq!(
            without_camera(&[camera("/dev/video0", false), camera("/dev/video1", true)]).len(),
            0
        );
        let problems = without_camera(&[camera("/dev/video1", true)]);
        assert!(problems[0].message.contains("fuser") && problems[0].failure.is_none());
        assert!(without_camera(&[])[0].message.contains("demo:"));
    }
}
