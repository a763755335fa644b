//! Which outputs others are computed from.
//!
//! Called by `onnx` on the graph as it is handed to the importer.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::outputs::MAX_OUTPUTS;

/// Names of the outputs that another one is computed from: by more than a function of its numbers, as features are made
/// logits. An output that only repeats a value is computed from where that is.
pub(super) fn inner_outputs(graph: &GraphProto) -> HashSet<String> {
    let mut makers: HashMap<&str, &NodeProto> = HashMap::new();
    for node in &graph.node {
        makers.extend(node.output.iter().map(|o| (o.as_str(), node)));
    }
    let outputs: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut inner = HashSet::new();
    if outputs.len() > MAX_OUTPUTS {
        return inner; // one of them is named, or the file is refused
    }
    let mut repeated: HashMap<&str, Vec<&str>> = HashMap::new();
    for output in &outputs {
        let value = source(output, &makers);
        repeated.entry(value).or_default().push(output);
    }
    for output in &outputs {
        let own = source(output, &makers);
        let mut seen = HashSet::new();
        let mut left = vec![*output];
        while let Some(name) = left.pop() {
            let Some(node) = makers.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            for input in node.input.iter().map(String::as_str) {
                if outputs.contains(input) && input != *output {
                    inner.insert(input.to_owned());
                }
                let others = repeated.get(input).filter(|_| input != own);
                inner.extend(others.into_iter().flatten().map(|o| (*o).to_owned()));
                left.push(input);
            }
        }
    }
    inner
}

/// Most nodes that repeat a value behind one another.
const MAX_STEPS: usize = 8;

/// The value that one repeats, or itself.
fn source<'g>(value: &'g str, makers: &HashMap<&'g str, &'g NodeProto>) -> &'g str {
    let mut value = value;
    for _ in 0..MAX_STEPS {
        let maker = makers.get(value).filter(|node| {
            matches!(&*node.op_type, "Cast" | "Dropout" | "Identity") && node.output[0] == value
        });
        match maker.and_then(|node| node.input.first()) {
            Some(input) => value = input,
            None => break,
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::ValueInfoProto;

    /// The outputs among these that others are computed from, in the order of their names.
    fn inner(nodes: &[(&str, &str, &str)], outputs: &[&str]) -> Vec<String> {
        let node = |(op, input, output): &(&str, &str, &str)| NodeProto {
            op_type: (*op).into(),
            input: vec![(*input).into()],
            output: vec![(*output).into()],
            ..NodeProto::default()
        };
        let output = |name: &&str| ValueInfoProto {
            name: (*name).into(),
            ..ValueInfoProto::default()
        };
        let graph = GraphProto {
            node: nodes.iter().map(node).collect(),
            output: outputs.iter().map(output).collect(),
            ..GraphProto::default()
        };
        let mut names: Vec<String> = inner_outputs(&graph).into_iter().collect();
        names.sort();
        names
    }

    #[test]
    fn features_are_inner_whatever_repeats_them_as_an_output() {
        let classes = ("Gemm", "f", "classes");
        let body = ("Conv", "x", "f");
        assert_eq!(inner(&[body, classes], &["f", "classes"]), ["f"]);
        let once = ("Identity", "f", "features");
        assert_eq!(
            inner(&[body, once, classes], &["features", "classes"]),
            ["features"]
        );
        let twice = [("Cast", "f", "c"), ("Identity", "c", "features")];
        assert_eq!(
            inner(
                &[body, twice[0], twice[1], classes],
                &["features", "classes"]
            ),
            ["features"]
        );
        // Where that is behind the classes, they are what it repeats.
        let behind = ("Identity", "classes", "again");
        assert_eq!(
            inner(&[body, classes, behind], &["classes", "again"]),
            ["classes"]
        );
        let apart = [body, ("Gemm", "f", "a"), ("Gemm", "f", "b")];
        assert_eq!(inner(&apart, &["a", "b"]), [""; 0]);
        let endless = [("Identity", "a", "b"), ("Identity", "b", "a")];
        assert_eq!(inner(&endless, &["a", "b"]), ["a", "b"]);
    }
}
