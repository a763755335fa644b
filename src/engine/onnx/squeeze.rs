//! ONNX's `Squeeze` without axes, of all sides of one: the importer has it from operator set 13 on only.

use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::array::Squeeze;

static OPERATORS: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Squeeze", squeeze);
}

fn squeeze(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let is_bare = node.input.len() == 1 && !node.attribute.iter().any(|a| a.name == "axes");
    if is_bare {
        return Ok((expand(Squeeze::new(None)), vec![]));
    }
    let builder = OPERATORS.0.get("Squeeze").context("no operator Squeeze")?;
    builder(context, node)
}
