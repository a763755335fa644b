//! Nodes that no output needs, and outputs that are not asked for or cannot be computed: whatever they are, they keep
//! no network from being served.
//!
//! Called by `onnx` before anything else looks at the nodes. Exporters leave some behind, and so do people who cut a
//! detector's end off.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::LoadError;
use super::graphs;

/// Takes all outputs but this one out of the graph, if it has it.
pub(super) fn keep_output(graph: &mut GraphProto, name: &str) {
    if graph.output.iter().any(|output| output.name == name) {
        graph.output.retain(|output| output.name == name);
    }
}

/// Takes the outputs that need a node with a fault out of the graph, unless that is all of them; says which, and why.
pub(super) fn drop_faulty_outputs(
    graph: &mut GraphProto,
    fault: impl Fn(&NodeProto) -> Result<(), LoadError>,
) -> Vec<String> {
    let faults = graph.node.iter().enumerate();
    let faults: Vec<(usize, LoadError)> = faults
        .filter_map(|(i, node)| Some((i, fault(node).err()?)))
        .collect();
    if faults.is_empty() || graph.output.len() < 2 {
        return Vec::new();
    }
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        let mut names = Vec::new();
        read_by(node, &mut names);
        for name in names {
            readers.entry(name).or_default().push(i);
        }
    }
    // The fault behind each value that cannot be had.
    let mut lost: HashMap<&str, usize> = HashMap::new();
    let mut is_lost = vec![false; graph.node.len()];
    for (number, (i, _)) in faults.iter().enumerate() {
        let mut nodes = vec![*i];
        while let Some(i) = nodes.pop() {
            if std::mem::replace(&mut is_lost[i], true) {
                continue;
            }
            for name in graph.node[i].output.iter().filter(|name| !name.is_empty()) {
                lost.entry(name).or_insert(number);
                nodes.extend(readers.get(name.as_str()).into_iter().flatten());
            }
        }
    }
    let of_output = graph.output.iter().map(|o| lost.get(o.name.as_str()));
    let of_output: Vec<Option<usize>> = of_output.map(Option::<&usize>::copied).collect();
    if of_output.iter().all(Option::is_some) {
        return Vec::new();
    }
    let mut said = Vec::new();
    let mut of_output = of_output.into_iter();
    graph
        .output
        .retain(|output| match of_output.next().flatten() {
            Some(number) => {
                let reason = &faults[number].1;
                said.push(format!("output \"{}\" is left out: {reason}", output.name));
                false
            }
            None => true,
        });
    said
}

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

    /// `x` to `a`, and `a` to `y` by this operator, to `z` by that one.
    fn forked(to_y: &str, to_z: &str) -> GraphProto {
        GraphProto {
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
        }
    }

    fn no_det(node: &NodeProto) -> Result<(), LoadError> {
        match &*node.op_type {
            "Det" => Err(LoadError::UnsupportedOperator {
                node: node.output[0].clone(),
                op: "Det".into(),
            }),
            _ => Ok(()),
        }
    }

    fn outputs(graph: &GraphProto) -> Vec<&str> {
        graph.output.iter().map(|o| &*o.name).collect()
    }

    #[test]
    fn output_behind_a_fault_is_dropped_where_another_is_not() {
        for (to_y, to_z, left, said) in [
            ("Abs", "Exp", &["y", "z"][..], &[][..]),
            (
                "Det",
                "Exp",
                &["z"],
                &["output \"y\" is left out: node \"b\" uses"],
            ),
            (
                "Abs",
                "Det",
                &["y"],
                &["output \"z\" is left out: node \"z\" uses"],
            ),
            ("Det", "Det", &["y", "z"], &[]),
        ] {
            let mut graph = forked(to_y, to_z);
            let notes = drop_faulty_outputs(&mut graph, no_det);
            assert_eq!(outputs(&graph), left, "{to_y} {to_z}");
            assert_eq!(notes.len(), said.len(), "{notes:?}");
            for (note, said) in notes.iter().zip(said) {
                assert!(note.starts_with(said), "{note}");
            }
        }
        let mut alone = forked("Det", "Exp");
        alone.output.pop();
        assert!(drop_faulty_outputs(&mut alone, no_det).is_empty());
        assert_eq!(outputs(&alone), ["y"]);
    }

    #[test]
    fn only_the_output_that_is_named_is_kept() {
        for (name, left) in [("z", &["z"][..]), ("a", &["y", "z"])] {
            let mut graph = forked("Abs", "Exp");
            keep_output(&mut graph, name);
            assert_eq!(outputs(&graph), left, "{name}");
        }
    }
}
