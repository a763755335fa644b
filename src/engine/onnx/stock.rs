//! The importer's own operators, for those of ours that add to one.

use std::sync::LazyLock;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

static OPERATORS: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);

/// A node as the importer builds it, and the values outside that graphs inside of it read.
pub(super) fn build(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let builder = OPERATORS.0.get(&node.op_type);
    let builder = builder.with_context(|| format!("no operator {}", node.op_type))?;
    builder(context, node)
}
