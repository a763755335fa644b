//! Windows copied into lines, a few at a time, and multiplied while they are in the first-level cache.

use std::ops::Range;

use super::OutputRow;
use crate::nn::arena::scratch::share;
use crate::nn::conv::pack::{Packed, Panel};
use crate::nn::conv::patches::Patches;
use crate::nn::conv::pixels::{Neighbours, Pixels};
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::layout::line::{Line, Plane};
use crate::nn::micro::series::{Prefetch, Series};
use crate::nn::micro::table::MicroKernels;
use crate::nn::micro::tile::KBlock;

/// How packed windows are multiplied.
#[derive(Debug)]
pub(crate) struct Windows {
    weights: Packed,
    /// The K-blocks of the sum, for panels of one vector and of two.
    k: [Vec<KBlock>; 2],
    /// The pixels that are packed together, as a row.
    pixels: Pixels,
    /// Parts of a row of the output, each packed and multiplied by itself.
    parts: usize,
    /// Lines from one block of packed windows to the next.
    pitch: usize,
}

impl Windows {
    /// Packs `weights`, which are in the order of the windows' numbers; none if no kernel multiplies them.
    pub(crate) fn new(
        kernel: MicroKernels,
        patches: &Patches,
        outputs: usize,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Windows> {
        let flat = ConvShape {
            outputs,
            inputs: patches.numbers(),
            groups: 1,
            kernel: [1, 1],
            stride: [1, 1],
            pad: [0, 0],
        };
        let weights = Packed::new(kernel, flat, weights, bias)?;
        let most = weights.panels.iter().map(|p| p.vectors).max()?;
        // As many windows as two calls of the micro-kernel take, which go over the weights together.
        let pitch = 2 * kernel.max_pixels;
        let parts = about.output.width.div_ceil(pitch.max(1));
        let row = |width| Plane {
            height: 1,
            width,
            border: 0,
        };
        let part = row(about.output.width.div_ceil(parts.max(1)));
        let packed = ConvUse {
            input: part,
            output: part,
            ..about
        };
        Some(Windows {
            k: [1, 2].map(|vectors| weights.k_blocks([1, 1], row(pitch), vectors)),
            weights,
            pixels: Pixels::new(kernel, flat, packed, most)?,
            parts,
            pitch,
        })
    }

    /// Lines of scratch memory for the packed windows.
    pub(crate) fn lines(&self, patches: &Patches) -> usize {
        patches.lines() * self.pitch
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.weights.lines)
    }

    /// Computes a row of the output from row `row` of a band.
    ///
    /// # Safety
    /// The output lives, and nobody else uses this row of it.
    pub(crate) unsafe fn row(
        &self,
        about: ConvUse,
        (patches, band, row): (&Patches, &[Line], usize),
        to: OutputRow,
        packed: &mut [Line],
    ) {
        for part in 0..self.parts {
            let columns = share(about.output.width, part, self.parts);
            patches.pack(band, row, columns.clone(), packed, self.pitch);
            for panel in &self.weights.panels {
                // SAFETY: the caller promises that the output lives and nobody else uses this row of it.
                unsafe { self.products(about, panel, packed, columns.clone(), to) };
            }
        }
    }

    /// # Safety
    /// The conditions of `row` hold.
    unsafe fn products(
        &self,
        about: ConvUse,
        panel: &Panel,
        packed: &[Line],
        columns: Range<usize>,
        to: OutputRow,
    ) {
        // SAFETY: inside of the packed windows, the weights and the output.
        unsafe {
            let mut tile = to.tile(about, &self.weights, panel, columns.start);
            tile.a = packed.as_ptr();
            tile.k = &self.k[panel.vectors - 1];
            let (packed, out) = (tile.a, tile.out);
            match &self.pixels {
                Pixels::Neighbours(Neighbours {
                    kernels,
                    max_pixels,
                    ..
                }) => {
                    let parts = columns.len().div_ceil(*max_pixels);
                    for part in 0..parts {
                        let pixels = share(columns.len(), part, parts);
                        tile.a = packed.add(pixels.start);
                        tile.out = out.add(pixels.start);
                        (kernels[panel.vectors - 1][pixels.len() - 1])(&tile);
                    }
                }
                Pixels::Calls(calls, kernels) => {
                    let kernel = kernels[panel.vectors - 1]
                        .expect("a unit that takes calls has a kernel for each panel");
                    kernel(&Series {
                        tile,
                        groups: calls.groups,
                        calls: &calls.calls,
                        segments: &calls.segments,
                        pixels: columns.len() as u32,
                        prefetch: Prefetch::NONE,
                    });
                }
            }
        }
    }
}
