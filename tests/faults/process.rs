//! The program itself as a process, on rendered scenes and a tiny network, and what Linux says of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common;

/// Longer than anything here should take, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(30);

pub const RESNETD: &str = env!("CARGO_BIN_EXE_resnetd");

/// A folder with the tiny bundle.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    common::tiny_int8()
        .write(&folder.path().join("tiny.nnef.tar"))
        .unwrap();
    folder
}

/// `resnetd run` in a folder of [`folder`]'s, `shell` having done its part before: limits, mounts. Its socket will be `socket`.
pub fn command(folder: &Path, shell: &str, socket: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{shell}\nexec \"$@\""))
        .args([
            "sh",
            RESNETD,
            "run",
            "--source",
            "demo:",
            "--threads",
            "1",
            "--model",
        ])
        .arg(folder.join("tiny.nnef.tar"))
        .arg("--socket")
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// A daemon that runs.
pub struct Daemon {
    child: Child,
    pub socket: PathBuf,
}

impl Daemon {
    pub fn start(folder: &Path, shell: &str) -> Self {
        let socket = folder.join("s");
        let child = command(folder, shell, &socket)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, socket };
        let end = Instant::now() + LONG;
        while UnixStream::connect(&daemon.socket).is_err() {
            let ended = daemon.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "it does not start: {ended:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Waits until a subscriber of the stream's has got a label of now.
    pub fn until_label(&self, stream: &UnixStream) {
        let mut reader = BufReader::new(stream);
        let began = std::time::SystemTime::now();
        let began = began
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let end = Instant::now() + LONG;
        while Instant::now() < end {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended");
            // the first may be half of one, if somebody has read from the stream before
            let message: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let timestamp = message["timestamp"].as_f64().unwrap_or_default();
            if message["type"] == "classification" && timestamp > began {
                return;
            }
        }
        panic!("no label came");
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(file)
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Processor time of the thread that publishes, in hundredths of a second.
    pub fn publishing(&self) -> u64 {
        let threads = fs::read_dir(self.proc("task")).unwrap().flatten();
        let mut stats =
            threads.map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap());
        let stat = stats
            .find(|stat| stat.contains("(publish)"))
            .expect("the thread is there");
        let behind = stat.rsplit_once(')').unwrap().1;
        behind
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
