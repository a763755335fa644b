//! Differences and quotients whose second operand is a convolution, kept from tract's rewriting.
//!
//! Called by `import` on the typed graph, before anything rewrites it. tract-core 0.23.9 draws a number for each channel
//! that is added to a convolution, multiplied with it, subtracted from it or divided by into its weights and bias
//! (`declutter_channel_arithmetic_succ`). Where the number comes first, as in `c - conv`, it changes the sign of the bias
//! alone, and divides by each weight.

use std::collections::HashSet;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::math::{self, Div, Sub};
use tract_onnx::tract_core::ops::source::TypedSource;

/// Says `c - conv` as `c + -conv`, and `c / conv` as `-c / -conv`: the same bits, in words that are left alone.
///
/// # Errors
/// tract's, for a graph that is none.
pub(super) fn keep_order(model: &mut TypedModel) -> TractResult<()> {
    let order = model.eval_order()?;
    let mut of_images = HashSet::new();
    for &id in &order {
        let node = model.node(id);
        if node.op_is::<TypedSource>() || node.inputs.iter().any(|i| of_images.contains(&i.node)) {
            of_images.insert(id);
        }
    }
    for id in order {
        let node = model.node(id);
        let Some(op) = node.op_as::<TypedBinOp>() else {
            continue;
        };
        let is_difference = op.0.is::<Sub>();
        if !(is_difference || op.0.is::<Div>()) || !is_behind_conv(model, &of_images, node)? {
            continue;
        }
        let mut patch = TypedModelPatch::default();
        let taps = patch.taps(model, &node.inputs)?;
        let name = &node.name;
        let [first, second] = [0, 1].map(|i| (format!("{name}.negated.{i}"), [taps[i]]));
        let second = patch.wire_node(second.0, math::neg(), &second.1)?[0];
        let wires = match is_difference {
            true => patch.wire_node(name, math::add(), &[taps[0], second])?,
            false => {
                let first = patch.wire_node(first.0, math::neg(), &first.1)?[0];
                patch.wire_node(name, math::div(), &[first, second])?
            }
        };
        patch.shunt_outside(model, id.into(), wires[0])?;
        patch.apply(model)?;
    }
    Ok(())
}

/// Whether the second operand is a convolution's result, by way of what tract may draw out from between, and the first
/// one of another shape.
fn is_behind_conv(
    model: &TypedModel,
    of_images: &HashSet<usize>,
    node: &TypedNode,
) -> TractResult<bool> {
    let facts = model.node_input_facts(node.id)?;
    if facts[0].shape == facts[1].shape || facts[1].datum_type != f32::datum_type() {
        return Ok(false);
    }
    let mut from = model.node(node.inputs[1].node);
    while from.op_is::<AxisOp>() || from.op_is::<TypedBinOp>() {
        let mut computed = from.inputs.iter().filter(|i| of_images.contains(&i.node));
        match (computed.next(), computed.next()) {
            (Some(one), None) => from = model.node(one.node),
            _ => return Ok(false),
        }
    }
    Ok(from.op_is::<Conv>())
}
