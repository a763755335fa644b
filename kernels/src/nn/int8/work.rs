//! What a step of a program does with bytes.
//!
//! Made by the builder's methods for bytes, run by the program.

use super::super::Lead;
use super::super::input::Input;
use super::super::line::View;
use super::super::scratch::Scratch;
use super::conv::Conv;
use super::edge::Edge;
use super::first::FirstConv;
use super::pointwise::{Add, GlobalMean, Map, MaxPool};

/// A step on bytes.
#[derive(Debug)]
pub(in crate::nn) enum Work {
    /// Input number so-and-so becomes lines.
    Enter(usize, Edge),
    /// Input number so-and-so, straight from its images.
    First(usize, Box<FirstConv>),
    Conv(Box<Conv>),
    MaxPool(MaxPool),
    GlobalMean(GlobalMean),
    Add(Add),
    Map(Map),
    /// Lines become output number so-and-so.
    Leave(usize, Edge),
}

/// What a step works on.
pub(in crate::nn) struct Site<'a, 'r> {
    pub(in crate::nn) lead: &'a Lead<'a>,
    pub(in crate::nn) images: usize,
    pub(in crate::nn) reads: &'a [View],
    pub(in crate::nn) writes: Option<View>,
    /// The part of an input or output for these images.
    pub(in crate::nn) input: Option<Input<'r>>,
    pub(in crate::nn) output: Option<&'r mut [f32]>,
    pub(in crate::nn) scratch: Scratch,
}

impl Work {
    /// The number of the network's input that it reads.
    pub(in crate::nn) fn input(&self) -> Option<usize> {
        match self {
            Work::Enter(input, _) | Work::First(input, _) => Some(*input),
            _ => None,
        }
    }

    /// The number of the network's output that it writes.
    pub(in crate::nn) fn output(&self) -> Option<usize> {
        match self {
            Work::Leave(output, _) => Some(*output),
            _ => None,
        }
    }

    /// Whether it reads each pixel of a value that it adds just before it writes that pixel's result.
    pub(in crate::nn) fn convolves(&self) -> bool {
        matches!(self, Work::Conv(_))
    }

    /// How the work is ordered and cut, for people; empty where there is nothing to choose.
    pub(in crate::nn) fn plan(&self) -> String {
        match self {
            Work::Conv(conv) => conv.plan().to_string(),
            _ => String::new(),
        }
    }

    /// Bytes of weights.
    pub(in crate::nn) fn bytes(&self) -> usize {
        match self {
            Work::Conv(conv) => conv.bytes(),
            Work::First(_, first) => first.bytes(),
            _ => 0,
        }
    }

    /// Whether the step makes lines of numbers of that input.
    pub(in crate::nn) fn wants_numbers(&self, input: usize) -> bool {
        matches!(self, Work::Enter(i, _) if *i == input)
    }

    /// Whether the images of an input may be bytes.
    pub(in crate::nn) fn takes_bytes(&self, input: usize) -> bool {
        matches!(self, Work::First(i, first) if *i == input && first.takes_bytes())
    }

    /// Runs the step.
    ///
    /// # Panics
    /// If an input is of bytes that are not taken.
    ///
    /// # Safety
    /// The views are those that the step was made for, as many images as said, used by nobody else meanwhile; the
    /// scratch memory is as large as the step said.
    pub(in crate::nn) unsafe fn run(&self, site: Site<'_, '_>) {
        let Site {
            lead,
            images,
            reads,
            writes,
            ..
        } = site;
        let to = || writes.expect("only what leaves the network writes no value");
        let given = || site.input.expect("it reads an input");
        // SAFETY: by the caller's promise.
        unsafe {
            match self {
                Work::Enter(input, edge) => {
                    let Input::F32(values) = given() else {
                        panic!("input {input} is not taken as bytes")
                    };
                    edge.enter(lead, values, to());
                }
                Work::First(_, first) => first.run(lead, given(), to(), &site.scratch),
                Work::Conv(conv) => {
                    conv.run(lead, reads[0], reads.get(1).copied(), to(), images);
                }
                Work::MaxPool(pool) => pool.run(lead, reads[0], to(), images),
                Work::GlobalMean(mean) => mean.run(lead, reads[0], to(), images),
                Work::Add(add) => {
                    // Images that are neighbours in a row are one image of the value.
                    let images = if add.row { 1 } else { images };
                    add.run(lead, [reads[0], reads[1]], to(), images);
                }
                Work::Map(map) => {
                    let images = if map.row { 1 } else { images };
                    map.run(lead, reads[0], to(), images);
                }
                Work::Leave(_, edge) => {
                    edge.leave(reads[0], site.output.expect("it writes an output"));
                }
            }
        }
    }
}
