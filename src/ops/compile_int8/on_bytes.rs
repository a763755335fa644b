//! What of a graph is computed on bytes, and what on numbers.
//!
//! Asked by `compile_int8`. Nothing is computed here: every answer follows from the graph alone.

use std::collections::BTreeSet;

use super::super::compile::{MAX_IMAGE_CHANNELS, batch_from};
use super::super::graph::{Conv, Graph, Node, Op, ValueId};
use super::refuse;
use kernels::nn::{Quantization, Unsupported};

/// The value whose bytes a `Dequantize` reads, past pairs of it and `Quantize` that change nothing.
pub(super) fn root(graph: &Graph, value: ValueId) -> ValueId {
    match &graph.nodes[value.0].op {
        Op::Dequantize { input, .. } => root(graph, *input),
        Op::Quantize {
            input,
            quantization: outer,
        } => match &graph.nodes[input.0].op {
            Op::Dequantize {
                input,
                quantization: inner,
            } if inner == outer => root(graph, *input),
            _ => value,
        },
        _ => value,
    }
}

/// How a graph is divided into what is computed on bytes and what on numbers.
pub(super) struct OnBytes<'g> {
    graph: &'g Graph,
    /// How many nodes read each value; an output of the graph counts as one more.
    readers: Vec<usize>,
    /// The values whose steps on bytes have been refused.
    refused: BTreeSet<ValueId>,
    /// The first node from which on all images of a batch are computed at once.
    batch_from: usize,
    /// Whether each value is wanted as numbers.
    pub(super) as_numbers: Vec<bool>,
}

impl<'g> OnBytes<'g> {
    pub(super) fn of(graph: &'g Graph, refused: BTreeSet<ValueId>) -> OnBytes<'g> {
        let mut readers = vec![0; graph.nodes.len()];
        let inside = graph.nodes.iter().flat_map(Node::reads);
        for value in inside.chain(graph.outputs.iter().copied()) {
            readers[value.0] += 1;
        }
        let mut plan = OnBytes {
            graph,
            readers,
            refused,
            batch_from: batch_from(graph),
            as_numbers: vec![false; graph.nodes.len()],
        };
        for output in &graph.outputs {
            let leaves = plan.leaves(*output) || plan.quantization(*output).is_ok();
            plan.as_numbers[output.0] = !leaves;
        }
        for (i, node) in graph.nodes.iter().enumerate().rev() {
            match &node.op {
                Op::Quantize {
                    input,
                    quantization,
                } => plan.as_numbers[input.0] |= !plan.computes(*input, *quantization),
                Op::Dequantize { .. } => {}
                _ if plan.as_numbers[i] => {
                    for read in node.reads() {
                        plan.as_numbers[read.0] = true;
                    }
                }
                _ => {}
            }
        }
        plan
    }

    fn op(&self, value: ValueId) -> &'g Op {
        &self.graph.nodes[value.0].op
    }

    /// Whether a value that becomes bytes of that meaning is computed on bytes.
    fn computes(&self, value: ValueId, quantization: Quantization) -> bool {
        let reads_bytes = |input: &ValueId| self.quantization(*input).is_ok();
        match self.op(value) {
            Op::Input(_) | Op::Dequantize { .. } => true,
            // What else reads it wants numbers.
            _ if self.readers[value.0] > 1 || self.refused.contains(&value) => false,
            Op::Conv(conv) => self.convolves(conv) && has_bound(conv, quantization),
            Op::Add { inputs, .. } => inputs.iter().all(reads_bytes),
            Op::MaxPool { input, .. } => {
                reads_bytes(input)
                    || !matches!(self.op(*input), Op::Dequantize { .. })
                        && self.computes(*input, quantization)
            }
            // The step on bytes begins the part that computes all images at once.
            Op::GlobalAvgPool { input } => value.0 >= self.batch_from && reads_bytes(input),
            Op::Activation { input, .. } => reads_bytes(input),
            Op::Affine { input, .. } => is_relu(self.op(value)) && reads_bytes(input),
            Op::Mul { .. } | Op::Concat { .. } | Op::AvgPool { .. } | Op::Quantize { .. } => false,
        }
    }

    /// Whether a convolution has bytes to multiply and to add, and a kernel that does.
    fn convolves(&self, conv: &Conv) -> bool {
        let mut read = std::iter::once(conv.input).chain(conv.residual);
        conv.weights.as_int8().is_some() && read.all(|value| self.quantization(value).is_ok())
    }

    /// Whether each channel has a convolution of its own.
    fn is_depthwise(&self, conv: &Conv) -> bool {
        let inputs = self.graph.nodes[conv.input.0].shape.channels;
        conv.groups > 1 && conv.groups == inputs && conv.outputs == inputs
    }

    /// Whether an output is the numbers of a convolution on bytes.
    pub(super) fn leaves(&self, output: ValueId) -> bool {
        let Op::Conv(conv) = self.op(output) else {
            return false;
        };
        self.graph.outputs.contains(&output)
            && !self.refused.contains(&output)
            && self.readers[output.0] == 1
            && self.convolves(conv)
            && conv.residual.is_none()
            && !self.is_depthwise(conv)
    }

    /// What the bytes of a value mean.
    ///
    /// # Errors
    /// [`Unsupported`] if it has none, or they are read by another scale than they are written by.
    pub(super) fn quantization(&self, value: ValueId) -> Result<Quantization, Unsupported> {
        match (self.op(value), self.op(root(self.graph, value))) {
            (
                Op::Dequantize {
                    quantization: read, ..
                },
                Op::Quantize {
                    quantization: written,
                    ..
                },
            ) if read == written => Ok(*read),
            (Op::Dequantize { .. }, Op::Quantize { .. }) => {
                refuse("bytes are read by another scale than they are written by")
            }
            _ => refuse("it reads what is not stored as bytes"),
        }
    }

    /// The only reader of a value.
    fn reader(&self, value: ValueId) -> Option<ValueId> {
        if self.readers[value.0] != 1 {
            return None;
        }
        let reads = |n: &Node| n.reads().contains(&value);
        self.graph.nodes.iter().position(reads).map(ValueId)
    }

    /// Whether an image of few channels is read by a single convolution that has a step of its own, so that it need not
    /// become lines first.
    pub(super) fn is_read_as_images(&self, id: ValueId) -> bool {
        let channels = self.graph.nodes[id.0].shape.channels;
        let Some(reader) = self.reader(id).and_then(|read| self.reader(read)) else {
            return false;
        };
        let Op::Conv(conv) = self.op(reader) else {
            return false;
        };
        let alone = self.reader(reader).is_some_and(|quantized| {
            matches!(self.op(quantized), Op::Quantize { .. }) && self.sum_of(quantized).is_none()
        });
        alone
            && !self.as_numbers[reader.0]
            && channels <= MAX_IMAGE_CHANNELS
            && self.convolves(conv)
            && conv.residual.is_none()
            && conv.groups == 1
            && conv.window.kernel[1] * channels <= 64
    }

    /// The sum that a convolution, quantized as `id`, is computed with: the only reader of its bytes, and the
    /// convolution the later of its operands that are one.
    pub(super) fn sum_of(&self, id: ValueId) -> Option<ValueId> {
        let read = self.reader(id)?;
        let sum = self.reader(read)?;
        let Op::Add { inputs, .. } = self.op(sum) else {
            return None;
        };
        let quantized = self.reader(sum)?;
        let Op::Quantize { quantization, .. } = self.op(quantized) else {
            return None;
        };
        let on_bytes = self.computes(sum, *quantization);
        (on_bytes && self.taken_by(*inputs)? == id).then_some(sum)
    }

    /// The operand of a sum, as it is quantized, that is a convolution on bytes without a sum of its own and read by nobody
    /// else; the later one of two.
    pub(super) fn taken_by(&self, inputs: [ValueId; 2]) -> Option<ValueId> {
        let taken = |read: &ValueId| {
            let Op::Dequantize { input, .. } = self.op(*read) else {
                return None;
            };
            let Op::Quantize {
                input: conv,
                quantization,
            } = self.op(*input)
            else {
                return None;
            };
            let alone = [*read, *input].iter().all(|v| self.readers[v.0] == 1);
            let convolves = matches!(self.op(*conv), Op::Conv(conv) if conv.residual.is_none());
            (alone && convolves && self.computes(*conv, *quantization)).then_some(*input)
        };
        inputs.iter().filter_map(taken).max()
    }
}

/// Whether no result of a convolution is beyond its upper bound once it is a byte: the largest byte means the bound.
fn has_bound(conv: &Conv, quantization: Quantization) -> bool {
    conv.most == f32::INFINITY || quantization.quantize(conv.most) == u8::MAX
}

/// Whether an operator is a ReLU and nothing else.
pub(super) fn is_relu(op: &Op) -> bool {
    let Op::Affine {
        scale,
        shift,
        relu: true,
        most: f32::INFINITY,
        ..
    } = op
    else {
        return false;
    };
    scale.iter().all(|s| *s == 1.0) && shift.iter().all(|s| *s == 0.0)
}
