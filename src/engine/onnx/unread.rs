//! Nodes that no output of the file needs: whatever they are, they keep no network from being served.
//!
//! Called by `onnx` before anything else looks at the nodes. Exporters leave some behind, and so do people who cut a
//! detector's end off.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::graphs;

/// Takes them out of the graph.
pub(super) fn drop_unread(graph: &mut GraphProto) {
    let made: HashMap<&str, usize> = (graph.node.iter().enumerate())
        .flat_map(|(i, node)| node.output.iter().map(move |name| (name.as_str(), i)))
        .collect();
    let mut is_read = vec![false; graph.node.len()];
    let mut names: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    while let Some(name) = names.pop() {
        if let Some(&i) = made.get(name)
            && !std::mem::replace(&mut is_read[i], true)
        {
            read_by(&graph.node[i], &mut names);
        }
    }
    let mut is_read = is_read.into_iter();
    graph.node.retain(|_| is_read.next().unwrap_or(true));
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
}
