//! The one thread that talks to subscribers: it accepts, sends what the hub has, throws away what they
//! say, and never blocks on any of them.

use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::SocketError;
use super::hub::Hub;
use super::listener::Listener;
use super::subscriber::{Sent, Subscriber};
use crate::ratelimit::RateLimit;

/// More are accepted and closed at once. Each costs a descriptor, and the usual limit is 1024.
const MOST_SUBSCRIBERS: usize = 256;
/// How many are accepted before the subscribers get their turn again.
const MOST_ACCEPTS: usize = 64;
/// The longest wait for anything; work is always announced, so this only bounds surprises.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long the last messages may take to get out at the end.
const FAREWELL: Duration = Duration::from_millis(150);
/// How long nobody is accepted after accepting has failed (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The thread and its socket. When dropped it sends what is left, ends the thread and removes the socket.
#[derive(Debug)]
pub struct Publisher {
    hub: Arc<Hub>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Serves `hub` on `listener`.
    pub fn start(hub: Arc<Hub>, listener: Listener) -> Result<Self, SocketError> {
        let serving = Arc::clone(&hub);
        let serve = move || Server::new(&serving, listener.socket()).run();
        let thread = thread::Builder::new()
            .name("publish".into())
            .spawn(serve)
            .map_err(SocketError::Serve)?;
        Ok(Self {
            hub,
            thread: Some(thread),
        })
    }
}

impl Publisher {
    /// False if the thread has panicked: nobody is served any more.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.hub.close();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            log::error!("the publishing thread had panicked");
        }
    }
}

struct Server<'a> {
    hub: &'a Hub,
    listener: &'a UnixListener,
    clients: Vec<Client>,
    /// Nobody is accepted before.
    deaf_until: Option<Instant>,
    refusals: RateLimit,
}

struct Client {
    stream: UnixStream,
    subscriber: Subscriber,
    /// It does not read at present.
    blocked: bool,
    /// It has closed its sending side, and may go on reading.
    silent: bool,
    open: bool,
}

/// What poll found, by value, so that nothing is borrowed any more.
struct Ready {
    woken: bool,
    knocked: bool,
    clients: Vec<PollFlags>,
}

impl<'a> Server<'a> {
    fn new(hub: &'a Hub, listener: &'a UnixListener) -> Self {
        let refusals = RateLimit::every(Duration::from_secs(10));
        Self {
            hub,
            listener,
            clients: Vec::new(),
            deaf_until: None,
            refusals,
        }
    }

    fn run(mut self) {
        let mut more = false;
        while !self.hub.is_closing() {
            let timeout = if more {
                Duration::ZERO
            } else {
                self.patience()
            };
            match self.wait(timeout) {
                Ok(ready) => more = self.turn(&ready),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    log::error!("cannot wait for subscribers: {errno}");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
        self.say_farewell();
    }

    fn patience(&self) -> Duration {
        let deaf = self
            .deaf_until
            .map(|until| until.saturating_duration_since(Instant::now()));
        deaf.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    fn wait(&self, timeout: Duration) -> Result<Ready, Errno> {
        let knocks = if self.deaf_until.is_some() {
            PollFlags::empty()
        } else {
            PollFlags::IN
        };
        let mut fds = Vec::with_capacity(self.clients.len() + 2);
        fds.push(PollFd::from_borrowed_fd(self.hub.wakes(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(self.listener.as_fd(), knocks));
        fds.extend(
            self.clients
                .iter()
                .map(|client| PollFd::from_borrowed_fd(client.stream.as_fd(), client.wants())),
        );
        let timeout = Timespec::try_from(timeout).ok();
        rustix::event::poll(&mut fds, timeout.as_ref())?;
        let mut found = fds.iter().map(PollFd::revents);
        let woken = found.next().is_some_and(|flags| !flags.is_empty());
        let knocked = found.next().is_some_and(|flags| !flags.is_empty());
        Ok(Ready {
            woken,
            knocked,
            clients: found.collect(),
        })
    }

    /// True if somebody has more to get than one turn allows.
    fn turn(&mut self, ready: &Ready) -> bool {
        let now = Instant::now();
        if ready.woken {
            self.hub.awake();
        }
        for (client, &found) in self.clients.iter_mut().zip(&ready.clients) {
            client.react(found, now);
        }
        if self.deaf_until.is_some_and(|until| now >= until) {
            self.deaf_until = None;
        }
        if ready.knocked && self.deaf_until.is_none() {
            self.accept(now);
        }
        self.send()
    }

    fn send(&mut self) -> bool {
        let mut more = false;
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.open && !client.blocked)
        {
            more |= client.send(self.hub);
        }
        self.clients.retain(|client| client.open);
        self.hub.subscribers.set(self.clients.len() as u64);
        more
    }

    /// Some of those who wait; the others' turn comes after the subscribers got theirs.
    fn accept(&mut self, now: Instant) {
        for _ in 0..MOST_ACCEPTS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    self.deaf_until = Some(now + ACCEPT_PAUSE);
                    self.refuse(now, &format!("cannot accept a subscriber: {error}"));
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, now: Instant) {
        if self.clients.len() >= MOST_SUBSCRIBERS {
            self.refuse(
                now,
                &format!("a subscriber was refused: there are {MOST_SUBSCRIBERS} already"),
            );
            return;
        }
        if let Err(error) = stream.set_nonblocking(true) {
            self.refuse(now, &format!("a subscriber was refused: {error}"));
            return;
        }
        let (welcome, cursor) = self.hub.welcome();
        let subscriber = Subscriber::new(welcome, cursor, now);
        self.clients.push(Client {
            stream,
            subscriber,
            blocked: false,
            silent: false,
            open: true,
        });
    }

    fn refuse(&mut self, now: Instant, why: &str) {
        if let Some(before) = self.refusals.allow(now) {
            log::warn!("{why} ({before} more since the last such line)");
        }
    }

    /// Gives those who read the chance to get the last messages.
    fn say_farewell(&mut self) {
        let end = Instant::now() + FAREWELL;
        let mut more = self.send();
        while more || self.clients.iter().any(|client| client.blocked) {
            let Some(left) = end
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return;
            };
            let timeout = if more { Duration::ZERO } else { left };
            let Ok(ready) = self.wait(timeout) else {
                return;
            };
            more = self.turn(&ready);
        }
    }
}

impl Client {
    fn wants(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.silent);
        flags.set(PollFlags::OUT, self.blocked);
        flags
    }

    fn react(&mut self, found: PollFlags, now: Instant) {
        if found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            self.open = false;
        } else {
            if found.contains(PollFlags::OUT) {
                self.blocked = false;
            }
            if found.contains(PollFlags::IN) {
                self.throw_away(now);
            }
        }
    }

    /// Reads once and forgets it; poll says when there is more.
    fn throw_away(&mut self, now: Instant) {
        let mut rubbish = [0u8; 4096];
        match self.stream.read(&mut rubbish) {
            Ok(0) => self.silent = true,
            Ok(count) if self.subscriber.may_send(count, now) => {}
            Ok(_) => {
                log::debug!("a subscriber was closed: it sends too much");
                self.open = false;
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.open = false,
        }
    }

    /// True if it has more to get than one turn allows.
    fn send(&mut self, hub: &Hub) -> bool {
        let sent: io::Result<Sent> = self
            .subscriber
            .send(&mut self.stream, |cursor| hub.read(cursor));
        self.blocked = matches!(sent, Ok(Sent::Blocked));
        self.open = sent.is_ok();
        matches!(sent, Ok(Sent::Partly))
    }
}
