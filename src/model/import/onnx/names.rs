//! Names that NNEF allows, from those of exporters: `/layer1/layer1.0/conv1/Conv` becomes `layer1_0_conv1`.

use std::collections::HashSet;

/// The names that were given.
#[derive(Debug, Default)]
pub struct Names(HashSet<String>);

const LONGEST: usize = 60;
const ENDINGS: [&str; 5] = [".low", ".ab", ".sum", ".norm", ".mul"];
const OPERATORS: [&str; 9] = [
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "Conv2D",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Relu",
];

impl Names {
    /// With these given already.
    pub fn without(taken: &[&str]) -> Self {
        Self(taken.iter().map(|name| (*name).to_owned()).collect())
    }

    /// A name of its own for the layer that came of a node `name` with operator `op`.
    pub fn of(&mut self, name: &str, op: &str) -> String {
        let plain = plain(name, op);
        let numbered = (2..).map(|n| format!("{plain}_{n}"));
        let mut free = std::iter::once(plain.clone())
            .chain(numbered)
            .filter(|name| !self.taken(name));
        let name = free.next().unwrap_or(plain);
        self.0.insert(name.clone());
        name
    }

    /// Weights and sums are called after their layer, so that no layer may be called like them.
    fn taken(&self, name: &str) -> bool {
        const PARTS: [&str; 7] = [
            "_weight", "_bias", "_zero", "_sum", "_share", "_bound", "_row",
        ];
        let part_of = |suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|n| self.0.contains(n))
        };
        let whole_of = |suffix| self.0.contains(&format!("{name}{suffix}"));
        let kept = ["logits", "logits_row", "external", "variable"];
        self.0.contains(name)
            || kept.contains(&name)
            || PARTS
                .into_iter()
                .any(|suffix| part_of(suffix) || whole_of(suffix))
    }
}

fn plain(name: &str, op: &str) -> String {
    // tract's own endings
    let name = ENDINGS
        .iter()
        .find_map(|e| name.strip_suffix(e))
        .unwrap_or(name);
    let mut parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty()).collect();
    // exporters end with the operator, behind the layer's name; an addition has no other name
    let operator = |part: &str| part != "Add" && (part == op || OPERATORS.contains(&part));
    if parts.len() > 1 && parts.last().is_some_and(|last| operator(last)) {
        parts.pop();
    }
    // `layer1/layer1.0` says layer1 twice
    let mut kept: Vec<&str> = Vec::new();
    for part in parts {
        if kept.last().is_some_and(|outer| part.starts_with(outer)) {
            kept.pop();
        }
        kept.push(part);
    }
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let text: String = kept.join("_").chars().map(allowed).take(LONGEST).collect();
    let text = text.trim_matches('_');
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        text.to_owned()
    } else {
        format!("n_{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_exporters_become_short_and_plain() {
        let of = |name: &str, op: &str| Names::default().of(name, op);
        assert_eq!(of("/layer1/layer1.0/conv1/Conv", "Conv"), "layer1_0_conv1");
        assert_eq!(of("/layer1/layer1.0/relu/Relu.low", "Max"), "layer1_0_relu");
        assert_eq!(of("/layer1/layer1.0/Add", "Add"), "layer1_0_add");
        assert_eq!(
            of("resnet50/conv1_conv/Conv2D", "Conv"),
            "resnet50_conv1_conv"
        );
        assert_eq!(of("node_conv2d_3", "Conv"), "node_conv2d_3");
        assert_eq!(of("7", "Conv"), "n_7");
        assert_eq!(of("é\n", "Conv"), "n_");
        assert!(of(&"x".repeat(500), "Conv").len() <= LONGEST);
    }

    #[test]
    fn each_name_is_given_once_and_none_that_a_part_has() {
        let mut names = Names::default();
        assert_eq!(names.of("a/b", "Add"), "a_b");
        assert_eq!(names.of("a.b", "Add"), "a_b_2");
        assert_eq!(names.of("a_b_weight", "Add"), "a_b_weight_2");
        assert_eq!(names.of("logits", "Add"), "logits_2");
        assert_eq!(names.of("a_b_row", "Add"), "a_b_row_2");
        assert_eq!(Names::without(&["image"]).of("image", "Add"), "image_2");
        names.of("c_bias", "Add");
        assert_eq!(names.of("c", "Add"), "c_2");
    }
}
