//! Names of a graph's values and nodes, for what is added to it.
//!
//! Used by what says a file's operators otherwise.

use std::collections::HashSet;

use tract_onnx::pb::GraphProto;

use super::node_name;

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

/// Gives a name of its own to each node that is called as a constant, an input or another node is, or as the importer may
/// call a part of another node, with a dot behind that one's name: it calls what it makes of any of them so, and takes no
/// name twice. Without a name a node is called as its first output.
pub(super) fn tell_apart(graph: &mut GraphProto) {
    let mut names = names(graph);
    let weights = graph.initializer.iter().map(|t| t.name.clone());
    let inputs = graph.input.iter().map(|v| v.name.clone());
    let mut called: HashSet<String> = weights.chain(inputs).collect();
    let nodes: HashSet<String> = graph.node.iter().map(node_name).collect();
    let is_of_part = |name: &str| {
        let mut dots = name.match_indices('.');
        dots.any(|(dot, _)| nodes.contains(&name[..dot]))
    };
    let (named, unnamed): (Vec<_>, Vec<_>) =
        graph.node.iter_mut().partition(|n| !n.name.is_empty());
    for node in named.into_iter().chain(unnamed) {
        let name = node_name(node);
        if is_of_part(&name) || !called.insert(name.clone()) {
            node.name = fresh(&mut names, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::proto;
    use tract_onnx::pb::{NodeProto, TensorProto};

    #[test]
    fn no_two_have_one_name() {
        let node = |name: &str, output: &str| NodeProto {
            name: name.into(),
            ..proto::node("Relu", &["x"], &[output])
        };
        let mut graph = GraphProto {
            node: vec![
                node("rows", "a"),
                node("same", "b"),
                node("same", "c"),
                node("", "d"),
                node("", "late"),
                node("late", "e"),
                node("same.bias", "f"),
                node("", "same.scale"),
                node("other.bias", "g"),
            ],
            input: vec![proto::value("x")],
            initializer: vec![TensorProto {
                name: "rows".into(),
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        };
        tell_apart(&mut graph);
        let names: Vec<&str> = graph.node.iter().map(|n| &*n.name).collect();
        let own = ["late_", "late", "same.bias_", "same.scale_", "other.bias"];
        assert_eq!(names, [&["rows_", "same", "same_", ""][..], &own].concat());
    }
}
