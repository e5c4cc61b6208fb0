//! The page's address as a client sees it: HTTP by hand, over TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::daemon::Daemon;

pub const LONG: Duration = Duration::from_secs(60);
pub const TOKEN: &str = "a-token-of-some-length";

/// An address that was free a moment ago.
pub fn address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

pub fn config(address: &str, more: &str) -> String {
    format!(
        "model = \"tiny.nnef.tar\"\nsource = \"demo:\"\nthreads = 1\n[http]\nlisten = \"{address}\"\n{more}"
    )
}

/// A daemon whose page is there.
pub fn serving(more: &str) -> (Daemon, String) {
    let address = address();
    let mut daemon = Daemon::start(&config(&address, more));
    daemon.until(|message| message["type"] == "classification");
    drop(connect(&address));
    (daemon, address)
}

pub fn connect(address: &str) -> TcpStream {
    let end = Instant::now() + LONG;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LONG)).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub reader: BufReader<TcpStream>,
}

impl Answer {
    pub fn body(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        self.reader.read_to_end(&mut body).unwrap();
        body
    }

    pub fn text(self) -> String {
        String::from_utf8(self.body()).unwrap()
    }

    pub fn json(self) -> Value {
        serde_json::from_slice(&self.body()).unwrap()
    }
}

/// Sends these bytes and reads the head of what comes back.
pub fn raw(address: &str, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head,
        reader,
    }
}

pub fn ask(address: &str, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n"
    );
    raw(address, request.as_bytes())
}

pub fn get(address: &str, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

pub fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

pub fn post(address: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let more = format!("Content-Length: {length}\r\nContent-Type: application/json\r\n{headers}");
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n{body}");
    raw(address, request.as_bytes())
}
