//! What a browser, or somebody who means harm, says to the page, as far as our own code reads it.

use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use resnetd::publish::http::access::Guard;
use resnetd::publish::http::query::Query;
use resnetd::publish::snapshots::name::{is_id, is_label};
use tempfile::NamedTempFile;

/// What somebody must know.
static TOKEN: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let mut file = NamedTempFile::new().expect("there is room for a file");
    file.write_all(b"0123456789abcdef")
        .expect("there is room for a token");
    file
});

fn guard(token_file: Option<&Path>) -> Guard {
    Guard::new(token_file, &["camera.example".into()]).expect("the token can be read")
}

/// In the first line a query, in the others headers.
pub fn page(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let text = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let query = Query::parse(&text);
    if let Ok(query) = &query {
        let names = [&query.camera, &query.region, &query.before];
        names.into_iter().flatten().for_each(|name| hold(name));
    }
    let headers = headers(lines);
    let may_look = guard(None).check(&headers).is_ok();
    assert!(
        !guard(None).may_change(&headers),
        "nobody changes anything without a token"
    );
    assert!(
        may_look <= headers.contains_key("host"),
        "who names no host is refused"
    );
    let with_token = guard(Some(TOKEN.path()));
    if with_token.check(&headers).is_ok() && with_token.may_change(&headers) {
        let kind = headers.get("content-type").map(HeaderValue::as_bytes);
        let json = kind.is_some_and(|kind| kind.starts_with(b"application/json"));
        assert!(json && headers.contains_key("authorization"), "{headers:?}");
    }
    query.is_ok() && may_look
}

/// What may be a file's name stays in its folder.
fn hold(name: &str) {
    let inside = Path::new("kept").join(name);
    let stays = inside.components().count() == 2 && inside.starts_with("kept");
    assert!(stays || !is_label(name) && !is_id(name), "{name:?}");
}

fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(&line[colon + 1..]);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}
