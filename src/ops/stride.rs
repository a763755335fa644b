//! Every so-many-th element along an axis, as an operator of tract's graph that stays where it is.
//!
//! Made by `engine` in place of tract's `Downsample`: tract draws that into a convolution before it, as a stride, and
//! forgets the element that it begins with (tract-core 0.23.9, `fuse_downsample_into_conv`), and fails where it would
//! draw one over a new axis (`pull_downsample_over_axis_op`).

use tract_onnx::tract_core::internal::*;

/// The elements 0, `step`, 2 `step`, … of an axis, counted from its end where it goes backwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stride {
    /// The axis.
    pub axis: usize,
    /// The step between two elements that are kept, at least 1.
    pub step: usize,
    /// Whether the last element is the first.
    pub backwards: bool,
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
        let all = input.shape()[self.axis];
        let elements = (0..all)
            .step_by(self.step)
            .map(|i| match self.backwards {
                false => input.slice(self.axis, i, i + 1),
                true => input.slice(self.axis, all - 1 - i, all - i),
            })
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
