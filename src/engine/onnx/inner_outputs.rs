//! Which outputs others are computed from.
//!
//! Called by `onnx` on the graph as it is handed to the importer.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::outputs::MAX_OUTPUTS;

/// Names of the outputs that another one is computed from: by more than a function of its numbers, as features are made
/// logits.
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
    for output in &outputs {
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
                left.push(input);
            }
        }
    }
    inner
}
