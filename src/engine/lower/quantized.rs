//! Weights and biases of bytes in tract's graph: kept as bytes where a region takes them, else folded into numbers.
//!
//! Called by `lower` before it looks for words, and when it is known which of them became regions.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::konst::Const;

use super::constants::constant_input;
use crate::ops::DequantizeLinear;

/// Whether a node dequantizes a constant.
pub(super) fn is_weights(model: &TypedModel, node: &TypedNode) -> bool {
    node.op_is::<DequantizeLinear>() && constant_input(model, node).is_some()
}

/// Folds biases, which are integers of 32 bits: what is done with them afterwards is done once.
pub(super) fn fold_biases(model: &mut TypedModel) -> TractResult<()> {
    let is_bias = |model: &TypedModel, id: usize| {
        let input = constant_input(model, model.node(id));
        input.is_some_and(|tensor| tensor.datum_type() == i32::datum_type())
    };
    fold(model, is_bias)
}

/// Folds weights that something else than a layer reads, as a change of their axes: they are constants behind it then.
pub(super) fn fold_moved_weights(model: &mut TypedModel) -> TractResult<()> {
    fold(model, |model, id| {
        let mut successors = model.node(id).outputs[0].successors.iter();
        successors.any(|s| {
            let reader = model.node(s.node);
            !reader.op_is::<Conv>() && !reader.op_is::<EinSum>()
        })
    })
}

/// Folds all weights but those that only nodes of `is_taken` read.
pub(super) fn fold_weights(
    model: &mut TypedModel,
    is_taken: impl Fn(usize) -> bool,
) -> TractResult<()> {
    fold(model, |model, id| {
        let successors = &model.node(id).outputs[0].successors;
        successors.iter().any(|s| !is_taken(s.node)) || model.outputs.contains(&id.into())
    })
}

/// Makes constants of the nodes that dequantize one and are `meant`.
fn fold(model: &mut TypedModel, meant: impl Fn(&TypedModel, usize) -> bool) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(op) = node.op_as::<DequantizeLinear>() else {
            continue;
        };
        let Some(input) = constant_input(model, node).filter(|_| meant(model, id)) else {
            continue;
        };
        let numbers = op.run(input)?.into_arc_tensor();
        let inputs = std::mem::take(&mut model.node_mut(id).inputs);
        for input in inputs {
            let outlet = &mut model.node_mut(input.node).outputs[input.slot];
            outlet.successors.retain(|s| s.node != id);
        }
        let node = model.node_mut(id);
        node.op = Box::new(Const::new(numbers.clone())?);
        node.outputs[0].fact = TypedFact::try_from(numbers)?;
    }
    Ok(())
}
