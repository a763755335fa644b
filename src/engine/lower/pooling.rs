//! The end of a network whose classes are a linear layer of the mean of its last feature map, if it has one.
//!
//! Asked by `engine::import` between recognition and replacement: what is found there becomes outputs that leave the
//! network on request.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::Softmax;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::Found;
use super::recognize::{Step, shape};
use crate::ops::Weights;
use crate::ops::graph::Shape;
use kernels::nn::Activation;

/// What a network's classes are computed from.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Pooling {
    /// The last feature map.
    pub(in crate::engine) map: OutletId,
    /// The shape of that map for one image.
    pub(in crate::engine) map_shape: Shape,
    /// The mean of each of its channels, as the linear layer reads it.
    pub(in crate::engine) pooled: OutletId,
    /// `[classes, channels]`: what the linear layer makes of them.
    pub(in crate::engine) weights: Weights,
}

/// How far a factor may be from one: a mean is often a sum times the rounded inverse of the count.
const ROUNDED: f32 = 4.0 * f32::EPSILON;

/// What a node does to what it reads.
enum Read<'a> {
    /// The numbers stay the same, but for their storage as bytes.
    Same,
    /// Scores become probabilities.
    Probabilities,
    /// Each channel is multiplied by a factor; nothing is added if `plain`.
    Times { factors: &'a [f32], plain: bool },
    /// A linear layer.
    Linear(&'a Weights),
    /// The mean of each channel, times a factor.
    Mean(f32),
}

impl Found {
    /// The mean and the linear layer that a network ends in. A softmax or sigmoid may stand behind, and factors and
    /// addends of the classes.
    pub(in crate::engine) fn pooling(&self, model: &TypedModel) -> Option<Pooling> {
        let (pooled, weights) = self.linear_layer(model)?;
        let map = self.averaged(model, pooled)?;
        let fact = model.outlet_fact(map).ok()?;
        let is_inside = !model.node(map.node).op_is::<TypedSource>();
        let map_shape = shape(fact).filter(|_| is_inside)?;
        Some(Pooling {
            map,
            map_shape,
            pooled,
            weights,
        })
    }

    /// What the last linear layer reads, and its weights.
    fn linear_layer(&self, model: &TypedModel) -> Option<(OutletId, Weights)> {
        let &[mut at] = &model.outputs[..] else {
            return None;
        };
        let mut behind: Vec<&[f32]> = Vec::new();
        loop {
            let (from, read) = self.read(model, at)?;
            match read {
                Read::Same => {}
                // Factors behind a softmax or sigmoid do not change what the linear layer gives.
                Read::Probabilities => behind.clear(),
                Read::Times { factors, .. } => behind.push(factors),
                Read::Mean(_) => return None,
                Read::Linear(weights) => {
                    let mut weights = weights.clone();
                    behind
                        .into_iter()
                        .for_each(|factors| weights.scale(factors));
                    return Some((from, weights));
                }
            }
            at = from;
        }
    }

    /// The map of which a value is the mean, and nothing but that.
    fn averaged(&self, model: &TypedModel, mut at: OutletId) -> Option<OutletId> {
        let mut factor = 1.0;
        loop {
            let (from, read) = self.read(model, at)?;
            match read {
                Read::Same => {}
                Read::Times {
                    factors: [first, others @ ..],
                    plain: true,
                } if others.iter().all(|f| f == first) => factor *= first,
                Read::Mean(times) => {
                    let is_mean = (factor * times - 1.0).abs() <= ROUNDED;
                    return is_mean.then_some(from);
                }
                Read::Probabilities | Read::Times { .. } | Read::Linear(_) => return None,
            }
            at = from;
        }
    }

    /// What the node of an outlet reads, and what it does to it; none if it reads several, or does something else.
    fn read(&self, model: &TypedModel, outlet: OutletId) -> Option<(OutletId, Read<'_>)> {
        let node = model.node(outlet.node);
        if node.op_is::<Softmax>() {
            return Some((*node.inputs.first()?, Read::Probabilities));
        }
        let words = self.words.get(&node.id)?;
        let &[input] = &words.inputs[..] else {
            return None;
        };
        let from = shape(model.outlet_fact(input).ok()?);
        let is_whole = |kernel: [usize; 2], pads: [[usize; 2]; 2]| {
            from.is_some_and(|f| kernel == [f.height, f.width]) && pads == [[0; 2]; 2]
        };
        let mean = |step: &Step| match step {
            Step::GlobalAvgPool => true,
            Step::AvgPool { window, .. } => {
                is_whole(window.kernel, [window.pad_before, window.pad_after])
            }
            _ => false,
        };
        let read = match &words.steps[..] {
            [] | [Step::Quantize(_) | Step::Dequantize(_)] => Read::Same,
            [Step::Activation(Activation::Sigmoid)] => Read::Probabilities,
            [
                Step::Affine {
                    scale,
                    shift,
                    relu: false,
                    most: f32::INFINITY,
                },
            ] => Read::Times {
                factors: scale,
                plain: shift.iter().all(|s| *s == 0.0),
            },
            [
                Step::Conv {
                    weights,
                    groups: 1,
                    window,
                    ..
                },
            ] if from.is_some_and(|f| f.height * f.width == 1)
                && is_whole(window.kernel, [window.pad_before, window.pad_after]) =>
            {
                Read::Linear(weights)
            }
            [step] if mean(step) => Read::Mean(1.0),
            [step, Step::Affine { scale, .. }] if mean(step) => Read::Mean(*scale.first()?),
            _ => return None,
        };
        Some((input, read))
    }
}
