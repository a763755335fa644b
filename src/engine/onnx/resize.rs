//! ONNX's `Resize` for operator sets that have it under another name only.
//!
//! `synonyms` says `Upsample` so; the importer has the operator from set 10 on.

use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

static OPERATORS: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Resize", resize);
}

fn resize(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let builder = OPERATORS.0.get("Resize").context("no operator Resize")?;
    let mut context = context.clone();
    context.onnx_operator_set_version = context.onnx_operator_set_version.max(10);
    builder(&context, node)
}
