//! Networks of a few layers that look random, from a seed: what the programs of the tests beside it are made of.

use super::super::graph::{Conv, Graph, Node, Op, Shape, ValueId, Window};
use kernels::nn::Activation;

/// Numbers that look random, from a seed.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0 to `n - 1`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    /// `count` values between -`scale` and `scale`.
    pub(super) fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        let mut value = || ((self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale;
        (0..count).map(|_| value()).collect()
    }
}

/// A network of a few layers that fit together.
pub(super) fn network(seed: u64) -> Graph {
    let n = &mut Numbers(seed | 1);
    let mut graph = Graph::default();
    let shape = Shape {
        channels: [1, 3, 4, 5, 16, 33][n.below(6)],
        height: 1 + n.below(20),
        width: 1 + n.below(20),
    };
    push(&mut graph, Op::Input(0), shape);
    for _ in 0..1 + n.below(5) {
        layer(&mut graph, n);
    }
    let last = ValueId(graph.nodes.len() - 1);
    if n.below(3) > 0 {
        let Shape { channels, .. } = graph.nodes[last.0].shape;
        let pooled = Shape {
            channels,
            height: 1,
            width: 1,
        };
        let pooled = push(&mut graph, Op::GlobalAvgPool { input: last }, pooled);
        conv(&mut graph, n, pooled, (1, 1), [1, 1], None);
    }
    graph.outputs = vec![ValueId(graph.nodes.len() - 1)];
    if n.below(4) == 0 {
        graph.outputs.push(last);
    }
    graph
}

pub(super) fn push(graph: &mut Graph, op: Op, shape: Shape) -> ValueId {
    let name = format!("node {}", graph.nodes.len());
    graph.nodes.push(Node { name, op, shape });
    ValueId(graph.nodes.len() - 1)
}

/// A window of the kernel's size and stride over an image, padded on all sides or on some, and the output's size.
fn window(
    n: &mut Numbers,
    image: Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
) -> (Window, [usize; 2]) {
    let size = [image.height, image.width];
    let pad = |n: &mut Numbers, k: usize| if n.below(4) == 0 { n.below(k) } else { k / 2 };
    let pad_before = kernel.map(|k| pad(n, k));
    let mut pad_after = kernel.map(|k| pad(n, k));
    for axis in 0..2 {
        let short = kernel[axis].saturating_sub(size[axis] + pad_before[axis] + pad_after[axis]);
        pad_after[axis] += short;
    }
    let output =
        [0, 1].map(|i| (size[i] + pad_before[i] + pad_after[i] - kernel[i]) / stride[i] + 1);
    let window = Window {
        kernel,
        stride,
        pad_before,
        pad_after,
    };
    (window, output)
}

/// Those that networks have, and now and then others.
fn strides(n: &mut Numbers) -> [usize; 2] {
    match n.below(4) {
        0 => [1 + n.below(4), 1 + n.below(4)],
        _ => [1 + n.below(2); 2],
    }
}

fn conv(
    graph: &mut Graph,
    n: &mut Numbers,
    input: ValueId,
    (rows, columns): (usize, usize),
    stride: [usize; 2],
    like: Option<ValueId>,
) -> ValueId {
    let image = graph.nodes[input.0].shape;
    let (at, output) = window(n, image, [rows, columns], stride);
    let residual = like.filter(|v| {
        let s = graph.nodes[v.0].shape;
        [s.height, s.width] == output
    });
    let outputs = residual.map_or(1 + n.below(70), |v| graph.nodes[v.0].shape.channels);
    let divisors = (1..=16).filter(|g| {
        [image.channels, outputs]
            .iter()
            .all(|c| c.is_multiple_of(*g))
    });
    let divisors: Vec<usize> = divisors.collect();
    let groups = match n.below(4) {
        0 => divisors[n.below(divisors.len())],
        _ => 1,
    };
    let channels = (outputs, groups);
    push_conv(graph, n, input, channels, (at, output), residual)
}

/// A convolution whose channels have one of their own each.
pub(super) fn depthwise(graph: &mut Graph, n: &mut Numbers, input: ValueId) -> ValueId {
    let image = graph.nodes[input.0].shape;
    let kernel = [[3, 3], [5, 5], [1 + n.below(7), 1 + n.below(7)]][n.below(3)];
    let stride = strides(n);
    let moves = window(n, image, kernel, stride);
    let residual = (moves.1 == [image.height, image.width] && n.below(2) == 0).then_some(input);
    let channels = (image.channels, image.channels);
    push_conv(graph, n, input, channels, moves, residual)
}

/// A convolution of random weights, with so many outputs and groups, whose window moves so and makes an image so large.
fn push_conv(
    graph: &mut Graph,
    n: &mut Numbers,
    input: ValueId,
    (outputs, groups): (usize, usize),
    (at, output): (Window, [usize; 2]),
    residual: Option<ValueId>,
) -> ValueId {
    let [rows, columns] = at.kernel;
    let inputs = graph.nodes[input.0].shape.channels / groups;
    let scale = (3.0 / (inputs * rows * columns) as f32).sqrt();
    let relu = n.below(2) == 0;
    let op = Op::Conv(Conv {
        input,
        outputs,
        groups,
        weights: n.values(outputs * inputs * rows * columns, scale).into(),
        bias: n.values(outputs, 0.3),
        window: at,
        residual,
        relu,
        most: if relu && n.below(3) == 0 {
            0.6
        } else {
            f32::INFINITY
        },
    });
    let shape = Shape {
        channels: outputs,
        height: output[0],
        width: output[1],
    };
    push(graph, op, shape)
}

fn layer(graph: &mut Graph, n: &mut Numbers) {
    let input = ValueId(n.below(graph.nodes.len().min(2)) + graph.nodes.len().saturating_sub(2));
    let image = graph.nodes[input.0].shape;
    match n.below(14) {
        0 => {
            let kernel = [1 + n.below(3), 1 + n.below(3)];
            let stride = [1 + n.below(2); 2];
            let (window, [height, width]) = window(n, image, kernel, stride);
            // A window that lies on padding alone has no maximum.
            let empty = |i: usize| {
                window.pad_after[i] >= window.kernel[i] || window.pad_before[i] >= window.kernel[i]
            };
            if empty(0) || empty(1) {
                return;
            }
            let shape = Shape {
                height,
                width,
                ..image
            };
            let op = match n.below(2) {
                0 => Op::MaxPool { input, window },
                _ => Op::AvgPool {
                    input,
                    window,
                    count_include_pad: n.below(2) == 0,
                },
            };
            push(graph, op, shape);
        }
        1 => {
            let op = Op::Affine {
                input,
                scale: n.values(image.channels, 2.0),
                shift: n.values(image.channels, 1.0),
                relu: n.below(2) == 0,
                most: if n.below(3) == 0 { 0.6 } else { f32::INFINITY },
            };
            push(graph, op, image);
        }
        2 => {
            let mut same = (0..graph.nodes.len()).filter(|v| graph.nodes[*v].shape == image);
            let other = ValueId(same.next_back().expect("itself"));
            let op = Op::Add {
                inputs: [input, other],
                relu: n.below(2) == 0,
            };
            push(graph, op, image);
        }
        3..6 => {
            conv(graph, n, input, (3, 3), [1, 1], Some(input));
        }
        6..8 => {
            let stride = strides(n);
            conv(graph, n, input, (1, 1), stride, Some(input));
        }
        10 => {
            let activations = [
                Activation::LeakyRelu(0.1),
                Activation::Sigmoid,
                Activation::Silu,
                Activation::HardSwish,
            ];
            let activation = activations[n.below(4)];
            push(graph, Op::Activation { input, activation }, image);
        }
        8 => {
            depthwise(graph, n, input);
        }
        11 => squeeze_and_excite(graph, n, input),
        12 => {
            let fits = |v: &usize| {
                let other = graph.nodes[*v].shape;
                (other.height, other.width) == (image.height, image.width)
            };
            let fitting: Vec<usize> = (0..graph.nodes.len()).filter(fits).collect();
            let inputs: Vec<ValueId> = (0..1 + n.below(3))
                .map(|_| ValueId(fitting[n.below(fitting.len())]))
                .collect();
            let channels = inputs.iter().map(|v| graph.nodes[v.0].shape.channels).sum();
            push(graph, Op::Concat { inputs }, Shape { channels, ..image });
        }
        _ => {
            let kernel = (1 + n.below(7), 1 + n.below(7));
            let stride = strides(n);
            conv(graph, n, input, kernel, stride, None);
        }
    }
}

/// A value times a number for each channel, which is made of the channels' means; or times itself.
fn squeeze_and_excite(graph: &mut Graph, n: &mut Numbers, input: ValueId) {
    let image = graph.nodes[input.0].shape;
    let pooled = Shape {
        height: 1,
        width: 1,
        ..image
    };
    let factor = match n.below(3) {
        0 => input,
        _ => {
            let pooled = push(graph, Op::GlobalAvgPool { input }, pooled);
            let narrow = conv(graph, n, pooled, (1, 1), [1, 1], None);
            let wide = conv(graph, n, narrow, (1, 1), [1, 1], Some(pooled));
            let shape = graph.nodes[wide.0].shape;
            let activation = Activation::Sigmoid;
            push(
                graph,
                Op::Activation {
                    input: wide,
                    activation,
                },
                shape,
            )
        }
    };
    let of = graph.nodes[factor.0].shape;
    if of == image || of == pooled {
        let op = Op::Mul {
            inputs: [input, factor],
            addend: (n.below(2) == 0).then_some(input),
            relu: n.below(2) == 0,
        };
        push(graph, op, image);
    }
}
