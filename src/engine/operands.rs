//! Operands kept from tract's rewriting, where tract-core 0.23.9 mixes them up.
//!
//! Called by `import` on the typed graph, before anything rewrites it.
//!
//! - A number for each channel that is added to a convolution, multiplied with it, subtracted from it or divided by is drawn
//!   into its weights and bias (`declutter_channel_arithmetic_succ`). Where the number comes first, as in `c - conv`, that
//!   changes the sign of the bias alone, and divides by each weight.
//! - A value that is repeated and then summed over, by a product of matrices or a convolution of single pixels, is summed
//!   once (`declutter_broadcast` of `EinSum`).
//! - The operands of a remainder change places where the first one has fewer numbers
//!   (`declutter_broadcasting_operand_1`).

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Tile};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::math::{self, Div, Rem, Sub};

use super::lower::of_images;
use crate::ops::Kept;

/// Says what would be mixed up in words that are left alone, with the same bits.
///
/// # Errors
/// tract's, for a graph that is none.
pub(super) fn keep_operands(model: &mut TypedModel) -> TractResult<()> {
    let of_images = of_images(model)?;
    let order = model.eval_order()?;
    for id in order.into_iter().filter(|id| of_images.contains(id)) {
        let node = model.node(id);
        let mut patch = TypedModelPatch::default();
        let mut taps = patch.taps(model, &node.inputs)?;
        let part = |part: &str| format!("{}.{part}", node.name);
        // A choice by constants becomes a value that is repeated.
        let repeats = node.op_is::<MultiBroadcastTo>() || node.op_is::<Tile>();
        let wires = if repeats || node.op_is::<Iff>() {
            let repeated = patch.wire_node(&node.name, node.op.clone(), &taps)?;
            patch.wire_node(part("kept"), Kept, &repeated)?
        } else if let Some(op) = node.op_as::<TypedBinOp>() {
            let facts = model.node_input_facts(id)?;
            if op.0.is::<Rem>() && facts[0].shape != node.outputs[0].fact.shape {
                let shape = node.outputs[0].fact.shape.clone();
                let op = MultiBroadcastTo::new(shape);
                let repeated = patch.wire_node(part("repeated"), op, &taps[..1])?;
                taps[0] = patch.wire_node(part("kept"), Kept, &repeated)?[0];
                patch.wire_node(&node.name, node.op.clone(), &taps)?
            } else if op.0.is::<Sub>() && is_of_channels(&facts) {
                // c - x = c + -x
                taps[1] = patch.wire_node(part("negated"), math::neg(), &taps[1..])?[0];
                patch.wire_node(&node.name, math::add(), &taps)?
            } else if op.0.is::<Div>() && is_of_channels(&facts) {
                // c / x = -c / -x
                taps[0] = patch.wire_node(part("negated.0"), math::neg(), &taps[..1])?[0];
                taps[1] = patch.wire_node(part("negated.1"), math::neg(), &taps[1..])?[0];
                patch.wire_node(&node.name, math::div(), &taps)?
            } else {
                continue;
            }
        } else {
            continue;
        };
        patch.shunt_outside(model, id.into(), wires[0])?;
        patch.apply(model)?;
    }
    Ok(())
}

/// Whether the first of two operands may have a number for each channel of the second one, which may be a convolution's
/// result once tract has drawn out what stands between: whatever their shapes are then, one axis alone has several
/// numbers, that of the batch apart.
fn is_of_channels(facts: &[&TypedFact]) -> bool {
    let [first, second] = [&facts[0].shape, &facts[1].shape];
    let several = (1..first.rank()).filter(|axis| !first[*axis].is_one());
    let is_whole = |axis: usize| first[axis] == second[axis];
    facts[1].datum_type == f32::datum_type()
        && first.rank() >= 3
        && several.clone().count() <= 1
        && several.clone().all(is_whole)
}
