//! ONNX's `Resize` for operator sets that have it under another name only, and which scales it may have.
//!
//! `synonyms` says `Upsample` so; the importer has the operator from set 10 on. Called by `bounded` too, once sizes are
//! known.

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::tract_hir::infer::Factoid as _;
use tract_onnx::tract_hir::internal::*;

use super::bounded::given_input;
use super::stock;

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Resize", resize);
}

fn resize(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mut context = context.clone();
    context.onnx_operator_set_version = context.onnx_operator_set_version.max(10);
    stock::build(&context, node)
}

/// A node that aligns corners, by scales.
#[derive(Debug, Clone)]
pub(super) struct Aligned {
    /// The importer's input of the scales.
    scales: usize,
    /// The axes that these are of; none if of all.
    axes: Option<Vec<i64>>,
}

/// What a node says of that.
pub(super) fn aligned(node: &NodeProto) -> Option<Aligned> {
    let attribute = |name: &str| {
        node.attribute
            .iter()
            .find(|a: &&AttributeProto| a.name == name)
    };
    let mode = attribute("coordinate_transformation_mode")?;
    let is_meant = node.op_type == "Resize" && mode.s == b"align_corners";
    is_meant.then_some(())?;
    Some(Aligned {
        scales: given_input(node, 2)?,
        axes: attribute("axes").map(|a| a.ints.clone()),
    })
}

impl Aligned {
    /// Checks that aligned corners stay where they are: ONNX Runtime aligns those of the result's whole size, the
    /// importer those of the scaled one.
    ///
    /// # Errors
    /// One that names axis and scale.
    pub(super) fn check(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        let [input, ..] = inputs else { return Ok(()) };
        let scales = inputs.get(self.scales).and_then(|i| i.value.concretize());
        let (Some(sizes), Some(scales)) = (input.shape.concretize(), scales) else {
            return Ok(());
        };
        let scales = scales.cast_to::<f32>()?;
        let scales = scales.try_as_plain_ram()?;
        let rank = sizes.len() as i64;
        let axes = self.axes.clone().unwrap_or_else(|| (0..rank).collect());
        for (axis, scale) in axes.into_iter().zip(scales.as_slice::<f32>()?) {
            let axis = if axis < 0 { axis + rank } else { axis };
            let size = usize::try_from(axis).ok().and_then(|axis| sizes.get(axis));
            let Some(Ok(size)) = size.map(|dim| dim.to_usize()) else {
                continue;
            };
            if (size as f32 * scale).fract() != 0.0 {
                bail!(
                    "it aligns corners, and {size} times its scale {scale} of axis {axis} is no whole size: export it \
                     with `sizes`"
                );
            }
        }
        Ok(())
    }
}
