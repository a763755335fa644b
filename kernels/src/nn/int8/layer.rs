//! The description of a convolution of bytes that a builder takes, and what becomes of its sums.
//!
//! Given to the builder by whoever makes a program; checked here, before anything is packed.

use super::requantize::{Finish, Own, Quantization, Residual, is_bounded};
use super::tile::Kind;
use crate::nn::layer::Unsupported;
use crate::nn::layer::{SlidingWindow, Value};

/// A convolution of bytes to add to a program.
#[derive(Debug, Clone, Copy)]
pub struct Int8Conv<'a> {
    /// How its window moves.
    pub moving: SlidingWindow,
    /// Groups.
    pub groups: usize,
    /// Output channels.
    pub outputs: usize,
    /// `[outputs, inputs / groups, height, width]`; a weight means its byte times its output channel's scale.
    pub weights: &'a [i8],
    /// The scale of the weights, one for each output channel.
    pub scales: &'a [f32],
    /// The bias, one for each output channel, in steps of the input's scale times the weights'.
    pub bias: &'a [i32],
    /// The value to add, if there is one.
    pub residual: Option<Int8Residual>,
    /// Whether negative results become zero, in the end.
    pub relu: bool,
    /// Upper bound of the results with `relu`, where the output is stored as `f32`; infinity for none. Bytes are
    /// bounded by their range.
    pub most: f32,
    /// What the output's bytes mean; none stores it as `f32`: for what leaves the network.
    pub output: Option<Quantization>,
    /// Lines of zero that readers of the output want around it.
    pub border: usize,
}

/// A value of the output's shape that a convolution adds to its own output.
#[derive(Debug, Clone, Copy)]
pub struct Int8Residual {
    /// The value to add.
    pub value: Value,
    /// What the convolution's own output is rounded to before the value is added, as if it were stored and read again;
    /// none adds to it as it is, so that only the result is rounded.
    pub own: Option<Int8Own>,
}

/// A convolution's own output before a value is added to it.
#[derive(Debug, Clone, Copy)]
pub struct Int8Own {
    /// What bytes of the convolution's own output mean.
    pub quantization: Quantization,
    /// Whether negative values become zero.
    pub relu: bool,
}

pub(crate) fn refuse<T>(reason: &str) -> Result<T, Unsupported> {
    Err(Unsupported(reason.to_owned()))
}

impl Int8Conv<'_> {
    /// Multiplications and additions for one image.
    pub(crate) fn flops(&self) -> u64 {
        let [height, width] = self.moving.output;
        2 * (self.weights.len() * height * width) as u64
    }

    pub(crate) fn check(&self, inputs: usize) -> Result<(), Unsupported> {
        let [rows, columns] = self.moving.kernel;
        let per_group = inputs / self.groups.max(1);
        let fits = self.groups > 0
            && inputs.is_multiple_of(self.groups)
            && self.outputs.is_multiple_of(self.groups)
            && self.weights.len() == self.outputs * per_group * rows * columns
            && self.scales.len() == self.outputs
            && self.bias.len() == self.outputs
            && self.outputs > 0
            && !self.moving.stride.contains(&0);
        match fits {
            true => Ok(()),
            false => refuse("its weights do not fit its channels"),
        }
    }

    /// For sums of products with bytes of `input`: how they are stored, their epilogue, and each output channel's
    /// factor.
    pub(crate) fn finish(
        &self,
        input: Quantization,
        added: Option<Quantization>,
    ) -> Result<(Kind, Finish, Vec<f32>), Unsupported> {
        let factors = |step: f32| -> Vec<f32> {
            let factor = |scale: &f32| input.scale * scale / step;
            self.scales.iter().map(factor).collect()
        };
        let Some(output) = self.output else {
            if added.is_some() {
                return refuse("a value is added to what is not stored as bytes");
            }
            let finish = Finish {
                zero: 0,
                low: 0,
                residual: None,
                own: None,
                bound: self.relu.then_some(self.most),
            };
            return Ok((Kind::Float, finish, factors(1.0)));
        };
        let residual = added.map(|added| Residual::new(added, output));
        let stored = self.residual.and_then(|residual| residual.own);
        let own = stored.map(|own| Own::new(own.quantization, own.relu, output));
        if residual.is_some_and(|residual| !is_bounded(own, residual)) {
            return refuse("the scales of its sum are too far apart");
        }
        let (kind, step) = match (residual, stored) {
            (None, _) => (Kind::Plain, output.scale),
            (Some(_), None) => (Kind::Sum, output.scale),
            (Some(_), Some(own)) => (Kind::Residual, own.quantization.scale),
        };
        let finish = Finish {
            zero: output.zero,
            low: if self.relu { output.zero } else { 0 },
            residual,
            own,
            bound: None,
        };
        Ok((kind, finish, factors(step)))
    }
}
