//! A graph of bytes to a program: which operators between `Dequantize` and `Quantize` become which step.
//!
//! Called by `compile`. In such a graph every value that is kept is the result of a `Quantize`; an operator reads
//! `Dequantize` of some and its result is quantized. A convolution whose result is only added to another value is
//! computed together with that sum, through the same roundings.

use super::compile::{CompileError, MAX_IMAGE_CHANNELS, batch_from, borders, builder, moving};
use super::graph::{Conv, Graph, Node, Op, ValueId};
use kernels::Normalization;
use kernels::nn::{
    Arithmetic, Builder, Int8Conv, Int8Residual, Program, Quantization, Unsupported, Value,
};

/// See [`super::compile`].
pub(super) fn compile_int8(
    graph: &Graph,
    arithmetic: Arithmetic,
    capacity: usize,
    threads: usize,
    normalization: Option<[Normalization; 3]>,
) -> Result<Program, CompileError> {
    let mut compiler = Compiler {
        builder: builder(graph, arithmetic, capacity, threads, normalization),
        readers: readers(graph),
        borders: vec![0; graph.nodes.len()],
        values: vec![None; graph.nodes.len()],
        graph,
    };
    for (i, border) in borders(graph).into_iter().enumerate() {
        let owner = &mut compiler.borders[root(graph, ValueId(i)).0];
        *owner = border.max(*owner);
    }
    let batch_from = batch_from(graph);
    for (i, node) in graph.nodes.iter().enumerate() {
        if i == batch_from {
            compiler.builder.begin_batch();
        }
        let value = compiler.node(ValueId(i), node);
        compiler.values[i] = value.map_err(|Unsupported(reason)| CompileError {
            node: node.name.clone(),
            reason,
        })?;
    }
    for output in &graph.outputs {
        let name = &graph.nodes[output.0].name;
        // What leaves as numbers is read by the scale that it was written by, or not at all.
        let read = match graph.nodes[output.0].op {
            Op::Dequantize { .. } => compiler.quantization(*output).map(drop),
            _ => Ok(()),
        };
        match read.and_then(|()| compiler.value(*output)) {
            Ok(value) => compiler.builder.leave(name, value),
            Err(Unsupported(reason)) => {
                return Err(CompileError {
                    node: name.clone(),
                    reason,
                });
            }
        }
    }
    Ok(compiler.builder.finish())
}

fn refuse<T>(reason: &str) -> Result<T, Unsupported> {
    Err(Unsupported(reason.to_owned()))
}

/// How many read each value, outputs included.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.nodes.len()];
    let inside = graph.nodes.iter().flat_map(Node::reads);
    for value in inside.chain(graph.outputs.iter().copied()) {
        readers[value.0] += 1;
    }
    readers
}

/// The value whose bytes a `Dequantize` reads, past pairs of it and `Quantize` that change nothing.
fn root(graph: &Graph, value: ValueId) -> ValueId {
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

struct Compiler<'g> {
    graph: &'g Graph,
    builder: Builder,
    readers: Vec<usize>,
    /// Lines of zero that readers want around the values of `Quantize`.
    borders: Vec<usize>,
    /// The values that steps have computed; none of images that are read as they are, and of what is computed with a
    /// later sum.
    values: Vec<Option<Value>>,
}

impl Compiler<'_> {
    fn op(&self, value: ValueId) -> &Op {
        &self.graph.nodes[value.0].op
    }

    /// The bytes of a value that has been computed, or its numbers if it has no bytes.
    fn value(&self, value: ValueId) -> Result<Value, Unsupported> {
        match self.values[root(self.graph, value).0] {
            Some(value) => Ok(value),
            None => refuse("it reads what is not stored as bytes"),
        }
    }

    fn node(&mut self, id: ValueId, node: &Node) -> Result<Option<Value>, Unsupported> {
        match &node.op {
            Op::Quantize {
                input,
                quantization,
            } => self.quantize(id, *input, *quantization),
            // Nothing follows the fully connected layer of many exporters.
            Op::Conv(conv) if self.graph.outputs.contains(&id) && self.readers[id.0] == 1 => {
                self.conv(node, conv, (0, None), None).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The step whose result becomes bytes here.
    fn quantize(
        &mut self,
        id: ValueId,
        input: ValueId,
        quantization: Quantization,
    ) -> Result<Option<Value>, Unsupported> {
        if !quantization.is_valid() {
            return refuse("its scale is no step");
        }
        let later = match self.op(input) {
            Op::Input(_) => self.is_read_as_images(id),
            Op::Conv(_) => self.sum_of(id).is_some(),
            Op::Dequantize { .. } => root(self.graph, id) != id,
            _ => false,
        };
        match later {
            true => Ok(None),
            false => {
                let border = self.borders[id.0];
                self.bytes(input, quantization, border).map(Some)
            }
        }
    }

    /// The bytes of numbers.
    fn bytes(
        &mut self,
        id: ValueId,
        quantization: Quantization,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let graph = self.graph;
        let node = &graph.nodes[id.0];
        if self.readers[id.0] > 1 && !matches!(node.op, Op::Input(_) | Op::Dequantize { .. }) {
            return refuse("its numbers are read before they become bytes");
        }
        let name = node.name.as_str();
        match &node.op {
            Op::Input(number) => Ok(self.builder.int8_enter(name, *number, quantization, border)),
            Op::Conv(conv) => self.conv(node, conv, (border, Some(quantization)), None),
            Op::Add { inputs, relu } => self.sum(node, *inputs, *relu, (border, quantization)),
            Op::MaxPool { input, window } => {
                // The largest number becomes the largest byte, so that it may be looked for among bytes.
                let from = match self.quantization(*input) {
                    Ok(same) if same == quantization => self.value(*input)?,
                    _ => self.bytes(*input, quantization, 0)?,
                };
                let moving = moving(window, node);
                self.builder.int8_max_pool(name, from, moving, border)
            }
            Op::GlobalAvgPool { input } => {
                self.quantization(*input)?;
                let from = self.value(*input)?;
                self.builder.int8_global_mean(name, from, quantization)
            }
            Op::Affine {
                input,
                scale,
                shift,
                relu: true,
                most: f32::INFINITY,
            } if scale.iter().all(|s| *s == 1.0) && shift.iter().all(|s| *s == 0.0) => {
                self.quantization(*input)?;
                let from = self.value(*input)?;
                let relu = |x: f32| x.max(0.0);
                self.builder
                    .int8_map(name, from, quantization, relu, border)
            }
            Op::Activation { input, activation } => {
                self.quantization(*input)?;
                let from = self.value(*input)?;
                let of = |x: f32| activation.of(x);
                self.builder.int8_map(name, from, quantization, of, border)
            }
            Op::Dequantize { .. } => {
                self.quantization(id)?;
                let from = self.value(id)?;
                self.builder
                    .int8_map(name, from, quantization, |x| x, border)
            }
            _ => refuse("no kernel computes it on bytes"),
        }
    }

    /// What the bytes of a value mean.
    fn quantization(&self, value: ValueId) -> Result<Quantization, Unsupported> {
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
    fn is_read_as_images(&self, id: ValueId) -> bool {
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
            && channels <= MAX_IMAGE_CHANNELS
            && conv.groups == 1
            && conv.residual.is_none()
            && conv.window.kernel[1] * channels <= 64
            && conv.window.stride[0] == conv.window.stride[1]
    }

    /// The sum that a convolution, quantized as `id`, is computed with: the only reader of its bytes, and the
    /// convolution the later of its operands that are one.
    fn sum_of(&self, id: ValueId) -> Option<ValueId> {
        let read = self.reader(id)?;
        let sum = self.reader(read)?;
        let Op::Add { inputs, .. } = self.op(sum) else {
            return None;
        };
        self.reader(sum)
            .filter(|reader| matches!(self.op(*reader), Op::Quantize { .. }))?;
        (self.taken_by(*inputs)? == id).then_some(sum)
    }

    /// The operand of a sum, as it is quantized, that is a convolution read by nobody else; the later one of two.
    fn taken_by(&self, inputs: [ValueId; 2]) -> Option<ValueId> {
        let taken = |read: &ValueId| {
            let Op::Dequantize { input, .. } = self.op(*read) else {
                return None;
            };
            let Op::Quantize { input: conv, .. } = self.op(*input) else {
                return None;
            };
            let alone = [*read, *input, *conv]
                .iter()
                .all(|v| self.readers[v.0] == 1);
            (alone && matches!(self.op(*conv), Op::Conv(_))).then_some(*input)
        };
        inputs.iter().filter_map(taken).max()
    }

    fn sum(
        &mut self,
        node: &Node,
        inputs: [ValueId; 2],
        relu: bool,
        (border, quantization): (usize, Quantization),
    ) -> Result<Value, Unsupported> {
        let graph = self.graph;
        for input in inputs {
            self.quantization(input)?;
        }
        let Some(own) = self.taken_by(inputs) else {
            let values = [self.value(inputs[0])?, self.value(inputs[1])?];
            let name = node.name.as_str();
            return (self.builder).int8_add(name, values, quantization, relu, border);
        };
        let Op::Quantize {
            input: conv,
            quantization: own_quantization,
        } = *self.op(own)
        else {
            unreachable!("a value that a sum takes is quantized")
        };
        let other = inputs.into_iter().find(|i| root(graph, *i) != own);
        let other = other.ok_or_else(|| Unsupported("it adds a value to itself".into()))?;
        let conv_node = &graph.nodes[conv.0];
        let Op::Conv(conv) = &conv_node.op else {
            unreachable!("a value that a sum takes is a convolution's")
        };
        let residual = Int8Residual {
            value: self.value(other)?,
            own: own_quantization,
            own_relu: conv.relu,
        };
        let end = Some((residual, relu));
        self.conv(conv_node, conv, (border, Some(quantization)), end)
    }

    fn conv(
        &mut self,
        node: &Node,
        conv: &Conv,
        (border, output): (usize, Option<Quantization>),
        sum: Option<(Int8Residual, bool)>,
    ) -> Result<Value, Unsupported> {
        let input = self.quantization(conv.input)?;
        let Some((weights, scales)) = conv.weights.as_int8() else {
            return refuse("its weights are no bytes");
        };
        if conv.groups != 1 || conv.residual.is_some() {
            return refuse("bytes in groups, or a sum of numbers");
        }
        if conv.most < f32::INFINITY {
            return refuse("an upper bound that its bytes do not have");
        }
        let bias = bias(conv, input, scales)?;
        let layer = Int8Conv {
            moving: moving(&conv.window, node),
            outputs: conv.outputs,
            weights: &weights,
            scales,
            bias: &bias,
            residual: sum.map(|(residual, _)| residual),
            relu: sum.map_or(conv.relu, |(_, relu)| relu),
            output,
            border,
        };
        let source = root(self.graph, conv.input);
        if let (
            None,
            Op::Quantize {
                input: image,
                quantization,
            },
        ) = (self.values[source.0], self.op(source))
            && let Op::Input(number) = self.op(*image)
        {
            let (number, quantization) = (*number, *quantization);
            return (self.builder).int8_first_conv(&node.name, number, quantization, &layer);
        }
        let from = self.value(conv.input)?;
        self.builder.int8_conv(&node.name, from, &layer)
    }
}

/// The bias in steps of the input's scale times the weights'.
fn bias(conv: &Conv, input: Quantization, scales: &[f32]) -> Result<Vec<i32>, Unsupported> {
    if conv.bias.len() != scales.len() {
        return refuse("its bias does not fit its channels");
    }
    let step = |(bias, scale): (&f32, &f32)| {
        let steps = (f64::from(*bias) / (f64::from(input.scale) * f64::from(*scale))).round();
        match steps.abs() < f64::from(i32::MAX) {
            true => Ok(steps as i32),
            false => Err(Unsupported(format!("a bias of {bias} is {steps:e} steps"))),
        }
    };
    conv.bias.iter().zip(scales).map(step).collect()
}
