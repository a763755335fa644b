//! What a step of a program does with bytes.
//!
//! Made by the builder's methods for bytes, run by the program.

use super::conv::Conv;
use super::convert::Conversion;
use super::depthwise::Depthwise;
use super::first::FirstConv;
use super::lines::LineConversion;
use super::pointwise::{Add, GlobalMean, Map, MaxPool};
#[cfg(target_arch = "x86_64")]
use super::winograd::Winograd;
use crate::nn::arena::scratch::Scratch;
use crate::nn::layout::input::Input;
use crate::nn::layout::line::View;
use crate::nn::team::Lead;

/// A step on bytes.
#[derive(Debug)]
pub(crate) enum Int8Work {
    /// The network's input of that number becomes lines.
    Enter(usize, Conversion),
    /// A convolution of the network's input of that number, straight from its images.
    First(usize, Box<FirstConv>),
    Conv(Box<Conv>),
    #[cfg(target_arch = "x86_64")]
    Winograd(Box<Winograd>),
    Depthwise(Box<Depthwise>),
    MaxPool(MaxPool),
    GlobalMean(GlobalMean),
    Add(Add),
    Map(Map),
    /// Lines of bytes become lines of numbers.
    Dequantize(LineConversion),
    /// Lines of numbers become lines of bytes.
    Quantize(LineConversion),
    /// Lines become the network's output of that number.
    Leave(usize, Conversion),
}

/// What a step works on.
pub(crate) struct Site<'a, 'r> {
    pub(crate) lead: &'a Lead<'a>,
    pub(crate) images: usize,
    pub(crate) reads: &'a [View],
    pub(crate) writes: Option<View>,
    /// The part of an input or output for these images.
    pub(crate) input: Option<Input<'r>>,
    pub(crate) output: Option<&'r mut [f32]>,
    pub(crate) scratch: Scratch,
}

impl Int8Work {
    /// The number of the network's input that the step reads.
    pub(crate) fn input(&self) -> Option<usize> {
        match self {
            Int8Work::Enter(input, _) | Int8Work::First(input, _) => Some(*input),
            _ => None,
        }
    }

    /// The number of the network's output that the step writes.
    pub(crate) fn output(&self) -> Option<usize> {
        match self {
            Int8Work::Leave(output, _) => Some(*output),
            _ => None,
        }
    }

    /// Whether the step reads each pixel of a value that it adds just before it writes that pixel's result.
    pub(crate) fn convolves(&self) -> bool {
        match self {
            Int8Work::Conv(_) => true,
            #[cfg(target_arch = "x86_64")]
            Int8Work::Winograd(_) => true,
            _ => false,
        }
    }

    /// Whether the step is a layer with weights.
    pub(crate) fn is_layer(&self) -> bool {
        match self {
            Int8Work::First(..) | Int8Work::Conv(_) | Int8Work::Depthwise(_) => true,
            #[cfg(target_arch = "x86_64")]
            Int8Work::Winograd(_) => true,
            _ => false,
        }
    }

    /// How the work is ordered and cut, for people; empty where there is nothing to choose.
    pub(crate) fn plan(&self) -> String {
        match self {
            Int8Work::Conv(conv) => conv.plan().to_string(),
            _ => String::new(),
        }
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Int8Work::Conv(conv) => conv.bytes(),
            #[cfg(target_arch = "x86_64")]
            Int8Work::Winograd(winograd) => winograd.bytes(),
            Int8Work::Depthwise(depthwise) => depthwise.bytes(),
            Int8Work::First(_, first) => first.bytes(),
            _ => 0,
        }
    }

    /// Whether the step reads the images of that input as numbers.
    pub(crate) fn wants_numbers(&self, input: usize) -> bool {
        matches!(self, Int8Work::Enter(i, _) if *i == input)
    }

    /// Whether the images of an input may be bytes.
    pub(crate) fn takes_bytes(&self, input: usize) -> bool {
        matches!(self, Int8Work::First(i, first) if *i == input && first.takes_bytes())
    }

    /// Runs the step.
    ///
    /// # Panics
    /// If the images are bytes where `takes_bytes` is false.
    ///
    /// # Safety
    /// The views are those that the step was made for, as many images as said, used by nobody else meanwhile; the
    /// scratch memory is as large as the step said.
    pub(crate) unsafe fn run(&self, site: Site<'_, '_>) {
        let Site {
            lead,
            images,
            reads,
            writes,
            ..
        } = site;
        let to = || writes.expect("only what leaves the network writes no value");
        let given = || site.input.expect("it reads an input");
        // SAFETY: the caller promises the views and the scratch memory that the step was made for, to itself.
        unsafe {
            match self {
                Int8Work::Enter(input, conversion) => {
                    let Input::F32(values) = given() else {
                        panic!("input {input} is not taken as bytes")
                    };
                    conversion.enter(lead, values, to());
                }
                Int8Work::First(_, first) => first.run(lead, given(), to(), &site.scratch),
                Int8Work::Conv(conv) => {
                    conv.run(lead, reads[0], reads.get(1).copied(), to(), images);
                }
                #[cfg(target_arch = "x86_64")]
                Int8Work::Winograd(winograd) => {
                    let views = (reads[0], reads.get(1).copied(), to());
                    winograd.run(lead, views, images, &site.scratch);
                }
                Int8Work::Depthwise(depthwise) => {
                    depthwise.run(lead, reads[0], reads.get(1).copied(), to(), images);
                }
                Int8Work::MaxPool(pool) => pool.run(lead, reads[0], to(), images),
                Int8Work::GlobalMean(mean) => mean.run(lead, reads[0], to(), images),
                Int8Work::Add(add) => {
                    // Images that are neighbours in a row are one image of the value.
                    let images = if add.row { 1 } else { images };
                    add.run(lead, [reads[0], reads[1]], to(), images);
                }
                Int8Work::Map(map) => {
                    let images = if map.row { 1 } else { images };
                    map.run(lead, reads[0], to(), images);
                }
                Int8Work::Dequantize(conversion) => {
                    let images = if conversion.row { 1 } else { images };
                    conversion.dequantize(lead, reads[0], to(), images);
                }
                Int8Work::Quantize(conversion) => {
                    let images = if conversion.row { 1 } else { images };
                    conversion.quantize(lead, reads[0], to(), images);
                }
                Int8Work::Leave(_, conversion) => {
                    conversion.leave(reads[0], site.output.expect("it writes an output"));
                }
            }
        }
    }
}
