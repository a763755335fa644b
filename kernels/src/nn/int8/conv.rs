//! Direct convolution of bytes: the micro-kernel over all pixels and panels of weights, without a copy of the input.
//!
//! Called by the program's steps. What lies beyond the edge are border lines of the input's zero, so every product of a
//! window is with a byte of memory, and what its zero contributes is taken off the sum once, in advance.

use super::pack::{ByChannels, Packed, QuantizedWeights};
use super::pixels::{Part, Pixels};
use super::requantize::Finish;
use super::tile::{BLOCK_LINES, KBlock, Kind, PANEL, Target};
use crate::nn::arena::scratch::share;
use crate::nn::arithmetic::Arithmetic;
use crate::nn::conv::plan::{Plan, Size};
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::layer::Unsupported;
use crate::nn::layout::line::{Line, View};
use crate::nn::team::Lead;

/// With more calls than this, a panel of weights is used for so long that the CPU fetches the next one in time.
const MAX_FETCHING: usize = 16;

/// A convolution of bytes ready to run between values of fixed geometry.
#[derive(Debug)]
pub(crate) struct Conv {
    weights: Packed,
    /// Panels to compute: where bytes are stored, not those beyond the last output.
    panels: usize,
    /// The K-blocks of each panel's sum; a single list where all panels read all channels.
    sums: Vec<Vec<KBlock>>,
    about: ConvUse,
    finish: Finish,
    kind: Kind,
    pixels: Pixels,
    plan: Plan,
}

impl Conv {
    /// Packs the weights.
    ///
    /// # Errors
    /// [`Unsupported`]: sums too large to be exact.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        source: &QuantizedWeights<'_>,
        finish: Finish,
    ) -> Result<Conv, Unsupported> {
        let pixels = Pixels::new(arithmetic, source.kind, shape, about)
            .ok_or_else(|| Unsupported("no kernel for bytes on this CPU".into()))?;
        let order = ByChannels {
            group: [shape.inputs, shape.outputs].map(|n| n / shape.groups),
            outputs: shape.outputs,
            window: shape.kernel[0] * shape.kernel[1],
            align: pixels.align(),
        };
        let weights = Packed::new(source, &order)?;
        let panels = match shape.groups {
            1 => 1,
            _ => weights.panels,
        };
        let sums: Vec<_> = (0..panels)
            .map(|panel| sum(panel, &order, shape, about))
            .collect();
        let weights = match Pixels::wants_pairs(arithmetic) {
            true => weights.paired(arithmetic.vectorized(), &sums),
            false => weights,
        };
        let input = about.input.lines() * shape.inputs.div_ceil(64) * size_of::<Line>();
        let size = Size {
            input,
            weights: weights.bytes(),
            units: pixels.units(None),
            // Counted in whole lines of outputs, two panels each, so that no two threads write into one.
            panels: weights.panels / 2,
        };
        Ok(Conv {
            panels: match source.kind {
                // Numbers beyond the last output may meet a weight of zero, which makes no zero of a NaN.
                Kind::Float => weights.panels,
                // Bytes beyond the last output may be anything.
                Kind::Plain | Kind::Residual | Kind::Sum => shape.outputs.div_ceil(PANEL),
            },
            plan: Plan::new(arithmetic, size),
            sums,
            weights,
            about,
            finish,
            kind: source.kind,
            pixels,
        })
    }

    /// How the work is ordered and cut.
    pub(crate) fn plan(&self) -> Plan {
        self.plan
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output meanwhile, which is the residual or does not overlap with it.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        input: View,
        residual: Option<View>,
        output: View,
        images: usize,
    ) {
        let (planes, row) = match self.about.across_images {
            true => (1, Some(images)),
            false => (images, None),
        };
        let units = self.pixels.units(row);
        let row_chunks = self.plan.row_chunks.min(units);
        let blocks = self.plan.panel_chunks;
        let task = |i: usize| {
            let [image, block_chunk, row_chunk] = self.plan.task(i, planes, row_chunks);
            let ahead = match units <= MAX_FETCHING && self.plan.looks_ahead(image, planes) {
                true => BLOCK_LINES.div_ceil(units),
                false => 0,
            };
            let part = Part {
                units: share(units, row_chunk, row_chunks),
                row,
            };
            for block in share(self.weights.panels / 2, block_chunk, blocks) {
                for half in 0..(self.panels - 2 * block).min(2) {
                    let number = 2 * block + half;
                    let panel = self.weights.panel(number, &self.sums, &self.finish, ahead);
                    // SAFETY: inside of the values by the geometry that `new` was given; no other task has this block
                    // of outputs and these units.
                    unsafe {
                        let target = self.target(image, block, half, (input, residual, output));
                        self.pixels.run(&panel, target, &part);
                    }
                }
            }
        };
        lead.for_each(planes * row_chunks * blocks, &task);
    }

    /// Where half a block of outputs of an image is computed from and stored, at the planes' first lines.
    ///
    /// # Safety
    /// The conditions of `run` hold.
    unsafe fn target(
        &self,
        image: usize,
        block: usize,
        half: usize,
        (input, residual, output): (View, Option<View>, View),
    ) -> Target {
        // SAFETY: inside of the values by the geometry that `new` was given.
        unsafe {
            let a = input.plane_start(image, 0).cast::<u8>().cast_const();
            match self.kind {
                Kind::Float => Target {
                    a,
                    // A block of 64 outputs is four of `f32`, all of which the output has memory for.
                    out: output.plane_start(image, 4 * block + 2 * half).cast::<u8>(),
                    out_stride: output.plane.lines() * size_of::<Line>(),
                    residual: std::ptr::null(),
                },
                Kind::Plain | Kind::Residual | Kind::Sum => Target {
                    a,
                    out: output.plane_start(image, block).cast::<u8>().add(32 * half),
                    out_stride: 0,
                    residual: residual.map_or(std::ptr::null(), |r| {
                        r.plane_start(image, block)
                            .cast::<u8>()
                            .add(32 * half)
                            .cast_const()
                    }),
                },
            }
        }
    }
}

/// A panel's sum: for each line of channels that it reads all positions of the window.
fn sum(panel: usize, order: &ByChannels, shape: ConvShape, about: ConvUse) -> Vec<KBlock> {
    let plane = about.input;
    let mut list = Vec::new();
    for channels in order.of_lines(panel) {
        for row in 0..shape.kernel[0] {
            for column in 0..shape.kernel[1] {
                let lines = channels.start / 64 * plane.lines() + row * plane.pitch() + column;
                list.push(KBlock {
                    a: (lines * size_of::<Line>() + channels.start % 64) as u32,
                    quads: channels.len().div_ceil(4) as u32,
                });
            }
        }
    }
    list
}
