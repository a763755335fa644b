//! ONNX's `LogSoftmax` as tract computes it in its own graph: from the differences to the largest number.
//!
//! Its importer takes the logarithm of a softmax instead, in which every number more than some 100 below the largest is
//! zero.

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("LogSoftmax", log_softmax);
}

fn log_softmax(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    // Up to operator set 12 all axes from the given one on count as one.
    let all_behind = context.onnx_operator_set_version < 13;
    let default = if all_behind { 1 } else { -1 };
    let import = Import {
        axis: node.get_attr_opt("axis")?.unwrap_or(default),
        all_behind,
    };
    Ok((expand(import), vec![]))
}

#[derive(Debug, Clone)]
struct Import {
    axis: i64,
    all_behind: bool,
}

impl Expansion for Import {
    fn name(&self) -> StaticName {
        "LogSoftmax".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let rank = target.outlet_fact(inputs[0])?.rank();
        let axis = match self.axis {
            back if back < 0 => back + rank as i64,
            front => front,
        };
        ensure!(
            (0..=rank as i64).contains(&axis),
            "axis {} of a value of {rank} axes",
            self.axis
        );
        let first = axis as usize;
        let last = if self.all_behind { rank } else { first + 1 };
        let softmax = Softmax {
            axes: (first..last).collect(),
            quant_output_dt: None,
            kind: SoftmaxKind::LogSoftmax,
        };
        target.wire_node(prefix, softmax, inputs)
    }
}
