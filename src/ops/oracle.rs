//! A graph evaluated word by word in nested loops: what tests compare fusion, lowering and programs with.
//!
//! Called by unit tests only. Sums in `f64`, stores `f32`.

use super::graph::{Conv, Graph, Op, Shape, ValueId, Window};
use kernels::nn::Activation;

/// The outputs for one image; `inputs[i]` is the value of input number `i`, `[channels, height, width]`.
pub(crate) fn evaluate(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let values = values(graph, inputs);
    graph.outputs.iter().map(|v| values[v.0].clone()).collect()
}

/// The value of every node.
pub(super) fn values(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut values: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let shape = |v: ValueId| graph.nodes[v.0].shape;
        let value = |v: ValueId| &values[v.0][..];
        let computed: Vec<f32> = match &node.op {
            Op::Input(i) => inputs[*i].clone(),
            Op::Conv(c) => {
                let residual = c.residual.map(value);
                conv(c, value(c.input), shape(c.input), residual, node.shape)
            }
            Op::Affine {
                input,
                scale,
                shift,
                relu,
                most,
            } => {
                let area = node.shape.height * node.shape.width;
                let pixels = value(*input).iter().enumerate();
                pixels
                    .map(|(i, x)| {
                        positive(x.mul_add(scale[i / area], shift[i / area]), *relu).min(*most)
                    })
                    .collect()
            }
            Op::Add { inputs, relu } => {
                let pairs = value(inputs[0]).iter().zip(value(inputs[1]));
                pairs.map(|(a, b)| positive(a + b, *relu)).collect()
            }
            Op::Activation { input, activation } => {
                let values = value(*input).iter();
                values.map(|x| activated(*activation, *x)).collect()
            }
            Op::Mul {
                inputs: [a, factor],
                addend,
                relu,
            } => {
                let area = node.shape.height * node.shape.width;
                let per_factor = match shape(*factor) == node.shape {
                    true => 1,
                    false => area,
                };
                let pixels = value(*a).iter().enumerate();
                pixels
                    .map(|(i, x)| {
                        let product = x * value(*factor)[i / per_factor];
                        positive(product + addend.map_or(0.0, |a| value(a)[i]), *relu)
                    })
                    .collect()
            }
            Op::Concat { inputs } => inputs.iter().flat_map(|v| value(*v).to_vec()).collect(),
            Op::MaxPool { input, window } => {
                pool(value(*input), shape(*input), window, node.shape, |seen| {
                    seen.iter().copied().fold(f32::NEG_INFINITY, f32::max)
                })
            }
            Op::AvgPool {
                input,
                window,
                count_include_pad,
            } => {
                let all = window.kernel[0] * window.kernel[1];
                pool(value(*input), shape(*input), window, node.shape, |seen| {
                    let count = if *count_include_pad { all } else { seen.len() };
                    mean(seen, count)
                })
            }
            Op::Quantize {
                input,
                quantization: q,
            } => (value(*input).iter())
                .map(|x| q.dequantize(q.quantize(*x)))
                .collect(),
            // What a byte means is its value already.
            Op::Dequantize { input, .. } => value(*input).to_vec(),
            Op::GlobalAvgPool { input } => {
                let area = shape(*input).height * shape(*input).width;
                value(*input)
                    .chunks_exact(area)
                    .map(|c| mean(c, area))
                    .collect()
            }
        };
        assert_eq!(computed.len(), len(node.shape), "node {}", node.name);
        values.push(computed);
    }
    values
}

pub(crate) fn len(shape: Shape) -> usize {
    shape.channels * shape.height * shape.width
}

fn positive(x: f32, relu: bool) -> f32 {
    if relu { x.max(0.0) } else { x }
}

/// The activation by its formula, in double precision.
fn activated(activation: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    let value = match activation {
        Activation::LeakyRelu(slope) => x.max(0.0) + f64::from(slope) * x.min(0.0),
        Activation::Sigmoid => sigmoid,
        Activation::Silu => x * sigmoid,
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
    };
    value as f32
}

fn mean(values: &[f32], count: usize) -> f32 {
    (values.iter().map(|v| f64::from(*v)).sum::<f64>() / count as f64) as f32
}

/// Each `(position in the window, pixel of the input)` under the window of an output pixel.
fn under(
    window: &Window,
    input: Shape,
    row: usize,
    column: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let Window {
        kernel: [kh, kw],
        stride,
        pad_before,
        ..
    } = *window;
    (0..kh * kw).filter_map(move |k| {
        let y = (row * stride[0] + k / kw).checked_sub(pad_before[0])?;
        let x = (column * stride[1] + k % kw).checked_sub(pad_before[1])?;
        (y < input.height && x < input.width).then_some((k, y * input.width + x))
    })
}

fn pool(
    x: &[f32],
    from: Shape,
    window: &Window,
    to: Shape,
    of: impl Fn(&[f32]) -> f32,
) -> Vec<f32> {
    let area = from.height * from.width;
    let mut out = Vec::with_capacity(len(to));
    for c in 0..to.channels {
        for i in 0..to.height * to.width {
            let pixels = under(window, from, i / to.width, i % to.width);
            let seen: Vec<f32> = pixels.map(|(_, p)| x[c * area + p]).collect();
            out.push(of(&seen));
        }
    }
    out
}

fn conv(c: &Conv, x: &[f32], from: Shape, residual: Option<&[f32]>, to: Shape) -> Vec<f32> {
    let area = from.height * from.width;
    let taps = c.window.kernel[0] * c.window.kernel[1];
    let per_group = from.channels / c.groups;
    let weights = c.weights.scaled();
    let mut out = Vec::with_capacity(len(to));
    for o in 0..to.channels {
        let group = o / (to.channels / c.groups);
        for p in 0..to.height * to.width {
            let mut sum = f64::from(c.bias[o]);
            for (k, pixel) in under(&c.window, from, p / to.width, p % to.width) {
                for i in 0..per_group {
                    let w = weights[(o * per_group + i) * taps + k];
                    sum += f64::from(w) * f64::from(x[(group * per_group + i) * area + pixel]);
                }
            }
            let sum = sum as f32 + residual.map_or(0.0, |r| r[out.len()]);
            out.push(positive(sum, c.relu).min(c.most));
        }
    }
    out
}
