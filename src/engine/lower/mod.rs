//! The parts of tract's typed graph that our operators compute, found and replaced.
//!
//! Called by `engine::tract`. [`prepare`] says in words what can be said in words and draws regions around it, without
//! touching a weight; [`Found::replace`] has a region made of each and builds the graph that tract executes. What is
//! not recognized stays tract's: without this pass the model still runs, only slower.

mod recognize;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, DimLike};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::Softmax;
use tract_onnx::tract_core::ops::source::TypedSource;

use self::recognize::{Step, Words, recognize};
use crate::ops::graph::{Conv as ConvWord, Graph, Node, Op, Shape, ValueId};
use crate::ops::{CompileError, Region, fuse};

/// What of a network our operators compute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lowering {
    /// Steps of ours, all regions together.
    pub steps: usize,
    /// Nodes of tract's graph in whose place they stand.
    pub replaced: usize,
    /// Operators that stay tract's: name and count, the most frequent first.
    pub left: Vec<(String, usize)>,
}

/// A network of which regions compute a part.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) model: TypedModel,
    pub(super) lowering: Lowering,
    /// Whether all that stays tract's works on single numbers, so that a batch is a batch of independent images.
    pub(super) elementwise_rest: bool,
}

/// A graph with regions around what has words.
#[derive(Debug)]
pub(super) struct Found {
    /// The nodes that compute something, in an order in which they can run with every region in one piece.
    order: Vec<usize>,
    /// By node.
    colours: Vec<usize>,
    words: HashMap<usize, Words>,
}

/// Draws the regions on a graph as it was imported or, where something has no words there, as tract simplifies it: that
/// takes longer than the whole import (ResNet-50: 260 ms), so it is not done in vain.
///
/// # Errors
/// tract's, if the graph is none.
pub(super) fn prepare(mut model: TypedModel) -> TractResult<(TypedModel, Found)> {
    model.prop_consts()?;
    let mut found = find(&model)?;
    if !found.is_all_there_is(&model) {
        model.declutter()?;
        found = find(&model)?;
    }
    Ok((model, found))
}

/// Draws the regions.
///
/// A node's colour is the largest of its inputs', one more if it crosses between ours and tract's. Colours never fall
/// along an edge, so what is ours of one colour can run at once: no path leaves it and comes back.
///
/// # Errors
/// tract's, if the graph is none.
fn find(model: &TypedModel) -> TractResult<Found> {
    let mut colours = vec![0; model.nodes.len()];
    let mut words = HashMap::new();
    let mut order = Vec::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        if is_constant(node) {
            continue;
        }
        order.push(id);
        if let Some(found) = recognize(model, node) {
            words.insert(id, found);
        }
        let ours = words.contains_key(&id);
        let inputs = node.inputs.iter().map(|i| i.node);
        colours[id] = inputs
            .filter(|i| !is_constant(model.node(*i)))
            .map(|i| colours[i] + usize::from(words.contains_key(&i) != ours))
            .max()
            .unwrap_or(0);
    }
    order.sort_by_key(|id| colours[*id]);
    let mut found = Found {
        order,
        colours,
        words,
    };
    for colour in found.regions().into_keys() {
        let members = found.members(colour);
        let convolves = |id: &usize| {
            let steps = &found.words[id].steps;
            steps.iter().any(|s| matches!(s, Step::Conv { .. }))
        };
        if !members.iter().any(convolves) {
            found.give_up(&members);
        }
    }
    Ok(found)
}

fn is_constant(node: &TypedNode) -> bool {
    node.outputs.iter().all(|o| o.fact.konst.is_some())
}

/// Whether an image's result depends on nothing but that image, bit for bit, wherever it lies in the batch.
fn is_elementwise(node: &TypedNode) -> bool {
    node.op_is::<TypedBinOp>() || node.op_is::<ElementWiseOp>() || node.op_is::<AxisOp>()
}

/// A region's graph, and where it meets tract's.
#[derive(Debug)]
struct Part {
    graph: Graph,
    inputs: Vec<OutletId>,
    outputs: Vec<OutletId>,
    /// Each output's shape behind the batch.
    shapes: Vec<Vec<usize>>,
}

impl Found {
    /// Regions by colour, with the number of their nodes.
    fn regions(&self) -> BTreeMap<usize, usize> {
        let mut regions = BTreeMap::new();
        for id in self.words.keys() {
            *regions.entry(self.colours[*id]).or_insert(0) += 1;
        }
        regions
    }

    fn members(&self, colour: usize) -> Vec<usize> {
        let ours = |id: &&usize| self.colours[**id] == colour && self.words.contains_key(*id);
        self.order.iter().filter(ours).copied().collect()
    }

    /// Leaves nodes to tract after all.
    fn give_up(&mut self, members: &[usize]) {
        for id in members {
            self.words.remove(id);
        }
    }

    /// Whether all that stays tract's works on single numbers, or is a softmax: no simplification finds words for it.
    fn is_all_there_is(&self, model: &TypedModel) -> bool {
        self.left(model)
            .all(|node| is_elementwise(node) || node.op_is::<Softmax>())
    }

    /// Draws no region at all.
    pub(super) fn nothing(mut self) -> Found {
        self.words.clear();
        self
    }

    /// The nodes that stay tract's, the input apart.
    fn left<'a>(&'a self, model: &'a TypedModel) -> impl Iterator<Item = &'a TypedNode> {
        let nodes = self.order.iter().map(|id| model.node(*id));
        nodes.filter(|n| !self.words.contains_key(&n.id) && !n.op_is::<TypedSource>())
    }

    /// The graph in which regions stand for what was found.
    ///
    /// `make` gets each region's graph, and the shapes of its outputs behind the batch. One that it does not support
    /// stays tract's.
    ///
    /// # Errors
    /// What `make` refuses for another reason; or tract's.
    pub(super) fn replace(
        mut self,
        model: TypedModel,
        make: &mut dyn FnMut(&Graph, Vec<Vec<usize>>) -> Result<Region, CompileError>,
    ) -> TractResult<Lowered> {
        let mut regions = HashMap::new();
        let mut lowering = Lowering::default();
        for (colour, nodes) in self.regions() {
            let members = self.members(colour);
            let mut part = self.part(&model, &members);
            part.graph = fuse(std::mem::take(&mut part.graph));
            match make(&part.graph, std::mem::take(&mut part.shapes)) {
                Ok(region) => {
                    lowering.steps += part.graph.nodes.len() - part.inputs.len();
                    lowering.replaced += nodes;
                    part.graph = Graph::default();
                    regions.insert(colour, (region, part));
                }
                Err(e @ CompileError::Unsupported { .. }) => {
                    tracing::info!(reason = %e, "a part of the model is left to tract");
                    self.give_up(&members);
                }
                Err(e) => return Err(e.into()),
            }
        }
        let mut left = BTreeMap::<String, usize>::new();
        let mut elementwise_rest = true;
        for node in self.left(&model) {
            *left.entry(node.op.name().into_owned()).or_default() += 1;
            elementwise_rest &= is_elementwise(node);
        }
        lowering.left = left.into_iter().collect();
        lowering.left.sort_by_key(|(_, count)| usize::MAX - count);
        let model = if regions.is_empty() {
            model
        } else {
            self.rebuild(&model, regions)?
        };
        Ok(Lowered {
            model,
            lowering,
            elementwise_rest,
        })
    }

    /// A region in words, before fusion.
    fn part(&self, model: &TypedModel, members: &[usize]) -> Part {
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
        let shapes = outputs.iter().map(|o| {
            let dims = model.node(o.node).outputs[0].fact.shape.iter().skip(1);
            dims.map(|d| d.to_usize().expect("a rule has seen its shape"))
                .collect()
        });
        Part {
            shapes: shapes.collect(),
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
        op: Box<dyn tract_onnx::tract_core::internal::TypedOp>,
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
        } => Op::Conv(ConvWord {
            input,
            outputs: *outputs,
            groups: *groups,
            weights: weights.clone(),
            bias: bias.clone(),
            window: *window,
            residual: None,
            relu: false,
        }),
        Step::Affine { scale, shift, relu } => Op::Affine {
            input,
            scale: scale.clone(),
            shift: shift.clone(),
            relu: *relu,
        },
        Step::Add => Op::Add {
            inputs: [operands[0], operands[1]],
            relu: false,
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
    }
}
