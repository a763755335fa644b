//! One node of tract's typed graph in words of `ops::graph`, if there are words for it.
//!
//! Called by `lower`. Every rule looks at a single node and its constants; axes are read off the node, never assumed.
//! What several nodes are together (a convolution with its batch norm, a strided 1×1) is `ops::fuse`'s business.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{Axis, AxisOp, DimLike, InOut};
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{
    Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool,
};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::math::{Add, Div, Max, Min, Mul, Sub};
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use super::constants::{Kernel, constant_input, floats};
use crate::ops::graph::{Shape, Window};
use crate::ops::{DequantizeLinear, QuantizeLinear, Weights};
use kernels::nn::{Activation, Quantization};

/// A node in words: steps of which the first reads `inputs`, each other the one before it.
#[derive(Debug, Clone)]
pub(super) struct Words {
    pub(super) inputs: Vec<OutletId>,
    pub(super) steps: Vec<Step>,
    /// Shape of the result, and of every step's.
    pub(super) shape: Shape,
}

/// A word without its operands; see `ops::graph::Op`.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Conv {
        weights: Weights,
        outputs: usize,
        groups: usize,
        bias: Vec<f32>,
        window: Window,
    },
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
        relu: bool,
        most: f32,
    },
    Add,
    Mul,
    Activation(Activation),
    Concat,
    MaxPool(Window),
    AvgPool {
        window: Window,
        count_include_pad: bool,
    },
    GlobalAvgPool,
    Quantize(Quantization),
    Dequantize(Quantization),
}

/// The words for a node; none leaves it to tract.
pub(super) fn recognize(model: &TypedModel, node: &TypedNode) -> Option<Words> {
    let [output] = &node.outputs[..] else {
        return None;
    };
    if let Some(op) = node.op_as::<QuantizeLinear>() {
        return edge(model, node, Step::Quantize(op.linear.quantization(op.to)?));
    }
    if let Some(op) = node.op_as::<DequantizeLinear>() {
        let of = model.outlet_fact(node.inputs[0]).ok()?.datum_type;
        return edge(model, node, Step::Dequantize(op.linear.quantization(of)?));
    }
    let rule = Rule {
        model,
        node,
        shape: shape(&output.fact)?,
        dims: &output.fact.shape,
    };
    if let Some(conv) = node.op_as::<Conv>() {
        rule.conv(conv)
    } else if let Some(product) = node.op_as::<EinSum>() {
        rule.product(product)
    } else if let Some(op) = node.op_as::<TypedBinOp>() {
        rule.binary(op)
    } else if let Some(pool) = node.op_as::<MaxPool>() {
        rule.max_pool(pool)
    } else if let Some(pool) = node.op_as::<SumPool>() {
        rule.sum_pool(pool)
    } else if let Some(reduce) = node.op_as::<Reduce>() {
        rule.reduce(reduce)
    } else if let Some(skip) = node.op_as::<Downsample>() {
        rule.downsample(skip)
    } else if let Some(axes) = node.op_as::<AxisOp>() {
        (!matches!(axes, AxisOp::Move(..))).then(|| rule.same())?
    } else if node.op_is::<Identity>() {
        rule.same()
    } else if let Some(op) = node.op_as::<ElementWiseOp>() {
        rule.activation(op)
    } else if let Some(op) = node.op_as::<TypedConcat>() {
        rule.concat(op)
    } else {
        None
    }
}

/// The words for a node where numbers become bytes, or bytes numbers.
fn edge(model: &TypedModel, node: &TypedNode, step: Step) -> Option<Words> {
    let input = model.outlet_fact(node.inputs[0]).ok()?;
    Some(Words {
        inputs: vec![node.inputs[0]],
        steps: vec![step],
        shape: image_shape(input)?,
    })
}

/// The shape of one image of an `f32` value `[N, channels, height, width]` or `[N, features]`.
pub(super) fn shape(fact: &TypedFact) -> Option<Shape> {
    match fact.datum_type == f32::datum_type() {
        true => image_shape(fact),
        false => None,
    }
}

/// The shape of one image of a value of any type, `[N, channels, height, width]` or `[N, features]`.
fn image_shape(fact: &TypedFact) -> Option<Shape> {
    if fact.is_exotic() || fact.konst.is_some() {
        return None;
    }
    let sizes = fact.shape.iter().skip(1).map(|d| d.to_usize().ok());
    let (channels, height, width) = match sizes.collect::<Option<Vec<_>>>()?[..] {
        [features] | [features, 1] => (features, 1, 1),
        [channels, height, width] => (channels, height, width),
        _ => return None,
    };
    (channels * height * width > 0).then_some(Shape {
        channels,
        height,
        width,
    })
}

pub(super) struct Rule<'a> {
    pub(super) model: &'a TypedModel,
    pub(super) node: &'a TypedNode,
    pub(super) shape: Shape,
    pub(super) dims: &'a [TDim],
}

impl Rule<'_> {
    pub(super) fn fact(&self, input: usize) -> Option<&TypedFact> {
        self.model.outlet_fact(*self.node.inputs.get(input)?).ok()
    }

    /// The shape of an input that is not constant.
    pub(super) fn value(&self, input: usize) -> Option<Shape> {
        let fact = self.fact(input)?;
        if fact.konst.is_some() {
            return None;
        }
        shape(fact)
    }

    /// The weights of an input: a constant of numbers, or of bytes behind a `DequantizeLinear` with a scale for each
    /// index of the axis of outputs, or one for all.
    fn kernel(&self, input: usize) -> Option<Kernel> {
        if let Some(tensor) = self.constant(input) {
            return Some(Kernel::Floats(Arc::clone(tensor)));
        }
        let node = self.model.node(self.node.inputs.get(input)?.node);
        let op = node.op_as::<DequantizeLinear>()?;
        let tensor = constant_input(self.model, node)?;
        Some(Kernel::Bytes(Arc::clone(tensor), op.linear.clone()))
    }

    fn constant(&self, input: usize) -> Option<&Arc<Tensor>> {
        let tensor = self.fact(input)?.konst.as_ref()?;
        floats(tensor).map(|_| tensor)
    }

    pub(super) fn words(&self, inputs: &[usize], steps: Vec<Step>) -> Option<Words> {
        Some(Words {
            inputs: inputs.iter().map(|i| self.node.inputs[*i]).collect(),
            steps,
            shape: self.shape,
        })
    }

    /// The step that multiplies the whole value by a factor.
    fn factor(&self, factor: f32) -> Step {
        Step::Affine {
            scale: vec![factor; self.shape.channels],
            shift: vec![0.0; self.shape.channels],
            relu: false,
            most: f32::INFINITY,
        }
    }

    /// Words without a step, for a node that gives the same numbers in the same order under other axes.
    fn same(&self) -> Option<Words> {
        let batch = &self.fact(0)?.shape[0];
        let same = self.value(0)? == self.shape && *batch == self.dims[0];
        same.then(|| self.words(&[0], Vec::new()))?
    }

    fn conv(&self, conv: &Conv) -> Option<Words> {
        let input = self.value(0)?;
        let kernel = self.kernel(1)?;
        let bias = floats(self.constant(2)?)?;
        let pool = &conv.pool_spec;
        let window = self.window(pool, input)?;
        let outputs = self.shape.channels;
        let bias = match bias {
            [all] => vec![*all; outputs],
            each => each.to_vec(),
        };
        let expected = [
            outputs,
            input.channels / conv.group,
            window.kernel[0],
            window.kernel[1],
        ];
        let plain = conv.q_params.is_none() && conv.kernel_fmt == KernelFormat::OIHW;
        if !plain || *kernel.shape() != expected || bias.len() != outputs {
            return None;
        }
        let step = Step::Conv {
            weights: kernel.weights(outputs, 0)?,
            outputs,
            groups: conv.group,
            bias,
            window,
        };
        self.words(&[0], vec![step])
    }

    /// The window of a layer with `[N, channels, height, width]`, where it gives the output's size.
    fn window(&self, pool: &PoolSpec, input: Shape) -> Option<Window> {
        let &[kernel_height, kernel_width] = &pool.kernel_shape[..] else {
            return None;
        };
        let kernel = [kernel_height, kernel_width];
        let dilated = (0..2).any(|d| pool.dilation(d) != 1 && kernel[d] != 1);
        let rank = self.fact(0)?.rank();
        if pool.data_format != DataFormat::NCHW || dilated || rank != 4 || self.dims.len() != 4 {
            return None;
        }
        let padding = pool.computed_padding(&[input.height, input.width]);
        let mut window = Window {
            kernel,
            stride: [pool.stride(0), pool.stride(1)],
            pad_before: [padding[0].pad_before, padding[1].pad_before],
            pad_after: [padding[0].pad_after, padding[1].pad_after],
        };
        let (from, to) = (
            [input.height, input.width],
            [self.shape.height, self.shape.width],
        );
        for d in 0..2 {
            // With its size rounded up, the last window may reach further than the padding.
            let reach = (to[d] - 1) * window.stride[d] + kernel[d];
            let beyond = reach.saturating_sub(from[d] + window.pad_before[d]);
            window.pad_after[d] = window.pad_after[d].max(beyond);
            let room = from[d] + window.pad_before[d] + window.pad_after[d];
            if (room.checked_sub(kernel[d])?) / window.stride[d] + 1 != to[d] {
                return None;
            }
        }
        Some(window)
    }

    fn max_pool(&self, pool: &MaxPool) -> Option<Words> {
        let window = self.window(&pool.pool_spec, self.value(0)?)?;
        self.words(&[0], vec![Step::MaxPool(window)])
    }

    fn sum_pool(&self, pool: &SumPool) -> Option<Words> {
        let window = self.window(&pool.pool_spec, self.value(0)?)?;
        let padded = window.pad_before != [0; 2] || window.pad_after != [0; 2];
        // Rounded up, a window counts the padding under it, but not what lies beyond.
        let rounded_up = matches!(
            pool.pool_spec.padding,
            PaddingSpec::ExplicitOnnxPool(_, _, true)
        );
        if padded && (rounded_up || !pool.normalize) && pool.count_include_pad {
            return None;
        }
        let mut steps = vec![Step::AvgPool {
            window,
            count_include_pad: pool.count_include_pad,
        }];
        if !pool.normalize {
            if padded {
                return None;
            }
            steps.push(self.factor((window.kernel[0] * window.kernel[1]) as f32));
        }
        self.words(&[0], steps)
    }

    /// The sum of each channel as its mean times the number of pixels.
    fn reduce(&self, reduce: &Reduce) -> Option<Words> {
        let input = self.value(0)?;
        let whole = self.fact(0)?.rank() == 4 && {
            let mut axes = reduce.axes.to_vec();
            axes.sort_unstable();
            axes == [2, 3]
        };
        if !whole || reduce.reducer != Reducer::Sum || input.channels != self.shape.channels {
            return None;
        }
        let area = (input.height * input.width) as f32;
        self.words(&[0], vec![Step::GlobalAvgPool, self.factor(area)])
    }

    /// Every so-manieth row or column is a pool of single pixels.
    fn downsample(&self, skip: &Downsample) -> Option<Words> {
        let input = self.value(0)?;
        let step = usize::try_from(skip.stride).ok()?;
        let stride = match skip.axis {
            2 => [step, 1],
            3 => [1, step],
            _ => return None,
        };
        if skip.modulo != 0 || self.dims.len() != 4 || input.channels != self.shape.channels {
            return None;
        }
        let window = Window {
            kernel: [1, 1],
            stride,
            pad_before: [0, 0],
            pad_after: [0, 0],
        };
        self.words(&[0], vec![Step::MaxPool(window)])
    }

    /// A sum, product and so on of a value and a constant for each channel; the sum or product of two values; ReLU, and an
    /// upper bound for all channels as of ReLU6.
    fn binary(&self, op: &TypedBinOp) -> Option<Words> {
        if op.1.is_some_and(|d| d != f32::datum_type()) {
            return None;
        }
        let value = match (self.constant(0), self.constant(1)) {
            (None, None) => {
                let all_same = (0..2).all(|i| {
                    self.value(i).is_some() && self.fact(i).is_some_and(|f| *f.shape == *self.dims)
                });
                if op.0.is::<Mul>() {
                    return self.product_of_values();
                }
                let add = op.0.is::<Add>() && all_same;
                return add.then(|| self.words(&[0, 1], vec![Step::Add]))?;
            }
            (None, Some(_)) => 0,
            (Some(_), None) => 1,
            (Some(_), Some(_)) => return None,
        };
        let constant_first = value == 1;
        self.value(value)?;
        if *self.fact(value)?.shape != *self.dims {
            return None;
        }
        let each = self.per_channel(self.constant(1 - value)?)?;
        let one = || vec![1.0; each.len()];
        let zero = || vec![0.0; each.len()];
        let all = |f: fn(f32) -> f32| each.iter().copied().map(f).collect::<Vec<f32>>();
        let mut most = f32::INFINITY;
        let (scale, shift, relu) = if op.0.is::<Mul>() {
            (all(|c| c), zero(), false)
        } else if op.0.is::<Add>() {
            (one(), all(|c| c), false)
        } else if op.0.is::<Sub>() && constant_first {
            (vec![-1.0; each.len()], all(|c| c), false)
        } else if op.0.is::<Sub>() {
            (one(), all(|c| -c), false)
        } else if op.0.is::<Div>() && !constant_first {
            (all(f32::recip), zero(), false)
        } else if op.0.is::<Max>() && each.iter().all(|c| *c == 0.0) {
            (one(), zero(), true)
        } else if op.0.is::<Min>() && each.iter().all(|c| *c == each[0] && c.is_finite()) {
            most = each[0];
            (one(), zero(), false)
        } else {
            return None;
        };
        let step = Step::Affine {
            scale,
            shift,
            relu,
            most,
        };
        self.words(&[value], vec![step])
    }

    /// A constant of the value's rank that varies along the channels at most.
    fn per_channel(&self, constant: &Tensor) -> Option<Vec<f32>> {
        let channels = self.shape.channels;
        let others_are_one = constant
            .shape()
            .iter()
            .enumerate()
            .all(|(axis, size)| axis == 1 || *size == 1);
        if constant.rank() != self.dims.len() || !others_are_one {
            return None;
        }
        match floats(constant)? {
            [all] => Some(vec![*all; channels]),
            each if each.len() == channels => Some(each.to_vec()),
            _ => None,
        }
    }

    /// A 1×1 convolution or fully connected layer: `out[n, o, …] = Σ_i value[n, i, …] · weights[o, i]`.
    fn product(&self, product: &EinSum) -> Option<Words> {
        let plain = product.q_params.is_none() && product.operating_dt == f32::datum_type();
        if !plain || self.node.inputs.len() != 2 {
            return None;
        }
        let constant = (0..2).find(|i| self.kernel(*i).is_some())?;
        let value = 1 - constant;
        let input = self.value(value)?;
        let kernel = self.kernel(constant)?;
        let sizes = [&*self.fact(value)?.shape, self.dims];
        let at = |axis: &Axis, io: InOut| match axis.interface(io) {
            [] => Some(None),
            [position] => Some(Some(*position)),
            _ => None,
        };
        let (mut from, mut to, mut batch) = (None, None, false);
        for axis in product.axes.iter_all_axes() {
            let of_value = at(axis, InOut::In(value))?;
            let of_kernel = at(axis, InOut::In(constant))?;
            let of_output = at(axis, InOut::Out(0))?;
            match (of_value, of_kernel, of_output) {
                (Some(0), None, Some(0)) => batch = true,
                (Some(1), Some(k), None) if from.is_none() => from = Some(k),
                (None, Some(k), Some(1)) if to.is_none() => to = Some(k),
                // rows and columns stay where they are
                (Some(a), None, Some(b)) if a == b && a > 1 => {}
                // axes of size one come and go
                (Some(a), None, None) if a > 1 && sizes[0][a].is_one() => {}
                (None, None, Some(b)) if b > 1 && sizes[1][b].is_one() => {}
                (None, Some(k), None) if kernel.shape()[k] == 1 => {}
                _ => return None,
            }
        }
        let (from, to) = (from?, to?);
        let (inputs, outputs) = (kernel.shape()[from], kernel.shape()[to]);
        let same_area = (input.height, input.width) == (self.shape.height, self.shape.width);
        let fits = inputs == input.channels && outputs == self.shape.channels;
        if !batch || !same_area || !fits || inputs * outputs != kernel.len() {
            return None;
        }
        let step = Step::Conv {
            weights: kernel.matrix(outputs, from < to, to)?,
            outputs,
            groups: 1,
            bias: vec![0.0; outputs],
            window: Window {
                kernel: [1, 1],
                stride: [1, 1],
                pad_before: [0, 0],
                pad_after: [0, 0],
            },
        };
        self.words(&[value], vec![step])
    }
}
