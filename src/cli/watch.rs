//! `resnetd watch`: shows what a running resnetd publishes, to a person or, raw, to a program.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::console::write_over;
use super::lines::{Lines, Next};
use super::view::{Screen, View};
use super::{Failure, say};
use crate::publish::SocketError;
use crate::publish::path::Places;
use crate::publish::wire::Message;

/// Longer lines do not come from resnetd.
const LONGEST_LINE: usize = 1024 * 1024;
/// How often a daemon that is not there is looked for.
const RETRY: Duration = Duration::from_secs(1);
/// The updated line's interval.
const REFRESH: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  resnetd watch                          the labels as they come, for a person
  resnetd watch --json | jq -r .top      every message, for a program
  resnetd watch --socket /run/x.sock     a daemon that was started with --socket

Without --socket it looks at /run/resnetd/, $XDG_RUNTIME_DIR and /tmp/resnetd-UID/, as the daemon does.
A person's view waits for a daemon that is not there; --json ends with code 6.";

/// Shows what a running resnetd publishes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The daemon's socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the messages as they are, one JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let paths = match &arguments.socket {
        Some(path) => vec![path.clone()],
        None => Places::from_environment().candidates(),
    };
    if arguments.json {
        print_raw(&paths)
    } else {
        Person::new().watch(&paths)
    }
}

/// The first socket on which somebody listens.
fn connect(paths: &[PathBuf]) -> Result<UnixStream, SocketError> {
    let mut forbidden = None;
    for path in paths {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => forbidden = Some(path),
            Err(_) => {}
        }
    }
    Err(forbidden.map_or_else(
        || SocketError::NobodyListens {
            looked_at: paths
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(" or "),
        },
        |path| SocketError::Forbidden(path.clone()),
    ))
}

fn print_raw(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut lines = Lines::new(connect(paths)?, LONGEST_LINE);
    let mut out = io::stdout().lock();
    loop {
        match lines.read().map_err(SocketError::Serve)? {
            Next::Line(line) => print_line(&mut out, line).map_err(Failure::Output)?,
            Next::Silence => {}
            Next::End => return Ok(()),
        }
    }
}

fn print_line(out: &mut impl Write, line: &[u8]) -> io::Result<()> {
    out.write_all(line)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// The view of a person.
struct Person {
    screen: Screen,
    view: View,
    drawn: Option<Instant>,
}

impl Person {
    fn new() -> Self {
        Self {
            screen: Screen::of_stdout(),
            view: View::default(),
            drawn: None,
        }
    }

    /// Until standard output is closed or the user ends it.
    fn watch(&mut self, paths: &[PathBuf]) -> Result<(), Failure> {
        let mut waiting = false;
        loop {
            match connect(paths) {
                Ok(stream) => {
                    waiting = false;
                    self.follow(stream)?;
                    self.end_line().map_err(Failure::Output)?;
                    say("the connection ended");
                }
                Err(error @ SocketError::Forbidden(_)) => return Err(error.into()),
                Err(error) if !waiting => {
                    waiting = true;
                    say(&format!("{error}; waiting for it"));
                }
                Err(_) => {}
            }
            thread::sleep(RETRY);
        }
    }

    /// Until the daemon goes away.
    fn follow(&mut self, stream: UnixStream) -> Result<(), Failure> {
        // So that the bars are drawn to the end when the messages pause.
        stream
            .set_read_timeout(Some(REFRESH))
            .map_err(SocketError::Serve)?;
        let mut lines = Lines::new(stream, LONGEST_LINE);
        loop {
            let text = match lines.read() {
                Ok(Next::Line(line)) => self.read(line),
                Ok(Next::Silence) => None,
                Ok(Next::End) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(SocketError::Serve(error).into()),
            };
            self.show(text.as_deref()).map_err(Failure::Output)?;
        }
    }

    /// A line that is no message of this protocol (a newer daemon's) is passed over.
    fn read(&mut self, line: &[u8]) -> Option<String> {
        serde_json::from_slice::<Message<'_>>(line)
            .ok()
            .and_then(|message| self.view.take(&message))
    }

    fn show(&mut self, text: Option<&str>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.screen.terminal {
            return text.map_or(Ok(()), |text| print_line(&mut out, text.as_bytes()));
        }
        let now = Instant::now();
        let due = self
            .drawn
            .is_none_or(|drawn| now.saturating_duration_since(drawn) >= REFRESH);
        if due || text.is_some() {
            self.drawn = Some(now);
            write_over(
                &mut out,
                text.into_iter(),
                &self.view.bars(Screen::of_stdout()),
            )?;
            out.flush()?;
        }
        Ok(())
    }

    fn end_line(&self) -> io::Result<()> {
        if self.screen.terminal {
            writeln!(io::stdout())
        } else {
            Ok(())
        }
    }
}
