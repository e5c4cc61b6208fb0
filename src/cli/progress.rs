//! One line on standard error for work that takes a while: how far it is, and how long it will still take. Only on
//! a terminal, only for work of more than two seconds, and gone when the work is done.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shorter work needs no line.
const SHORT: Duration = Duration::from_secs(2);
/// Before this much has passed, the whole is not guessed.
const FIRST_GUESS: Duration = Duration::from_millis(300);
const REFRESH: Duration = Duration::from_millis(100);
/// Characters of the bar.
const WIDTH: usize = 30;

pub struct Progress {
    terminal: bool,
    started: Instant,
    shown: Option<Instant>,
    total: u32,
    done: u32,
}

impl Progress {
    /// Of `total` steps.
    #[must_use]
    pub fn new(total: u32) -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            started: Instant::now(),
            shown: None,
            total,
            done: 0,
        }
    }

    /// One more step is done.
    pub fn step(&mut self) {
        self.done = self.total.min(self.done + 1);
        if !self.terminal {
            return;
        }
        let now = Instant::now();
        let rested = self.shown.is_none_or(|shown| now - shown >= REFRESH);
        let line = line(self.done, self.total, now - self.started);
        if let (true, Some(line)) = (rested, line) {
            let _ = write!(io::stderr(), "\r\x1b[K{line}\r");
            self.shown = Some(now);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(done: u32, total: u32, elapsed: Duration) -> Option<String> {
    let whole = elapsed * total / done.max(1);
    if elapsed < FIRST_GUESS || whole < SHORT {
        return None;
    }
    let filled = WIDTH * done as usize / total.max(1) as usize;
    let left = (whole - elapsed).as_secs_f64();
    Some(format!(
        "[{}{}] {done}/{total}, {left:.0} s left",
        "#".repeat(filled),
        " ".repeat(WIDTH - filled)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_work_has_a_line() {
        let ms = Duration::from_millis;
        assert_eq!(line(1, 100, ms(10)), None);
        assert_eq!(line(10, 20, ms(900)), None);
        let shown = line(10, 20, ms(2000)).unwrap();
        assert!(shown.ends_with("] 10/20, 2 s left"), "{shown}");
        assert_eq!(shown.matches('#').count(), WIDTH / 2);
        assert!(line(20, 20, ms(4000)).unwrap().contains("0 s left"));
    }
}
