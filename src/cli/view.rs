//! How messages look to a person: changes and states as lines, and one line with bars for what is seen at
//! present. Only text; where it goes is `console`'s and `watch`'s business.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use crate::publish::wire::{Change, Classification, Message, Status};

/// Width of a bar in characters.
const BAR: usize = 10;
/// Labels with a bar, if one camera has the whole line.
const LABELS: usize = 3;

/// What standard output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    pub terminal: bool,
    pub colour: bool,
    /// In characters.
    pub width: usize,
}

impl Screen {
    /// Standard output's. Colour on a terminal only, and not against the user's `NO_COLOR`.
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let width = size
            .map(|size| usize::from(size.ws_col))
            .filter(|&width| width > 0);
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            terminal,
            colour,
            width: width.unwrap_or(80),
        }
    }
}

/// What is seen at present, for the line that is updated.
#[derive(Debug, Default)]
pub struct View {
    /// The last of each camera, or of each region that it has.
    cameras: BTreeMap<(String, Option<String>), Seen>,
}

#[derive(Debug)]
struct Seen {
    top: String,
    confidence: f32,
    labels: Vec<(String, f32)>,
    inference_ms: f32,
    age_ms: f32,
}

impl View {
    /// Takes a message; Some if it is one that gets a line of its own.
    pub fn take(&mut self, message: &Message<'_>) -> Option<String> {
        match message {
            Message::Hello(hello) => {
                self.cameras.clear();
                let (name, version) = (printable(&hello.model.name), printable(&hello.version));
                Some(format!("resnetd {version}, model {name}"))
            }
            Message::Classification(classification) => {
                let camera = printable(&classification.camera);
                let region = classification.region.as_deref().map(printable);
                { &mut self.cameras }.insert((camera, region), Seen::new(classification));
                None
            }
            Message::Change(change) => Some(change_line(change)),
            Message::Status(status) => Some(status_line(status)),
            Message::Lagged(lagged) => Some(format!("{} messages missed", lagged.missed)),
            Message::Model(_) => None,
        }
    }

    /// The line that is updated, no longer than the screen is wide. Empty if nothing is seen yet.
    pub fn bars(&self, screen: Screen) -> String {
        let mut line = Line::new(screen);
        let alone = self.cameras.len() == 1;
        for ((camera, region), seen) in &self.cameras {
            line.plain(&format!("{}  ", place(camera, region.as_deref())));
            if alone {
                seen.write_bars(&mut line);
            } else {
                line.label(&seen.top, seen.confidence, true);
            }
        }
        line.text
    }
}

impl Seen {
    fn new(message: &Classification<'_>) -> Self {
        let labels = message.predictions.iter().take(LABELS);
        Self {
            top: printable(&message.top),
            confidence: message.confidence,
            labels: labels
                .map(|scored| (printable(&scored.class), scored.confidence))
                .collect(),
            inference_ms: message.timing.inference_ms,
            age_ms: message.timing.age_ms,
        }
    }

    fn write_bars(&self, line: &mut Line) {
        for (label, confidence) in &self.labels {
            line.label(label, *confidence, *label == self.top);
        }
        line.plain(&format!(
            "{:.0} ms, age {:.0} ms",
            self.inference_ms, self.age_ms
        ));
    }
}

/// A line that stops at the edge of the screen.
struct Line {
    text: String,
    left: usize,
    colour: bool,
}

impl Line {
    fn new(screen: Screen) -> Self {
        // The last column is left free, or some terminals go to the next line.
        Self {
            text: String::new(),
            left: screen.width.saturating_sub(1),
            colour: screen.colour,
        }
    }

    fn plain(&mut self, text: &str) {
        let before = self.text.len();
        self.text.extend(text.chars().take(self.left));
        self.left -= self.text[before..].chars().count();
    }

    fn painted(&mut self, paint: &str, text: &str) {
        if self.colour && self.left > 0 {
            self.text.push_str(paint);
            self.plain(text);
            self.text.push_str("\x1b[0m");
        } else {
            self.plain(text);
        }
    }

    fn label(&mut self, label: &str, confidence: f32, is_top: bool) {
        let paint = if is_top { "\x1b[1;32m" } else { "\x1b[2m" };
        self.painted(
            paint,
            &format!("{label} {} {:.0}%  ", bar(confidence), confidence * 100.0),
        );
    }
}

/// `BAR` characters, filled in eighths.
fn bar(confidence: f32) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    // In 0..=80, so nothing is cut off.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let filled = (confidence.clamp(0.0, 1.0) * (BAR * 8) as f32).round() as usize;
    let mut text = "█".repeat(filled / 8);
    if filled / 8 < BAR {
        text.push(EIGHTHS[filled % 8]);
    }
    text.extend(std::iter::repeat_n(' ', BAR.saturating_sub(filled / 8 + 1)));
    text
}

/// A camera, or a region of it.
fn place(camera: &str, region: Option<&str>) -> String {
    region.map_or(camera.to_owned(), |region| format!("{camera}/{region}"))
}

fn change_line(change: &Change<'_>) -> String {
    let mut line = format!(
        "{} {}: ",
        clock(change.timestamp),
        printable(&place(&change.camera, change.region.as_deref()))
    );
    if let Some(labels) = &change.labels {
        let all = labels.join(", ");
        line.push_str(&printable(if labels.is_empty() { "nothing" } else { &all }));
        return line;
    }
    if let Some(from) = &change.from {
        // Writing to a string cannot fail.
        let _ = write!(line, "{} -> ", printable(from));
    }
    let _ = write!(
        line,
        "{} ({:.0}%)",
        printable(&change.to),
        change.confidence * 100.0
    );
    line
}

fn status_line(status: &Status<'_>) -> String {
    let mut line = format!(
        "{} {}: {}",
        clock(status.timestamp),
        printable(&status.camera),
        status.state.as_str()
    );
    if let Some(detail) = &status.detail {
        let _ = write!(line, " ({})", printable(detail));
    }
    line
}

/// Time of day in UTC, `hh:mm:ss.mmm`.
fn clock(timestamp: f64) -> String {
    let day = timestamp.rem_euclid(86400.0);
    // In 0..86_400_000, so nothing is cut off.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ms = if day.is_finite() {
        (day * 1000.0) as u64
    } else {
        0
    };
    format!(
        "{:02}:{:02}:{:02}.{:03}Z",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1000 % 60,
        ms % 1000
    )
}

/// Without the control characters with which a label could take over the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::wire::{Image, Scored, State, Timing};

    fn seen(camera: &str, label: &str, confidence: f32) -> Message<'static> {
        let scored = Scored {
            class: label.to_owned().into(),
            class_id: 0,
            confidence,
        };
        Message::Classification(Classification {
            camera: camera.to_owned().into(),
            region: None,
            frame_id: 1,
            timestamp: 0.0,
            model: "m".into(),
            image: Image {
                width: 1,
                height: 1,
            },
            predictions: vec![scored].into(),
            labels: None,
            top: label.to_owned().into(),
            confidence,
            timing: Timing {
                capture_ms: 0.0,
                preprocess_ms: 0.0,
                inference_ms: 41.0,
                age_ms: 46.0,
            },
            dropped: 0,
        })
    }

    fn screen(width: usize) -> Screen {
        Screen {
            terminal: true,
            colour: false,
            width,
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_label_is_sure() {
        assert_eq!(bar(0.0), " ".repeat(10));
        assert_eq!(bar(0.5), "█████     ");
        assert_eq!(bar(0.56), "█████▋    ");
        assert_eq!(bar(1.0), "█".repeat(10));
        assert_eq!(bar(f32::NAN).chars().count(), 10);
    }

    #[test]
    fn the_line_shows_label_bar_and_times() {
        let mut view = View::default();
        assert_eq!(view.take(&seen("front", "golf ball", 0.5)), None);
        assert_eq!(
            view.bars(screen(80)),
            "front  golf ball █████      50%  41 ms, age 46 ms"
        );
    }

    #[test]
    fn the_line_ends_at_the_edge_of_the_screen() {
        let mut view = View::default();
        view.take(&seen("front", "golf ball", 0.5));
        view.take(&seen("back", "parachute", 0.5));
        for width in 0..60 {
            assert!(view.bars(screen(width)).chars().count() <= width.saturating_sub(1));
        }
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let mut view = View::default();
        view.take(&seen("front", "golf ball", 0.5));
        assert!(!view.bars(screen(80)).contains('\x1b'));
        assert!(
            view.bars(Screen {
                colour: true,
                ..screen(80)
            })
            .contains("\x1b[1;32mgolf ball")
        );
    }

    #[test]
    fn changes_and_states_are_lines() {
        let change = |from: Option<&'static str>| {
            Message::Change(Change {
                camera: "front".into(),
                region: None,
                labels: None,
                timestamp: 3723.5,
                from: from.map(Into::into),
                to: "golf ball".into(),
                confidence: 0.91,
            })
        };
        let mut view = View::default();
        assert_eq!(
            view.take(&change(None)).unwrap(),
            "01:02:03.500Z front: golf ball (91%)"
        );
        assert_eq!(
            view.take(&change(Some("church"))).unwrap(),
            "01:02:03.500Z front: church -> golf ball (91%)"
        );
        let several = Message::Change(Change {
            camera: "front".into(),
            region: Some("door".into()),
            labels: Some(vec!["cat".into(), "dog".into()]),
            timestamp: 0.0,
            from: None,
            to: "dog".into(),
            confidence: 0.9,
        });
        assert_eq!(
            view.take(&several).unwrap(),
            "00:00:00.000Z front/door: cat, dog"
        );
        let status = Status {
            camera: "front".into(),
            timestamp: 0.0,
            state: State::CameraLost,
            detail: Some("unplugged".into()),
        };
        assert_eq!(
            view.take(&Message::Status(status)).unwrap(),
            "00:00:00.000Z front: camera_lost (unplugged)"
        );
    }

    #[test]
    fn a_label_cannot_take_over_the_terminal() {
        let mut view = View::default();
        view.take(&seen("front", "\x1b[2Jball", 0.5));
        assert!(!view.bars(screen(80)).contains('\x1b'));
    }
}
