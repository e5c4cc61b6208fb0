//! An `http:` URL as a camera's manual gives it: user and password, host, port, path.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::source::uri::UriError;

/// Where a camera is. Its [`Display`](fmt::Display) leaves user and password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// A name or address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// From the first `/` on, options included.
    pub path: String,
    /// What the header `Authorization: Basic` wants.
    credentials: Option<String>,
}

impl Url {
    /// Reads what follows `http:`.
    ///
    /// # Errors
    /// The host is missing, or a part is not what it must be.
    pub fn parse(rest: &str) -> Result<Self, UriError> {
        let wrong = |missing| UriError::Url { missing };
        let rest = rest.strip_prefix("//").ok_or(wrong("// and a host"))?;
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let path = path.split('#').next().unwrap_or_default();
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain(path) || !plain(authority) {
            return Err(wrong("printable ASCII without blanks (a blank is %20)"));
        }
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (host, port) =
            host_and_port(host).ok_or(wrong("a host, and a port from 1 to 65535"))?;
        Ok(Self {
            host: host.to_owned(),
            port,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            credentials: user.map(|user| {
                // they may hold characters that a URL must write as % and two digits
                STANDARD.encode(percent_decode_str(user).collect::<Vec<u8>>())
            }),
        })
    }

    /// Where a redirect leads; None if not to another `http:` URL. Credentials stay with their host.
    pub(super) fn follow(&self, location: &str) -> Option<Self> {
        if let Some(rest) = location.strip_prefix("http:") {
            let mut url = Self::parse(rest).ok()?;
            if url.credentials.is_none() && (&url.host, url.port) == (&self.host, self.port) {
                url.credentials.clone_from(&self.credentials);
            }
            return Some(url);
        }
        let path = location
            .strip_prefix('/')
            .filter(|path| !path.starts_with('/'))?;
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| Self {
            path: format!("/{path}"),
            ..self.clone()
        })
    }

    /// The request for what the URL names. HTTP/1.1 in form, so that servers that want a host get one, but one
    /// answer to a connection.
    pub(super) fn request(&self) -> String {
        let authorization = match &self.credentials {
            Some(credentials) => format!("Authorization: Basic {credentials}\r\n"),
            None => String::new(),
        };
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: resnetd/{}\r\nAccept: multipart/x-mixed-replace, image/jpeg, */*\r\nConnection: close\r\n{authorization}\r\n",
            self.path,
            self.authority(),
            env!("CARGO_PKG_VERSION"),
        )
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == 80 {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

/// Passwords do not belong into logs.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        (host, port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        text.split_at(end)
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|&port| port != 0)?,
        None if port.is_empty() => 80,
        None => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn urls_are_taken_apart() {
        for (text, host, port, path) in [
            ("//cam", "cam", 80, "/"),
            (
                "//cam:8080/a/b.mjpg?x=1&y=/@#z",
                "cam",
                8080,
                "/a/b.mjpg?x=1&y=/@",
            ),
            ("//cam?action=stream", "cam", 80, "/?action=stream"),
            ("//[fe80::1]:81/x", "fe80::1", 81, "/x"),
            ("//u:p@192.168.1.2/x", "192.168.1.2", 80, "/x"),
        ] {
            let url = url(text);
            assert_eq!(
                (url.host.as_str(), url.port, url.path.as_str()),
                (host, port, path)
            );
        }
        for text in [
            "",
            "cam",
            "//",
            "//:80/",
            "//cam:0/",
            "//cam:x/",
            "//cam/a b",
            "//[::1/",
            "//c\r\n/",
        ] {
            assert!(
                matches!(Url::parse(text), Err(UriError::Url { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_password_is_sent_and_never_shown() {
        let url = url("//Aladdin:open%20ses%61me@cam:8080/v");
        let header = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
        assert!(url.request().contains(header), "{}", url.request());
        assert!(
            url.request()
                .starts_with("GET /v HTTP/1.1\r\nHost: cam:8080\r\n")
        );
        assert_eq!(url.to_string(), "http://cam:8080/v");
        assert_eq!(format!("{url:?}"), "http://cam:8080/v");
    }

    #[test]
    fn a_password_follows_a_redirect_on_its_own_host_only() {
        let from = url("//u:p@cam/a");
        let authorized = |url: Url| url.request().contains("Authorization");
        assert!(authorized(from.follow("/b").unwrap()));
        assert!(authorized(from.follow("http://cam/b").unwrap()));
        assert!(!authorized(from.follow("http://cam:81/b").unwrap()));
        assert!(!authorized(from.follow("http://other/b").unwrap()));
        assert_eq!(from.follow("/b?c").unwrap().path, "/b?c");
        for location in ["https://cam/", "//other/x", "ftp:x", "b", "/a\r\nX: y"] {
            assert_eq!(from.follow(location), None, "{location}");
        }
    }
}
