//! Slices with a step, kept from tract's rewriting where that forgets where they begin.
//!
//! Called by `import` on the typed graph, before anything rewrites it.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::StridedSlice;

use crate::ops::Stride;

/// Puts our operator in the place of each `Downsample` that walks forward by more than one.
///
/// # Errors
/// tract's, for a slice that contradicts its input.
pub(super) fn keep_offsets(model: &mut TypedModel) -> TractResult<()> {
    take_apart(model)?;
    for node in &mut model.nodes {
        let Some(down) = node.op_as::<Downsample>() else {
            continue;
        };
        if down.stride > 1 && down.modulo == 0 {
            node.op = Box::new(Stride {
                axis: down.axis,
                step: down.stride.unsigned_abs(),
            });
        }
    }
    Ok(())
}

/// Makes of ONNX's slices a `Slice` and a `Downsample` for each axis, as tract does when it rewrites them.
fn take_apart(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        if !node.op_is::<StridedSlice>() {
            continue;
        }
        if let Some(patch) = node.op.declutter(model, node)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::nn::DataFormat;

    use super::*;

    /// A convolution, and from an element of an axis on every other one.
    fn network(axis: i64, start: i64, step: i64) -> TypedModel {
        let mut model = TypedModel::default();
        let input = model
            .add_source("image", f32::fact([1, 1, 9, 9]))
            .expect("a source");
        let numbers: Vec<f32> = (0..9).map(|i| i as f32 * 0.1 - 0.3).collect();
        let weights = tensor1(&numbers).into_shape(&[1, 1, 3, 3]).expect("nine");
        let weights = model.add_const("weights", weights).expect("a constant");
        let bias = model
            .add_const("bias", tensor0(0.0_f32))
            .expect("a constant");
        let conv = Conv {
            pool_spec: PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: tvec!(3, 3),
                padding: PaddingSpec::Valid,
                dilations: None,
                strides: None,
                input_channels: 1,
                output_channels: 1,
            },
            kernel_fmt: KernelFormat::OIHW,
            group: 1,
            q_params: None,
        };
        let conv = model
            .wire_node("conv", conv, &[input, weights, bias])
            .expect("it fits");
        let mut constant = |name: &str, number: i64| {
            model
                .add_const(name, tensor1(&[number]))
                .expect("a constant")
        };
        let inputs = [
            conv[0],
            constant("starts", start),
            constant("ends", 7),
            constant("axes", axis),
            constant("steps", step),
        ];
        // As the importer makes it of ONNX's Slice.
        let slice = StridedSlice {
            optional_axes_input: Some(3),
            optional_steps_input: Some(4),
            begin_mask: 0,
            end_mask: 0,
            shrink_axis_mask: 0,
        };
        let slice = model.wire_node("slice", slice, &inputs).expect("it fits");
        model.select_output_outlets(&slice).expect("an output");
        model
    }

    #[test]
    fn slice_with_a_step_begins_where_it_says() {
        let image: Vec<f32> = (0..81).map(|i| (i * 37 % 23) as f32).collect();
        let image = tensor1(&image)
            .into_shape(&[1, 1, 9, 9])
            .expect("81 numbers");
        for axis in [2, 3] {
            for start in 0..4 {
                for step in [2, 3] {
                    let run = |model: TypedModel| {
                        let plan = model.into_runnable().expect("it runs");
                        let output = plan.run(tvec!(image.clone().into())).expect("it runs");
                        output[0].clone().into_tensor()
                    };
                    let plain = run(network(axis, start, step));
                    let mut kept = network(axis, start, step);
                    keep_offsets(&mut kept).expect("slices that fit");
                    let kept = run(kept.into_decluttered().expect("it is simpler"));
                    assert_eq!(kept, plain, "axis {axis}, start {start}, step {step}");
                }
            }
        }
    }
}
