//! The repository as the rules in `tidy.rs` see it: its files, the Rust among them reduced to code, and the links in
//! its documents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::scan;

/// One Rust file: its path from the repository's root, its text, and its code without comments, literals and tests.
pub struct Source {
    pub path: String,
    pub text: String,
    pub code: String,
    /// Modules that only tests compile and that lie in files of their own.
    test_modules: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (code, test_modules) = scan::without_tests(&scan::code_only(text));
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            test_modules,
        }
    }

    /// `["source", "v4l2"]` for src/source/v4l2.rs; empty for the programs and lib.rs.
    pub fn module(&self) -> Vec<&str> {
        if ["src/main.rs", "src/lib.rs"].contains(&self.path.as_str())
            || self.path.starts_with("src/bin/")
        {
            return Vec::new();
        }
        let inner = self
            .path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod");
        inner.split('/').collect()
    }

    /// Where the files of its submodules lie.
    fn folder(&self) -> String {
        match self.module().as_slice() {
            [] => "src".to_owned(),
            module => format!("src/{}", module.join("/")),
        }
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository in `folder` whose name ends with `end`; what is built or git's own is left out.
pub fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (name, kind) = (entry.file_name(), entry.file_type().expect("a file's type"));
            if kind.is_dir() && name != "target" && name != ".git" {
                open.push(entry.path());
            } else if kind.is_file() && name.to_string_lossy().ends_with(end) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

pub fn from_root(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("a path of the repository")
        .to_string_lossy()
        .into_owned()
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

pub fn sources(folders: &[&str]) -> Vec<Source> {
    let all = folders.iter().flat_map(|folder| files(folder, ".rs"));
    all.map(|path| Source::new(&from_root(&path), &read(&path)))
        .collect()
}

/// The crate's code, without files that only tests compile.
pub fn device_and_workshop() -> Vec<Source> {
    let all = sources(&["src"]);
    let tests: Vec<String> = all
        .iter()
        .flat_map(|file| {
            file.test_modules
                .iter()
                .map(|name| format!("{}/{name}", file.folder()))
        })
        .flat_map(|module| [format!("{module}.rs"), format!("{module}/mod.rs")])
        .collect();
    assert!(all.len() > 5, "the crate's files were not found");
    all.into_iter()
        .filter(|file| !tests.contains(&file.path))
        .collect()
}

/// Relative links in Markdown text, with their lines; code is left out.
pub fn links(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // every second piece between backticks is code
            let prose = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
            let inline = prose
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', ' ', '#']).next());
            let defined = prose
                .strip_prefix('[')
                .and_then(|rest| rest.split_once("]: "))
                .map(|(_, to)| to);
            let defined = defined.and_then(|to| to.split([' ', '#']).next());
            let relative = inline
                .chain(defined)
                .filter(|to| !to.is_empty() && !to.contains(':'));
            found.extend(relative.map(|to| (number + 1, to.to_owned())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code_only() {
        let text = "[a](b.md) and [c](d/e.md#f) `[g](h.md)`\n```\n[i](j.md)\n```\n[k](https://l) [m](#n)\n[o]: p.md\n";
        assert_eq!(
            links(text),
            [
                (1, "b.md".to_owned()),
                (1, "d/e.md".to_owned()),
                (6, "p.md".to_owned())
            ]
        );
    }
}
