//! Slices with a step, kept from tract's rewriting where that forgets where they begin.
//!
//! Called by `import` on the typed graph, before anything rewrites it.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Downsample;

use crate::ops::Stride;

/// Puts our operator in the place of each `Downsample` that walks forward by more than one.
pub(super) fn keep_offsets(model: &mut TypedModel) {
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
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::array::Slice;
    use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::nn::DataFormat;

    use super::*;

    /// A convolution, and from an element of an axis on every other one.
    fn network(axis: usize, start: usize, step: isize) -> TypedModel {
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
        let slice = Slice::new(axis, start, 7);
        let slice = model.wire_node("slice", slice, &conv).expect("it fits");
        let down = Downsample::new(axis, step, 0);
        let down = model.wire_node("down", down, &slice).expect("it fits");
        model.select_output_outlets(&down).expect("an output");
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
                    keep_offsets(&mut kept);
                    let kept = run(kept.into_decluttered().expect("it is simpler"));
                    assert_eq!(kept, plain, "axis {axis}, start {start}, step {step}");
                }
            }
        }
    }
}
