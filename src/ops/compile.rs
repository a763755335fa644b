//! A graph to a program: which step computes which node, where rows of zeros are needed, where batching begins.

use super::graph::{Graph, Node, Op, Shape, ValueId, Window};
use crate::kernels::nn::{
    Arithmetic, Builder, ConvLayer, Moving, Pooling, Program, Refusal, Value,
};

/// Planes of at most so many pixels are computed for all images of a batch at once: their weights outweigh them.
const BATCHED_PIXELS: usize = 14 * 14;

/// Why a graph has no program here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Something that no kernel of ours does; tract computes it then.
    #[error("node \"{node}\": {reason}")]
    Unsupported {
        /// Its name.
        node: String,
        /// What it is that is not supported.
        reason: String,
    },
    /// Weights that are NaN or infinite.
    #[error("node \"{node}\": a weight is {value}: the weights are damaged")]
    NotFinite {
        /// Its name.
        node: String,
        /// NaN or an infinity, as text.
        value: String,
    },
}

/// Packs the weights and lays out the memory of `graph`, for batches of up to `capacity` images, and up to `threads` that
/// share an inference.
///
/// # Errors
/// [`CompileError`], naming the node.
pub fn compile(
    graph: &Graph,
    arithmetic: Arithmetic,
    capacity: usize,
    threads: usize,
) -> Result<Program, CompileError> {
    let mut builder = Builder::new(arithmetic, capacity, threads);
    let borders = borders(graph);
    let batch_from = graph
        .nodes
        .iter()
        .rposition(|n| n.shape.height * n.shape.width > BATCHED_PIXELS)
        .map_or(0, |last| last + 1);
    let mut values: Vec<Value> = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        if i == batch_from {
            builder.begin_batch();
        }
        let exact = graph.outputs.contains(&ValueId(i)) && !is_read(graph, ValueId(i));
        let value = add(&mut builder, graph, node, &values, borders[i], exact);
        let error = |Refusal(reason)| CompileError::Unsupported {
            node: node.name.clone(),
            reason,
        };
        values.push(value.map_err(error)?);
    }
    for output in &graph.outputs {
        builder.leave(&graph.nodes[output.0].name, values[output.0]);
    }
    Ok(builder.finish())
}

fn add(
    builder: &mut Builder,
    graph: &Graph,
    node: &Node,
    values: &[Value],
    border: usize,
    exact: bool,
) -> Result<Value, Refusal> {
    let name = node.name.as_str();
    let Shape {
        channels,
        height,
        width,
    } = node.shape;
    let value = |id: &ValueId| values[id.0];
    let moving = |window: &Window| Moving {
        kernel: window.kernel,
        stride: window.stride,
        pad_before: window.pad_before,
        output: [height, width],
    };
    match &node.op {
        Op::Input(_) => Ok(builder.enter(name, [channels, height, width], border)),
        Op::Conv(conv) => builder.conv(
            name,
            ConvLayer {
                input: value(&conv.input),
                moving: moving(&conv.window),
                groups: conv.groups,
                outputs: conv.outputs,
                weights: &conv.weights.to_vec(),
                bias: &conv.bias,
                residual: conv.residual.as_ref().map(value),
                relu: conv.relu,
                border,
                exact: exact && conv.residual.is_none(),
            },
        ),
        Op::Affine {
            input,
            scale,
            shift,
            relu,
        } => builder.affine(
            name,
            value(input),
            scale.clone(),
            shift.clone(),
            *relu,
            border,
        ),
        Op::Add { inputs, relu } => {
            let [a, b] = inputs;
            builder.add(name, [value(a), value(b)], *relu, border)
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
        Op::GlobalAvgPool { input } => {
            let shape = graph.nodes[input.0].shape;
            match shape.height * shape.width {
                1 => Ok(value(input)),
                _ => Ok(builder.global_mean(name, value(input))),
            }
        }
    }
}

/// For each node the zeros that convolutions want around its value.
fn borders(graph: &Graph) -> Vec<usize> {
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

fn is_read(graph: &Graph, value: ValueId) -> bool {
    graph.nodes.iter().any(|node| node.reads().contains(&value))
}
