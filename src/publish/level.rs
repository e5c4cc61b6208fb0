//! Names as others take them. A camera may be called anything; a level of an MQTT topic may not hold `/`, `+` or `#`, Home
//! Assistant's identifiers hold letters, digits, `-` and `_` only, and the name of a file should not hold more.

use xxhash_rust::xxh3::xxh3_64;

/// A name of those characters. What had to be changed gets a mark, so that different names stay different.
#[must_use]
pub fn level(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    let changed: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("{changed}-{:04x}", xxh3_64(name.as_bytes()) & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_names_stay_and_others_are_told_apart() {
        assert_eq!(level("front-door_2"), "front-door_2");
        assert!(level("front door").starts_with("front_door-"));
        assert_ne!(level("a/b"), level("a#b"));
        assert_ne!(level(""), level(" "));
    }

    proptest! {
        #[test]
        fn no_name_makes_a_level_that_is_none(name in ".{0,20}") {
            let level = level(&name);
            prop_assert!(!level.is_empty());
            prop_assert!(level.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        }
    }
}
