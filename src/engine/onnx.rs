//! An ONNX file decoded and checked before tract translates it, so that a refusal can name the node.
//!
//! Called by `tract`. Reads the decoded protobuf only; tract stays the importer.

use std::path::Path;

use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, tensor_proto::DataLocation};

use super::widen::widen_weights;
use super::{LoadError, quantized};

/// Decodes the protobuf and checks what tract would report without a node's name, or panic on.
pub(super) fn decode(
    bytes: &[u8],
    dir: Option<&Path>,
    onnx: &Onnx,
) -> Result<ModelProto, LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    let mut proto = <ModelProto as prost::Message>::decode(bytes)
        .map_err(|e| LoadError::NotOnnx(e.to_string()))?;
    warn_of_untested_opset(&proto);
    let Some(graph) = proto.graph.as_mut().filter(|g| !g.node.is_empty()) else {
        return Err(LoadError::NotOnnx("it holds no graph".into()));
    };
    quantized::rewrite(graph)?;
    check_operators(graph, onnx)?;
    check_edges(graph)?;
    check_external_data(graph, dir)?;
    quantized::check(graph)?;
    widen_weights(graph);
    Ok(proto)
}

/// Unnamed nodes go by their first output, as tract names them.
pub(super) fn node_name(node: &tract_onnx::pb::NodeProto) -> String {
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

/// Operator sets that the fixtures and the catalogue cover.
const TESTED_OPSETS: std::ops::RangeInclusive<i64> = 7..=21;

/// A set outside the tested ones may still work, so that is said and not refused.
fn warn_of_untested_opset(proto: &ModelProto) {
    let own = proto
        .opset_import
        .iter()
        .find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    if let Some(opset) = own
        .map(|o| o.version)
        .filter(|v| !TESTED_OPSETS.contains(v))
    {
        tracing::warn!(
            opset,
            "the model's ONNX operator set is outside the tested ones, 7 to 21"
        );
    }
}

fn check_external_data(graph: &GraphProto, dir: Option<&Path>) -> Result<(), LoadError> {
    let external = graph
        .initializer
        .iter()
        .filter(|t| t.data_location == Some(DataLocation::External as i32));
    for tensor in external {
        let refuse = |reason| LoadError::ExternalData {
            tensor: tensor.name.clone(),
            reason,
        };
        check_external_tensor(tensor, dir).map_err(refuse)?;
    }
    Ok(())
}

/// The file must lie inside the model's directory and hold the range that the tensor names.
fn check_external_tensor(tensor: &TensorProto, dir: Option<&Path>) -> Result<(), String> {
    let entry = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|e| e.key == key)
            .map(|e| e.value.as_str())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(0),
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| format!("its {key} is {text:?}, expected a number")),
    };
    let location = entry("location").ok_or("the model does not say which")?;
    let dir = dir.ok_or_else(|| {
        format!("{location:?}, but this model may have weights in its own file only")
    })?;
    let path = Path::new(location);
    if !path
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_)))
    {
        return Err(format!("{location:?} is not inside the model's directory"));
    }
    let file = std::fs::metadata(dir.join(path))
        .ok()
        .filter(std::fs::Metadata::is_file);
    let size = file
        .ok_or_else(|| format!("{location:?} is missing beside the model"))?
        .len();
    let end = number("offset")?.saturating_add(number("length")?);
    if end > size {
        return Err(format!(
            "{location:?} ends at byte {size}, the weights at {end}"
        ));
    }
    Ok(())
}
