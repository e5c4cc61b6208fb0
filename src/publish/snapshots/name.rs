//! What may be the name of a picture or of a label: both become names of files, and come from whoever uses the page.

use crate::publish::level::level;

const LONGEST_ID: usize = 200;
const LONGEST_LABEL: usize = 64;

/// A picture's name: its camera and region, and the millisecond of its capture.
#[must_use]
pub fn id(camera: &str, region: Option<&str>, timestamp: f64) -> String {
    let place = region.map_or_else(String::new, |region| format!("-{}", level(region)));
    format!("{:013.0}-{}{place}", timestamp * 1e3, level(camera))
}

/// Whether this can be a picture's name: no path, nothing hidden.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= LONGEST_ID && text.chars().all(plain)
}

/// Whether this can be a label, which becomes a folder: 1 to 64 characters, none of them `/` or a control character, the
/// first no dot and neither end a space.
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&text.chars().count())
        && text.len() <= LONGEST_ID
        && !text.starts_with('.')
        && text.trim() == text
        && !text.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_sort_by_time_and_hold_no_path() {
        let first = id("a/b", Some("../x"), 1_764_000_000.123);
        let second = id("a/b", None, 1_764_000_000.124);
        assert!(first < second, "{first} {second}");
        assert!(is_id(&first) && is_id(&second));
        for wrong in ["", "..", "a/b", "a.jpg", "a\0", "\u{e4}"] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_label_is_a_folders_name() {
        for right in [
            "robin",
            "golf ball",
            "n\u{e4}chste \"T\u{fc}r\" \u{1f600}",
            "a.b",
            "-",
        ] {
            assert!(is_label(right), "{right}");
        }
        for wrong in [
            "", ".", "..", ".hidden", "a/b", "a\\b", " a", "a ", "a\nb", "\0",
        ] {
            assert!(!is_label(wrong), "{wrong}");
        }
        assert!(!is_label(&"x".repeat(65)) && !is_label(&"\u{1f600}".repeat(60)));
    }

    proptest! {
        #[test]
        fn no_label_leaves_its_folder(label in ".{0,12}") {
            if is_label(&label) {
                let path = std::path::Path::new("labelled").join(&label);
                prop_assert_eq!(path.components().count(), 2);
                prop_assert!(path.starts_with("labelled"));
            }
        }
    }
}
