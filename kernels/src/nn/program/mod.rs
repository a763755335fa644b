//! A network as steps over one block of memory: what runs, where its values lie, and the run itself.
//!
//! The first steps run image by image, so that large planes stay in the cache; the later ones, whose planes are small
//! and whose weights are many, run for all images of a batch at once.

mod algorithm;
pub(crate) mod builder;
mod convolutions;
mod elementwise;
mod int8_steps;
pub(crate) mod profile;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use self::profile::StepProfile;
use crate::nn::arena::memory::Memory;
use crate::nn::arena::placement::{Access, Allocation, Scope};
use crate::nn::arena::scratch::Scratch;
use crate::nn::arithmetic::{Arithmetic, Precision};
use crate::nn::conv::depthwise::Depthwise;
use crate::nn::conv::direct::DirectConv;
use crate::nn::conv::first::FirstConv;
use crate::nn::conv::gather::Gather;
use crate::nn::conv::winograd::Winograd;
use crate::nn::denormals::flush_denormals;
use crate::nn::int8::{self, Quantization};
use crate::nn::layout::border::fill_border;
use crate::nn::layout::input::Input;
use crate::nn::layout::line::{Line, View};
use crate::nn::micro::table::Release;
use crate::nn::steps::activate::Activate;
use crate::nn::steps::concat::Concat;
use crate::nn::steps::convert::Conversion;
use crate::nn::steps::multiply::Multiply;
use crate::nn::steps::pointwise::{Add, Affine};
use crate::nn::steps::pool::{GlobalMean, Pool};
use crate::nn::team::Lead;

/// Steps that compute a network, with their weights; shared by all workers.
#[derive(Debug)]
pub struct Program {
    pub(crate) arithmetic: Arithmetic,
    pub(crate) steps: Vec<Step>,
    /// Steps before this one run image by image.
    pub(crate) batch_from: usize,
    pub(crate) values: Vec<Allocation>,
    /// By the number of each value that is stored as bytes, what its bytes mean.
    pub(crate) quantizations: BTreeMap<usize, Quantization>,
    /// Images of a batch that the memory is made for.
    pub(crate) capacity: usize,
    /// Most threads that share an inference.
    pub(crate) threads: usize,
    /// The first line of the scratch memory, which all steps share.
    pub(crate) scratch: usize,
    /// Lines of a worker's memory.
    pub(crate) lines: usize,
    /// Values of one image in each input and output.
    pub(crate) input_sizes: Vec<usize>,
    pub(crate) output_sizes: Vec<usize>,
    pub(crate) profiling: AtomicBool,
}

/// One step of a program.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Multiplications and additions for one image.
    pub(crate) flops: u64,
    pub(crate) work: Work,
    /// The values that it reads, by number.
    pub(crate) reads: Vec<usize>,
    /// The value that it writes, by number; none if its result leaves the network.
    pub(crate) writes: Option<usize>,
    pub(crate) images: AtomicU64,
    pub(crate) nanoseconds: AtomicU64,
}

impl Step {
    /// Which values the step touches.
    pub(crate) fn access(&self) -> Access<'_> {
        Access {
            reads: &self.reads,
            writes: self.writes,
            in_place: match &self.work {
                Work::Conv(_) | Work::Winograd(_) => true,
                Work::Int8(work) => work.convolves(),
                _ => false,
            },
        }
    }

    /// The number of the network's output that the step writes, if it writes one.
    fn leaves(&self) -> Option<usize> {
        match &self.work {
            Work::Leave(output, _) => Some(*output),
            Work::Int8(work) => work.output(),
            _ => None,
        }
    }
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Work {
    /// The network's input of that number becomes lines.
    Enter(usize, Conversion),
    /// A convolution of the network's input of that number, straight from its images.
    First(usize, Box<FirstConv>),
    Gather(Gather),
    Depthwise(Box<Depthwise>),
    Conv(Box<DirectConv>),
    Winograd(Box<Winograd>),
    Pool(Pool),
    GlobalMean(GlobalMean),
    Affine(Affine),
    Add(Add),
    Activate(Activate),
    Multiply(Multiply),
    Concat(Concat),
    /// Any step on bytes.
    Int8(Box<int8::Int8Work>),
    /// Lines become the network's output of that number.
    Leave(usize, Conversion),
}

/// The images that a step runs for.
struct Images {
    /// The first of the batch's images.
    first: usize,
    count: usize,
    /// The number of the first image within values that hold a whole batch.
    within: usize,
}

impl Program {
    /// The names of the layers with weights, convolutions and fully connected ones, and the precision of each.
    pub fn layers(&self) -> impl Iterator<Item = (&str, Precision)> {
        let of_numbers = match self.arithmetic.precision() {
            Precision::Int8 => Precision::F32, // between bytes
            other => other,
        };
        self.steps.iter().filter_map(move |step| {
            let precision = match &step.work {
                Work::First(..) | Work::Depthwise(_) | Work::Conv(_) | Work::Winograd(_) => {
                    of_numbers
                }
                Work::Int8(work) if work.is_layer() => Precision::Int8,
                _ => return None,
            };
            Some((step.name.as_str(), precision))
        })
    }

    /// One worker's memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory::new(self.lines)
    }

    /// The arithmetic that the program computes with.
    #[must_use]
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Whether an input may be [`Input::Bytes`]: a convolution reads it straight from its images, and knows what their
    /// bytes mean, and nothing else reads it.
    #[must_use]
    pub fn takes_bytes(&self, input: usize) -> bool {
        let normalizes = |step: &Step| match &step.work {
            Work::First(i, first) => *i == input && first.takes_bytes(),
            Work::Int8(work) => work.takes_bytes(input),
            _ => false,
        };
        let wants_numbers = |step: &Step| match &step.work {
            Work::Enter(i, _) => *i == input,
            Work::Int8(work) => work.wants_numbers(input),
            _ => false,
        };
        self.steps.iter().any(normalizes) && !self.steps.iter().any(wants_numbers)
    }

    /// Computes the network for `images` images: input number `i` of the graph from `inputs[i]`, output number `o` into
    /// `outputs[o]`, `[images, channels, height, width]` and contiguous. An image's output bits depend on that image
    /// alone, and are those of its normalized values where it comes as bytes. A batch larger than the memory is for is
    /// computed in parts. An output whose slice is empty is not written, and costs nothing.
    ///
    /// # Panics
    /// If a slice has not the length that the shapes demand, an input is of bytes that is not taken as such, or the
    /// memory is another program's.
    pub fn run(
        &self,
        memory: &mut Memory,
        lead: &Lead<'_>,
        images: usize,
        inputs: &[Input<'_>],
        outputs: &mut [&mut [f32]],
    ) {
        assert_eq!(memory.lines(), self.lines, "lines of the memory");
        assert_eq!(inputs.len(), self.input_sizes.len(), "inputs");
        assert_eq!(outputs.len(), self.output_sizes.len(), "outputs");
        for (slice, size) in inputs.iter().zip(&self.input_sizes) {
            assert_eq!(slice.len(), images * size, "values of an input");
        }
        for (slice, size) in outputs.iter().zip(&self.output_sizes) {
            let is_whole = slice.is_empty() || slice.len() == images * size;
            assert!(is_whole, "{} values of an output", slice.len());
        }
        let _flush = flush_denormals();
        let _release = Release;
        let start = memory.at(0);
        for first in (0..images).step_by(self.capacity) {
            let count = self.capacity.min(images - first);
            let (alone, together) = self.steps.split_at(self.batch_from);
            for within in 0..count {
                let images = Images {
                    first: first + within,
                    count: 1,
                    within,
                };
                for step in alone {
                    self.step(step, start, lead, &images, inputs, outputs);
                }
            }
            let images = Images {
                first,
                count,
                within: 0,
            };
            for step in together {
                self.step(step, start, lead, &images, inputs, outputs);
            }
        }
    }

    fn step(
        &self,
        step: &Step,
        memory: *mut Line,
        lead: &Lead<'_>,
        images: &Images,
        inputs: &[Input<'_>],
        outputs: &mut [&mut [f32]],
    ) {
        if step
            .leaves()
            .is_some_and(|output| outputs[output].is_empty())
        {
            return;
        }
        let profiling = self.profiling.load(Ordering::Relaxed);
        let start = profiling.then(Instant::now);
        let view = |value: usize| self.view(memory, value, images);
        let read = |i: usize| view(step.reads[i]);
        let count = images.count;
        let part = |size: usize| images.first * size..(images.first + count) * size;
        let scratch = || Scratch {
            // SAFETY: the builder has made the memory large enough for every step's scratch behind the values.
            start: unsafe { memory.add(self.scratch) },
            threads: lead.threads().min(self.threads),
        };
        let is_row = |value: usize| self.values[value].row;
        // SAFETY: the values of a step lie where the builder has put them: inside of the memory, which is this worker's
        // alone, for as many images, and apart from all values that are still to be read. The builder has checked that
        // their shapes are those that the step was made for.
        unsafe {
            if let Some(output) = step.writes.map(view)
                && output.plane.border > 0
            {
                let byte = match &step.work {
                    Work::Int8(_) => self.zero(step.writes),
                    _ => 0,
                };
                for image in 0..count {
                    fill_border(output, image, 0, output.blocks, byte);
                }
            }
            match (&step.work, step.writes) {
                (Work::Enter(input, conversion), Some(to)) => {
                    let Input::F32(values) = inputs[*input].part(part(self.input_sizes[*input]))
                    else {
                        panic!("input {input} is not taken as bytes")
                    };
                    match is_row(to) {
                        true => conversion.enter_row(values, view(to)),
                        false => conversion.enter(lead, values, view(to)),
                    }
                }
                (Work::First(input, first), Some(to)) => {
                    let values = inputs[*input].part(part(self.input_sizes[*input]));
                    first.run(lead, values, view(to), &scratch());
                }
                (Work::Depthwise(depthwise), Some(to)) => {
                    depthwise.run(lead, read(0), view(to), count);
                }
                (Work::Gather(gather), Some(to)) => gather.run(lead, read(0), view(to), count),
                (Work::Conv(conv), Some(to)) => {
                    let residual = step.reads.get(1).map(|r| view(*r));
                    conv.run(lead, read(0), residual, view(to), count);
                }
                (Work::Winograd(winograd), Some(to)) => {
                    let residual = step.reads.get(1).map(|r| view(*r));
                    winograd.run(lead, read(0), residual, view(to), count, &scratch());
                }
                (Work::Pool(pool), Some(to)) => pool.run(lead, read(0), view(to), count),
                (Work::GlobalMean(mean), Some(to)) => mean.run(lead, read(0), view(to), count),
                (Work::Affine(affine), Some(to)) => {
                    let count = if is_row(to) { 1 } else { count };
                    affine.run(lead, read(0), view(to), count);
                }
                (Work::Add(add), Some(to)) => {
                    let count = if is_row(to) { 1 } else { count };
                    add.run(lead, [read(0), read(1)], view(to), count);
                }
                (Work::Activate(activate), Some(to)) => {
                    let count = if is_row(to) { 1 } else { count };
                    activate.run(lead, read(0), view(to), count);
                }
                (Work::Multiply(multiply), Some(to)) => {
                    let count = if is_row(to) { 1 } else { count };
                    let addend = step.reads.get(2).map(|r| view(*r));
                    multiply.run(lead, [read(0), read(1)], addend, view(to), count);
                }
                (Work::Concat(concat), Some(to)) => {
                    let count = if is_row(to) { 1 } else { count };
                    let reads: Vec<View> = step.reads.iter().map(|r| view(*r)).collect();
                    concat.run(lead, &reads, view(to), count);
                }
                (Work::Int8(work), writes) => {
                    let reads: Vec<View> = step.reads.iter().map(|r| view(*r)).collect();
                    let input = work.input();
                    let input = input.map(|i| inputs[i].part(part(self.input_sizes[i])));
                    let output = work.output();
                    let output = output.map(|o| &mut outputs[o][part(self.output_sizes[o])]);
                    work.run(int8::Site {
                        lead,
                        images: count,
                        reads: &reads,
                        writes: writes.map(view),
                        input,
                        output,
                        scratch: scratch(),
                    });
                }
                (Work::Leave(output, conversion), _) => {
                    let values = &mut outputs[*output][part(self.output_sizes[*output])];
                    match is_row(step.reads[0]) {
                        true => conversion.leave_row(read(0), values),
                        false => conversion.leave(read(0), values),
                    }
                }
                (_, None) => unreachable!("only what leaves the network writes no value"),
            }
        }
        if let Some(start) = start {
            let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            step.nanoseconds.fetch_add(time, Ordering::Relaxed);
            step.images.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// The byte that means zero in a value of bytes.
    fn zero(&self, value: Option<usize>) -> u8 {
        let quantization = value.and_then(|v| self.quantizations.get(&v));
        quantization.map_or(0, |q| q.zero)
    }

    fn view(&self, memory: *mut Line, value: usize, images: &Images) -> View {
        let Allocation {
            scope,
            line,
            blocks,
            plane,
            ..
        } = self.values[value];
        let before = match scope {
            Scope::Image => 0,
            Scope::Batch => images.within * blocks * plane.lines(),
        };
        View {
            // SAFETY: the builder has made the memory large enough for all images of all values.
            start: unsafe { memory.add(line + before) },
            blocks,
            plane,
        }
    }

    /// Switches the measuring of steps on or off, and forgets what was measured.
    pub fn set_profiling(&self, on: bool) {
        for step in &self.steps {
            step.images.store(0, Ordering::Relaxed);
            step.nanoseconds.store(0, Ordering::Relaxed);
        }
        self.profiling.store(on, Ordering::Relaxed);
    }

    /// The steps, and what was measured.
    #[must_use]
    pub fn profile(&self) -> Vec<StepProfile> {
        let bytes = |value: &usize| {
            let Allocation {
                blocks, plane, row, ..
            } = self.values[*value];
            let pixels = if row { 1 } else { plane.height * plane.width };
            blocks * pixels * size_of::<Line>()
        };
        let row = |step: &Step| {
            let (plan, weights) = match &step.work {
                Work::Conv(conv) => (conv.plan().to_string(), conv.bytes()),
                Work::Winograd(winograd) => (String::new(), winograd.bytes()),
                Work::Depthwise(depthwise) => (String::new(), depthwise.bytes()),
                Work::First(_, first) => (String::new(), first.bytes()),
                Work::Int8(work) => (work.plan(), work.bytes()),
                _ => (String::new(), 0),
            };
            StepProfile {
                name: step.name.clone(),
                kind: step.kind.clone(),
                plan,
                weights,
                values: step.reads.iter().chain(&step.writes).map(bytes).sum(),
                flops: step.flops,
                images: step.images.load(Ordering::Relaxed),
                nanoseconds: step.nanoseconds.load(Ordering::Relaxed),
            }
        };
        self.steps.iter().map(row).collect()
    }
}
