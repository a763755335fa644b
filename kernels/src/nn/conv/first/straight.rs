//! Windows read where they lie in the interleaved rows: the numbers of a kernel row are neighbours there.
//!
//! Vectors take each number of a kernel row by itself, so the sum is the packed windows' to the bit. Tiles take 32
//! numbers of a row at a time; those beyond its end belong to the next pixels and meet weights of zero. So the order of
//! the sum is another than the packed windows', and a number of the image that is infinite or NaN reaches a few results
//! more.

use super::OutputRow;
use crate::nn::arena::scratch::share;
use crate::nn::conv::calls::Calls;
use crate::nn::conv::pack::Packed;
use crate::nn::conv::patches::Patches;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::layout::line::Line;
use crate::nn::micro::series::{Prefetch, Series, SeriesFn};
use crate::nn::micro::table::MicroKernels;
use crate::nn::micro::tile::{KBlock, RowFn};

/// Tiles read straight where that takes at most so many times the K-blocks of packed windows: for 7×7×3 it is 7 in
/// place of 5 and saves half of the time, packing included; for 3×3×3 it would be 3 in place of 1.
const MOST_BLOCKS: usize = 2;

/// How windows are multiplied without a copy.
#[derive(Debug)]
pub(crate) struct Straight {
    weights: Packed,
    /// The K-blocks of the sum, for panels of one vector and of two.
    k: [Vec<KBlock>; 2],
    kernels: Kernels,
}

#[derive(Debug)]
enum Kernels {
    /// Kernels by pixels - 1, for one vector and for two, and the numbers of a kernel row.
    Rows([Vec<RowFn>; 2], usize),
    /// Kernels for one vector and for two, and the calls for a row of the output.
    Calls([Option<SeriesFn>; 2], Calls),
}

impl Straight {
    /// Packs `weights`, which are in the order of the windows' numbers. None if no kernel reads such windows where they
    /// lie, or if that takes more than [`MOST_BLOCKS`] times the K-blocks.
    pub(crate) fn new(
        kernel: MicroKernels,
        patches: &Patches,
        outputs: usize,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Straight> {
        match kernel.series_function(kernel.vectors) {
            Some(_) => Straight::of_tiles(kernel, patches, outputs, about, weights, bias),
            None => Straight::of_vectors(kernel, patches, outputs, weights, bias),
        }
    }

    fn of_vectors(
        kernel: MicroKernels,
        patches: &Patches,
        outputs: usize,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Straight> {
        let kernels = [1, 2].map(|vectors| {
            (1..=kernel.max_pixels)
                .map_while(|pixels| kernel.row_function(pixels, patches.distance(), vectors))
                .collect::<Vec<_>>()
        });
        let weights = Packed::new(kernel, flat(outputs, patches.numbers()), weights, bias)?;
        let most = weights.panels.iter().map(|p| p.vectors).max()?;
        if kernels[most - 1].is_empty() || kernels[0].is_empty() {
            return None;
        }
        let row = patches.row_numbers();
        let k = [1, 2].map(|vectors| {
            let rows = 0..patches.numbers() / row;
            rows.map(|number| KBlock {
                a: (number * patches.pitch_lines()) as u32,
                b: (number * row * vectors) as u32,
            })
            .collect()
        });
        Some(Straight {
            weights,
            k,
            kernels: Kernels::Rows(kernels, row),
        })
    }

    fn of_tiles(
        kernel: MicroKernels,
        patches: &Patches,
        outputs: usize,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Straight> {
        let lanes = kernel.arithmetic.lanes();
        let row = patches.row_numbers();
        let (rows, blocks) = (patches.numbers() / row, row.div_ceil(lanes));
        if rows * blocks > MOST_BLOCKS * patches.numbers().div_ceil(lanes) {
            return None;
        }
        let mut padded = vec![0.0; outputs * rows * blocks * lanes];
        for (to, from) in (padded.chunks_exact_mut(blocks * lanes)).zip(weights.chunks_exact(row)) {
            to[..row].copy_from_slice(from);
        }
        let weights = Packed::new(kernel, flat(outputs, rows * blocks * lanes), &padded, bias)?;
        let starts = |n: usize| (n / blocks * patches.pitch_lines() + n % blocks) as u32;
        let plane = patches.band_lines(super::ROWS) / kernel.arithmetic.planes();
        let k = [1, 2]
            .map(|vectors| weights.sum((0..rows * blocks).map(starts), plane as u32, vectors));
        let bytes = patches.distance() * size_of::<Line>() / lanes;
        Some(Straight {
            weights,
            k,
            kernels: Kernels::Calls(
                [1, 2].map(|vectors| kernel.series_function(vectors)),
                Calls::of_row(about.output.width, bytes),
            ),
        })
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
        patches: &Patches,
        (band, row): (&[Line], usize),
        to: OutputRow,
    ) {
        let start = &band[patches.row_line(row)..];
        for panel in &self.weights.panels {
            // SAFETY: inside of the band, the weights and the output: a band ends with a line of zeros for what a tile
            // reads behind its last window.
            unsafe {
                let mut tile = to.tile(about, &self.weights, panel, 0);
                tile.a = start.as_ptr();
                tile.k = &self.k[panel.vectors - 1];
                match &self.kernels {
                    Kernels::Rows(kernels, row) => {
                        let kernels = &kernels[panel.vectors - 1];
                        let parts = about.output.width.div_ceil(kernels.len());
                        let (start, out) = (tile.a.cast::<f32>(), tile.out);
                        for part in 0..parts {
                            let pixels = share(about.output.width, part, parts);
                            tile.a = start.add(pixels.start * patches.distance()).cast();
                            tile.out = out.add(pixels.start);
                            (kernels[pixels.len() - 1])(&tile, *row);
                        }
                    }
                    Kernels::Calls(kernels, calls) => {
                        let kernel = kernels[panel.vectors - 1]
                            .expect("a unit that takes calls has a kernel for each panel");
                        kernel(&Series {
                            tile,
                            groups: calls.groups,
                            calls: &calls.calls,
                            segments: &calls.segments,
                            pixels: u32::MAX,
                            prefetch: Prefetch::NONE,
                        });
                    }
                }
            }
        }
    }
}

/// The shape of a 1×1 convolution whose input channels are a window's numbers.
fn flat(outputs: usize, inputs: usize) -> ConvShape {
    ConvShape {
        outputs,
        inputs,
        groups: 1,
        kernel: [1, 1],
        stride: [1, 1],
        pad: [0, 0],
    }
}
