//! A server's answer, byte by byte: the head, the body's transfer coding, and the pictures in it.
//!
//! A multipart body (`multipart/x-mixed-replace`) is not taken apart at its boundaries. Cameras disagree on how
//! these are written and on whether a part says its length, while each JPEG says by itself where it begins and
//! ends; so the pictures are found as in any other MJPEG stream, and what stands between them is skipped.

use super::chunked::Chunked;
use crate::frame::Frame;
use crate::source::stream::{Kind, Stream, StreamError};

/// The longest head that is read, in bytes.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("what answers there speaks no HTTP; is it the right port?")]
    NotHttp,
    #[error("the answer's head is longer than {} KiB", MAX_HEAD >> 10)]
    LongHead,
    #[error("it answers {0}: {hint}", hint = hint(*.0))]
    Status(u16),
    #[error(
        "it wants a password by the method Digest, which is not spoken here; let ffmpeg do it: `exec:ffmpeg -nostdin -loglevel warning -i http://... -f mjpeg -q:v 3 -`"
    )]
    Digest,
    #[error("it leads on to {0}")]
    Redirect(String),
    #[error(
        "it gives {0}, not pictures; look in the camera's manual for the path of its MJPEG stream"
    )]
    NotPictures(String),
    #[error("the body's chunks are damaged")]
    Chunks,
    #[error(transparent)]
    Stream(#[from] StreamError),
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => "write user and password into the URL, http://USER:PASSWORD@HOST/PATH",
        403 => "that user may not see the stream",
        404 => "look in the camera's manual for the path of its MJPEG stream",
        503 => "too many others are watching, or it is starting",
        500.. => "the camera has a problem; restart it if this stays",
        _ => "it is not a stream; look in the camera's manual for its URL",
    }
}

/// An answer that is being read: [`push`](Self::push) bytes, then take frames by [`next`](Self::next).
#[derive(Debug)]
pub struct Response {
    head: Vec<u8>,
    /// None while the head is read.
    body: Option<Body>,
    /// The body is one picture and not a stream of them.
    single: bool,
    stream: Stream,
}

/// How the end of a body is known.
#[derive(Debug)]
enum Body {
    /// By the end of the connection.
    Endless,
    /// By its length; so many bytes are still to come.
    Bytes(u64),
    Chunked(Chunked),
}

impl Default for Response {
    fn default() -> Self {
        Self {
            head: Vec::new(),
            body: None,
            single: false,
            stream: Stream::new(Kind::Mjpeg),
        }
    }
}

impl Response {
    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    /// The answer is of no use; the connection is to be closed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), AnswerError> {
        if self.body.is_some() {
            return self.push_body(bytes);
        }
        let room = MAX_HEAD - self.head.len();
        let taken = bytes.len().min(room);
        let (begin, rest) = bytes.split_at(taken);
        self.head.extend_from_slice(begin);
        while let Some(end) = self.read_head()? {
            let after = self.head.split_off(end);
            self.head = after;
            if self.body.is_some() {
                let begun = std::mem::take(&mut self.head);
                self.push_body(&begun)?;
                return self.push_body(rest);
            }
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(AnswerError::LongHead)
        }
    }

    /// Puts the next whole picture into `frame`; false if more bytes are needed.
    ///
    /// # Errors
    /// None for now: a stream of JPEGs cannot be of a wrong kind.
    pub fn next(&mut self, frame: &mut Frame) -> Result<bool, AnswerError> {
        Ok(self.stream.next(frame)?)
    }

    /// Whether all of the body has come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.body {
            None | Some(Body::Endless) => false,
            Some(Body::Bytes(left)) => *left == 0,
            Some(Body::Chunked(chunked)) => chunked.is_over(),
        }
    }

    /// Whether the answer is a single picture, so that the next one must be asked for.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// How many pictures were dropped because they were not whole.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.stream.torn()
    }

    fn push_body(&mut self, bytes: &[u8]) -> Result<(), AnswerError> {
        match &mut self.body {
            None => {}
            Some(Body::Endless) => self.stream.push(bytes),
            Some(Body::Bytes(left)) => {
                let taken = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                self.stream.push(bytes.get(..taken).unwrap_or_default());
            }
            Some(Body::Chunked(chunked)) => {
                let stream = &mut self.stream;
                if !chunked.push(bytes, |data| stream.push(data)) {
                    return Err(AnswerError::Chunks);
                }
            }
        }
        Ok(())
    }

    /// Some if a head is complete, with its length; `body` is set if it is not just an interim answer.
    fn read_head(&mut self) -> Result<Option<usize>, AnswerError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(AnswerError::LongHead),
            Err(_) => return Err(AnswerError::NotHttp),
        };
        let status = head.code.unwrap_or_default();
        if (100..200).contains(&status) {
            return Ok(Some(length));
        }
        let headers = Headers(head.headers);
        check(status, &headers)?;
        self.single = headers.get("content-type").starts_with("image/");
        self.body = Some(headers.body());
        Ok(Some(length))
    }
}

/// Whether a body with pictures follows.
fn check(status: u16, headers: &Headers<'_>) -> Result<(), AnswerError> {
    match status {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            return Err(AnswerError::Redirect(headers.get("location").to_owned()));
        }
        401 if headers
            .get("www-authenticate")
            .to_ascii_lowercase()
            .starts_with("digest") =>
        {
            return Err(AnswerError::Digest);
        }
        other => return Err(AnswerError::Status(other)),
    }
    let kind = headers.get("content-type");
    let lower = kind.to_ascii_lowercase();
    if lower.starts_with("text/") || lower.starts_with("application/json") {
        return Err(AnswerError::NotPictures(kind.to_owned()));
    }
    Ok(())
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    /// The first header of this name; empty if there is none or it is no text.
    fn get(&self, name: &str) -> &'a str {
        let mut headers = self.0.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name));
        let value = header.and_then(|header| std::str::from_utf8(header.value).ok());
        value.unwrap_or_default().trim()
    }

    fn body(&self) -> Body {
        let coding = self.get("transfer-encoding");
        if coding.to_ascii_lowercase().contains("chunked") {
            return Body::Chunked(Chunked::default());
        }
        match self.get("content-length").parse() {
            // Some cameras announce a stream of length zero.
            Ok(length) if length > 0 => Body::Bytes(length),
            _ => Body::Endless,
        }
    }
}
