//! ONNX's `Resize` for operator sets that have it under another name only, and which scales it may have.
//!
//! `synonyms` says `Upsample` so; the importer has the operator from set 10 on. Called by `bounded` too, once sizes are
//! known.

use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::tract_hir::infer::Factoid as _;
use tract_onnx::tract_hir::internal::*;

use super::bounded::given_input;

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

/// The importer's input of the scales, of a node that aligns corners.
pub(super) fn aligned_scales(node: &NodeProto) -> Option<usize> {
    let mode = |a: &&AttributeProto| a.name == "coordinate_transformation_mode";
    let mode = node.attribute.iter().find(mode)?;
    let is_meant = node.op_type == "Resize" && mode.s == b"align_corners";
    is_meant.then(|| given_input(node, 2)).flatten()
}

/// Whether aligned corners stay where they are: ONNX Runtime aligns those of the result's whole size, the importer those
/// of the scaled one.
///
/// # Errors
/// One that names axis and scale.
pub(super) fn check_aligned(input: &InferenceFact, scales: &InferenceFact) -> TractResult<()> {
    let (Some(sizes), Some(scales)) = (input.shape.concretize(), scales.value.concretize()) else {
        return Ok(());
    };
    let scales = scales.cast_to::<f32>()?;
    let scales = scales.try_as_plain_ram()?;
    let scales = scales.as_slice::<f32>()?;
    // With `axes` it is not said here which sizes they are of.
    let of_all = scales.len() == sizes.len();
    for (axis, (size, scale)) in sizes.iter().zip(scales).enumerate() {
        let Ok(size) = size.to_usize() else { continue };
        if of_all && (size as f32 * scale).fract() != 0.0 {
            bail!(
                "it aligns corners, and {size} times its scale {scale} of axis {axis} is no whole size: export it with `sizes`"
            );
        }
    }
    Ok(())
}
