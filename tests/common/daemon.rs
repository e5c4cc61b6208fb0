//! The program as a process with a configuration, and a subscriber to it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use resnetd::bundle::Bundle;
use resnetd::infer::registry::OPERATORS;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here should take, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(60);

pub struct Daemon {
    folder: TempDir,
    pub child: Child,
    reader: BufReader<UnixStream>,
}

impl Daemon {
    /// Beside the tiny bundle.
    pub fn start(config: &str) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), config, &[])
    }

    /// With variables in its environment.
    pub fn in_folder(folder: TempDir, config: &str, variables: &[(&str, &str)]) -> Self {
        let place = |name: &str| folder.path().join(name);
        super::tiny_int8().write(&place("tiny.nnef.tar")).unwrap();
        fs::write(place("c.toml"), config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_resnetd"))
            .current_dir(folder.path())
            .env("RESNETD_LOG", "info")
            .envs(variables.iter().copied())
            .args(["run", "--config", "c.toml", "--socket", "s"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let end = Instant::now() + LONG;
        let stream = loop {
            match UnixStream::connect(place("s")) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self {
            folder,
            child,
            reader: BufReader::new(stream),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As an editor does it: the new file takes the old one's place.
    pub fn write(&self, config: &str) {
        fs::write(self.path("new"), config).unwrap();
        fs::rename(self.path("new"), self.path("c.toml")).unwrap();
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }

    pub fn until(&mut self, found: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < end, "it never came");
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "it goes on");
            let message = serde_json::from_str(&line).unwrap();
            if found(&message) {
                return message;
            }
        }
    }

    /// Ends it in peace and gives its log.
    pub fn end(mut self) -> String {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ResNet50 and a tiny network with the same labels, `large` and `small`.
#[allow(dead_code)] // not every test has a choice
pub fn models() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shipped =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/resnet50-imagenette.nnef.tar");
    let labels = Bundle::open(&shipped, OPERATORS).unwrap();
    let labels = labels.manifest.labels;
    let small = super::tiny_int8_named("small", labels);
    small.write(&folder.path().join("small.nnef.tar")).unwrap();
    std::os::unix::fs::symlink(&shipped, folder.path().join("large.nnef.tar")).unwrap();
    folder
}
