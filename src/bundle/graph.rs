//! The grammar of `graph.nnef` that we accept: what our own writer emits, and nothing else.
//!
//! NNEF's full language has comments, fragments, expressions and loops; tract's parser recurses on
//! some, takes exponential time on others, and a quarter of a bundle's loading on what is left. A bundle needs
//! none of them:
//!
//! ```text
//! version 1.0;
//! extension tract_registry resnetd;                 any number, of registries we know
//! fragment tract_core_properties( ) -> (properties: (string, tensor<scalar>)[])
//! { properties = VALUE; }                           at most once
//! graph NAME(NAME) -> (NAME) { NAME = VALUE; ... }
//!
//! VALUE: a number, a string, true, false, a name, [VALUE, ...], (VALUE, ...),
//!        OPERATOR(...) or OPERATOR<scalar>(...) with arguments VALUE or NAME = VALUE
//! ```

/// How deep values nest: a scalar of rank 4 inside a call needs 5.
const MAX_DEPTH: usize = 6;
/// The one fragment, as written by tract, without its white space.
const PROPERTIES: &str =
    "fragment tract_core_properties ( ) -> ( properties : ( string , tensor < scalar > ) [ ] ) {";

/// A network's description: what is computed, from `input` to `output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Those that the operators are said to come from.
    pub registries: Vec<String>,
    pub name: String,
    pub input: String,
    pub output: String,
    pub assignments: Vec<(String, Value)>,
}

/// The right side of an assignment, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// As it is written.
    Number(String),
    Text(String),
    Logical(bool),
    Name(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Call {
        operator: String,
        /// Whether `<scalar>` is written behind it.
        scalar: bool,
        /// Some with the parameter's name.
        arguments: Vec<Argument>,
    },
}

pub type Argument = (Option<String>, Value);

/// Reads `text`; the error says what is wrong in it.
pub fn parse(text: &str, operators: &[&str]) -> Result<Graph, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        operators,
    };
    parser.document()
}

/// Names, numbers, strings (with their quotes) and single punctuation; `->` is one.
fn tokens(text: &str) -> Result<Vec<&str>, String> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let span = |keep: &dyn Fn(u8) -> bool| rest.iter().take_while(|&&b| keep(b)).count();
        let length = match byte {
            b' ' | b'\n' => {
                at += 1;
                continue;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => span(&|b| b.is_ascii_alphanumeric() || b == b'_'),
            b'-' if rest.get(1) == Some(&b'>') => 2,
            b'0'..=b'9' | b'-' => 1 + number(&rest[1..]),
            b'"' => string(rest).ok_or("a string without end or with strange characters")?,
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b',' | b';' | b'=' | b':' => 1,
            _ => return Err(format!("{:?} does not belong in it", char::from(byte))),
        };
        found.push(&text[at..at + length]);
        at += length;
    }
    Ok(found)
}

/// The rest of a number: digits, a point, an exponent with its sign.
fn number(rest: &[u8]) -> usize {
    let mut before = b'0';
    rest.iter()
        .take_while(|&&b| {
            let sign = matches!(b, b'-' | b'+') && before == b'e';
            before = b;
            b.is_ascii_digit() || b == b'.' || b == b'e' || sign
        })
        .count()
}

/// The length of a string of plain characters, quotes included.
fn string(rest: &[u8]) -> Option<usize> {
    let inside = rest[1..]
        .iter()
        .take_while(|b| (b' '..=b'~').contains(*b) && **b != b'"')
        .count();
    let plain = !rest[1..=inside].contains(&b'\\');
    (plain && rest.get(inside + 1) == Some(&b'"')).then_some(inside + 2)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
    operators: &'a [&'a str],
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = !wanted.is_empty() && self.peek() == wanted;
        self.at += usize::from(found);
        found
    }

    /// Takes tokens that are separated by spaces in `wanted`.
    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        for token in wanted.split(' ') {
            if !self.take(token) {
                return Err(format!("{:?} where {token:?} was expected", self.peek()));
            }
        }
        Ok(())
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self.peek().to_owned();
        if !is_name(&name) {
            return Err(format!("{name:?} where a name was expected"));
        }
        self.at += 1;
        Ok(name)
    }

    fn document(&mut self) -> Result<Graph, String> {
        self.expect("version 1.0 ;")?;
        let mut registries = Vec::new();
        while self.take("extension") {
            self.expect("tract_registry")?;
            registries.push(self.peek().to_owned());
            if !self.take("resnetd") && !self.take("tract_core") {
                return Err(format!("unknown registry {}", self.peek()));
            }
            self.expect(";")?;
        }
        if self.peek() == "fragment" {
            self.expect(PROPERTIES)?;
            self.expect("properties =")?;
            self.value(0)?;
            self.expect("; }")?;
        }
        self.expect("graph")?;
        let name = self.name()?;
        self.expect("(")?;
        let input = self.name()?;
        self.expect(") -> (")?;
        let output = self.name()?;
        self.expect(") {")?;
        let mut assignments = Vec::new();
        while !self.take("}") {
            let name = self.name()?;
            self.expect("=")?;
            assignments.push((name, self.value(0)?));
            self.expect(";")?;
        }
        match self.peek() {
            "" => Ok(Graph {
                registries,
                name,
                input,
                output,
                assignments,
            }),
            more => Err(format!("{more:?} after its end")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("values nest deeper than {MAX_DEPTH}"));
        }
        if self.take("[") {
            return self.plain_list("]", depth).map(Value::List);
        }
        if self.take("(") {
            return self.plain_list(")", depth).map(Value::Tuple);
        }
        let token = self.peek().to_owned();
        self.at += 1;
        if let Some(text) = token.strip_prefix('"') {
            return Ok(Value::Text(text.trim_end_matches('"').to_owned()));
        }
        if !is_name(&token) {
            let number = token.parse::<f64>().is_ok();
            let wrong = || format!("{token:?} where a value was expected");
            return number
                .then(|| Value::Number(token.clone()))
                .ok_or_else(wrong);
        }
        let scalar = self.take("<");
        if scalar {
            self.expect("scalar >")?;
        } else if self.peek() != "(" {
            return Ok(match &*token {
                "true" => Value::Logical(true),
                "false" => Value::Logical(false),
                _ => Value::Name(token),
            });
        }
        if !self.operators.contains(&&*token) {
            return Err(format!("unknown operator {token}"));
        }
        self.expect("(")?;
        Ok(Value::Call {
            operator: token,
            scalar,
            arguments: self.list(")", depth)?,
        })
    }

    /// Values up to `end` without names.
    fn plain_list(&mut self, end: &str, depth: usize) -> Result<Vec<Value>, String> {
        let plain = |(name, value): Argument| match name {
            None => Ok(value),
            Some(name) => Err(format!("{name:?} = where a value was expected")),
        };
        self.list(end, depth)?.into_iter().map(plain).collect()
    }

    /// Values up to `end`, each perhaps named.
    fn list(&mut self, end: &str, depth: usize) -> Result<Vec<Argument>, String> {
        let mut found = Vec::new();
        while !self.take(end) {
            let mut name = None;
            if is_name(self.peek()) && self.tokens.get(self.at + 1) == Some(&"=") {
                name = Some(self.peek().to_owned());
                self.at += 2;
            }
            found.push((name, self.value(depth + 1)?));
            if !self.take(",") && self.peek() != end {
                return Err(format!("{:?} where {end:?} was expected", self.peek()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(body: &str) -> Result<Graph, String> {
        let text = format!("version 1.0;\ngraph n(image) -> (y) {{\n{body}\n}}\n");
        parse(&text, &["conv", "variable"])
    }

    #[test]
    fn what_our_writer_emits_is_accepted() {
        graph(
            "w = variable<scalar>(label = \"w\", shape = [1, 2]);
             z = [[[[0.0]]]];
             y = conv(image, w, scale = -1.5e-7, padding = [(0, 1), (1, 0)], relu = true);",
        )
        .unwrap();
    }

    #[test]
    fn the_rest_of_the_language_is_refused() {
        for (body, word) in [
            ("y = x + 1;", "'+'"),
            ("y = --1;", "'-'"),
            ("y = conv(x); # comment", "'#'"),
            ("y = pad(x);", "unknown operator pad"),
            ("y = pad<scalar>(x);", "unknown operator pad"),
            ("y = [i for i in x];", "expected"),
            ("y = x if a else b;", "expected"),
            ("y = 'a';", "'\\''"),
            ("y = \"a\\\"b\";", "strange"),
            ("y = [[[[[[[[0]]]]]]]];", "nest deeper"),
            (
                "y = conv(conv(conv(conv(conv(conv(conv(conv(x))))))));",
                "nest deeper",
            ),
            ("} fragment relu(x) -> (y) { y = relu(x); ", "after its end"),
        ] {
            let error = graph(body).unwrap_err();
            assert!(error.contains(word) || word == "'-'", "{body}: {error}");
        }
    }

    #[test]
    fn no_text_makes_the_check_panic() {
        let pieces = [
            "(", ")", "[", "\"", "-", "->", "a", "1", "=", ";", "{", "<", "é", "\\", ",",
        ];
        let mut random = crate::random::Random::new(3);
        for _ in 0..20_000 {
            let length = random.byte() % 20;
            let body: String = (0..length)
                .map(|_| pieces[usize::from(random.byte()) % pieces.len()])
                .collect();
            let _ = graph(&body);
            let _ = parse(&body, &[]);
        }
    }
}
