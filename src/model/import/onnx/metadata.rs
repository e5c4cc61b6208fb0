//! What an ONNX file says of itself beside its graph (`metadata_props`), under the names that importers look for:
//! `labels`, `mean`, `std`, `resize`, `crop`, `interpolation`. Trainers write these under many names and as JSON
//! or as Python's own text.

use std::collections::BTreeMap;

use serde_json::Value;
use tract_onnx::pb::StringStringEntryProto;

use crate::model::import::tensors::Metadata;

const LABELS: [&str; 7] = [
    "labels",
    "names",
    "classes",
    "class_names",
    "label_names",
    "categories",
    "id2label",
];

/// The file's metadata in the form that safetensors have.
#[must_use]
pub fn metadata(entries: &[StringStringEntryProto]) -> Metadata {
    let find = |keys: &[&str]| {
        let key = |e: &&StringStringEntryProto| keys.contains(&e.key.to_ascii_lowercase().as_str());
        entries.iter().find(key).map(|e| e.value.as_str())
    };
    let mut found = Metadata::new();
    let mut put = |key: &str, value: Option<String>| {
        value.and_then(|value| found.insert(key.to_owned(), value));
    };
    let named = find(&LABELS).and_then(labels);
    put("labels", named.and_then(|l| serde_json::to_string(&l).ok()));
    put(
        "mean",
        find(&["mean", "image_mean", "norm_mean"]).map(numbers),
    );
    put("std", find(&["std", "image_std", "norm_std"]).map(numbers));
    put(
        "crop",
        find(&["crop", "crop_size", "input_size", "imgsz", "image_size"]).map(side),
    );
    put("resize", find(&["resize", "resize_size"]).map(side));
    put("interpolation", find(&["interpolation"]).map(str::to_owned));
    found
}

/// `[0.485, 0.456, 0.406]` without its brackets.
fn numbers(text: &str) -> String {
    text.trim().trim_matches(['[', ']', '(', ')']).to_owned()
}

/// `[3, 224, 224]`, `[224, 224]` and `224` are all 224: the last number, where it is said twice.
fn side(text: &str) -> String {
    let text = numbers(text);
    text.rsplit([',', 'x', ' '])
        .find(|t| !t.is_empty())
        .unwrap_or(&text)
        .trim()
        .to_owned()
}

/// A list, or a dictionary from numbers, in JSON or Python; or lines, or words between commas.
fn labels(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if !text.starts_with(['[', '{', '(']) {
        let between = if text.contains('\n') { '\n' } else { ',' };
        return Some(text.split(between).map(|l| l.trim().to_owned()).collect());
    }
    let value = serde_json::from_str(text).ok();
    list(&value.or_else(|| serde_json::from_str(&as_json(text)).ok())?)
}

fn list(value: &Value) -> Option<Vec<String>> {
    let word = |v: &Value| v.as_str().map(str::to_owned);
    match value {
        Value::Array(values) => values.iter().map(word).collect(),
        Value::Object(entries) => {
            let numbered =
                |(key, value): (&String, &Value)| Some((key.parse::<usize>().ok()?, word(value)?));
            let numbered: BTreeMap<usize, String> =
                entries.iter().map(numbered).collect::<Option<_>>()?;
            let whole = numbered.keys().copied().eq(0..numbered.len());
            whole.then(|| numbered.into_values().collect())
        }
        _ => None,
    }
}

/// Python's text of a list or dictionary as JSON: strings in either quotes, tuples, numbers as keys.
fn as_json(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\'' | '"' => {
                let word = quoted(&mut characters, c);
                json += &Value::String(word).to_string();
            }
            '0'..='9' => {
                let mut number = String::from(c);
                while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                json += &Value::String(number).to_string();
            }
            '(' => json.push('['),
            ')' => json.push(']'),
            other => json.push(other),
        }
    }
    json
}

fn quoted(characters: &mut impl Iterator<Item = char>, quote: char) -> String {
    let mut word = String::new();
    while let Some(c) = characters.next() {
        match c {
            '\\' => word.extend(characters.next()),
            c if c == quote => break,
            c => word.push(c),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Metadata {
        let entry = StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        metadata(&[entry])
    }

    #[test]
    fn labels_are_read_as_json_python_or_words() {
        let cat_and_dog = r#"["cat","it's"]"#;
        for (key, text) in [
            ("labels", r#"["cat", "it's"]"#),
            ("names", r#"{0: 'cat', 1: "it's"}"#),
            ("Classes", r"['cat', 'it\'s']"),
            ("class_names", r#"("cat", "it's")"#),
            ("id2label", r#"{"1": "it's", "0": "cat"}"#),
            ("labels", "cat, it's"),
            ("labels", "cat\nit's"),
        ] {
            assert_eq!(
                read(key, text).get("labels").unwrap(),
                cat_and_dog,
                "{text}"
            );
        }
    }

    #[test]
    fn labels_that_make_no_sense_are_none() {
        for text in [
            "{0: 'a', 2: 'b'}",
            "{'a': 'b'}",
            "[1, [2]]",
            "[",
            "{0: 'a'",
            "{0 'a'}",
            "['a",
        ] {
            assert_eq!(read("names", text).get("labels"), None, "{text}");
        }
    }

    #[test]
    fn preprocessing_is_found_under_its_many_names() {
        assert_eq!(read("mean", "[0.5, 0.4, 0.3]")["mean"], "0.5, 0.4, 0.3");
        assert_eq!(read("image_std", "(1,2,3)")["std"], "1,2,3");
        for (key, text) in [
            ("input_size", "[3, 224, 224]"),
            ("imgsz", "[224, 224]"),
            ("crop", "224"),
        ] {
            assert_eq!(read(key, text)["crop"], "224");
        }
        assert!(read("author", "somebody").is_empty());
    }
}
