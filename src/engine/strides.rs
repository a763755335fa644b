//! Steps, of slices and of convolutions, kept from tract's rewriting where that forgets where they begin.
//!
//! Called by `import` on the typed graph, before anything rewrites it. tract-core 0.23.9 draws a step into a convolution
//! before it, also over slices and over what works on single numbers, and forgets the element that the step begins with
//! and that a padding of `SAME` depends on the stride (`fuse_downsample_into_conv`).

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::StridedSlice;
use tract_onnx::tract_core::ops::cnn::{Conv, PaddingSpec};

use crate::ops::Stride;

/// Puts our operator in the place of each `Downsample`.
///
/// # Errors
/// tract's, for a slice that contradicts its input.
pub(super) fn keep_offsets(model: &mut TypedModel) -> TractResult<()> {
    take_apart(model)?;
    for node in &mut model.nodes {
        let Some(down) = node.op_as::<Downsample>() else {
            continue;
        };
        if !matches!(down.stride, 0 | 1) && down.modulo == 0 {
            node.op = Box::new(Stride {
                axis: down.axis,
                step: down.stride.unsigned_abs(),
                backwards: down.stride < 0,
            });
        }
    }
    Ok(())
}

/// Says the padding of each convolution whose step tract would draw out of it in the words in which it leaves that alone;
/// the padding is the same. (Its condition: `declutter_stride_slice_to_downsample`.)
pub(super) fn keep_strides(model: &mut TypedModel) {
    for node in &mut model.nodes {
        let Some(conv) = node.op_as_mut::<Conv>() else {
            continue;
        };
        let spec = &mut conv.pool_spec;
        let is_drawn = |axis: usize| {
            let stride = spec.stride(axis);
            let skips = spec.kernel_shape[axis] == 1 || spec.dilation(axis).is_multiple_of(stride);
            stride > 1 && skips && spec.padding.valid_dim(axis, false)
        };
        if !(0..spec.rank()).any(is_drawn) {
            continue;
        }
        let none = || tvec!(0; spec.rank());
        let (before, after) = match &spec.padding {
            PaddingSpec::Explicit(before, after) => (before.clone(), after.clone()),
            PaddingSpec::Valid => (none(), none()),
            _ => continue,
        };
        spec.padding = PaddingSpec::ExplicitOnnxPool(before, after, false);
    }
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
    use tract_onnx::tract_core::ops::array::Slice;
    use tract_onnx::tract_core::ops::cnn::{KernelFormat, PoolSpec};
    use tract_onnx::tract_core::ops::math;
    use tract_onnx::tract_core::ops::nn::DataFormat;

    use super::*;

    /// A convolution of one channel.
    fn conv(
        model: &mut TypedModel,
        name: &str,
        input: OutletId,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: PaddingSpec,
    ) -> OutletId {
        let [rows, columns] = kernel;
        let numbers: Vec<f32> = (0..rows * columns).map(|i| i as f32 * 0.1 - 0.3).collect();
        let weights = tensor1(&numbers).into_shape(&[1, 1, rows, columns]);
        let mut constant = |of: &str, tensor: Tensor| {
            model
                .add_const(format!("{name}.{of}"), tensor)
                .expect("a constant")
        };
        let weights = constant("weights", weights.expect("as many"));
        let bias = constant("bias", tensor0(0.0_f32));
        let conv = Conv {
            pool_spec: PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: kernel.as_slice().into(),
                padding,
                dilations: None,
                strides: Some(stride.as_slice().into()),
                input_channels: 1,
                output_channels: 1,
            },
            kernel_fmt: KernelFormat::OIHW,
            group: 1,
            q_params: None,
        };
        model
            .wire_node(name, conv, &[input, weights, bias])
            .expect("it fits")[0]
    }

    fn with_image(side: usize) -> (TypedModel, OutletId) {
        let mut model = TypedModel::default();
        let fact = f32::fact([1, 1, side, side]);
        let input = model.add_source("image", fact).expect("a source");
        (model, input)
    }

    fn run(model: TypedModel, side: usize) -> Tensor {
        let image: Vec<f32> = (0..side * side).map(|i| (i * 37 % 23) as f32).collect();
        let image = tensor1(&image).into_shape(&[1, 1, side, side]);
        let plan = model.into_runnable().expect("it runs");
        let image = image.expect("as many").into();
        let output = plan.run(tvec!(image)).expect("it runs");
        output[0].clone().into_tensor()
    }

    /// A convolution, and from an element of an axis on every other one.
    fn network(axis: i64, start: i64, step: i64) -> TypedModel {
        let (mut model, input) = with_image(9);
        let conv = conv(
            &mut model,
            "conv",
            input,
            [3, 3],
            [1, 1],
            PaddingSpec::Valid,
        );
        let mut constant = |name: &str, number: i64| {
            model
                .add_const(name, tensor1(&[number]))
                .expect("a constant")
        };
        let inputs = [
            conv,
            constant("starts", start),
            constant("ends", if step > 0 { 7 } else { 0 }),
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
        for axis in [2, 3] {
            for start in 0..4 {
                for step in [2, 3, -1, -2] {
                    let start = if step > 0 { start } else { 8 - start };
                    let plain = run(network(axis, start, step), 9);
                    let mut kept = network(axis, start, step);
                    keep_offsets(&mut kept).expect("slices that fit");
                    let kept = run(kept.into_decluttered().expect("it is simpler"), 9);
                    assert_eq!(kept, plain, "axis {axis}, start {start}, step {step}");
                }
            }
        }
    }

    #[test]
    fn convolution_with_a_step_leaves_the_one_before_it_alone() {
        use PaddingSpec::{Explicit, SameLower, SameUpper, Valid};
        let explicit = Explicit(tvec!(1, 0), tvec!(1, 2));
        for padding in [Valid, SameUpper, SameLower, explicit] {
            for (kernel, stride, next) in [
                ([3, 3], [1, 1], ([1, 1], [2, 2])),
                ([3, 3], [1, 1], ([3, 1], [1, 2])),
                ([2, 4], [1, 2], ([1, 2], [3, 1])),
                ([4, 4], [3, 3], ([2, 1], [3, 2])),
            ] {
                for (side, from) in [(8, 0), (9, 0), (12, 0), (32, 0), (12, 1), (13, 2)] {
                    let network = || {
                        let (mut model, input) = with_image(side);
                        let x = conv(&mut model, "a", input, kernel, stride, padding.clone());
                        let zero = tensor0(0.0_f32).broadcast_into_rank(4).expect("a number");
                        let zero = model.add_const("zero", zero).expect("a constant");
                        let x = model
                            .wire_node("relu", math::max(), &[x, zero])
                            .expect("it fits")[0];
                        let end = model.outlet_fact(x).expect("a fact").shape[3].clone();
                        let slice = Slice::new(3, from.to_dim(), end);
                        let x = model.wire_node("slice", slice, &[x]).expect("it fits")[0];
                        let (kernel, stride) = next;
                        let x = conv(&mut model, "b", x, kernel, stride, Valid);
                        model.select_output_outlets(&[x]).expect("an output");
                        model
                    };
                    let plain = run(network(), side);
                    let mut kept = network();
                    keep_strides(&mut kept);
                    let kept = run(kept.into_decluttered().expect("it is simpler"), side);
                    assert_eq!(
                        kept, plain,
                        "{padding:?} {kernel:?} {stride:?} {next:?} {side} {from}"
                    );
                }
            }
        }
    }
}
