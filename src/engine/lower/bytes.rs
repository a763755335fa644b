//! The same graph for images of bytes: nothing but its input is another.
//!
//! Called by `engine::import` with a graph in which regions stand.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::Softmax;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::{is_constant, is_elementwise};
use crate::ops::Region;

/// The graph with a `u8` input, `[N, height, 3, width]`, in place of its `f32` one, `[N, 3, height, width]`.
///
/// None unless a region alone reads the input and can normalize it. None also if tract computes more than elementwise
/// ends and a softmax: a second plan would have its own copy of tract's packed weights.
pub(in crate::engine) fn for_bytes(model: &TypedModel) -> Option<TypedModel> {
    let is_light = |node: &TypedNode| {
        node.op_is::<Region>()
            || node.op_is::<TypedSource>()
            || node.op_is::<Softmax>()
            || is_constant(node)
            || is_elementwise(node)
    };
    let &[source] = &model.inputs[..] else {
        return None;
    };
    let input = &model.node(source.node).outputs[source.slot];
    let &[reader] = &input.successors[..] else {
        return None;
    };
    let region = model.node(reader.node).op_as::<Region>()?;
    if !region.takes_bytes(reader.slot) || !model.nodes.iter().all(is_light) {
        return None;
    }
    let [batch, channels, height, width] = &input.fact.shape[..] else {
        return None;
    };
    let shape = [batch, height, channels, width].map(Clone::clone);
    let fact = u8::fact(shape);
    let mut model = model.clone();
    let node = model.node_mut(source.node);
    node.op = Box::new(TypedSource::new(fact.clone()));
    node.outputs[source.slot].fact = fact;
    Some(model)
}
