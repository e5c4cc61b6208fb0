//! One file over HTTP(S), into a folder: beside its place first (`.partial`), bounded in size and in time, and only
//! renamed when it is whole and its sum is right. Redirections are followed here, because what the first server says
//! of the file would be lost, and so that a token goes to no other server.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use crate::model::error::ModelError;
use crate::model::import::hex;
use crate::plain_file;

const CONNECT: Duration = Duration::from_secs(20);
/// Without a byte for so long, a server is gone.
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTIONS: usize = 8;
const CHUNK: usize = 1 << 16;

/// What is to be fetched.
pub struct Request {
    pub url: String,
    /// For the server that the URL names, if it asks who we are.
    pub token: Option<String>,
    /// Bytes.
    pub limit: u64,
}

/// A file that was fetched and is not kept yet: dropped, it is removed.
pub struct Fetched {
    partial: PathBuf,
    url: String,
    sum: String,
    /// What the servers said, the first one's word before the others'.
    pub headers: HeaderMap,
}

/// Whether a file is there whose SHA-256 begins with `sum`.
pub fn holds(path: &Path, sum: &str) -> bool {
    let digest = || -> io::Result<String> {
        let (mut file, _) = plain_file::open(path, super::MAX_WEIGHTS)?;
        let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(hex(&hasher.finalize())),
                count => hasher.update(&chunk[..count]),
            }
        }
    };
    digest().is_ok_and(|digest| digest.starts_with(sum))
}

/// Fetches a file into `folder`, which is made if need be.
///
/// # Errors
/// If the server cannot be reached, has no such file or one that is too large, stops in the middle, or the file cannot
/// be written.
pub fn fetch(request: &Request, folder: &Path) -> Result<Fetched, ModelError> {
    let (response, headers) = ask(request)?;
    let failed = |reason: String| failure(request, reason);
    let length = response.body().content_length();
    if length.is_some_and(|length| length > request.limit) {
        return Err(failed(format!("it is larger than {} bytes", request.limit)));
    }
    let name = request.url.rsplit('/').next().unwrap_or_default();
    let partial = folder.join(format!("{name}.{}.partial", std::process::id()));
    let write = |error| ModelError::Write {
        path: partial.clone(),
        error,
    };
    fs::create_dir_all(folder).map_err(write)?;
    let mut file = File::create(&partial).map_err(write)?;
    let mut fetched = Fetched {
        partial: partial.clone(),
        url: request.url.clone(),
        sum: String::new(),
        headers,
    };
    let bar = progress(length, name);
    let mut from = response.into_body().into_reader().take(request.limit + 1);
    let (mut hasher, mut chunk, mut read) = (Sha256::new(), vec![0; CHUNK], 0);
    loop {
        let count = from.read(&mut chunk).map_err(|e| failed(e.to_string()))?;
        if count == 0 {
            break;
        }
        hasher.update(&chunk[..count]);
        file.write_all(&chunk[..count]).map_err(write)?;
        read += count as u64;
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    if read > request.limit {
        return Err(failed(format!("it is larger than {} bytes", request.limit)));
    }
    if length.is_some_and(|length| read < length) {
        return Err(failed("the server stopped in the middle".into()));
    }
    file.sync_all().map_err(write)?;
    fetched.sum = hex(&hasher.finalize());
    Ok(fetched)
}

impl Fetched {
    /// Moves the file to its place, if its SHA-256 begins with `sum`.
    ///
    /// # Errors
    /// If it does not, or the file cannot be moved.
    pub fn keep(self, path: &Path, sum: Option<&str>) -> Result<(), ModelError> {
        if let Some(wanted) = sum.filter(|wanted| !self.sum.starts_with(wanted)) {
            return Err(ModelError::Sum {
                url: self.url.clone(),
                wanted: wanted.to_owned(),
                found: self.sum.clone(),
            });
        }
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let moved = folder.and_then(|()| fs::rename(&self.partial, path));
        moved.map_err(|error| ModelError::Write {
            path: path.to_owned(),
            error,
        })
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        fs::remove_file(&self.partial).ok(); // not there any more if it was kept
    }
}

fn failure(request: &Request, reason: String) -> ModelError {
    ModelError::Fetch {
        url: request.url.clone(),
        reason,
    }
}

/// The answer behind all redirections, and what the servers on the way said.
fn ask(request: &Request) -> Result<(Response<Body>, HeaderMap), ModelError> {
    let failed = |reason: String| failure(request, reason);
    let agent: Agent = Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .user_agent(concat!("resnetd-model/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let first: Uri = request
        .url
        .parse()
        .map_err(|_| failed("it is no URL".into()))?;
    let (mut uri, mut said) = (first.clone(), HeaderMap::new());
    for _ in 0..=REDIRECTIONS {
        let mut call = agent.get(uri.clone());
        if let Some(token) = request.token.as_ref().filter(|_| same_server(&uri, &first)) {
            call = call.header("Authorization", format!("Bearer {token}"));
        }
        let response = call.call().map_err(|e| failed(e.to_string()))?;
        for (name, value) in response.headers() {
            said.entry(name).or_insert_with(|| value.clone());
        }
        let status = response.status();
        if status.is_success() {
            return Ok((response, said));
        }
        let to = response
            .headers()
            .get("location")
            .and_then(|to| to.to_str().ok());
        uri = match to.filter(|_| status.is_redirection()) {
            Some(to) => join(&uri, to).ok_or_else(|| failed(format!("it leads to {to:?}")))?,
            None => return Err(failed(format!("the server answers {status}"))),
        };
    }
    Err(failed(
        "it leads from one place to another without end".into(),
    ))
}

fn same_server(a: &Uri, b: &Uri) -> bool {
    (a.scheme(), a.authority()) == (b.scheme(), b.authority())
}

/// Where a redirection leads: to a whole URL, or to another path of the same server. Never from https to http.
fn join(from: &Uri, to: &str) -> Option<Uri> {
    let whole = if to.starts_with('/') && !to.starts_with("//") {
        format!("{}://{}{to}", from.scheme_str()?, from.authority()?)
    } else {
        to.to_owned()
    };
    let uri: Uri = whole.parse().ok()?;
    let safe = match uri.scheme_str()? {
        "https" => true,
        "http" => from.scheme_str() == Some("http"),
        _ => false,
    };
    (safe && uri.authority().is_some()).then_some(uri)
}

/// A bar on standard error, hidden where that is no terminal.
fn progress(length: Option<u64>, name: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = "{msg:>24} {bar:40} {bytes}/{total_bytes}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(name.to_owned())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};
    use std::thread;

    /// What a server answers, and then closes the connection.
    #[derive(Clone)]
    pub struct Answer {
        head: String,
        body: Vec<u8>,
    }

    impl Answer {
        pub fn bytes(body: &[u8]) -> Self {
            let head = format!("200 OK\r\nContent-Length: {}", body.len());
            let body = body.to_vec();
            Self { head, body }
        }

        fn head(head: &str) -> Self {
            let (head, body) = (head.to_owned(), Vec::new());
            Self { head, body }
        }
    }

    /// A server on this machine, and the requests that it was sent.
    pub struct Server {
        pub url: String,
        asked: Arc<Mutex<Vec<String>>>,
    }

    /// Answers each path with its answer, as long as the test runs.
    pub fn serve(answers: Vec<(&'static str, Answer)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, own) = (asked.clone(), url.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let request: Vec<String> = lines.by_ref().take_while(|l| !l.is_empty()).collect();
                let path = request[0].split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push(request.join("\n"));
                let found = answers.iter().find(|(known, _)| *known == path);
                let missing = Answer::head("404 Not Found\r\nContent-Length: 0");
                let answer = found.map_or(missing, |(_, answer)| answer.clone());
                let head = answer.head.replace("SELF", &own);
                let _ = write!(&stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
                let _ = (&stream).write_all(&answer.body);
            }
        });
        Server { url, asked }
    }

    fn get(url: String, limit: u64) -> (Result<Fetched, ModelError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let token = Some("secret".to_owned());
        (fetch(&Request { url, token, limit }, folder.path()), folder)
    }

    fn refused(url: String, limit: u64) -> String {
        let (outcome, folder) = get(url, limit);
        let message = outcome.map(|_| ()).unwrap_err().to_string();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{message}");
        message
    }

    #[test]
    fn redirections_are_followed_and_the_token_stays_with_its_server() {
        let end = serve(vec![("/cdn", Answer::bytes(b"abc"))]);
        let far = format!(
            "302 Found\r\nX-Repo-Commit: c1\r\nLocation: {}/cdn\r\nContent-Length: 0",
            end.url
        );
        let server = serve(vec![
            (
                "/a",
                Answer::head("307 Away\r\nLocation: /b\r\nContent-Length: 0"),
            ),
            (
                "/b",
                Answer {
                    head: far,
                    body: Vec::new(),
                },
            ),
        ]);
        let (fetched, folder) = get(format!("{}/a", server.url), 3);
        let fetched = fetched.unwrap();
        assert_eq!(fetched.headers["x-repo-commit"], "c1");
        let path = folder.path().join("kept");
        fetched.keep(&path, Some("ba7816bf8f01cfea")).unwrap();
        assert_eq!(fs::read(path).unwrap(), b"abc");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let sent = |server: &Server| server.asked.lock().unwrap().join("\n").to_lowercase();
        assert_eq!(sent(&server).matches("bearer secret").count(), 2);
        assert!(!sent(&end).contains("secret"));
    }

    #[test]
    fn what_goes_wrong_is_said_and_leaves_nothing() {
        let half = Answer {
            head: "200 OK\r\nContent-Length: 10".into(),
            body: b"half".to_vec(),
        };
        let endless = Answer {
            head: "200 OK".into(),
            body: vec![0; 100],
        };
        let server = serve(vec![
            ("/half", half),
            ("/large", Answer::bytes(&[0; 100])),
            ("/endless", endless),
            (
                "/circle",
                Answer::head("302 Found\r\nLocation: SELF/circle\r\nContent-Length: 0"),
            ),
            (
                "/file",
                Answer::head("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0"),
            ),
            ("/broken", Answer::head("500 Broken\r\nContent-Length: 0")),
        ]);
        for (path, word) in [
            ("half", ""),
            ("large", "larger than 50"),
            ("endless", "larger than 50"),
            ("circle", "without end"),
            ("file", "leads to"),
            ("broken", "500"),
            ("missing", "404"),
        ] {
            let message = refused(format!("{}/{path}", server.url), 50);
            assert!(
                message.contains(word) && message.contains(path),
                "{message}"
            );
        }
        let gone = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(refused(format!("http://{gone}/x"), 50).contains("import"));
        assert!(refused("no url".into(), 50).contains("no url"));
    }

    #[test]
    fn a_redirection_never_leaves_encryption() {
        let safe: Uri = "https://a.example/x".parse().unwrap();
        assert!(join(&safe, "http://a.example/y").is_none());
        assert_eq!(join(&safe, "/y").unwrap(), "https://a.example/y");
        assert_eq!(
            join(&safe, "https://b.example/y").unwrap(),
            "https://b.example/y"
        );
    }
}
