//! Nodes that no output needs, and outputs that are not asked for: whatever they are, they keep no network from being
//! served.
//!
//! Called by `onnx` before anything else looks at the nodes. Exporters leave some behind, and so do people who cut a
//! detector's end off.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::graphs;

/// Most outputs that are tried in search of one that can be had.
const MAX_TRIED: usize = 64;

/// Takes all outputs but this one out of the graph, if it has it.
pub(super) fn keep_output(graph: &mut GraphProto, name: &str) {
    if graph.output.iter().any(|output| output.name == name) {
        graph.output.retain(|output| output.name == name);
    }
}

/// Takes them out of the graph.
pub(super) fn drop_unread(graph: &mut GraphProto) {
    let names = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut is_read = read_for(graph, names).into_iter();
    graph.node.retain(|_| is_read.next().unwrap_or(true));
}

/// The first output that nodes make, and no such one, nor one with such a node inside.
pub(super) fn output_without(
    graph: &GraphProto,
    is_such: impl Fn(&NodeProto) -> bool,
) -> Option<&str> {
    fn holds(node: &NodeProto, is_such: &dyn Fn(&NodeProto) -> bool) -> bool {
        let mut inner = node.attribute.iter().flat_map(graphs);
        is_such(node) || inner.any(|g| g.node.iter().any(|node| holds(node, is_such)))
    }
    let mut outputs = graph.output.iter().map(|o| o.name.as_str()).take(MAX_TRIED);
    outputs.find(|name| {
        let is_read = read_for(graph, vec![name]);
        let nodes = graph.node.iter().zip(is_read);
        let mut needed = nodes.filter(|(_, is_read)| *is_read).peekable();
        needed.peek().is_some() && !needed.any(|(node, _)| holds(node, &is_such))
    })
}

/// Which of the nodes these values need.
fn read_for<'g>(graph: &'g GraphProto, mut names: Vec<&'g str>) -> Vec<bool> {
    let made: HashMap<&str, usize> = (graph.node.iter().enumerate())
        .flat_map(|(i, node)| node.output.iter().map(move |name| (name.as_str(), i)))
        .collect();
    let mut is_read = vec![false; graph.node.len()];
    while let Some(name) = names.pop() {
        if let Some(&i) = made.get(name)
            && !std::mem::replace(&mut is_read[i], true)
        {
            read_by(&graph.node[i], &mut names);
        }
    }
    is_read
}

/// Adds the values that a node reads, and those that the graphs inside of it read or have.
fn read_by<'g>(node: &'g NodeProto, names: &mut Vec<&'g str>) {
    names.extend(node.input.iter().map(String::as_str));
    for graph in node.attribute.iter().flat_map(graphs) {
        names.extend(graph.output.iter().map(|o| o.name.as_str()));
        graph.node.iter().for_each(|node| read_by(node, names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::proto::{node, value};
    use tract_onnx::pb::AttributeProto;

    #[test]
    fn what_an_output_needs_stays() {
        let inner = GraphProto {
            node: vec![node("Relu", &["outer"], &["inner"])],
            output: vec![value("inner")],
            ..GraphProto::default()
        };
        let branch = AttributeProto {
            g: Some(inner),
            ..AttributeProto::default()
        };
        let choice = NodeProto {
            attribute: vec![branch],
            ..node("If", &["is"], &["y"])
        };
        let mut graph = GraphProto {
            // In no order.
            node: vec![
                choice,
                node("Loop", &["x"], &["dead"]),
                node("Det", &["dead"], &["deader"]),
                node("Neg", &["x"], &["outer"]),
                node("Split", &["x"], &["is", "unread"]),
            ],
            input: vec![value("x")],
            output: vec![value("y")],
            ..GraphProto::default()
        };
        drop_unread(&mut graph);
        let left: Vec<&str> = graph.node.iter().map(|n| &*n.op_type).collect();
        assert_eq!(left, ["If", "Neg", "Split"]);
    }

    #[test]
    fn output_that_needs_no_such_node_is_found() {
        let forked = |to_y: &str, to_z: &str| GraphProto {
            // In no order.
            node: vec![
                node("Neg", &["b"], &["y"]),
                node(to_z, &["a"], &["z"]),
                node(to_y, &["a"], &["b"]),
                node("Relu", &["x"], &["a"]),
            ],
            input: vec![value("x")],
            output: vec![value("y"), value("z")],
            ..GraphProto::default()
        };
        for (to_y, to_z, found) in [
            ("Abs", "Exp", Some("y")),
            ("Det", "Exp", Some("z")),
            ("Abs", "Det", Some("y")),
            ("Det", "Det", None),
        ] {
            let graph = forked(to_y, to_z);
            let other = output_without(&graph, |node| node.op_type == "Det");
            assert_eq!(other, found, "{to_y} {to_z}");
        }
        let inside = AttributeProto {
            g: Some(forked("Det", "Exp")),
            ..AttributeProto::default()
        };
        let mut nested = forked("Abs", "Exp");
        nested.node[2].attribute.push(inside);
        let other = output_without(&nested, |node| node.op_type == "Det");
        assert_eq!(other, Some("z"));
        nested.output.pop();
        let other = output_without(&nested, |node| node.op_type == "Det");
        assert_eq!(other, None);
        let stored = GraphProto {
            output: vec![value("x"), value("y")],
            ..forked("Det", "Exp")
        };
        assert_eq!(output_without(&stored, |node| node.op_type == "Det"), None);
        for (name, left) in [("z", &["z"][..]), ("a", &["y", "z"])] {
            let mut graph = forked("Abs", "Exp");
            keep_output(&mut graph, name);
            let names: Vec<&str> = graph.output.iter().map(|o| &*o.name).collect();
            assert_eq!(names, left, "{name}");
        }
    }
}
