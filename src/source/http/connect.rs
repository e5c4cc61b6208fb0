//! Makes a connection and sends the request, in a thread of its own: asking for a host's address can block for
//! half a minute and has no timeout that we could set.

use std::fmt;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::url::Url;

/// How long one address may take to answer, and the request to be sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many of a host's addresses are tried.
const ADDRESSES: usize = 4;

/// A connection on which the request was sent, non-blocking from now on; or why there is none.
pub(super) type Outcome = Result<TcpStream, String>;

/// Begins to connect. The outcome comes once; if nobody waits for it any more, the connection is closed.
pub(super) fn begin(url: &Url) -> io::Result<Receiver<Outcome>> {
    let (sender, outcome) = sync_channel(1);
    let url = url.clone();
    let work = move || tell(&sender, connect(&url));
    thread::Builder::new().name("connect".into()).spawn(work)?;
    Ok(outcome)
}

fn tell(sender: &SyncSender<Outcome>, outcome: Outcome) {
    // Nobody to tell: the camera was given up meanwhile.
    let _ = sender.send(outcome);
}

fn connect(url: &Url) -> Outcome {
    let addresses = (url.host.as_str(), url.port)
        .to_socket_addrs()
        .map_err(|error| unknown_host(&url.host, &error))?;
    let mut failure = format!("the name {} has no address", url.host);
    for address in addresses.take(ADDRESSES) {
        match TcpStream::connect_timeout(&address, PATIENCE).and_then(|socket| ask(socket, url)) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = format!("no connection to {address}: {error}"),
        }
    }
    Err(failure)
}

fn ask(mut socket: TcpStream, url: &Url) -> io::Result<TcpStream> {
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(url.request().as_bytes())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn unknown_host(host: &str, error: &impl fmt::Display) -> String {
    if host.trim_end_matches('.').ends_with(".local") {
        format!(
            "the name {host} is not known ({error}): names that end in .local are announced by mDNS, which a statically linked program cannot ask; use the camera's address (`avahi-resolve -n {host}` on a computer shows it) or a line in /etc/hosts"
        )
    } else {
        format!(
            "the name {host} is not known ({error}); use the camera's address, or look after the network"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_mdns_knows_come_with_a_remedy() {
        let message = unknown_host("cam.local", &"no");
        assert!(message.contains("mDNS") && message.contains("avahi-resolve -n cam.local"));
        assert!(!unknown_host("cam", &"no").contains("mDNS"));
    }
}
