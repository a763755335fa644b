//! One operator of tract's graph that computes a whole recognized part of a network.
//!
//! Made by `engine::lower`; tract's plan calls it with NCHW values, or an image's bytes, and gets NCHW values. A
//! worker's memory is the operator's state in that worker's plan.

use std::sync::Arc;

use tract_onnx::tract_core::internal::*;

#[cfg(test)]
use super::Graph;
use kernels::nn::{Input, Memory, Program, Team};

/// The threads that help an inference, and how many of them.
#[derive(Debug, Clone)]
pub struct SharedTeam {
    /// The threads that help.
    pub team: Arc<Team>,
    /// Most threads of one inference.
    pub threads: usize,
}

/// What a region gives for one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionOutput {
    /// Its extents.
    pub shape: Vec<usize>,
    /// If it leaves the network only for who asks by [`Region::ask`], the number to ask by; nothing else may read it.
    pub on_request: Option<usize>,
}

/// A recognized part of a network as an operator of tract.
///
/// # Shapes
/// - inputs and outputs: `[N, channels, height, width]` or `[N, features, 1…]`, `f32`, all of the same `N`
/// - an input that [`Region::takes_bytes`] may also be `[N, height, 3, width]`, `u8`
/// - an output on request that nobody asks for: `[N, 0]`
#[derive(Debug, Clone)]
pub struct Region {
    body: Body,
    share: SharedTeam,
    outputs: Vec<RegionOutput>,
}

#[derive(Debug, Clone)]
enum Body {
    Program(Arc<Program>),
    /// Nested loops, so that lowering can be tested apart from the kernels.
    #[cfg(test)]
    Reference(Arc<Graph>),
}

impl Region {
    /// A region that runs `program`, which gives `outputs`.
    #[must_use]
    pub fn new(program: Arc<Program>, share: SharedTeam, outputs: Vec<RegionOutput>) -> Region {
        Region {
            body: Body::Program(program),
            share,
            outputs,
        }
    }

    #[cfg(test)]
    pub(crate) fn reference(graph: Graph, outputs: Vec<RegionOutput>) -> Region {
        Region {
            body: Body::Reference(Arc::new(graph)),
            share: SharedTeam {
                team: Arc::new(Team::new(1)),
                threads: 1,
            },
            outputs,
        }
    }

    /// Which of the outputs on request are wanted from the next run on, of all regions whose states are among these.
    pub fn ask(states: &mut [Option<Box<dyn OpState>>], wanted: &[usize]) {
        for state in states.iter_mut().flatten() {
            if let Some(state) = state.downcast_mut::<RegionState>() {
                state.asked.clear();
                state.asked.extend(wanted);
            }
        }
    }

    /// Whether an input may be bytes, to be normalized.
    #[must_use]
    pub fn takes_bytes(&self, input: usize) -> bool {
        match &self.body {
            Body::Program(program) => program.takes_bytes(input),
            #[cfg(test)]
            Body::Reference(_) => false,
        }
    }

    /// The program that it runs; none where tests have nested loops in place of kernels.
    #[must_use]
    pub fn program(&self) -> Option<Arc<Program>> {
        match &self.body {
            Body::Program(program) => Some(Arc::clone(program)),
            #[cfg(test)]
            Body::Reference(_) => None,
        }
    }

    fn memory(&self) -> Option<Memory> {
        match &self.body {
            Body::Program(program) => Some(program.memory()),
            #[cfg(test)]
            Body::Reference(_) => None,
        }
    }

    fn run(
        &self,
        memory: &mut Option<Memory>,
        images: usize,
        inputs: &[Input<'_>],
        outputs: &mut [&mut [f32]],
    ) {
        match &self.body {
            Body::Program(program) => {
                let memory = memory.get_or_insert_with(|| program.memory());
                self.share.team.lead(self.share.threads, |lead| {
                    program.run(memory, lead, images, inputs, outputs);
                });
            }
            #[cfg(test)]
            Body::Reference(graph) => {
                for n in 0..images {
                    let image = |x: &Input<'_>| match x {
                        Input::F32(x) => x[n * x.len() / images..][..x.len() / images].to_vec(),
                        Input::Bytes(_) => unreachable!("nested loops take no bytes"),
                    };
                    let inputs: Vec<Vec<f32>> = inputs.iter().map(image).collect();
                    let results = super::oracle::evaluate(graph, &inputs);
                    for (out, result) in outputs.iter_mut().zip(results) {
                        if out.is_empty() {
                            continue;
                        }
                        out[n * result.len()..][..result.len()].copy_from_slice(&result);
                    }
                }
            }
        }
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        match (&self.body, &other.body) {
            (Body::Program(a), Body::Program(b)) => Arc::ptr_eq(a, b),
            #[cfg(test)]
            (Body::Reference(a), Body::Reference(b)) => Arc::ptr_eq(a, b),
            #[cfg(test)]
            _ => false,
        }
    }
}

impl Eq for Region {}

impl Op for Region {
    fn name(&self) -> StaticName {
        "Region".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Region {
    not_out_of_plan!();

    fn state(&self, _context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let memory = self.memory();
        Ok(Some(Box::new(RegionState {
            memory,
            asked: Vec::new(),
        })))
    }
}

impl TypedOp for Region {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let batch = inputs[0].shape[0].clone();
        let fact = |output: &RegionOutput| {
            let rest = output.shape.iter().map(ToDim::to_dim);
            let dims: TVec<TDim> = std::iter::once(batch.clone()).chain(rest).collect();
            f32::fact(dims)
        };
        Ok(self.outputs.iter().map(fact).collect())
    }

    as_op!();
}

/// A worker's memory; a copy of the state starts with its own.
#[derive(Debug)]
struct RegionState {
    memory: Option<Memory>,
    /// The outputs on request that are wanted.
    asked: Vec<usize>,
}

impl Clone for RegionState {
    fn clone(&self) -> RegionState {
        RegionState {
            memory: None,
            asked: self.asked.clone(),
        }
    }
}

impl OpState for RegionState {
    fn eval(
        &mut self,
        _context: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let region = op
            .downcast_ref::<Region>()
            .context("the state of a region belongs to a region")?;
        let images = inputs[0].shape()[0];
        let slices = inputs
            .iter()
            .map(|input| {
                let plain = input.try_as_plain_ram()?;
                Ok(match input.datum_type() {
                    DatumType::U8 => Input::Bytes(plain.as_slice::<u8>()?),
                    _ => Input::F32(plain.as_slice::<f32>()?),
                })
            })
            .collect::<TractResult<Vec<_>>>()?;
        let mut outputs = region
            .outputs
            .iter()
            .map(|output| {
                let rest = match output.on_request {
                    Some(number) if !self.asked.contains(&number) => &[0][..],
                    _ => &output.shape,
                };
                let shape: TVec<usize> = std::iter::once(&images).chain(rest).copied().collect();
                Tensor::zero::<f32>(&shape)
            })
            .collect::<TractResult<Vec<_>>>()?;
        {
            let mut plain = outputs
                .iter_mut()
                .map(Tensor::try_as_plain_ram_mut)
                .collect::<TractResult<Vec<_>>>()?;
            let mut targets = plain
                .iter_mut()
                .map(|output| output.as_slice_mut::<f32>())
                .collect::<TractResult<Vec<_>>>()?;
            region.run(&mut self.memory, images, &slices, &mut targets);
        }
        Ok(outputs.into_iter().map(IntoTValue::into_tvalue).collect())
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(()) // nothing is kept from one run to the next
    }
}
