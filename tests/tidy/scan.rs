//! Enough of a Rust scanner for the rules in `tidy.rs`: it blanks what is not code, cuts out what only tests
//! compile, and finds the paths that start at the crate's root. It knows no types and expands no macros.

/// A path from the crate's root (`crate::`, `super::` as far as it leads there, `resnetd::` in the programs).
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    pub line: usize,
    /// Below the root: `["frame", "Frame"]`; `*` and `self` as written.
    pub path: Vec<String>,
}

/// Replaces comments, strings and character literals by blanks. Lines stay where they are.
pub fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_non_code(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// Where the comment or literal that starts `at` ends; `at` itself where there is none.
fn skip_non_code(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match (chars[at], next) {
        ('/', Some('/')) => find(chars, at, |c| c == '\n'),
        ('/', Some('*')) => block_comment_end(chars, at),
        ('"', _) => quoted_end(chars, at + 1, '"'),
        ('r', Some('"' | '#')) if !continues_word(chars, at) => raw_string_end(chars, at),
        ('\'', Some('\\')) => quoted_end(chars, at + 1, '\''),
        // 'x' is a character, 'x without the second quote a lifetime
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// True if a longer identifier reaches up to `at`, a string's `b` or `c` prefix apart.
fn continues_word(chars: &[char], at: usize) -> bool {
    let word_at = |i: usize| is_word(chars[i]);
    match at {
        0 => false,
        1 => word_at(0) && !matches!(chars[0], 'b' | 'c'),
        _ => word_at(at - 1) && (word_at(at - 2) || !matches!(chars[at - 1], 'b' | 'c')),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|&i| stop(chars[i]))
        .unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut i = from;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let open = find(chars, at + 1, |c| c != '#');
    if chars.get(open) != Some(&'"') {
        return at; // a raw identifier: r#type
    }
    let hashes = open - at - 1;
    (open + 1..chars.len())
        .find(|&i| chars[i] == '"' && (1..=hashes).all(|h| chars.get(i + h) == Some(&'#')))
        .map_or(chars.len(), |i| i + 1 + hashes)
}

/// Blanks every item under `#[cfg(test)]` or `#[cfg(all(test, ..))]` in [`code_only`] text, and names the modules
/// among them that lie in files of their own.
pub fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut out = code.to_owned();
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some((at, attribute)) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|a| out[from..].find(a).map(|i| (from + i, *a)))
        .min()
    {
        let end = item_end(&out, at + attribute.len());
        let item: Vec<&str> = out[at..end]
            .trim_end_matches(';')
            .split_whitespace()
            .collect();
        if let [.., "mod", name] = item[..] {
            modules.push(name.to_owned());
        }
        let blank: String = out[at..end]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        out.replace_range(at..end, &blank);
        from = at + blank.len();
    }
    (out, modules)
}

/// Where the item that starts `from` ends: at its semicolon or with its closing brace.
fn item_end(code: &str, from: usize) -> usize {
    let is_use = code[from..]
        .trim_start_matches(")]")
        .split_whitespace()
        .take(2)
        .any(|word| word == "use");
    let mut depth = 0_usize;
    for (i, c) in code[from..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 && !is_use {
                    return from + i + 1;
                }
            }
            ';' if depth == 0 => return from + i + 1,
            _ => {}
        }
    }
    code.len()
}

/// Identifiers, `::`, and every other character by itself, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                found.push((number + 1, &rest[..length]));
            }
            rest = &rest[length..];
        }
    }
    found
}

/// The lines on which `word` (a keyword, a macro as `panic!`, a method as `.unwrap()`) occurs.
pub fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let sought: Vec<&str> = tokens(word).into_iter().map(|(_, token)| token).collect();
    tokens(code)
        .windows(sought.len())
        .filter(|window| {
            window
                .iter()
                .map(|(_, token)| *token)
                .eq(sought.iter().copied())
        })
        .map(|window| window[0].0)
        .collect()
}

/// Every path from the root in a module that lies `depth` modules below it (0: the crate's own file).
/// `root` is another name for the root: the library's, in a program.
pub fn imports(code: &str, depth: usize, root: Option<&str>) -> Vec<Import> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match after_root(&tokens, at, depth, root) {
            Some(next) => {
                at = path_tree(&tokens, next, &mut Vec::new(), &mut found);
            }
            None => at += 1,
        }
    }
    found
}

/// The token behind `crate::`, behind enough `super::`, or behind the library's name; `None` if no such path starts `at`.
fn after_root(
    tokens: &[(usize, &str)],
    at: usize,
    depth: usize,
    root: Option<&str>,
) -> Option<usize> {
    let token = |i: usize| tokens.get(i).map(|t| t.1);
    if at > 0 && token(at - 1) == Some("::") {
        return None; // in the middle of another path
    }
    let leads_to = |i: usize| (token(i + 1) == Some("::")).then_some(i + 2);
    match token(at)? {
        "crate" => leads_to(at),
        "super" => {
            let (mut ups, mut i) = (0, at);
            while token(i) == Some("super") && token(i + 1) == Some("::") {
                (ups, i) = (ups + 1, i + 2);
            }
            (ups > 0 && ups >= depth).then_some(i)
        }
        name if Some(name) == root => leads_to(at),
        _ => None,
    }
}

/// Reads `a::b`, `a::{b, c::d}` and `*` from `at`; gives the token behind.
fn path_tree(
    tokens: &[(usize, &str)],
    at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Import>,
) -> usize {
    let token = |i: usize| tokens.get(i).map(|t| t.1);
    let Some(&(line, first)) = tokens.get(at) else {
        return at;
    };
    let mut add = |path: &[String]| {
        found.push(Import {
            line,
            path: path.to_vec(),
        });
    };
    if first == "{" {
        let mut i = at + 1;
        while i < tokens.len() && token(i) != Some("}") {
            i = if matches!(token(i), Some(",")) {
                i + 1
            } else {
                branch_end(tokens, path_tree(tokens, i, prefix, found))
            };
        }
        return i + 1;
    }
    prefix.push(first.to_owned());
    let end = if token(at + 1) == Some("::")
        && token(at + 2).is_some_and(|t| t == "{" || t == "*" || is_name(t))
    {
        path_tree(tokens, at + 2, prefix, found)
    } else {
        add(prefix);
        at + 1
    };
    prefix.pop();
    end
}

/// Skips `as name` up to the comma or brace that ends a branch of a use tree.
fn branch_end(tokens: &[(usize, &str)], at: usize) -> usize {
    (at..tokens.len())
        .find(|&i| matches!(tokens[i].1, "," | "}"))
        .unwrap_or(tokens.len())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str, depth: usize) -> Vec<String> {
        imports(&code_only(code), depth, None)
            .into_iter()
            .map(|i| format!("{} {}", i.line, i.path.join("::")))
            .collect()
    }

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source = "a /* x /* y */ z */ b // c\nd \"e\\\"f\ng\" h r#\"i\"j\"# k 'l' '\\'' &'m n b\"o\" br\"p\"";
        let code = code_only(source);
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>(),
            ["a", "b", "d", "h", "k", "&'m", "n", "b", "b"]
        );
        assert_eq!(code.lines().count(), source.lines().count());
        assert_eq!(code_only("r#type for_r\"x\" "), "r#type for_r    ");
    }

    #[test]
    fn what_only_tests_compile_is_cut_out() {
        let (code, files) = without_tests(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { { } }\n}\n#[cfg(test)] mod far;\n\
             #[cfg(test)] use crate::{b, c};\n#[cfg(all(test, unix))]\nfn d() -> [u8; 2] { x }\nfn e() {}",
        );
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>(),
            ["fn", "a()", "{}", "fn", "e()", "{}"]
        );
        assert_eq!(code.lines().count(), 10);
        assert_eq!(files, ["far"]);
    }

    #[test]
    fn every_way_to_name_the_root_is_found() {
        assert_eq!(paths("use crate::frame::Frame;", 1), ["1 frame::Frame"]);
        assert_eq!(
            paths("use crate::{\n a,\n b::{self, C as D},\n c::*\n};", 1),
            ["2 a", "3 b::self", "3 b::C", "4 c::*"]
        );
        assert_eq!(
            paths("let x = crate::model::load(crate::spec::X);", 3),
            ["1 model::load", "1 spec::X"]
        );
        assert_eq!(
            paths("fn f(x: &$crate::label::Label<'_>) {}", 1),
            ["1 label::Label"]
        );
        assert_eq!(
            paths("pub(crate) fn f() {} pub(in crate::a) fn g() {}", 1),
            ["1 a"]
        );
        assert_eq!(paths("use super::b; use super::super::c;", 2), ["1 c"]);
        assert_eq!(paths("use super::b;", 1), ["1 b"]);
        assert_eq!(paths("// crate::a\n\"crate::b\"", 1), [""; 0]);
        let program = imports(
            "use resnetd::cli; use other::resnetd::x;",
            0,
            Some("resnetd"),
        );
        assert_eq!(
            program,
            [Import {
                line: 1,
                path: vec!["cli".into()]
            }]
        );
    }

    #[test]
    fn words_are_found_as_tokens_and_not_as_parts_of_others() {
        let code = "unsafe {\n allow(unsafe_code)\n x\n.unwrap()\n y.unwrap_or(1) panic!(";
        assert_eq!(lines_with(code, "unsafe"), [1]);
        assert_eq!(lines_with(code, ".unwrap()"), [4]);
        assert_eq!(lines_with(code, "panic!"), [5]);
    }
}
