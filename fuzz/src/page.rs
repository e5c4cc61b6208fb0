//! What a browser, or somebody who means harm, says to the page, as far as our own code reads it.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use resnetd::publish::http::access::Guard;
use resnetd::publish::http::query::Query;
use resnetd::publish::snapshots::name::{is_id, is_label};

/// In the first line a query, in the others headers.
pub fn page(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let text = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let query = Query::parse(&text);
    if let Ok(query) = &query {
        for name in [&query.camera, &query.region, &query.before]
            .into_iter()
            .flatten()
        {
            let inside = std::path::Path::new("kept").join(name);
            assert!(
                !is_label(name) || inside.components().count() == 2,
                "{name:?} leaves its folder"
            );
            assert!(
                !is_id(name) || is_label(name) || name.len() > 64,
                "{name:?}"
            );
        }
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_bytes(&line[colon + 1..]),
        );
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let guard = Guard::new(None, &["camera.example".into()]).expect("there is no file to read");
    let may_look = guard.check(&headers).is_ok();
    assert!(
        !guard.may_change(&headers),
        "nobody changes anything without a token"
    );
    assert!(
        may_look <= headers.contains_key("host"),
        "who names no host is refused"
    );
    query.is_ok() && may_look
}
