//! Who may look. A browser sends any page's requests to any address: that of this machine must therefore be called by a
//! name that is its own (against DNS rebinding), and a request that another site's page makes is refused.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use subtle::ConstantTimeEq;

use crate::plain_file;

/// A token is guessed as quickly as requests can be made.
const SHORTEST_TOKEN: usize = 16;
const LONGEST_TOKEN: u64 = 1024;

/// Why somebody may not look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such name here.
    Host,
    /// No token, or another.
    Token,
    /// Another site's page asks.
    Site,
}

/// Knows who may look.
#[derive(Debug, Default)]
pub struct Guard {
    token: Option<String>,
    hosts: Vec<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token file {path}: {reason}")]
    Unreadable { path: String, reason: io::Error },
    #[error(
        "the token in {path} has {count} characters, too few to keep anybody out; make one of {SHORTEST_TOKEN} or more: head -c 24 /dev/urandom | base64"
    )]
    Short { path: String, count: usize },
}

impl Guard {
    /// Of a token in a file, if there is to be one, and of the names that this machine has besides `localhost`.
    ///
    /// # Errors
    /// If the file holds no token.
    pub fn new(token_file: Option<&Path>, hosts: &[String]) -> Result<Self, TokenError> {
        let mut names: Vec<String> = hosts.iter().map(|host| host.to_lowercase()).collect();
        names.push("localhost".into());
        Ok(Self {
            token: token_file.map(read_token).transpose()?,
            hosts: names,
        })
    }

    /// Whether a request with these headers is one to be answered.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.knows(host)) {
            return Err(Refusal::Host);
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let visit = headers.get("sec-fetch-mode").map(HeaderValue::as_bytes) == Some(b"navigate");
        if matches!(site, Some(b"cross-site" | b"same-site")) && !visit {
            return Err(Refusal::Site);
        }
        match &self.token {
            Some(token) if !has_token(headers, token) => Err(Refusal::Token),
            _ => Ok(()),
        }
    }

    /// Whether a request with these headers, which may look, may also change something: there is a token, and it is this
    /// page that asks. A form of another's page cannot send JSON, and where it comes from browsers say themselves.
    pub fn may_change(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text("content-type")
            .is_some_and(|kind| kind.split(';').next() == Some("application/json"));
        let site = text("sec-fetch-site").is_none_or(|site| site == "same-origin");
        let origin = text("origin")
            .is_none_or(|origin| origin.split_once("://").map(|(_, host)| host) == text("host"));
        self.token.is_some() && kind && site && origin
    }

    /// An address names nobody else's machine; a name may.
    fn knows(&self, host: &str) -> bool {
        let name = without_port(host).to_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn read_token(path: &Path) -> Result<String, TokenError> {
    let name = || path.display().to_string();
    let text = plain_file::read_text(path, LONGEST_TOKEN);
    let text = text.map_err(|reason| TokenError::Unreadable {
        path: name(),
        reason,
    })?;
    let token = text.trim();
    if token.len() < SHORTEST_TOKEN {
        let count = token.len();
        return Err(TokenError::Short {
            path: name(),
            count,
        });
    }
    Ok(token.to_owned())
}

/// As a bearer's, or as the password of any user (RFC 6750, RFC 7617).
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some((scheme, rest)) = given.and_then(|given| given.split_once(' ')) else {
        return false;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return is(rest.trim().as_bytes(), token);
    }
    let decoded = STANDARD.decode(rest.trim()).unwrap_or_default();
    let password = decoded.splitn(2, |&byte| byte == b':').nth(1);
    scheme.eq_ignore_ascii_case("basic") && password.is_some_and(|given| is(given, token))
}

/// In a time that says nothing about how much of it is right.
fn is(given: &[u8], token: &str) -> bool {
    given.ct_eq(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        of.iter().map(pair).collect()
    }

    fn guard(token: Option<&str>) -> Guard {
        Guard {
            token: token.map(str::to_owned),
            hosts: vec!["localhost".into(), "pi.local".into()],
        }
    }

    fn host(host: &str) -> Result<(), Refusal> {
        guard(None).check(&headers(&[("host", host)]))
    }

    #[test]
    fn a_name_that_is_not_this_machines_is_refused() {
        for own in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "192.168.1.9",
            "pi.local:1",
        ] {
            assert_eq!(host(own), Ok(()), "{own}");
        }
        for other in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "pi.local:x",
        ] {
            assert_eq!(host(other), Err(Refusal::Host), "{other}");
        }
        assert_eq!(guard(None).check(&HeaderMap::new()), Err(Refusal::Host));
    }

    #[test]
    fn another_sites_page_may_link_here_but_not_look() {
        let from = |site, mode| {
            let of = [
                ("host", "localhost"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
            ];
            guard(None).check(&headers(&of))
        };
        assert_eq!(from("same-origin", "cors"), Ok(()));
        assert_eq!(from("none", "navigate"), Ok(()));
        assert_eq!(from("cross-site", "navigate"), Ok(()));
        assert_eq!(from("cross-site", "no-cors"), Err(Refusal::Site));
        assert_eq!(from("same-site", "no-cors"), Err(Refusal::Site));
    }

    #[test]
    fn the_token_is_a_bearers_or_a_password() {
        let with = |value: &str| {
            guard(Some(TOKEN)).check(&headers(&[("host", "localhost"), ("authorization", value)]))
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(with(&format!("Bearer {TOKEN}")), Ok(()));
        assert_eq!(with(&basic(&format!("anybody:{TOKEN}"))), Ok(()));
        for wrong in [
            "Bearer 0123456789abcdeF".into(),
            "Bearer ".into(),
            TOKEN.into(),
            basic(TOKEN),
            basic(&format!("{TOKEN}:")),
            "Basic !".into(),
        ] {
            assert_eq!(with(&wrong), Err(Refusal::Token), "{wrong}");
        }
        let none = guard(Some(TOKEN)).check(&headers(&[("host", "localhost")]));
        assert_eq!(none, Err(Refusal::Token));
    }

    #[test]
    fn only_this_page_may_change_something_and_only_with_a_token() {
        let of = |token, more: &[(&'static str, &str)]| {
            let mut all = vec![
                ("host", "localhost:8080"),
                ("content-type", "application/json"),
            ];
            all.extend(more);
            guard(token).may_change(&headers(&all))
        };
        assert!(of(Some(TOKEN), &[]));
        assert!(of(
            Some(TOKEN),
            &[
                ("origin", "http://localhost:8080"),
                ("sec-fetch-site", "same-origin")
            ]
        ));
        assert!(!of(None, &[]));
        assert!(!of(Some(TOKEN), &[("origin", "http://evil.example")]));
        assert!(!of(Some(TOKEN), &[("origin", "null")]));
        assert!(!of(Some(TOKEN), &[("sec-fetch-site", "same-site")]));
        let form = [("host", "localhost"), ("content-type", "text/plain")];
        assert!(!guard(Some(TOKEN)).may_change(&headers(&form)));
    }

    #[test]
    fn a_token_file_that_is_missing_or_short_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let error = |file: &Path| Guard::new(Some(file), &[]).unwrap_err().to_string();
        assert!(error(&file).contains("token"));
        std::fs::write(&file, "short\n").unwrap();
        assert!(error(&file).contains("5 characters"));
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        assert_eq!(Guard::new(Some(&file), &[]).unwrap().token.unwrap(), TOKEN);
    }
}
