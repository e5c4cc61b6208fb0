//! What can be wrong with an ONNX file. Where a node is at fault, it is named with its operator.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum OnnxError {
    #[error("neither a safetensors nor a .pth, NNEF or ONNX file: {0}")]
    NotOnnx(String),
    #[error("opset {0} is not read; export with opset 9 to 23")]
    Opset(i64),
    #[error("{0}")]
    Graph(String),
    #[error("tensor {name}: {reason}")]
    Tensor { name: String, reason: String },
    #[error("node {name} ({op}): {reason}")]
    Node {
        name: String,
        op: String,
        reason: String,
    },
    #[error("tract cannot read it: {0}")]
    Tract(String),
}

/// A name as the file gives it, fit for one line of a message.
#[must_use]
pub fn shown(name: &str) -> String {
    const LONGEST: usize = 80;
    let plain: String = name
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(LONGEST).is_some() {
        plain + "..."
    } else {
        plain
    }
}

impl OnnxError {
    pub(super) fn node(name: &str, op: &str, reason: impl Into<String>) -> Self {
        Self::Node {
            name: shown(name),
            op: shown(op),
            reason: reason.into(),
        }
    }

    pub(super) fn tensor(name: &str, reason: impl Into<String>) -> Self {
        Self::Tensor {
            name: shown(name),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_on_one_line_and_not_at_any_length() {
        assert_eq!(shown("conv1"), "conv1");
        assert_eq!(shown("a\nb"), "a\\nb");
        assert!(shown(&"x".repeat(500)).len() < 100);
    }
}
