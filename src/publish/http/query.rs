//! What follows the `?` of an address: which camera, which part of its pictures, which class.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a request asks of a camera, or of kept pictures.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub camera: Option<String>,
    pub region: Option<String>,
    pub class_id: Option<usize>,
    /// Of kept pictures those that are older than this one.
    pub before: Option<String>,
}

impl Query {
    /// Reads `name=value&...`, percent-encoded (RFC 3986), `+` as a space. Names that it does not know are passed over: they keep a
    /// browser from its cache.
    ///
    /// # Errors
    /// If a value makes no text, or no number where it has to.
    pub fn parse(query: &str) -> Result<Self, &'static str> {
        let mut found = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let spaced = value.replace('+', " ");
            let value = percent_decode_str(&spaced).decode_utf8();
            let value =
                value.map_err(|_| "A value is not UTF-8 with %XX for what is no letter.")?;
            let value = Cow::into_owned(value);
            match name {
                "camera" => found.camera = Some(value),
                "before" => found.before = Some(value),
                "region" => found.region = Some(value).filter(|region| !region.is_empty()),
                "class_id" => {
                    let number = value.parse().map_err(|_| "class_id is a number.")?;
                    found.class_id = Some(number);
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_camera_region_and_class() {
        let query = Query::parse("camera=front%20door&region=t%C3%BCr&class_id=7&t=1").unwrap();
        assert_eq!(query.camera.as_deref(), Some("front door"));
        assert_eq!(query.region.as_deref(), Some("t\u{fc}r"));
        assert_eq!(query.class_id, Some(7));
        assert_eq!(Query::parse("").unwrap(), Query::default());
        assert_eq!(Query::parse("region=&&=&x").unwrap(), Query::default());
        let literal = Query::parse("camera=%4&before=a+b").unwrap();
        assert_eq!(literal.camera.as_deref(), Some("%4"));
        assert_eq!(literal.before.as_deref(), Some("a b"));
        for broken in ["camera=%ff", "class_id=-1", "class_id=a"] {
            assert!(Query::parse(broken).is_err(), "{broken}");
        }
    }
}
