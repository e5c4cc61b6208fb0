//! What is done with bytes that came from outside, one function for each reader of them: to be called with anything
//! and to return, with true if something was made of them. A panic, an abort, an endless loop or a wrong promise is a
//! find.
//!
//! The programs in `fuzz_targets/` feed these functions what libFuzzer makes up; `tests/fuzz_seeds.rs` what lies in
//! `seeds/`, every input that was once a find included.

mod bundles;
mod page;
mod pictures;
mod streams;
mod weights;

use std::io::Read;
use std::path::Path;

pub use bundles::{bundle, graph};
pub use page::page;
pub use pictures::{jpeg, picture, pixels};
pub use streams::{http, mjpeg, y4m};
pub use weights::{nnef, onnx, pth, safetensors};

use resnetd::cli::lines::{Lines, Next};
use resnetd::cli::view::{Screen, View};
use resnetd::config::Config;
use resnetd::publish::wire::Message;
use resnetd::source::SourceSpec;

/// The value of `--source`.
pub fn uri(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let spec = text
        .parse::<SourceSpec>()
        .map_err(|error| error.to_string());
    spec.is_ok()
}

/// A configuration file.
pub fn config(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let config = Config::parse(Path::new("resnetd.toml"), text).map_err(|error| error.to_string());
    if let Err(message) = &config {
        assert!(!message.contains('\n'), "an error is one line: {message:?}");
    }
    config.is_ok()
}

/// What `resnetd watch` is sent, in pieces whose sizes the first byte sets.
pub fn watch(bytes: &[u8]) -> bool {
    const LONGEST: usize = 2048;
    let (size, bytes) = bytes
        .split_first()
        .map_or((1, bytes), |(&n, rest)| (n, rest));
    let mut lines = Lines::new(Pieces(bytes, usize::from(size).max(1)), LONGEST);
    let (mut view, screen) = (View::default(), screen(size));
    let (mut again, mut messages) = (Vec::new(), 0);
    while let Ok(Next::Line(line)) = lines.read() {
        assert!(line.len() <= LONGEST);
        let Ok(message) = serde_json::from_slice::<Message<'_>>(line) else {
            continue;
        };
        let shown = view.take(&message).unwrap_or_default() + &view.bars(screen);
        assert!(!shown.contains('\n'), "a line is one line: {shown:?}");
        messages += 1;
        again.clear();
        message.write(&mut again);
        serde_json::from_slice::<Message<'_>>(&again).expect("what we write we can read");
    }
    messages > 0
}

fn screen(width: u8) -> Screen {
    Screen {
        terminal: true,
        colour: width.is_multiple_of(2),
        width: usize::from(width),
    }
}

/// At most so many bytes at a time.
pub(crate) struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}
