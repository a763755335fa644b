//! ONNX's `Squeeze`: its axes in any order, counted from either end, or none for all sides of one.
//!
//! The importer takes axes in rising order only, and none from operator set 13 on only.

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::internal::*;

/// Makes the importer build it so.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("Squeeze", squeeze);
}

fn squeeze(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let squeeze = Squeeze {
        axes: node.get_attr_opt_vec::<i64>("axes")?,
        reads_axes: node.input.get(1).is_some_and(|name| !name.is_empty()),
    };
    Ok((expand(squeeze), vec![]))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Squeeze {
    /// Those of the attribute, of operator sets before 13.
    axes: Option<Vec<i64>>,
    /// Whether a second input holds them.
    reads_axes: bool,
}

impl Squeeze {
    /// The axes to take away, in rising order, from a value of this shape; `read` are those of the second input.
    fn resolved(&self, shape: &[TDim], read: Option<&Tensor>) -> TractResult<Vec<usize>> {
        let given = match read {
            Some(axes) => {
                let axes = axes.cast_to::<i64>()?;
                Some(axes.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
            }
            None => self.axes.clone(),
        };
        let rank = shape.len() as i64;
        let Some(given) = given else {
            let is_one = |axis: &usize| shape[*axis].is_one();
            return Ok((0..shape.len()).filter(is_one).collect());
        };
        let mut axes = Vec::with_capacity(given.len());
        for axis in given {
            ensure!(
                (-rank..rank).contains(&axis),
                "its axes holds {axis}, allowed are {} to {}",
                -rank,
                rank - 1
            );
            let axis = axis.rem_euclid(rank) as usize;
            ensure!(
                shape[axis].is_one(),
                "it takes axis {axis} away, which has {} places, allowed is 1",
                shape[axis]
            );
            axes.push(axis);
        }
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }
}

/// A shape without these axes, which rise.
fn without(shape: &[TDim], axes: &[usize]) -> ShapeFactoid {
    let left = shape.iter().enumerate().filter(|(i, _)| !axes.contains(i));
    left.map(|(_, dim)| dim.clone()).collect()
}

impl Expansion for Squeeze {
    fn name(&self) -> StaticName {
        "Squeeze".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1 + usize::from(self.reads_axes))?;
        check_output_arity(outputs, 1)?;
        solver.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        if self.reads_axes {
            return solver.given_2(
                &inputs[0].shape,
                &inputs[1].value,
                move |solver, shape, axes| {
                    let axes = self.resolved(&shape, Some(&axes))?;
                    solver.equals(&outputs[0].shape, without(&shape, &axes))
                },
            );
        }
        solver.given(&inputs[0].shape, move |solver, shape| {
            let axes = self.resolved(&shape, None)?;
            solver.equals(&outputs[0].shape, without(&shape, &axes))
        })
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let shape = target.outlet_fact(inputs[0])?.shape.to_tvec();
        let read = match self.reads_axes {
            true => {
                let axes = target.outlet_fact(inputs[1])?.konst.clone();
                Some(axes.context("its axes are computed, expected a constant")?)
            }
            false => None,
        };
        let axes = self.resolved(&shape, read.as_deref())?;
        let mut wire = tvec![inputs[0]];
        for axis in axes.into_iter().rev() {
            wire = target.wire_node(format!("{prefix}.axis-{axis}"), AxisOp::Rm(axis), &wire)?;
        }
        Ok(wire)
    }
}
