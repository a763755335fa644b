//! Activations, products and joined channels in words of `ops::graph`.
//!
//! Called by `recognize` for nodes that are none of its own.

use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{HardSwish, LeakyRelu, Sigmoid, Silu};

use super::recognize::{Rule, Step, Words};
use crate::ops::graph::Shape;
use kernels::nn::Activation;

impl Rule<'_> {
    /// The words for a function of each number by itself.
    pub(super) fn activation(&self, op: &ElementWiseOp) -> Option<Words> {
        let activation = if op.0.is::<Sigmoid>() {
            Activation::Sigmoid
        } else if op.0.is::<Silu>() {
            Activation::Silu
        } else if op.0.is::<HardSwish>() {
            Activation::HardSwish
        } else if let Some(op) = op.0.downcast_ref::<LeakyRelu>() {
            Activation::LeakyRelu(op.alpha)
        } else {
            return None;
        };
        let numbers = op.1.is_none() && self.value(0)? == self.shape;
        numbers.then(|| self.words(&[0], vec![Step::Activation(activation)]))?
    }

    /// The product of two values of one shape, or of one and a number for each of its channels.
    pub(super) fn product_of_values(&self) -> Option<Words> {
        let is_whole = |i: usize| {
            let shape = self.value(i)?;
            (shape == self.shape && *self.fact(i)?.shape == *self.dims).then_some(())
        };
        let is_by_channel = |i: usize| {
            let single = Shape {
                height: 1,
                width: 1,
                ..self.shape
            };
            let fact = self.fact(i)?;
            let same_rank = fact.rank() == self.dims.len() && fact.shape[0] == self.dims[0];
            (self.value(i)? == single && same_rank).then_some(())
        };
        let orders = [[0, 1], [1, 0]];
        let order = orders.into_iter().find(|&[value, factor]| {
            let fits = is_whole(factor).or_else(|| is_by_channel(factor));
            is_whole(value).and(fits).is_some()
        });
        self.words(&order?, vec![Step::Mul])
    }

    /// The channels of several values, one after the other.
    pub(super) fn concat(&self, op: &TypedConcat) -> Option<Words> {
        let mut channels = 0;
        for input in 0..self.node.inputs.len() {
            let value = self.value(input)?;
            let fact = self.fact(input)?;
            let beside = Shape {
                channels: self.shape.channels,
                ..value
            };
            if beside != self.shape
                || fact.rank() != self.dims.len()
                || fact.shape[0] != self.dims[0]
            {
                return None;
            }
            channels += value.channels;
        }
        let all: Vec<usize> = (0..self.node.inputs.len()).collect();
        let fits = op.axis == 1 && channels == self.shape.channels;
        fits.then(|| self.words(&all, vec![Step::Concat]))?
    }
}
