//! Names of a graph's values and nodes, for what is added to it.
//!
//! Used by what says a file's operators otherwise.

use std::collections::HashSet;

use tract_onnx::pb::GraphProto;

/// Every name of a graph.
pub(in crate::engine) fn names(graph: &GraphProto) -> HashSet<String> {
    let weights = graph.initializer.iter().map(|t| &t.name);
    let inputs = graph.input.iter().map(|v| &v.name);
    let of_nodes = graph
        .node
        .iter()
        .flat_map(|n| n.output.iter().chain([&n.name]));
    weights.chain(inputs).chain(of_nodes).cloned().collect()
}

/// A new name that begins with this one.
pub(in crate::engine) fn fresh(names: &mut HashSet<String>, mut name: String) -> String {
    while !names.insert(name.clone()) {
        name.push('_');
    }
    name
}
