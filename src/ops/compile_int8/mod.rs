//! A graph with bytes in it to a program: which operators between `Dequantize` and `Quantize` become which step.
//!
//! Called by `compile`. An operator that reads `Dequantize` of some values, and whose result is quantized, is computed on
//! bytes where a kernel does that ([`on_bytes`]); a convolution whose result is only added to another value is computed
//! together with that sum, through the roundings that the graph has: two where the convolution's result is quantized
//! before, one where the sum is part of it. All else is computed on numbers, in the same program.

mod integers;
mod on_bytes;

use std::collections::BTreeSet;

use self::integers::Integers;
use self::on_bytes::{OnBytes, is_relu, root};
use super::compile::{
    CompileError, add, batch_from, borders, builder, is_read, is_read_once_as_images, moving,
};
use super::graph::{Conv, Graph, Node, Op, ValueId};
use kernels::Normalization;
use kernels::nn::{
    Arithmetic, Builder, Int8Conv, Int8Own, Int8Residual, Program, Quantization, Unsupported, Value,
};

/// Most times that a graph is compiled anew: a network has few kinds of layers.
const MAX_ROUNDS: usize = 16;

/// See [`super::compile`]. What a step on bytes refuses, as scales that are too far apart, is computed on numbers instead.
pub(super) fn compile_int8(
    graph: &Graph,
    arithmetic: Arithmetic,
    capacity: usize,
    threads: usize,
    normalization: Option<&[Normalization; 3]>,
) -> Result<Program, CompileError> {
    let mut refused = BTreeSet::new();
    loop {
        let plan = OnBytes::of(graph, refused.clone());
        let normalization = normalization.cloned();
        match compile(graph, plan, arithmetic, (capacity, threads), normalization) {
            Ok(program) => return Ok(program),
            Err((Some(value), _)) if refused.len() < MAX_ROUNDS && refused.insert(value) => {}
            Err((_, error)) => return Err(error),
        }
    }
}

/// The program for a plan; or the value that is not computed so, if that is on bytes, and why.
fn compile(
    graph: &Graph,
    plan: OnBytes<'_>,
    arithmetic: Arithmetic,
    (capacity, threads): (usize, usize),
    normalization: Option<[Normalization; 3]>,
) -> Result<Program, (Option<ValueId>, CompileError)> {
    let borders = borders(graph);
    let mut compiler = Compiler {
        builder: builder(graph, arithmetic, capacity, threads, normalization),
        byte_borders: vec![0; graph.nodes.len()],
        bytes: vec![None; graph.nodes.len()],
        numbers: vec![None; graph.nodes.len()],
        borders: &borders,
        plan,
        graph,
    };
    for (i, border) in borders.iter().enumerate() {
        let owner = &mut compiler.byte_borders[root(graph, ValueId(i)).0];
        *owner = (*border).max(*owner);
    }
    let batch_from = batch_from(graph);
    for (i, node) in graph.nodes.iter().enumerate() {
        if i == batch_from {
            compiler.builder.begin_batch();
        }
        let error = |Unsupported(reason)| CompileError {
            node: node.name.clone(),
            reason,
        };
        let on_bytes = match node.op {
            Op::Quantize { input, .. } => input,
            _ => ValueId(i),
        };
        let bytes = compiler.node(ValueId(i), node);
        compiler.bytes[i] = bytes.map_err(|e| (Some(on_bytes), error(e)))?;
        if compiler.plan.as_numbers[i] {
            let numbers = compiler.on_numbers(ValueId(i), node);
            compiler.numbers[i] = numbers.map_err(|e| (None, error(e)))?;
        }
    }
    for output in &graph.outputs {
        let name = &graph.nodes[output.0].name;
        let value = match compiler.numbers[output.0] {
            Some(value) => Ok(value),
            None => compiler.value(*output),
        };
        match value {
            Ok(value) => compiler.builder.leave(name, value),
            Err(Unsupported(reason)) => {
                let node = name.clone();
                return Err((None, CompileError { node, reason }));
            }
        }
    }
    Ok(compiler.builder.finish())
}

fn refuse<T>(reason: &str) -> Result<T, Unsupported> {
    Err(Unsupported(reason.to_owned()))
}

struct Compiler<'g> {
    graph: &'g Graph,
    builder: Builder,
    plan: OnBytes<'g>,
    /// Lines of zero that readers want around a node's numbers.
    borders: &'g [usize],
    /// Lines of zero that readers want around the bytes of `Quantize`.
    byte_borders: Vec<usize>,
    /// The values of bytes that steps have computed; none of images that are read as they are, and of what is computed with
    /// a later sum. Of an output that a convolution on bytes computes, its numbers.
    bytes: Vec<Option<Value>>,
    /// The values of numbers that steps have computed.
    numbers: Vec<Option<Value>>,
}

impl Compiler<'_> {
    fn op(&self, value: ValueId) -> &Op {
        &self.graph.nodes[value.0].op
    }

    /// The bytes of a value that has been computed, or what an output leaves as.
    fn value(&self, value: ValueId) -> Result<Value, Unsupported> {
        match self.bytes[root(self.graph, value).0] {
            Some(value) => Ok(value),
            None => refuse("it reads what is not stored as bytes"),
        }
    }

    /// The numbers of a node that something reads as such.
    fn on_numbers(&mut self, id: ValueId, node: &Node) -> Result<Option<Value>, Unsupported> {
        let border = self.borders[id.0];
        match node.op {
            Op::Dequantize { .. } => {
                self.plan.quantization(id)?;
                let from = self.value(id)?;
                self.builder.dequantize(&node.name, from, border).map(Some)
            }
            _ if is_read_once_as_images(self.graph, id) => Ok(None),
            _ => {
                let exact = self.graph.outputs.contains(&id) && !is_read(self.graph, id);
                let borders = (self.borders, border);
                let (graph, numbers) = (self.graph, &self.numbers);
                add(&mut self.builder, graph, node, numbers, borders, exact).map(Some)
            }
        }
    }

    fn node(&mut self, id: ValueId, node: &Node) -> Result<Option<Value>, Unsupported> {
        match &node.op {
            Op::Quantize {
                input,
                quantization,
            } => self.quantize(id, *input, *quantization),
            // Nothing follows the fully connected layer of many exporters.
            Op::Conv(conv) if self.plan.leaves(id) => {
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
        let border = self.byte_borders[id.0];
        if let Some(numbers) = self.numbers[input.0] {
            let name = self.graph.nodes[input.0].name.as_str();
            let bytes = self.builder.quantize(name, numbers, quantization, border);
            return bytes.map(Some);
        }
        let later = match self.op(input) {
            Op::Input(_) => self.plan.is_read_as_images(id),
            Op::Conv(_) => self.plan.sum_of(id).is_some(),
            Op::Dequantize { .. } => root(self.graph, id) != id,
            _ => false,
        };
        match later {
            true => Ok(None),
            false => self.bytes(input, quantization, border).map(Some),
        }
    }

    /// The bytes of a node that is computed on bytes.
    fn bytes(
        &mut self,
        id: ValueId,
        quantization: Quantization,
        border: usize,
    ) -> Result<Value, Unsupported> {
        let graph = self.graph;
        let node = &graph.nodes[id.0];
        let name = node.name.as_str();
        match &node.op {
            Op::Input(number) => Ok(self.builder.int8_enter(name, *number, quantization, border)),
            Op::Conv(conv) => {
                let residual = match conv.residual {
                    Some(added) => {
                        self.plan.quantization(added)?;
                        let value = self.value(added)?;
                        Some((Int8Residual { value, own: None }, conv.relu))
                    }
                    None => None,
                };
                self.conv(node, conv, (border, Some(quantization)), residual)
            }
            Op::Add { inputs, relu } => self.sum(node, *inputs, *relu, (border, quantization)),
            Op::MaxPool { input, window } => {
                // The largest number becomes the largest byte, so that it may be looked for among bytes.
                let from = match self.plan.quantization(*input) {
                    Ok(same) if same == quantization => self.value(*input)?,
                    _ => self.bytes(*input, quantization, 0)?,
                };
                let moving = moving(window, node);
                self.builder.int8_max_pool(name, from, moving, border)
            }
            Op::GlobalAvgPool { input } => {
                self.plan.quantization(*input)?;
                let from = self.value(*input)?;
                self.builder.int8_global_mean(name, from, quantization)
            }
            Op::Affine { input, .. } if is_relu(&node.op) => {
                self.plan.quantization(*input)?;
                let from = self.value(*input)?;
                let relu = |x: f32| x.max(0.0);
                self.builder
                    .int8_map(name, from, quantization, relu, border)
            }
            Op::Activation { input, activation } => {
                self.plan.quantization(*input)?;
                let from = self.value(*input)?;
                let of = |x: f32| activation.of(x);
                self.builder.int8_map(name, from, quantization, of, border)
            }
            Op::Dequantize { .. } => {
                self.plan.quantization(id)?;
                let from = self.value(id)?;
                self.builder
                    .int8_map(name, from, quantization, |x| x, border)
            }
            _ => refuse("no kernel computes it on bytes"),
        }
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
            self.plan.quantization(input)?;
        }
        let Some(own) = self.plan.taken_by(inputs) else {
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
            own: Some(Int8Own {
                quantization: own_quantization,
                relu: conv.relu,
            }),
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
        let input = self.plan.quantization(conv.input)?;
        let Integers {
            weights,
            scales,
            bias,
        } = Integers::of(conv, input)?;
        let layer = Int8Conv {
            moving: moving(&conv.window, node),
            groups: conv.groups,
            outputs: conv.outputs,
            weights: &weights,
            scales: &scales,
            bias: &bias,
            residual: sum.map(|(residual, _)| residual),
            relu: sum.map_or(conv.relu, |(_, relu)| relu),
            most: conv.most,
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
        ) = (self.bytes[source.0], self.op(source))
            && let Op::Input(number) = self.op(*image)
        {
            let (number, quantization) = (*number, *quantization);
            return (self.builder).int8_first_conv(&node.name, number, quantization, &layer);
        }
        let from = self.value(conv.input)?;
        self.builder.int8_conv(&node.name, from, &layer)
    }
}
