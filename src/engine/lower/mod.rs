//! The parts of tract's typed graph that our operators compute, found and replaced.
//!
//! Called by `engine::import`. [`prepare`] says in words what can be said in words and draws regions around it, without
//! touching a weight; [`Found::replace`] has a region made of each and builds the graph that tract executes. What is
//! not recognized stays tract's: without this pass the model still runs, only slower.

mod bytes;
mod constants;
mod elementwise;
mod pooling;
mod quantized;
mod recognize;
mod refusals;
mod replace;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::Softmax;
use tract_onnx::tract_core::ops::source::TypedSource;

pub(super) use self::bytes::for_bytes;
pub(super) use self::pooling::Pooling;
use self::recognize::{Step, Words, recognize};
pub(super) use self::replace::Lowered;
use crate::ops::{DequantizeLinear, QuantizeLinear};

/// What of a network our operators compute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lowering {
    /// Steps of ours, all regions together.
    pub steps: usize,
    /// Nodes of tract's graph in whose place they stand.
    pub replaced: usize,
    /// Layers, which are convolutions and what is fully connected, by the precision that they are computed in, and those
    /// that stay [tract's](Lowering::TRACT): name and count.
    pub layers: Vec<(&'static str, usize)>,
    /// Operators that stay tract's: name and count, the most frequent first.
    pub left: Vec<(String, usize)>,
    /// Nodes that could be ours and are not.
    pub refused: Vec<RefusedNode>,
}

impl Lowering {
    /// What stands in [`Lowering::layers`] in place of a precision.
    pub const TRACT: &str = "tract";
}

/// A node of tract's graph that no kernel of ours computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedNode {
    /// Its name in the file.
    pub node: String,
    /// Why no kernel of ours computes it.
    pub reason: String,
}

/// A graph of which some nodes are said in words of `ops::graph`, and lie in regions of such nodes.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The nodes that compute something, in an order in which they can run with every region in one piece.
    order: Vec<usize>,
    /// The colour of each node: nodes of ours with one colour are a region.
    colours: Vec<usize>,
    words: HashMap<usize, Words>,
    refused: Vec<RefusedNode>,
    /// Whether every node is left to tract on purpose.
    unwanted: bool,
}

/// Draws the regions on a graph as it was imported or, where something has no words there, as tract simplifies it: that
/// takes longer than the whole import (ResNet-50: 260 ms), so it is not done in vain.
///
/// # Errors
/// tract's, if the graph is none.
pub(super) fn prepare(mut model: TypedModel) -> TractResult<(TypedModel, Found)> {
    quantized::fold_biases(&mut model)?;
    quantized::fold_moved_weights(&mut model)?;
    model.prop_consts()?;
    let mut found = find(&model)?;
    if !found.is_all_there_is(&model) {
        model.declutter()?;
        found = find(&model)?;
    }
    Ok((model, found))
}

/// Finds what has words, and draws the regions.
///
/// # Errors
/// tract's, if the graph is none.
fn find(model: &TypedModel) -> TractResult<Found> {
    let mut words = HashMap::new();
    let mut order = Vec::new();
    let of_images = of_images(model)?;
    let batch = model.input_fact(0)?.shape.first().cloned();
    for id in model.eval_order()? {
        let node = model.node(id);
        if !computes(model, id) {
            continue;
        }
        order.push(id);
        // The first axis of anything else is no batch, nor is one that the heads of an attention are part of: all values
        // of a region have as many images.
        let of_batch = node.outputs[0].fact.shape.first() == batch.as_ref();
        if of_batch
            && of_images.contains(&id)
            && let Some(found) = recognize(model, node)
        {
            words.insert(id, found);
        }
    }
    let mut found = Found {
        order,
        colours: Vec::new(),
        words,
        refused: Vec::new(),
        unwanted: false,
    };
    found.draw(model);
    Ok(found)
}

/// The input, and what is computed from it.
///
/// # Errors
/// tract's, if the graph is none.
pub(super) fn of_images(model: &TypedModel) -> TractResult<HashSet<usize>> {
    let mut found = HashSet::new();
    for id in model.eval_order()? {
        let node = model.node(id);
        if node.op_is::<TypedSource>() || node.inputs.iter().any(|i| found.contains(&i.node)) {
            found.insert(id);
        }
    }
    Ok(found)
}

/// Whether a node computes something from the input.
fn computes(model: &TypedModel, id: usize) -> bool {
    let node = model.node(id);
    !is_constant(node) && !quantized::is_weights(model, node)
}

fn is_constant(node: &TypedNode) -> bool {
    node.outputs.iter().all(|o| o.fact.konst.is_some())
}

/// Whether an image's result depends on nothing but that image, bit for bit, wherever it lies in the batch.
fn is_elementwise(node: &TypedNode) -> bool {
    node.op_is::<TypedBinOp>()
        || node.op_is::<ElementWiseOp>()
        || node.op_is::<AxisOp>()
        || node.op_is::<QuantizeLinear>()
        || node.op_is::<DequantizeLinear>()
}

impl Found {
    /// Draws the regions around what has words; a region without a convolution is left to tract.
    ///
    /// A node's colour is the largest of its inputs', one more if it crosses between ours and tract's. Colours never fall
    /// along an edge, so what is ours of one colour can run at once: no path leaves it and comes back.
    fn draw(&mut self, model: &TypedModel) {
        let words = &self.words;
        let mut colours = vec![0; model.nodes.len()];
        let is_ours = |id: usize| words.contains_key(&id);
        for &id in &self.order {
            let inputs = model.node(id).inputs.iter().map(|i| i.node);
            colours[id] = inputs
                .filter(|i| computes(model, *i))
                .map(|i| colours[i] + usize::from(is_ours(i) != is_ours(id)))
                .max()
                .unwrap_or(0);
        }
        self.order.sort_by_key(|id| colours[*id]);
        self.colours = colours;
        for colour in self.regions().into_keys() {
            let members = self.members(colour);
            let convolves = |id: &usize| {
                let steps = &self.words[id].steps;
                steps.iter().any(|s| matches!(s, Step::Conv { .. }))
            };
            if !members.iter().any(convolves) {
                self.give_up(&members);
            }
        }
    }

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

    /// Whether some of the graph is computed on bytes.
    pub(super) fn is_quantized(&self) -> bool {
        let mut steps = self.words.values().flat_map(|words| &words.steps);
        steps.any(|s| matches!(s, Step::Quantize(_) | Step::Dequantize(_)))
    }

    /// Drops all regions: every node stays tract's.
    pub(super) fn nothing(mut self) -> Found {
        self.words.clear();
        self.unwanted = true;
        self
    }

    /// The nodes that stay tract's, the input apart.
    fn left<'a>(&'a self, model: &'a TypedModel) -> impl Iterator<Item = &'a TypedNode> {
        let nodes = self.order.iter().map(|id| model.node(*id));
        nodes.filter(|n| !self.words.contains_key(&n.id) && !n.op_is::<TypedSource>())
    }
}
