//! A graph to a program: which step computes which node, where rows of zeros are needed, where batching begins.

use super::compile_int8::compile_int8;
use super::graph::{Graph, Node, Op, ValueId, Window};
use kernels::Normalization;
use kernels::nn::{
    Arithmetic, Builder, ConvLayer, Pooling, Precision, Program, SlidingWindow, Unsupported, Value,
};

/// Planes of at most so many pixels are computed for all images of a batch at once: their weights outweigh them.
const BATCHED_PIXELS: usize = 14 * 14;

/// Most channels of what counts as an image.
pub(super) const MAX_IMAGE_CHANNELS: usize = 4;

/// Why a graph has no program here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node \"{node}\": {reason}")]
pub struct CompileError {
    /// The node's name.
    pub node: String,
    /// What it is that no kernel of ours does.
    pub reason: String,
}

/// Packs the weights and lays out the memory of `graph`, for batches of up to `capacity` images, and up to `threads`
/// that share an inference. `normalization` is what bytes of an RGB image mean, where images may come as bytes.
///
/// # Errors
/// [`CompileError`], naming the node.
pub fn compile(
    graph: &Graph,
    arithmetic: Arithmetic,
    capacity: usize,
    threads: usize,
    normalization: Option<[Normalization; 3]>,
) -> Result<Program, CompileError> {
    if arithmetic.precision() == Precision::Int8 {
        return compile_int8(graph, arithmetic, capacity, threads, normalization.as_ref());
    }
    let mut builder = builder(graph, arithmetic, capacity, threads, normalization);
    let borders = borders(graph);
    let batch_from = batch_from(graph);
    let mut values: Vec<Option<Value>> = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        if i == batch_from {
            builder.begin_batch();
        }
        let exact = graph.outputs.contains(&ValueId(i)) && !is_read(graph, ValueId(i));
        if is_read_once_as_images(graph, ValueId(i)) {
            values.push(None); // by a convolution that needs no lines
            continue;
        }
        let value = add(
            &mut builder,
            graph,
            node,
            &values,
            (&borders, borders[i]),
            exact,
        );
        let error = |Unsupported(reason)| CompileError {
            node: node.name.clone(),
            reason,
        };
        values.push(Some(value.map_err(error)?));
    }
    for output in &graph.outputs {
        if let Some(value) = values[output.0] {
            builder.leave(&graph.nodes[output.0].name, value);
        }
    }
    Ok(builder.finish())
}

/// A builder without steps.
pub(super) fn builder(
    graph: &Graph,
    arithmetic: Arithmetic,
    capacity: usize,
    threads: usize,
    normalization: Option<[Normalization; 3]>,
) -> Builder {
    let inputs = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Input(_) => Some([node.shape.channels, node.shape.height, node.shape.width]),
        _ => None,
    });
    let mut builder = Builder::new(arithmetic, inputs.collect(), capacity, threads);
    if let Some(normalization) = normalization {
        builder.normalize(normalization);
    }
    builder
}

/// The first node from which on all images of a batch are computed at once.
pub(super) fn batch_from(graph: &Graph) -> usize {
    let is_large = |n: &Node| n.shape.height * n.shape.width > BATCHED_PIXELS;
    graph
        .nodes
        .iter()
        .rposition(is_large)
        .map_or(0, |last| last + 1)
}

/// How a node's window moves over its input.
pub(super) fn moving(window: &Window, node: &Node) -> SlidingWindow {
    SlidingWindow {
        kernel: window.kernel,
        stride: window.stride,
        pad_before: window.pad_before,
        output: [node.shape.height, node.shape.width],
    }
}

/// The step of a node on numbers.
pub(super) fn add(
    builder: &mut Builder,
    graph: &Graph,
    node: &Node,
    values: &[Option<Value>],
    (borders, border): (&[usize], usize),
    exact: bool,
) -> Result<Value, Unsupported> {
    let name = node.name.as_str();
    let moving = |window: &Window| moving(window, node);
    let value = |id: &ValueId| values[id.0].expect("only images have no value");
    match &node.op {
        Op::Input(number) => Ok(builder.enter(name, *number, border)),
        Op::Conv(conv) => {
            let weights = conv.weights.scaled();
            let layer = ConvLayer {
                moving: moving(&conv.window),
                groups: conv.groups,
                outputs: conv.outputs,
                weights: &weights,
                bias: &conv.bias,
                residual: conv.residual.as_ref().map(value),
                relu: conv.relu,
                most: conv.most,
                border,
                exact: exact && conv.residual.is_none(),
            };
            match (values[conv.input.0], &graph.nodes[conv.input.0]) {
                (Some(input), _) => builder.conv(name, input, &layer),
                (None, image) => {
                    let Op::Input(number) = image.op else {
                        unreachable!("only inputs have no value")
                    };
                    builder.first_conv(name, number, &layer).or_else(|_| {
                        let input = builder.enter(&image.name, number, borders[conv.input.0]);
                        builder.conv(name, input, &layer)
                    })
                }
            }
        }
        Op::Affine {
            input,
            scale,
            shift,
            relu,
            most,
        } => {
            let factors = [scale.clone(), shift.clone()];
            builder.affine(name, value(input), factors, (*relu, *most), border)
        }
        Op::Add { inputs, relu } => {
            let [a, b] = inputs;
            builder.add(name, [value(a), value(b)], *relu, border)
        }
        Op::Activation { input, activation } => {
            Ok(builder.activate(name, value(input), *activation, border))
        }
        Op::Mul {
            inputs: [a, factor],
            addend,
            relu,
        } => {
            let addend = addend.as_ref().map(value);
            builder.multiply(name, [value(a), value(factor)], addend, *relu, border)
        }
        Op::Concat { inputs } => {
            let inputs: Vec<Value> = inputs.iter().map(value).collect();
            builder.concat(name, &inputs, border)
        }
        Op::MaxPool { input, window } => {
            builder.pool(name, value(input), Pooling::Max, moving(window), border)
        }
        Op::AvgPool {
            input,
            window,
            count_include_pad,
        } => {
            let pooling = match count_include_pad {
                true => Pooling::MeanWithPad,
                false => Pooling::Mean,
            };
            builder.pool(name, value(input), pooling, moving(window), border)
        }
        Op::Quantize { .. } | Op::Dequantize { .. } => {
            Err(Unsupported("bytes among numbers".into()))
        }
        Op::GlobalAvgPool { input } => {
            let shape = graph.nodes[input.0].shape;
            match shape.height * shape.width {
                1 => Ok(value(input)),
                _ => Ok(builder.global_mean(name, value(input))),
            }
        }
    }
}

/// For each node the lines of zeros that convolutions want around its value.
pub(super) fn borders(graph: &Graph) -> Vec<usize> {
    let mut borders = vec![0; graph.nodes.len()];
    for node in &graph.nodes {
        let Op::Conv(conv) = &node.op else { continue };
        let image = graph.nodes[conv.input.0].shape;
        let (size, output) = (
            [image.height, image.width],
            [node.shape.height, node.shape.width],
        );
        for axis in 0..2 {
            let before = conv.window.pad_before[axis];
            let end = (output[axis] - 1) * conv.window.stride[axis] + conv.window.kernel[axis];
            let after = end.saturating_sub(size[axis] + before);
            let border = &mut borders[conv.input.0];
            *border = (*border).max(before).max(after);
        }
    }
    borders
}

/// Whether a value is an image of few channels from outside that a single convolution reads, so that it need not become
/// lines first.
pub(super) fn is_read_once_as_images(graph: &Graph, value: ValueId) -> bool {
    let node = &graph.nodes[value.0];
    let mut readers = graph.nodes.iter().filter(|n| n.reads().contains(&value));
    let is_conv_of_it =
        |n: &Node| matches!(&n.op, Op::Conv(c) if c.input == value && c.residual != Some(value));
    matches!(node.op, Op::Input(_))
        && node.shape.channels <= MAX_IMAGE_CHANNELS
        && !graph.outputs.contains(&value)
        && readers.next().is_some_and(is_conv_of_it)
        && readers.next().is_none()
}

pub(super) fn is_read(graph: &Graph, value: ValueId) -> bool {
    graph.nodes.iter().any(|node| node.reads().contains(&value))
}
