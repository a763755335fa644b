//! Checks of an ONNX file before tract translates it, so that a refusal can name the node.
//!
//! Called by `tract`. Reads the decoded protobuf only; tract stays the importer.

use std::path::Path;

use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto, tensor_proto::DataLocation};

use super::LoadError;

/// Decodes the protobuf and checks what tract would report without a node's name, or panic on.
pub(super) fn decode(
    bytes: &[u8],
    dir: Option<&Path>,
    onnx: &Onnx,
) -> Result<ModelProto, LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    let proto = <ModelProto as prost::Message>::decode(bytes)
        .map_err(|e| LoadError::NotOnnx(e.to_string()))?;
    let Some(graph) = proto.graph.as_ref().filter(|g| !g.node.is_empty()) else {
        return Err(LoadError::NotOnnx("it holds no graph".into()));
    };
    check_operators(graph, onnx)?;
    check_edges(graph)?;
    check_external_data(graph, dir)?;
    Ok(proto)
}

/// Unnamed nodes go by their first output, as tract names them.
fn node_name(node: &tract_onnx::pb::NodeProto) -> String {
    if node.name.is_empty() {
        node.output.first().cloned().unwrap_or_default()
    } else {
        node.name.clone()
    }
}

fn check_operators(graph: &GraphProto, onnx: &Onnx) -> Result<(), LoadError> {
    let unknown = graph
        .node
        .iter()
        .find(|n| !onnx.op_register.0.contains_key(&n.op_type));
    match unknown {
        None => Ok(()),
        Some(n) => {
            let op = if n.domain.is_empty() {
                n.op_type.clone()
            } else {
                format!("{} (domain {})", n.op_type, n.domain)
            };
            Err(LoadError::UnsupportedOperator {
                node: node_name(n),
                op,
            })
        }
    }
}

/// Every value that is read must be produced by an input, a weight or a node.
fn check_edges(graph: &GraphProto) -> Result<(), LoadError> {
    let inputs = graph.input.iter().map(|i| i.name.as_str());
    let weights = graph.initializer.iter().map(|t| t.name.as_str());
    let outputs = graph
        .node
        .iter()
        .flat_map(|n| n.output.iter().map(String::as_str));
    let known: std::collections::HashSet<&str> = inputs.chain(weights).chain(outputs).collect();
    for node in &graph.node {
        if let Some(missing) = node
            .input
            .iter()
            .find(|i| !i.is_empty() && !known.contains(i.as_str()))
        {
            let reason = format!("its input \"{missing}\" is produced by no node");
            return Err(LoadError::BadNode {
                node: node_name(node),
                reason,
            });
        }
    }
    match graph
        .output
        .iter()
        .find(|o| !known.contains(o.name.as_str()))
    {
        None => Ok(()),
        Some(o) => Err(LoadError::BadGraph(format!(
            "its output \"{}\" is produced by no node",
            o.name
        ))),
    }
}

fn check_external_data(graph: &GraphProto, dir: Option<&Path>) -> Result<(), LoadError> {
    let external = graph
        .initializer
        .iter()
        .filter(|t| t.data_location == Some(DataLocation::External as i32));
    for tensor in external {
        let refuse = |reason: String| LoadError::ExternalData {
            tensor: tensor.name.clone(),
            reason,
        };
        let location = tensor
            .external_data
            .iter()
            .find(|e| e.key == "location")
            .map(|e| e.value.as_str());
        let Some(location) = location else {
            return Err(refuse("the model does not say which".into()));
        };
        let path = Path::new(location);
        let inside = path
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_)));
        let Some(dir) = dir else {
            return Err(refuse(format!(
                "{location:?}, but this model has no directory"
            )));
        };
        if !inside {
            return Err(refuse(format!(
                "{location:?} is not inside the model's directory"
            )));
        }
        if !dir.join(path).is_file() {
            return Err(refuse(format!("{location:?} is missing beside the model")));
        }
    }
    Ok(())
}
