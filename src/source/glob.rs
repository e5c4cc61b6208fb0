//! Shell-like patterns for file names: `*` stands for any characters, `?` for one, neither for `/` nor
//! for a name's leading dot. Nothing else is special.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Whether `path` has a wildcard in it.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| matches!(byte, b'*' | b'?'))
}

/// Everything that `pattern` names, sorted. Folders that cannot be read are empty.
pub(super) fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        found = match part {
            Component::Normal(name) if is_pattern(Path::new(name)) => {
                let name = name.as_encoded_bytes();
                found
                    .iter()
                    .flat_map(|folder| entries_like(folder, name))
                    .collect()
            }
            part => found
                .into_iter()
                .map(|path| path.join(part))
                .filter(|path| path.exists())
                .collect(),
        };
    }
    found.sort();
    found
}

fn entries_like(folder: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    let read = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let Ok(entries) = fs::read_dir(read) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| matches(pattern, name.as_encoded_bytes()))
        .map(|name| folder.join(name))
        .collect()
}

/// Whether `name` as a whole fits `pattern`. Steps back to the last `*` only, so the time is bounded by
/// the product of the lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, swallowed)) = retry else {
                    return false;
                };
                retry = Some((after_star, swallowed + 1));
                (p, n) = (after_star, swallowed + 1);
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "a.jpeg", false),
            ("*.jpg", ".a.jpg", false),
            (".*.jpg", ".a.jpg", true),
            ("img?.png", "img1.png", true),
            ("img?.png", "img.png", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("*", "", true),
            ("", "a", false),
            ("**", "abc", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn wildcards_work_in_folders_too_and_what_is_found_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.jpg", "a/1.jpg", "a/x.txt", "c.jpg"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = expand(&folder.path().join("*/*.jpg"));
        assert_eq!(
            found,
            [folder.path().join("a/1.jpg"), folder.path().join("b/2.jpg")]
        );
        assert!(expand(&folder.path().join("nowhere/*.jpg")).is_empty());
    }
}
