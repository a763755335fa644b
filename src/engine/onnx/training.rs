//! What a file computes as in training: dropout, and batch normalization from the statistics of whatever is in the batch.
//!
//! Called by `onnx` on the decoded file. Of images such statistics would make an answer depend on its neighbours, so the
//! running ones are used, as after `eval()`, and nothing is dropped. Of weights, which some networks standardize so, they
//! are what is meant.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::LoadError;
use super::super::quantized::constants;
use super::{node_name, tensors};

/// Says every dropout and batch normalization of training by one of inference, and what is to be said of them; `version`
/// is that of the operator set.
///
/// # Errors
/// [`LoadError::BadNode`] where there are no running statistics, something reads what only training computes, or the
/// weights normalized are not in one row.
pub(super) fn settle(graph: &mut GraphProto, version: i64) -> Result<Option<String>, LoadError> {
    let mut changed = settle_dropout(graph);
    let trains = |node: &NodeProto| trains(node, version);
    let images = images(graph);
    let read: HashSet<String> = (graph.node.iter().flat_map(|n| &n.input))
        .chain(graph.output.iter().map(|o| &o.name))
        .filter(|name| !name.is_empty()) // an input that is left out reads no output that is
        .cloned()
        .collect();
    let mut settled = Vec::new();
    let constants = constants(graph);
    let mut makers: HashMap<&str, &NodeProto> = HashMap::new();
    for node in &graph.node {
        makers.extend(node.output.iter().map(|o| (o.as_str(), node)));
    }
    for (i, node) in graph.node.iter().enumerate().filter(|(_, n)| trains(n)) {
        let refuse = |reason: String| LoadError::BadNode {
            node: node_name(node),
            reason,
        };
        let extra = node.output.iter().skip(1);
        if let Some(name) = extra.into_iter().find(|o| read.contains(*o)) {
            return Err(refuse(format!(
                "it computes \"{name}\" as in training: export the network after eval()"
            )));
        }
        let input = |i: usize| node.input.get(i).map(String::as_str).unwrap_or_default();
        let statistics = |i: usize| constants.get(input(i)).and_then(|t| tensors::floats(t));
        let node = match images.contains(input(0)) {
            true => {
                let unmoved = |i: usize, start: f32| {
                    statistics(i).is_some_and(|all| all.iter().all(|v| *v == start))
                };
                if unmoved(3, 0.0) && unmoved(4, 1.0) {
                    return Err(refuse(
                        "it normalizes as in training, by what is in the batch, and has no running statistics: \
                        export the network after eval()"
                            .into(),
                    ));
                }
                changed.push(node_name(node));
                of_running_statistics(node)
            }
            false => of_weights(node, &makers, &constants).map_err(refuse)?,
        };
        settled.push((i, node));
    }
    for (i, node) in settled {
        graph.node[i] = node;
    }
    Ok(note(&changed))
}

/// What is said of nodes that are computed otherwise than the file has them.
fn note(changed: &[String]) -> Option<String> {
    let (first, more) = changed.split_first()?;
    let more = match more.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "it was exported in training mode; node \"{first}\"{more}: computed as after eval(), with running statistics and \
        without dropout"
    ))
}

/// Drops nothing; the names of the nodes that would.
fn settle_dropout(graph: &mut GraphProto) -> Vec<String> {
    let constants = constants(graph);
    let on = |tensor: &&TensorProto| {
        let raw = tensor.raw_data.iter().any(|byte| *byte != 0);
        raw || tensor.int32_data.iter().any(|value| *value != 0)
    };
    let trains = |node: &NodeProto| {
        let mode = node
            .input
            .get(2)
            .and_then(|name| constants.get(name.as_str()));
        node.op_type == "Dropout" && mode.is_some_and(on)
    };
    let found: Vec<bool> = graph.node.iter().map(trains).collect();
    let nodes = graph.node.iter_mut().zip(found);
    let mut changed = Vec::new();
    for (node, _) in nodes.filter(|(_, trains)| *trains) {
        changed.push(node_name(node));
        node.input.truncate(1);
    }
    changed
}

/// Whether a node normalizes as in training. Before operator set 14 that was said by its further outputs.
fn trains(node: &NodeProto, version: i64) -> bool {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
    let further = || node.output.iter().skip(1).any(|o| !o.is_empty());
    node.op_type == "BatchNormalization"
        && match version {
            14.. => attribute("training_mode").unwrap_or(0) != 0 || further(),
            7.. => further(),
            _ => attribute("is_test").unwrap_or(0) == 0 && further(),
        }
}

/// The values that depend on the network's input.
fn images(graph: &GraphProto) -> HashSet<String> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.iter().map(|i| i.name.clone());
    let mut images: HashSet<String> = inputs.filter(|i| !weights.contains(i.as_str())).collect();
    for node in &graph.node {
        // A graph inside of a node may read anything.
        let inner = node.attribute.iter().any(|a| a.g.is_some());
        if inner || node.input.iter().any(|i| images.contains(i)) {
            images.extend(node.output.iter().cloned());
        }
    }
    images
}

fn of_running_statistics(node: &NodeProto) -> NodeProto {
    let mut node = node.clone();
    node.output.truncate(1);
    node.attribute
        .retain(|a| a.name != "training_mode" && a.name != "is_test");
    node
}

/// Weights in one row: each channel by its own mean and variance, which is what an instance normalization computes.
fn of_weights(
    node: &NodeProto,
    makers: &HashMap<&str, &NodeProto>,
    constants: &HashMap<&str, &TensorProto>,
) -> Result<NodeProto, String> {
    let input = node.input.first().ok_or("it has no input")?;
    let first = match (makers.get(input.as_str()), constants.get(input.as_str())) {
        (_, Some(tensor)) => tensor.dims.first().copied(),
        (Some(maker), None) if maker.op_type == "Reshape" => {
            let shape = maker
                .input
                .get(1)
                .and_then(|name| constants.get(name.as_str()));
            shape.and_then(|t| tensors::integers(t)?.first().copied())
        }
        _ => None,
    };
    if first != Some(1) || node.input.len() < 3 {
        return Err(
            "it normalizes weights as in training, expected are weights of one row, [1, channels, …]"
                .into(),
        );
    }
    Ok(NodeProto {
        op_type: "InstanceNormalization".into(),
        input: node.input[..3].to_vec(),
        output: node.output[..1].to_vec(),
        attribute: (node.attribute.iter().filter(|a| a.name == "epsilon"))
            .cloned()
            .collect(),
        ..node.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::proto::{float_tensor, node, value};

    #[test]
    fn output_that_is_left_out_is_read_by_no_input_that_is() {
        let outputs = ["n", "", "", "mean", "deviation"];
        let mut graph = GraphProto {
            node: vec![
                node("BatchNormalization", &["x", "k", "k", "k", "k"], &outputs),
                node("Clip", &["n", "", "k"], &["y"]),
            ],
            input: vec![value("x")],
            output: vec![value("y")],
            initializer: vec![float_tensor("k", &[1], &[0.5])],
            ..GraphProto::default()
        };
        graph.node[0].name = "norm".into();
        let mut reads_mean = graph.clone();
        let note = settle(&mut graph, 9).expect("nothing reads what training computes");
        assert!(note.unwrap().contains("norm"));
        assert_eq!(graph.node[0].output, ["n"]);
        reads_mean.node[1].input[1] = "mean".into();
        let error = settle(&mut reads_mean, 9).unwrap_err().to_string();
        assert!(
            error.contains("it computes \"mean\" as in training"),
            "{error}"
        );
    }
}
