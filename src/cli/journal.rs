//! Log lines as journald wants them: a priority in front and no time, which it adds itself.

use std::io::{self, Write};
use std::sync::OnceLock;

use env_logger::fmt::Formatter;
use log::{Level, Record};

/// The daemon's own messages go without the module that they come from.
const OWN: &str = "resnetd";

/// True if standard error is the journal, which systemd names in `JOURNAL_STREAM`.
pub fn is_stderr() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        rustix::fs::fstat(io::stderr()).is_ok_and(|stat| names(&stream, stat.st_dev, stat.st_ino))
    })
}

/// True if `stream`, `DEVICE:INODE`, is this file: a child may have been given another standard error.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    let named = stream.split_once(':');
    named.is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

pub fn write(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let target = record.target();
    let text = match target.strip_prefix(OWN) {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => record.args().to_string(),
        _ => format!("{target}: {}", record.args()),
    };
    write_lines(out, record.level(), &text)
}

/// journald takes every line for a message of its own.
pub fn write_lines(out: &mut impl Write, level: Level, text: &str) -> io::Result<()> {
    let priority = priority(level);
    text.lines()
        .try_for_each(|line| writeln!(out, "<{priority}>{line}"))
}

/// syslog(3)'s numbers.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(names("8:1234", 8, 1234));
        for other in [
            "", "8", "8:", ":1234", "8:1235", "9:1234", "8:1234:0", "a:b",
        ] {
            assert!(!names(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn every_line_has_its_priority() {
        let mut out = Vec::new();
        write_lines(&mut out, Level::Warn, "one\ntwo").unwrap();
        write_lines(&mut out, Level::Trace, "three").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<4>one\n<4>two\n<7>three\n"
        );
    }
}
