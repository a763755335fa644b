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
        // Behind all axes there is none, but nothing to count as one.
        let end = rank as i64 + i64::from(self.all_behind);
        ensure!(
            (0..end).contains(&axis),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wired(axis: i64, all_behind: bool) -> TractResult<TVec<OutletId>> {
        let mut model = TypedModel::default();
        let input = model.add_source("x", f32::fact([2, 3]))?;
        Import { axis, all_behind }.wire("y", &mut model, &[input])
    }

    #[test]
    fn axis_that_the_value_does_not_have_is_refused() {
        for axis in [-2, -1, 0, 1] {
            assert!(wired(axis, false).is_ok(), "{axis}");
            assert!(wired(axis, true).is_ok(), "{axis}");
        }
        // Of all axes behind the last there is none.
        assert!(wired(2, true).is_ok());
        for (axis, all_behind) in [(2, false), (-3, false), (3, true), (-3, true)] {
            let error = wired(axis, all_behind).unwrap_err().to_string();
            assert_eq!(error, format!("axis {axis} of a value of 2 axes"));
        }
    }
}
