//! A child process: how it is started, what it says, how it ends. It never outlives us, and of our descriptors
//! it gets none but its own three.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFd;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::complaints::Complaints;
use crate::source::intake::readable;

/// How long a child may take to end by itself when we do.
const GRACE: Duration = Duration::from_millis(200);
/// After being killed; longer only if a driver does not let go.
const LAST_GRACE: Duration = Duration::from_millis(200);
/// So many reads empty any pipe.
const LEFT: usize = 8;
const LOOK: Duration = Duration::from_millis(5);
/// Descriptors from 3 to here that we may have got from whoever started us (all our own close themselves).
const DESCRIPTORS: std::os::fd::RawFd = 1024;

/// A running child, the leader of a process group of its own. Dropping it ends the whole group.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    pub(super) stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    complaints: Complaints,
    /// Reaped: its number may belong to another process by now.
    ended: Option<ExitStatus>,
}

impl Child {
    /// Runs `command` by a shell, which makes way for it if it is a single one. `name` marks its lines in the log.
    pub(super) fn start(command: &str, name: &str) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &replacing_the_shell(command)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // SAFETY: between fork and exec only what is safe in a signal handler may be called: `in_the_child`
        // makes system calls and nothing else, no allocation, no lock.
        #[allow(unsafe_code)]
        unsafe {
            shell.pre_exec(in_the_child);
        }
        let mut process = shell.spawn()?;
        let (Some(stdout), Some(stderr)) = (process.stdout.take(), process.stderr.take()) else {
            return Err(io::Error::other("it has no output"));
        };
        let child = Self {
            process,
            stdout,
            stderr: Some(stderr),
            complaints: Complaints::of(name),
            ended: None,
        };
        rustix::io::ioctl_fionbio(&child.stdout, true)?;
        if let Some(stderr) = &child.stderr {
            rustix::io::ioctl_fionbio(stderr, true)?;
        }
        Ok(child)
    }

    /// What to wait for: its output, and its complaints while there may be any.
    pub(super) fn outputs(&self) -> (PollFd<'_>, Option<PollFd<'_>>) {
        (readable(&self.stdout), self.stderr.as_ref().map(readable))
    }

    /// Takes what it has written to its standard error into the log.
    pub(super) fn listen(&mut self) {
        if let Some(stderr) = &self.stderr
            && !self.complaints.read(stderr.as_fd())
        {
            self.stderr = None;
        }
    }

    /// The same once it has ended: all that is left, up to what a pipe can hold.
    pub(super) fn listen_to_the_end(&mut self) {
        for _ in 0..LEFT {
            self.listen();
        }
    }

    /// The last line that it wrote to its standard error.
    pub(super) fn last_words(&self) -> &str {
        self.complaints.last()
    }

    /// How it ended, if it has; what is left of its group is then killed.
    pub(super) fn look(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let over = rustix::process::waitid(WaitId::Pid(self.id()?), options);
            if !matches!(over, Ok(Some(_))) {
                return None;
            }
            // Before it is reaped: until then nobody else can have its number.
            self.signal(Signal::KILL);
            self.ended = self.process.wait().ok();
        }
        self.ended
    }

    /// Signals the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Some(id) = self.id()
        {
            // It fails if the group is gone, which is what was wanted.
            let _ = rustix::process::kill_process_group(id, signal);
        }
    }

    fn id(&self) -> Option<Pid> {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn ends_within(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while self.look().is_none() {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        if !self.ends_within(GRACE) {
            self.signal(Signal::KILL);
            self.ends_within(LAST_GRACE);
        }
    }
}

/// Lets a single command take the shell's place, so that signals reach it and its exit status is its own. Debian's
/// shell does not do that by itself. What may be more than one command is left alone.
fn replacing_the_shell(command: &str) -> String {
    let first = command.split_whitespace().next().unwrap_or_default();
    let more = command.contains([';', '&', '|', '(', ')', '`', '\n', '{', '}']);
    if more || first.contains('=') || matches!(first, "exec" | "!") {
        command.to_owned()
    } else {
        format!("exec {command}")
    }
}

/// What the new process does before it becomes the shell.
#[allow(clippy::unnecessary_wraps)] // the shape that `pre_exec` wants
fn in_the_child() -> io::Result<()> {
    // Killed with us, however we end. It counts from the thread that starts the child, the camera's own.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for number in 3..DESCRIPTORS {
        // SAFETY: the descriptor is used within this statement only and no other thread exists in this process
        // that could close it; if it is not open, the call fails and changes nothing.
        #[allow(unsafe_code)]
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
    Ok(())
}

/// How a process ended, for a person.
pub(super) fn manner(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_command_takes_the_shells_place_and_others_do_not() {
        for single in ["ffmpeg -i 'a b' -", "a \"$B\" > c"] {
            assert_eq!(replacing_the_shell(single), format!("exec {single}"));
        }
        for other in ["a | b", "a; b", "a && b", "A=1 b", "exec a", "(a)", "a\nb"] {
            assert_eq!(replacing_the_shell(other), other);
        }
    }
}
