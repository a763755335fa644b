//! ONNX's `Slice` that goes in steps from or to a place that is known with the image only: the importer drops it.
//!
//! Called by `bounded`, which knows what the node reads once the graph is typed.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::bounded::given_input;

/// Which of the importer's inputs hold where a slice begins and ends, and its steps.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    ends: [usize; 2],
    steps: usize,
}

impl Walk {
    /// That of a node; none of an operator that is no slice, or one in steps of 1.
    pub(super) fn of(node: &NodeProto) -> Option<Walk> {
        if node.op_type != "Slice" {
            return None;
        }
        Some(Walk {
            ends: [given_input(node, 1)?, given_input(node, 2)?],
            steps: given_input(node, 4)?,
        })
    }

    /// Checks what the node reads, which the importer has typed.
    ///
    /// # Errors
    /// If it takes other steps than 1 and one of its ends is no constant.
    pub(super) fn check(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<()> {
        let constant = |i: usize| -> TractResult<Option<&Arc<Tensor>>> {
            Ok(model.outlet_fact(inputs[i])?.konst.as_ref())
        };
        let Some(steps) = constant(self.steps)? else {
            return Ok(()); // refused by the importer
        };
        let steps = steps.cast_to::<i64>()?;
        let steps = steps.try_as_plain_ram()?;
        let step = steps.as_slice::<i64>()?.iter().find(|step| **step != 1);
        let [start, end] = self.ends.map(constant);
        if let Some(step) = step
            && (start?.is_none() || end?.is_none())
        {
            bail!("its step is {step} and its ends depend on the image, allowed is a step of 1");
        }
        Ok(())
    }
}
