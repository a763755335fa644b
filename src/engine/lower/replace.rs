//! The regions found in tract's graph, each said in words and made an operator, and the graph put together anew.
//!
//! Called by `engine::import` with what makes an operator of a region.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{DimLike, TypedOp};
use tract_onnx::tract_core::ops::cnn::Conv as TractConv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use super::recognize::{self, Step};
use super::refusals::Made;
use super::{Found, Lowering, is_elementwise, quantized};
use crate::ops::graph::{Conv, Graph, Node, Op, Shape, ValueId};
use crate::ops::{CompileError, Region, RegionOutput};
use kernels::nn::Program;

/// Makes an operator of a region's graph, and of what it gives.
pub(super) type Make<'a> =
    dyn FnMut(&Graph, Vec<RegionOutput>) -> Result<Region, CompileError> + 'a;

/// A network of which regions compute a part.
#[derive(Debug)]
pub(in crate::engine) struct Lowered {
    pub(in crate::engine) model: TypedModel,
    pub(in crate::engine) lowering: Lowering,
    /// The programs that the regions run.
    pub(in crate::engine) programs: Vec<Arc<Program>>,
    /// Whether all that stays tract's works on single numbers, so that a batch is a batch of independent images.
    pub(in crate::engine) elementwise_rest: bool,
}

/// A region's graph, and where it meets tract's.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) graph: Graph,
    inputs: Vec<OutletId>,
    outputs: Vec<OutletId>,
    /// The shape of each output, and whether it leaves on request.
    pub(super) given: Vec<RegionOutput>,
}

impl Found {
    /// The graph in which regions stand for what was found.
    ///
    /// A node that `make` does not support stays tract's.
    ///
    /// # Errors
    /// tract's, if the graph is none.
    pub(in crate::engine) fn replace(
        mut self,
        mut model: TypedModel,
        make: &mut Make<'_>,
    ) -> TractResult<Lowered> {
        let Made {
            regions,
            steps,
            replaced,
        } = self.make(&model, make);
        let mut lowering = Lowering {
            steps,
            replaced,
            refused: self.refused(&model),
            ..Lowering::default()
        };
        let programs = regions.values().filter_map(|(region, _)| region.program());
        let programs: Vec<Arc<Program>> = programs.collect();
        let mut left = BTreeMap::<String, usize>::new();
        let mut layers = BTreeMap::<&str, usize>::new();
        for (_, precision) in programs.iter().flat_map(|program| program.layers()) {
            *layers.entry(precision.name()).or_default() += 1;
        }
        let mut elementwise_rest = true;
        for node in self.left(&model) {
            *left.entry(node.op.name().into_owned()).or_default() += 1;
            if node.op_is::<TractConv>() || node.op_is::<EinSum>() {
                *layers.entry(Lowering::TRACT).or_default() += 1;
            }
            elementwise_rest &= is_elementwise(node);
        }
        lowering.layers = layers.into_iter().collect();
        lowering.left = left.into_iter().collect();
        lowering.left.sort_by_key(|(_, count)| usize::MAX - count);
        quantized::fold_weights(&mut model, |id| self.words.contains_key(&id))?;
        let model = if regions.is_empty() {
            model
        } else {
            self.rebuild(&model, regions)?
        };
        Ok(Lowered {
            model,
            lowering,
            programs,
            elementwise_rest,
        })
    }

    /// Whether all that a region takes and gives is `f32`.
    pub(super) fn meets_in_numbers(&self, model: &TypedModel, members: &[usize]) -> bool {
        let is_number = |outlet: &OutletId| {
            let fact = &model.node(outlet.node).outputs[outlet.slot].fact;
            fact.datum_type == f32::datum_type()
        };
        let inputs = members.iter().flat_map(|id| &self.words[id].inputs);
        let mut taken = inputs.filter(|outlet| !members.contains(&outlet.node));
        let read_outside = |id: &&usize| {
            let outlet = OutletId::new(**id, 0);
            let successors = &model.node(**id).outputs[0].successors;
            successors.iter().any(|s| !members.contains(&s.node)) || model.outputs.contains(&outlet)
        };
        let mut given = members.iter().filter(read_outside);
        taken.all(is_number) && given.all(|id| is_number(&OutletId::new(*id, 0)))
    }

    /// A region in words, before fusion.
    pub(super) fn part(&self, model: &TypedModel, members: &[usize]) -> Part {
        let mut graph = Graph::default();
        let mut values: HashMap<OutletId, ValueId> = HashMap::new();
        let mut inputs = Vec::new();
        let is_member = |id: usize| members.contains(&id);
        for id in members {
            for outlet in &self.words[id].inputs {
                if !is_member(outlet.node) && !inputs.contains(outlet) {
                    let fact = &model.node(outlet.node).outputs[outlet.slot].fact;
                    let shape = recognize::shape(fact).expect("a rule has seen its shape");
                    let name = &model.node(outlet.node).name;
                    let value = push(&mut graph, name, Op::Input(inputs.len()), shape);
                    values.insert(*outlet, value);
                    inputs.push(*outlet);
                }
            }
        }
        for id in members {
            let words = &self.words[id];
            let operands: Vec<ValueId> = words.inputs.iter().map(|i| values[i]).collect();
            let mut value = operands[0];
            for step in &words.steps {
                let op = word(step, value, &operands);
                value = push(&mut graph, &model.node(*id).name, op, words.shape);
            }
            values.insert(OutletId::new(*id, 0), value);
        }
        let read_outside = |id: &usize| {
            let successors = &model.node(*id).outputs[0].successors;
            successors.iter().any(|s| !is_member(s.node))
                || model.outputs.contains(&OutletId::new(*id, 0))
        };
        let outputs: Vec<OutletId> = members
            .iter()
            .filter(|id| read_outside(id))
            .map(|id| OutletId::new(*id, 0))
            .collect();
        graph.outputs = outputs.iter().map(|o| values[o]).collect();
        let given = outputs.iter().map(|o| {
            let output = &model.node(o.node).outputs[0];
            let dims = output.fact.shape.iter().skip(1);
            let is_read_outside = output.successors.iter().any(|s| !is_member(s.node));
            let number = model.outputs.iter().position(|of_model| of_model == o);
            RegionOutput {
                shape: dims
                    .map(|d| d.to_usize().expect("a rule has seen its shape"))
                    .collect(),
                // The first of the network's outputs is what it is run for.
                on_request: number.filter(|number| !is_read_outside && *number > 0),
            }
        });
        Part {
            given: given.collect(),
            graph,
            inputs,
            outputs,
        }
    }

    fn rebuild(
        &self,
        model: &TypedModel,
        mut regions: HashMap<usize, (Region, Part)>,
    ) -> TractResult<TypedModel> {
        let mut target = Target {
            from: model,
            model: TypedModel {
                symbols: model.symbols.clone(),
                properties: model.properties.clone(),
                ..TypedModel::default()
            },
            outlets: HashMap::new(),
        };
        for source in &model.inputs {
            let node = model.node(source.node);
            let fact = node.outputs[source.slot].fact.clone();
            let outlet = target.model.add_source(&node.name, fact)?;
            target.outlets.insert(*source, outlet);
        }
        for id in &self.order {
            let node = model.node(*id);
            if node.op_is::<TypedSource>() {
                continue;
            }
            if !self.words.contains_key(id) {
                target.wire(&node.name, node.op.clone(), &node.inputs, |slot| {
                    OutletId::new(*id, slot)
                })?;
            } else if let Some((region, part)) = regions.remove(&self.colours[*id]) {
                target.wire(&node.name, Box::new(region), &part.inputs, |slot| {
                    part.outputs[slot]
                })?;
            }
        }
        let outputs = model.outputs.iter().map(|o| target.outlet(*o));
        let outputs = outputs.collect::<TractResult<Vec<_>>>()?;
        target.model.select_output_outlets(&outputs)?;
        Ok(target.model)
    }
}

/// A graph under construction, and where each outlet of the old one is in it.
struct Target<'a> {
    from: &'a TypedModel,
    model: TypedModel,
    outlets: HashMap<OutletId, OutletId>,
}

impl Target<'_> {
    /// Constants come over when they are read, so those of the regions stay behind.
    fn outlet(&mut self, old: OutletId) -> TractResult<OutletId> {
        if let Some(outlet) = self.outlets.get(&old) {
            return Ok(*outlet);
        }
        let node = self.from.node(old.node);
        let outlet = match (node.op_as::<Const>(), &node.outputs[old.slot].fact.konst) {
            (None, Some(value)) => self.model.add_const(&node.name, value.clone())?,
            _ => self.model.wire_node(&node.name, node.op.clone(), &[])?[old.slot],
        };
        self.outlets.insert(old, outlet);
        Ok(outlet)
    }

    fn wire(
        &mut self,
        name: &str,
        op: Box<dyn TypedOp>,
        inputs: &[OutletId],
        old: impl Fn(usize) -> OutletId,
    ) -> TractResult<()> {
        let inputs = inputs.iter().map(|i| self.outlet(*i));
        let inputs = inputs.collect::<TractResult<Vec<_>>>()?;
        let outlets = self.model.wire_node(name, op, &inputs)?;
        for (slot, outlet) in outlets.into_iter().enumerate() {
            self.outlets.insert(old(slot), outlet);
        }
        Ok(())
    }
}

fn push(graph: &mut Graph, name: &str, op: Op, shape: Shape) -> ValueId {
    graph.nodes.push(Node {
        name: name.to_owned(),
        op,
        shape,
    });
    ValueId(graph.nodes.len() - 1)
}

fn word(step: &Step, input: ValueId, operands: &[ValueId]) -> Op {
    match step {
        Step::Conv {
            weights,
            outputs,
            groups,
            bias,
            window,
        } => Op::Conv(Conv {
            input,
            outputs: *outputs,
            groups: *groups,
            weights: weights.clone(),
            bias: bias.clone(),
            window: *window,
            residual: None,
            relu: false,
            most: f32::INFINITY,
        }),
        Step::Affine {
            scale,
            shift,
            relu,
            most,
        } => Op::Affine {
            input,
            scale: scale.clone(),
            shift: shift.clone(),
            relu: *relu,
            most: *most,
        },
        Step::Add => Op::Add {
            inputs: [operands[0], operands[1]],
            relu: false,
        },
        Step::Mul => Op::Mul {
            inputs: [operands[0], operands[1]],
            addend: None,
            relu: false,
        },
        Step::Activation(activation) => Op::Activation {
            input,
            activation: *activation,
        },
        Step::Concat => Op::Concat {
            inputs: operands.to_vec(),
        },
        Step::MaxPool(window) => Op::MaxPool {
            input,
            window: *window,
        },
        Step::AvgPool {
            window,
            count_include_pad,
        } => Op::AvgPool {
            input,
            window: *window,
            count_include_pad: *count_include_pad,
        },
        Step::GlobalAvgPool => Op::GlobalAvgPool { input },
        Step::Quantize(quantization) => Op::Quantize {
            input,
            quantization: *quantization,
        },
        Step::Dequantize(quantization) => Op::Dequantize {
            input,
            quantization: *quantization,
        },
    }
}
