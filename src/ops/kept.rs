//! A value as it is, as an operator of tract's graph that keeps what stands before it from what stands behind it.
//!
//! Made by `engine` where tract would join both and compute something else.

use tract_onnx::tract_core::internal::*;

/// The identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kept;

impl Op for Kept {
    fn name(&self) -> StaticName {
        "Kept".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Kept {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }

    fn forwards_input(&self) -> Option<usize> {
        Some(0)
    }
}

impl TypedOp for Kept {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}
