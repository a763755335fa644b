//! Small graphs through `fuse`: what is folded, what is not, and that the numbers stay the same.

use proptest::prelude::*;

use super::*;
use crate::ops::graph::Shape;
use crate::ops::oracle::{evaluate, len};

const SQUARE: Shape = Shape {
    channels: 3,
    height: 4,
    width: 4,
};

fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let number = |i: u64| (seed.wrapping_add(i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32;
    (0..count as u64)
        .map(|i| number(i) / (1 << 23) as f32 - 1.0)
        .collect()
}

fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad_before: [pad; 2],
        pad_after: [pad; 2],
    }
}

fn conv(input: usize, outputs: usize, shape: Shape, window: Window, seed: u64) -> Op {
    let taps = window.kernel[0] * window.kernel[1];
    Op::Conv(Conv {
        input: ValueId(input),
        outputs,
        groups: 1,
        weights: numbers(seed, outputs * shape.channels * taps).into(),
        bias: numbers(seed + 7, outputs),
        window,
        residual: None,
        relu: false,
        most: f32::INFINITY,
    })
}

fn affine(input: usize, channels: usize, seed: u64, relu: bool) -> Op {
    Op::Affine {
        input: ValueId(input),
        scale: numbers(seed, channels),
        shift: numbers(seed + 5, channels),
        relu,
        most: if seed.is_multiple_of(3) {
            0.4
        } else {
            f32::INFINITY
        },
    }
}

fn relu(input: usize, channels: usize) -> Op {
    Op::Affine {
        input: ValueId(input),
        scale: vec![1.0; channels],
        shift: vec![0.0; channels],
        relu: true,
        most: f32::INFINITY,
    }
}

fn at_most(input: usize, channels: usize, most: f32) -> Op {
    Op::Affine {
        input: ValueId(input),
        scale: vec![1.0; channels],
        shift: vec![0.0; channels],
        relu: false,
        most,
    }
}

fn add(a: usize, b: usize) -> Op {
    Op::Add {
        inputs: [ValueId(a), ValueId(b)],
        relu: false,
    }
}

fn graph(ops: impl IntoIterator<Item = (Op, Shape)>, outputs: &[usize]) -> Graph {
    let node = |(i, (op, shape))| Node {
        name: format!("n{i}"),
        op,
        shape,
    };
    let first = std::iter::once((Op::Input(0), SQUARE));
    Graph {
        nodes: first.chain(ops).enumerate().map(node).collect(),
        outputs: outputs.iter().map(|o| ValueId(*o)).collect(),
    }
}

/// Fuses, checks that the answers stay, and returns the result.
fn fused(graph: &Graph) -> Graph {
    let result = fuse(graph.clone());
    let input = vec![numbers(99, len(SQUARE))];
    let (before, after) = (evaluate(graph, &input), evaluate(&result, &input));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.concat().iter().zip(after.concat()) {
        let tolerance = 1e-4 * before.abs().max(1.0);
        assert!((before - after).abs() <= tolerance, "{before} {after}");
    }
    result
}

#[test]
fn later_convolution_takes_the_sum() {
    let pointwise = |input, seed| (conv(input, 3, SQUARE, window(1, 1, 0), seed), SQUARE);
    for sum in [add(1, 2), add(2, 1)] {
        let ops = [
            pointwise(0, 1),
            pointwise(0, 2),
            (sum, SQUARE),
            (relu(3, 3), SQUARE),
        ];
        let result = fused(&graph(ops, &[4]));
        assert_eq!(result.nodes.len(), 3);
        let Op::Conv(last) = &result.nodes[2].op else {
            panic!("{:?}", result.nodes[2])
        };
        assert_eq!((last.residual, last.relu), (Some(ValueId(1)), true));
        assert_eq!(*last.weights.scaled(), numbers(2, 9));
    }
}

#[test]
fn value_with_two_readers_is_not_folded_away() {
    let ops = [
        (conv(0, 3, SQUARE, window(3, 1, 1), 1), SQUARE),
        (affine(1, 3, 2, true), SQUARE),
        (add(1, 2), SQUARE),
    ];
    assert_eq!(fused(&graph(ops.clone(), &[3])).nodes.len(), 4);
    // An output is a reader too.
    assert_eq!(fused(&graph(ops[..2].to_vec(), &[1, 2])).nodes.len(), 3);
    assert_eq!(fused(&graph(ops[..2].to_vec(), &[2])).nodes.len(), 2);
}

/// ReLU6 in either order of its bounds, as exporters write it.
#[test]
fn both_bounds_become_part_of_a_convolution() {
    let pointwise = |input, seed| (conv(input, 3, SQUARE, window(1, 1, 0), seed), SQUARE);
    for bounds in [
        [relu(1, 3), at_most(2, 3, 6.0)],
        [at_most(1, 3, 6.0), relu(2, 3)],
    ] {
        let [first, second] = bounds.map(|op| (op, SQUARE));
        let result = fused(&graph([pointwise(0, 1), first, second], &[3]));
        assert_eq!(result.nodes.len(), 2);
        let Op::Conv(conv) = &result.nodes[1].op else {
            panic!("{:?}", result.nodes[1])
        };
        assert_eq!((conv.relu, conv.most), (true, 6.0));
    }
    // A lower bound above the upper one is not the same in either order.
    let ops = [
        pointwise(0, 1),
        (at_most(1, 3, -1.0), SQUARE),
        (relu(2, 3), SQUARE),
    ];
    assert_eq!(fused(&graph(ops, &[3])).nodes.len(), 4);
}

#[test]
fn factor_behind_a_relu_or_a_sum_stays() {
    let pointwise = |input, seed| (conv(input, 3, SQUARE, window(1, 1, 0), seed), SQUARE);
    let ops = [
        pointwise(0, 1),
        (relu(1, 3), SQUARE),
        (affine(2, 3, 4, false), SQUARE),
    ];
    assert_eq!(fused(&graph(ops, &[3])).nodes.len(), 3);
    let ops = [
        pointwise(0, 1),
        (add(1, 0), SQUARE),
        (affine(2, 3, 4, false), SQUARE),
    ];
    assert_eq!(fused(&graph(ops, &[3])).nodes.len(), 3);
}

#[test]
fn skipped_pixels_become_the_stride_of_a_pointwise_convolution_only() {
    let half = Shape {
        height: 2,
        width: 2,
        ..SQUARE
    };
    let rows = Window {
        stride: [2, 1],
        ..window(1, 1, 0)
    };
    let columns = Window {
        stride: [1, 2],
        ..window(1, 1, 0)
    };
    let pool = |input, window| Op::MaxPool {
        input: ValueId(input),
        window,
    };
    let skipping = [
        (
            pool(0, rows),
            Shape {
                height: 2,
                ..SQUARE
            },
        ),
        (pool(1, columns), half),
    ];
    let with = |last| skipping.clone().into_iter().chain([(last, half)]);
    let result = fused(&graph(with(conv(2, 3, half, window(1, 1, 0), 1)), &[3]));
    let Op::Conv(strided) = &result.nodes[1].op else {
        panic!("{:?}", result.nodes[1])
    };
    assert_eq!((strided.window.stride, result.nodes.len()), ([2, 2], 2));
    let result = fused(&graph(with(conv(2, 3, half, window(3, 1, 1), 1)), &[3]));
    assert_eq!(result.nodes.len(), 3);
}

#[test]
fn mean_as_sum_and_division_is_a_mean() {
    let vector = Shape {
        height: 1,
        width: 1,
        ..SQUARE
    };
    let factor = |input, factor: f32| Op::Affine {
        input: ValueId(input),
        scale: vec![factor; 3],
        shift: vec![0.0; 3],
        relu: false,
        most: f32::INFINITY,
    };
    let pool = Op::AvgPool {
        input: ValueId(0),
        window: window(4, 1, 0),
        count_include_pad: true,
    };
    for count in [16.0, 49.0, 3.0] {
        let ops = [
            (pool.clone(), vector),
            (factor(1, count), vector),
            (factor(2, 1.0 / count), vector),
        ];
        let result = fused(&graph(ops, &[3]));
        assert_eq!(result.nodes.len(), 2);
        assert_eq!(result.nodes[1].op, Op::GlobalAvgPool { input: ValueId(0) });
    }
}

proptest! {
    #[test]
    fn answers_stay_whatever_the_graph(
        choices in prop::collection::vec((0..6_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..14),
        outputs in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let mut ops: Vec<(Op, Shape)> = Vec::new();
        for (seed, (choice, a, b)) in choices.into_iter().enumerate() {
            let (a, b) = (a.index(ops.len() + 1), b.index(ops.len() + 1));
            let seed = seed as u64 * 31;
            let op = match choice {
                0 => conv(a, 3, SQUARE, window(3, 1, 1), seed),
                1 => conv(a, 3, SQUARE, window(1, 1, 0), seed),
                2 => affine(a, 3, seed, seed.is_multiple_of(2)),
                3 if seed.is_multiple_of(4) => at_most(a, 3, 0.3 - (seed % 5) as f32 / 10.0),
                3 => relu(a, 3),
                4 => add(a, b),
                _ => Op::MaxPool { input: ValueId(a), window: window(3, 1, 1) },
            };
            ops.push((op, SQUARE));
        }
        let outputs: Vec<usize> = outputs.iter().map(|o| o.index(ops.len() + 1)).collect();
        let graph = graph(ops, &outputs);
        let result = fused(&graph);
        prop_assert!(result.nodes.len() <= graph.nodes.len());
        for (i, node) in result.nodes.iter().enumerate() {
            prop_assert!(node.reads().iter().all(|v| v.0 < i));
        }
    }
}

fn mul(a: usize, b: usize) -> Op {
    Op::Mul {
        inputs: [ValueId(a), ValueId(b)],
        addend: None,
        relu: false,
    }
}

fn sigmoid(input: usize) -> Op {
    Op::Activation {
        input: ValueId(input),
        activation: Activation::Sigmoid,
    }
}

#[test]
fn value_times_its_own_sigmoid_is_an_activation() {
    let convolved = (conv(0, 3, SQUARE, window(3, 1, 1), 1), SQUARE);
    let hard = Op::Affine {
        input: ValueId(1),
        scale: vec![1.0 / 6.0; 3],
        shift: vec![0.5; 3],
        relu: true,
        most: 1.0,
    };
    for (gate, expected) in [
        (sigmoid(1), Activation::Silu),
        (hard, Activation::HardSwish),
    ] {
        for product in [mul(1, 2), mul(2, 1)] {
            let ops = [convolved.clone(), (gate.clone(), SQUARE), (product, SQUARE)];
            let result = fused(&graph(ops, &[3]));
            assert_eq!(result.nodes.len(), 3);
            let is = Op::Activation {
                input: ValueId(1),
                activation: expected,
            };
            assert_eq!(result.nodes[2].op, is);
        }
    }
    // The gate of another value, or one that something else reads, stays.
    let ops = [convolved.clone(), (sigmoid(0), SQUARE), (mul(1, 2), SQUARE)];
    assert_eq!(fused(&graph(ops, &[3])).nodes.len(), 4);
    let ops = [convolved, (sigmoid(1), SQUARE), (mul(1, 2), SQUARE)];
    assert_eq!(fused(&graph(ops, &[2, 3])).nodes.len(), 4);
}

#[test]
fn product_takes_the_sum_and_the_relu_behind_it() {
    let single = Shape {
        height: 1,
        width: 1,
        ..SQUARE
    };
    for sum in [add(3, 0), add(0, 3)] {
        let ops = [
            (Op::GlobalAvgPool { input: ValueId(0) }, single),
            (sigmoid(1), single),
            (mul(0, 2), SQUARE),
            (sum, SQUARE),
            (relu(4, 3), SQUARE),
        ];
        let result = fused(&graph(ops, &[5]));
        assert_eq!(result.nodes.len(), 4);
        let is = Op::Mul {
            inputs: [ValueId(0), ValueId(2)],
            addend: Some(ValueId(0)),
            relu: true,
        };
        assert_eq!(result.nodes[3].op, is);
    }
}

#[test]
fn windows_keep_what_sees_the_image() {
    let pixel = |channels| Shape {
        channels,
        height: 1,
        width: 1,
    };
    // 4 × 4 to one pixel, of which every further window sees the middle alone.
    let ops = [
        (conv(0, 5, SQUARE, window(5, 4, 1), 1), pixel(5)),
        (conv(1, 4, pixel(5), window(3, 1, 1), 2), pixel(4)),
        (conv(2, 2, pixel(4), window(7, 2, 3), 3), pixel(2)),
    ];
    let result = fused(&graph(ops, &[3]));
    let windows = result.nodes.iter().filter_map(|node| match &node.op {
        Op::Conv(conv) => Some((conv.window, conv.weights.len())),
        _ => None,
    });
    let expected = [
        (window(4, 4, 0), 5 * 3 * 16),
        (window(1, 1, 0), 4 * 5),
        (window(1, 2, 0), 2 * 4),
    ];
    assert_eq!(windows.collect::<Vec<_>>(), expected);
}

proptest! {
    #[test]
    fn cut_windows_compute_the_same(
        height in 1usize..4, kernel in 1usize..8, stride in 1usize..4, pad in 0usize..4, outputs in 1usize..4,
    ) {
        let input = Shape { channels: 3, height, width: 4 };
        let image = (Op::MaxPool {
            input: ValueId(0),
            window: Window { kernel: [5 - height, 1], ..window(1, 1, 0) },
        }, input);
        let size = |side: usize| (side + 2 * pad).checked_sub(kernel).map(|d| d / stride + 1);
        let (Some(rows), Some(columns)) = (size(height), size(4)) else { return Ok(()) };
        let to = Shape { channels: outputs, height: rows, width: columns };
        let op = conv(1, outputs, input, window(kernel, stride, pad), 5);
        fused(&graph([image, (op, to)], &[2]));
    }
}
