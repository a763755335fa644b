//! A graph simplified: what can be computed while a convolution stores its outputs becomes part of the convolution.
//!
//! Called by `engine::lower` between recognition and [`super::compile`]. Values stay the same up to rounding.

mod window;

use super::graph::{Conv, Graph, Node, Op, ValueId, Window};
use kernels::nn::Activation;

/// Folds factors, addends, sums and each ReLU into the nodes that they follow, and drops what nobody reads, nodes and
/// parts of windows.
///
/// Only a value that has no other reader is folded away. Where a sum could be part of either of two convolutions, the
/// later one takes it. Inputs stay, read or not, so that their numbers keep their meaning.
#[must_use]
pub fn fuse(graph: Graph) -> Graph {
    let mut fusion = Fusion {
        readers: readers(&graph),
        alias: (0..graph.nodes.len()).collect(),
        nodes: Vec::with_capacity(graph.nodes.len()),
    };
    for (index, node) in graph.nodes.into_iter().enumerate() {
        let node = fusion.add(index, node);
        fusion.nodes.push(node);
    }
    let Fusion { alias, nodes, .. } = fusion;
    let outputs: Vec<usize> = graph.outputs.iter().map(|v| alias[v.0]).collect();
    let mut graph = compact(nodes, &outputs);
    window::trim(&mut graph);
    graph
}

/// Calls `change` with each value that an operator reads.
pub(super) fn for_each_read(op: &mut Op, mut change: impl FnMut(&mut ValueId)) {
    match op {
        Op::Input(_) => {}
        Op::Conv(conv) => {
            change(&mut conv.input);
            conv.residual.iter_mut().for_each(change);
        }
        Op::Add { inputs, .. } => inputs.iter_mut().for_each(change),
        Op::Mul { inputs, addend, .. } => inputs.iter_mut().chain(addend).for_each(change),
        Op::Concat { inputs } => inputs.iter_mut().for_each(change),
        Op::Affine { input, .. }
        | Op::Activation { input, .. }
        | Op::MaxPool { input, .. }
        | Op::AvgPool { input, .. }
        | Op::GlobalAvgPool { input }
        | Op::Quantize { input, .. }
        | Op::Dequantize { input, .. } => change(input),
    }
}

fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.nodes.len()];
    let inside = graph.nodes.iter().flat_map(Node::reads);
    for value in inside.chain(graph.outputs.iter().copied()) {
        readers[value.0] += 1;
    }
    readers
}

struct Fusion {
    /// How many nodes read each value.
    readers: Vec<usize>,
    /// The value to read in place of one that is gone.
    alias: Vec<usize>,
    /// The nodes that are left so far; none where a node has become part of a later one.
    nodes: Vec<Option<Node>>,
}

impl Fusion {
    /// The node as it runs at this place; none if an earlier value stands for it.
    fn add(&mut self, index: usize, mut node: Node) -> Option<Node> {
        for_each_read(&mut node.op, |value| value.0 = self.alias[value.0]);
        match node.op {
            Op::Affine { .. } => self.affine(index, node),
            Op::Add { inputs, relu } => Some(self.sum(inputs, relu, node)),
            Op::Mul {
                inputs,
                addend: None,
                ..
            } => Some(self.product(inputs, node)),
            Op::MaxPool { input, window } if is_subsampling(&window) => {
                Some(self.subsample(input, window, node))
            }
            Op::Conv(ref mut conv) if is_pointwise(&conv.window) => {
                if let Some((input, stride)) = self.take_subsampling(conv.input) {
                    conv.input = input;
                    let own = conv.window.stride;
                    conv.window.stride = [own[0] * stride[0], own[1] * stride[1]];
                }
                Some(node)
            }
            Op::Quantize { input, .. } => self.once(index, input, node),
            Op::AvgPool { input, window, .. } => {
                let whole = self.nodes[input.0].as_ref().is_some_and(|from| {
                    window.kernel == [from.shape.height, from.shape.width]
                        && window.pad_before == [0; 2]
                        && window.pad_after == [0; 2]
                });
                if whole {
                    node.op = Op::GlobalAvgPool { input };
                }
                Some(node)
            }
            _ => Some(node),
        }
    }

    /// A node whose value no earlier one has: files have bytes for each reader of a value, all of the same meaning.
    fn once(&mut self, index: usize, input: ValueId, node: Node) -> Option<Node> {
        let is_same = |earlier: &Option<Node>| earlier.as_ref().is_some_and(|e| e.op == node.op);
        let Some(earlier) = self.nodes.iter().position(is_same) else {
            return Some(node);
        };
        self.alias[index] = earlier;
        self.readers[earlier] += self.readers[index];
        self.readers[input.0] -= 1;
        None
    }

    /// Takes a node away, if nobody else reads it and `fits` says so.
    fn take(&mut self, value: ValueId, fits: impl Fn(&Op) -> bool) -> Option<Node> {
        let fits = self.nodes[value.0].as_ref().is_some_and(|n| fits(&n.op));
        if self.readers[value.0] == 1 && fits {
            self.nodes[value.0].take()
        } else {
            None
        }
    }

    fn affine(&mut self, index: usize, node: Node) -> Option<Node> {
        let Op::Affine {
            input,
            scale,
            shift,
            relu,
            most,
        } = &node.op
        else {
            return Some(node);
        };
        let (input, relu, most) = (*input, *relu, *most);
        let identity = is_identity(scale, shift);
        if identity && !relu && most == f32::INFINITY {
            self.alias[index] = input.0;
            self.readers[input.0] += self.readers[index];
            self.readers[input.0] -= 1;
            return None;
        }
        let Some(mut earlier) = self.take(input, |op| takes_affine(op, identity, relu, most))
        else {
            return Some(node);
        };
        match &mut earlier.op {
            Op::Conv(conv) => {
                if !identity {
                    scale_outputs(conv, scale, shift);
                }
                conv.relu |= relu;
                conv.most = conv.most.min(most);
            }
            Op::Add { relu: earlier, .. } | Op::Mul { relu: earlier, .. } => *earlier |= relu,
            Op::Affine {
                scale: earlier_scale,
                shift: earlier_shift,
                relu: earlier,
                most: earlier_most,
                ..
            } => {
                if !identity {
                    for (i, (a, b)) in earlier_scale.iter_mut().zip(earlier_shift).enumerate() {
                        *a *= scale[i];
                        *b = b.mul_add(scale[i], shift[i]);
                    }
                }
                *earlier |= relu;
                *earlier_most = earlier_most.min(most);
            }
            _ => unreachable!("takes_affine names these"),
        }
        // Two that undo each other, as a sum's count and the division by it.
        if let Op::Affine { .. } = earlier.op {
            return self.affine(index, earlier);
        }
        Some(earlier)
    }

    fn sum(&mut self, inputs: [ValueId; 2], relu: bool, node: Node) -> Node {
        let [a, b] = inputs;
        let orders = if a.0 > b.0 {
            [(a, b), (b, a)]
        } else {
            [(b, a), (a, b)]
        };
        for (conv, residual) in orders {
            if let Some(mut taken) = self.take(conv, takes_residual) {
                match &mut taken.op {
                    Op::Conv(conv) => {
                        conv.residual = Some(residual);
                        conv.relu = relu;
                    }
                    Op::Mul {
                        addend,
                        relu: bounded,
                        ..
                    } => {
                        *addend = Some(residual);
                        *bounded = relu;
                    }
                    _ => unreachable!("takes_residual names these"),
                }
                return taken;
            }
        }
        node
    }

    /// A value times its own sigmoid, hard or not, is an activation of its own.
    fn product(&mut self, [a, b]: [ValueId; 2], node: Node) -> Node {
        for (value, gate) in [(a, b), (b, a)] {
            let taken = self.take(gate, |op| gated(op, value).is_some());
            if let Some(activation) = taken.and_then(|taken| gated(&taken.op, value)) {
                self.readers[value.0] -= 1;
                let op = Op::Activation {
                    input: value,
                    activation,
                };
                return Node { op, ..node };
            }
        }
        node
    }

    fn subsample(&mut self, input: ValueId, window: Window, node: Node) -> Node {
        let Some((input, stride)) = self.take_subsampling(input) else {
            return node;
        };
        let stride = [window.stride[0] * stride[0], window.stride[1] * stride[1]];
        let window = Window { stride, ..window };
        Node {
            op: Op::MaxPool { input, window },
            ..node
        }
    }

    /// The input and the steps of a node that only skips rows and columns.
    fn take_subsampling(&mut self, value: ValueId) -> Option<(ValueId, [usize; 2])> {
        let skips = |op: &Op| matches!(op, Op::MaxPool { window, .. } if is_subsampling(window));
        match self.take(value, skips)?.op {
            Op::MaxPool { input, window } => Some((input, window.stride)),
            _ => None,
        }
    }
}

/// Whether a node can do what an affine behind it does, which changes nothing but the bounds if `identity`.
fn takes_affine(op: &Op, identity: bool, relu: bool, most: f32) -> bool {
    // The lower bound after the upper one is the same as before it, unless that is negative.
    let bounds_fit = |earlier: f32| !relu || earlier >= 0.0;
    match op {
        Op::Conv(conv) => {
            let bounded = conv.relu || relu || most == f32::INFINITY;
            let open = !conv.relu && conv.residual.is_none();
            (identity || open) && bounded && bounds_fit(conv.most)
        }
        Op::Add { .. } | Op::Mul { .. } => identity && most == f32::INFINITY,
        Op::Affine {
            relu: earlier,
            most: bound,
            ..
        } => {
            let open = !earlier && *bound == f32::INFINITY;
            (identity || open) && bounds_fit(*bound)
        }
        _ => false,
    }
}

fn takes_residual(op: &Op) -> bool {
    match op {
        Op::Conv(conv) => !conv.relu && conv.residual.is_none(),
        Op::Mul { addend, relu, .. } => !relu && addend.is_none(),
        _ => false,
    }
}

/// The activation that a value times this function of it is, if it has a name.
fn gated(op: &Op, value: ValueId) -> Option<Activation> {
    match op {
        Op::Activation {
            input,
            activation: Activation::Sigmoid,
        } if *input == value => Some(Activation::Silu),
        Op::Affine {
            input,
            scale,
            shift,
            relu: true,
            most: 1.0,
        } if *input == value => {
            let sixth = |s: &f32| (s - 1.0 / 6.0).abs() <= f32::EPSILON / 4.0;
            let hard = scale.iter().all(sixth) && shift.iter().all(|s| *s == 0.5);
            hard.then_some(Activation::HardSwish)
        }
        _ => None,
    }
}

fn is_pointwise(window: &Window) -> bool {
    window.kernel == [1, 1] && window.pad_before == [0; 2] && window.pad_after == [0; 2]
}

/// Whether a pool's window is a single pixel: it picks every so-manieth.
fn is_subsampling(window: &Window) -> bool {
    is_pointwise(window)
}

/// Whether an affine changes nothing; a mean is often a sum times the rounded inverse of the count.
fn is_identity(scale: &[f32], shift: &[f32]) -> bool {
    let one = |s: &f32| (s - 1.0).abs() <= f32::EPSILON;
    scale.iter().all(one) && shift.iter().all(|s| *s == 0.0)
}

/// `(w · x + b) · scale + shift` as one convolution.
fn scale_outputs(conv: &mut Conv, scale: &[f32], shift: &[f32]) {
    conv.weights.scale(scale);
    for (bias, (scale, shift)) in conv.bias.iter_mut().zip(scale.iter().zip(shift)) {
        *bias = bias.mul_add(*scale, *shift);
    }
}

/// Without what is gone or leads to no output; values numbered anew.
fn compact(nodes: Vec<Option<Node>>, outputs: &[usize]) -> Graph {
    let mut needed = vec![false; nodes.len()];
    for &output in outputs {
        needed[output] = true;
    }
    for (i, node) in nodes.iter().enumerate().rev() {
        let Some(node) = node else { continue };
        needed[i] |= matches!(node.op, Op::Input(_));
        if needed[i] {
            for value in node.reads() {
                needed[value.0] = true;
            }
        }
    }
    let mut number = vec![usize::MAX; nodes.len()];
    let mut kept = Vec::new();
    for (i, node) in nodes.into_iter().enumerate().filter(|(i, _)| needed[*i]) {
        let mut node = node.expect("what is read has not been taken away");
        for_each_read(&mut node.op, |value| value.0 = number[value.0]);
        number[i] = kept.len();
        kept.push(node);
    }
    Graph {
        nodes: kept,
        outputs: outputs.iter().map(|o| ValueId(number[*o])).collect(),
    }
}

#[cfg(test)]
mod tests;
