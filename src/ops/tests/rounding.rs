//! How far rounding can lead a program away from the exact answer: a bound that no network exceeds by chance.

use super::super::graph::{Graph, Node, Op, ValueId};
use super::super::oracle;
use kernels::nn::Activation;

/// What roundings come to, as a multiple of `unit · Σ|w| · max|x|`, by a window's size. In a direct sum both factors of a
/// product are rounded. By Winograd's transform F(2×2, 3×3) an output is a sum over nine positions, at which transformed
/// inputs are at most four of the largest one and transformed weights together at most four times the weights.
fn roundings(kernel: [usize; 2]) -> f64 {
    match kernel {
        [3, 3] => 32.0,
        _ => 2.0,
    }
}

/// For each output of the graph and each of its channels: how far off the program's value may be, where every value and
/// weight is rounded by at most `unit` of itself. Of first order in `unit`.
pub(super) fn bounds(graph: &Graph, inputs: &[Vec<f32>], unit: f64) -> Vec<Vec<f64>> {
    let values = oracle::values(graph, inputs);
    let largest: Vec<Vec<f64>> = (graph.nodes.iter().zip(&values))
        .map(|(node, values)| {
            let area = node.shape.height * node.shape.width;
            let channels = values.chunks_exact(area);
            channels
                .map(|c| c.iter().fold(0.0, |m, v| f64::from(v.abs()).max(m)))
                .collect()
        })
        .collect();
    let mut errors: Vec<Vec<f64>> = Vec::with_capacity(graph.nodes.len());
    for (node, largest_here) in graph.nodes.iter().zip(&largest) {
        let of = |read: ValueId| (&errors[read.0][..], &largest[read.0][..]);
        let mut error = before_rounding(node, &of, unit);
        for (error, largest) in error.iter_mut().zip(largest_here) {
            *error += unit * largest;
        }
        errors.push(error);
    }
    graph.outputs.iter().map(|v| errors[v.0].clone()).collect()
}

/// What a node's inputs and weights do to its channels. `of` a value is its channels' errors and largest numbers.
fn before_rounding<'a>(
    node: &Node,
    of: &dyn Fn(ValueId) -> (&'a [f64], &'a [f64]),
    unit: f64,
) -> Vec<f64> {
    let error = |read: &ValueId| of(*read).0.to_vec();
    let sum = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| a + b).collect();
    match &node.op {
        Op::Input(_) => vec![0.0; node.shape.channels],
        Op::Conv(conv) => {
            let (errors, largest) = of(conv.input);
            let weights = conv.weights.scaled();
            let per_group = errors.len() / conv.groups;
            let taps = weights.len() / (conv.outputs * per_group);
            let kernels = weights.chunks_exact(per_group * taps).enumerate();
            let convolved = kernels
                .map(|(output, kernel)| {
                    let first = output / (conv.outputs / conv.groups) * per_group;
                    let channels = kernel.chunks_exact(taps).enumerate();
                    channels
                        .map(|(i, weights)| {
                            let weights: f64 = weights.iter().map(|w| f64::from(w.abs())).sum();
                            weights
                                * (errors[first + i]
                                    + roundings(conv.window.kernel) * unit * largest[first + i])
                        })
                        .sum()
                })
                .collect();
            match &conv.residual {
                Some(residual) => sum(convolved, error(residual)),
                None => convolved,
            }
        }
        Op::Affine { input, scale, .. } => (error(input).iter().zip(scale))
            .map(|(e, s)| e * f64::from(s.abs()))
            .collect(),
        Op::Add { inputs: [a, b], .. } => sum(error(a), error(b)),
        Op::Activation { input, activation } => {
            // The steepest that each function is.
            let slope = match activation {
                Activation::LeakyRelu(slope) => f64::from(slope.abs()).max(1.0),
                Activation::Sigmoid => 0.25,
                Activation::Silu => 1.1,
                Activation::HardSwish => 1.5,
            };
            error(input).iter().map(|e| e * slope).collect()
        }
        Op::Mul {
            inputs: [a, b],
            addend,
            ..
        } => {
            let ((a_error, a), (b_error, b)) = (of(*a), of(*b));
            let each = (0..a.len()).map(|c| a_error[c] * (b[c] + b_error[c]) + a[c] * b_error[c]);
            match addend {
                Some(addend) => sum(each.collect(), error(addend)),
                None => each.collect(),
            }
        }
        Op::Concat { inputs } => inputs.iter().flat_map(error).collect(),
        Op::MaxPool { input, .. } | Op::AvgPool { input, .. } | Op::GlobalAvgPool { input } => {
            error(input)
        }
        Op::Quantize { .. } | Op::Dequantize { .. } => unreachable!("no bytes among numbers"),
    }
}
