//! What reads a value of the graph.
//!
//! Used by `input` and `walk`, which change or interpret what follows a value only where they see all of it.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::{graphs, graphs_mut};

/// The nodes that read a value; none if something else does too: the file's output, or a graph inside of a node.
pub(super) fn readers<'g>(graph: &'g GraphProto, value: &str) -> Option<Vec<&'g NodeProto>> {
    let is_output = graph.output.iter().any(|o| o.name == value);
    let inside = |node: &NodeProto| {
        let mut graphs = node.attribute.iter().flat_map(graphs);
        graphs.any(|graph| is_read_in(graph, value))
    };
    if is_output || graph.node.iter().any(inside) {
        return None;
    }
    Some(graph.node.iter().filter(|n| reads(n, value)).collect())
}

/// Whether a graph inside of a node reads a value from outside, or has one of that name.
pub(super) fn is_read_in(graph: &GraphProto, value: &str) -> bool {
    let mut inner = graph
        .node
        .iter()
        .flat_map(|n| &n.attribute)
        .flat_map(graphs);
    graph.output.iter().any(|o| o.name == value)
        || graph.node.iter().any(|n| reads(n, value))
        || inner.any(|graph| is_read_in(graph, value))
}

/// Whether it is one of a node's inputs.
pub(super) fn reads(node: &NodeProto, value: &str) -> bool {
    node.input.iter().any(|input| input == value)
}

/// Lets all that reads one value read another.
pub(super) fn rename_reads(graph: &mut GraphProto, from: &str, to: &str) {
    for node in &mut graph.node {
        for input in node.input.iter_mut().filter(|input| *input == from) {
            to.clone_into(input);
        }
        for inner in node.attribute.iter_mut().flat_map(graphs_mut) {
            rename_reads(inner, from, to);
        }
    }
}
