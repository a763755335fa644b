//! An ONNX file decoded and checked before tract translates it, so that a refusal can name the node.
//!
//! Called by `tract`. Reads the decoded protobuf only; tract stays the importer.

use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto};

use super::external::{self, WeightsDir};
use super::widen::widen_weights;
use super::{LoadError, quantized};

/// Decodes the protobuf and checks what tract would report without a node's name, or panic on.
pub(super) fn decode(
    bytes: &[u8],
    dir: Option<&WeightsDir>,
    onnx: &Onnx,
) -> Result<ModelProto, LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    let mut proto = <ModelProto as prost::Message>::decode(bytes)
        .map_err(|e| LoadError::NotOnnx(e.to_string()))?;
    warn_of_untested_opset(&proto);
    external::bring_in(&mut proto, dir)?;
    let Some(graph) = proto.graph.as_mut().filter(|g| !g.node.is_empty()) else {
        return Err(LoadError::NotOnnx("it holds no graph".into()));
    };
    quantized::rewrite(graph)?;
    check_operators(graph, onnx)?;
    check_edges(graph)?;
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
