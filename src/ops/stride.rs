//! Every so-many-th element along an axis, as an operator of tract's graph that stays where it is.
//!
//! Made by `engine` in place of tract's `Downsample`: tract draws that into a convolution before it, as a stride, and
//! forgets the element that it begins with (tract-core 0.23.9, `fuse_downsample_into_conv`).

use tract_onnx::tract_core::internal::*;

/// The elements 0, `step`, 2 `step`, … of an axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stride {
    /// The axis.
    pub axis: usize,
    /// At least 1.
    pub step: usize,
}

impl Op for Stride {
    fn name(&self) -> StaticName {
        "Stride".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Stride {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = &inputs[0];
        let length = input.shape()[self.axis].div_ceil(self.step);
        let elements = (0..length)
            .map(|i| input.slice(self.axis, i * self.step, i * self.step + 1))
            .collect::<TractResult<Vec<Tensor>>>()?;
        let output = match elements.is_empty() {
            true => input.slice(self.axis, 0, 0)?,
            false => Tensor::stack_tensors(self.axis, &elements)?,
        };
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Stride {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(self.axis < inputs[0].rank(), "the axis is one of the input");
        let mut fact = inputs[0].without_value();
        let length = fact.shape[self.axis].clone().div_ceil(self.step as u64);
        fact.shape.set(self.axis, length);
        Ok(tvec!(fact))
    }

    as_op!();
}
