//! A bundle's graph in the words of tract-nnef's reader. tract's own parser is not used on files.

use tract_nnef::ast::{
    Argument, Assignment, Document, GraphDef, Invocation, LValue, Literal, RValue,
};
use tract_nnef::internal::*;

use crate::bundle::{Graph, Value};

/// The document that tract's parser would make of the graph's text, but for the properties, which nobody reads.
pub fn document(graph: &Graph) -> Document {
    let registry = |name: &String| ("tract_registry".into(), name.clone());
    let assignment = |(name, value): &(String, Value)| Assignment {
        left: LValue::Identifier(Identifier(name.clone())),
        right: rvalue(value),
    };
    Document {
        version: "1.0".into(),
        extension: graph.registries.iter().map(registry).collect(),
        fragments: Vec::new(),
        graph_def: GraphDef {
            id: Identifier(graph.name.clone()),
            parameters: vec![Identifier(graph.input.clone())],
            results: vec![Identifier(graph.output.clone())],
            body: graph.assignments.iter().map(assignment).collect(),
        },
    }
}

/// Values nest only as deep as a bundle's grammar allows.
fn rvalue(value: &Value) -> RValue {
    let all = |values: &[Value]| values.iter().map(rvalue).collect();
    match value {
        Value::Number(digits) => RValue::Literal(Literal::Numeric(digits.clone())),
        Value::Text(text) => RValue::Literal(Literal::String(text.clone())),
        Value::Logical(yes) => RValue::Literal(Literal::Logical(*yes)),
        Value::Name(name) => RValue::Identifier(Identifier(name.clone())),
        Value::List(values) => RValue::Array(all(values)),
        Value::Tuple(values) => match &values[..] {
            [only] => rvalue(only),
            values => RValue::Tuple(all(values)),
        },
        Value::Call {
            operator,
            scalar,
            arguments,
        } => RValue::Invocation(Invocation {
            id: Identifier(operator.clone()),
            generic_type_name: scalar.then_some(TypeName::Scalar),
            arguments: arguments
                .iter()
                .map(|(name, value)| Argument {
                    id: name.clone().map(Identifier),
                    rvalue: rvalue(value),
                })
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use tract_nnef::ast::parse::parse_document;

    use crate::bundle::{self, unpack};
    use crate::infer::registry::OPERATORS;

    #[test]
    fn the_document_is_the_one_that_tract_would_read() {
        let path = Path::new("models/resnet50-imagenette.nnef.tar");
        let contents = bundle::read(path, OPERATORS, &mut ()).unwrap();
        let mut entries = unpack(path, &std::fs::read(path).unwrap())
            .unwrap()
            .into_iter();
        let (_, text) = entries.find(|(name, _)| name == bundle::GRAPH).unwrap();
        let mut want = parse_document(std::str::from_utf8(&text).unwrap()).unwrap();
        want.fragments.clear();
        for (_, registry) in &mut want.extension {
            *registry = registry.trim().to_owned();
        }
        assert_eq!(document(&contents.graph), want);
    }
}
