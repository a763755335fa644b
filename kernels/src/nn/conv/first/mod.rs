//! The first convolution: from images of few channels, as they come, without a copy of them in lines.
//!
//! Called by the program's steps instead of a conversion of the input and a direct convolution. Each task interleaves
//! the channels of the image's rows under some rows of the output, and multiplies the windows: straight from there
//! where the instructions can read them, else packed into lines first.

mod straight;
#[cfg(test)]
mod tests;
mod windows;

use std::ops::Range;

use self::straight::Straight;
use self::windows::Windows;
use super::pack::{Packed, Panel};
use super::patches::{PatchShape, Patches};
use super::shape::{ConvShape, ConvUse};
use crate::Normalization;
use crate::nn::arena::scratch::{Scratch, share};
use crate::nn::arithmetic::Arithmetic;
use crate::nn::layout::input::Input;
use crate::nn::layout::line::{Line, View};
use crate::nn::micro::table::MicroKernels;
use crate::nn::micro::tile::Tile;
use crate::nn::team::Lead;

/// Rows of the output that a task computes: its rows of the image are interleaved once, those under two tasks twice.
const ROWS: usize = 8;

/// A convolution of images of at most four channels, ready to run.
#[derive(Debug)]
pub(crate) struct FirstConv {
    patches: Patches,
    about: ConvUse,
    way: Way,
    /// Numbers of an image: channels × height × width.
    image: usize,
}

/// How the interleaved rows become products.
#[derive(Debug)]
enum Way {
    Packed(Windows),
    Straight(Straight),
}

/// A row of the output: the image, the row's number, and the view that it is written to.
#[derive(Clone, Copy)]
struct OutputRow {
    image: usize,
    row: usize,
    output: View,
}

impl FirstConv {
    /// Packs `weights`, `[outputs, inputs, height, width]`, and `bias`. Of `about.input`, the border does not count.
    ///
    /// None if the convolution has groups, a residual, or an image of more than four channels.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<FirstConv> {
        if shape.groups != 1 || about.residual.is_some() || about.across_images {
            return None;
        }
        let image = [shape.inputs, about.input.height, about.input.width];
        let patch = PatchShape {
            image,
            kernel: shape.kernel,
            stride: shape.stride,
            pad: shape.pad,
            columns: about.output.width,
        };
        let patches = Patches::new(arithmetic.vectorized(), arithmetic.store(), patch)?;
        let kernel = MicroKernels::new(arithmetic, about.store);
        let ordered = patches.order(weights);
        let way = match Straight::new(kernel, &patches, shape.outputs, about, &ordered, bias) {
            Some(straight) => Way::Straight(straight),
            None => Way::Packed(Windows::new(
                kernel,
                &patches,
                shape.outputs,
                about,
                &ordered,
                bias,
            )?),
        };
        Some(FirstConv {
            patches,
            about,
            way,
            image: image.iter().product(),
        })
    }

    /// Takes images of bytes too, if they have three channels.
    pub(crate) fn normalizing(mut self, normalization: [Normalization; 3]) -> FirstConv {
        self.patches = self.patches.normalizing(normalization);
        self
    }

    /// Whether images may be bytes.
    pub(crate) fn takes_bytes(&self) -> bool {
        self.patches.takes_bytes()
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        match &self.way {
            Way::Packed(windows) => windows.bytes(),
            Way::Straight(straight) => straight.bytes(),
        }
    }

    /// Lines of scratch memory that `run` uses for `threads` threads.
    pub(crate) fn scratch_lines(&self, threads: usize) -> usize {
        threads * self.slot_lines()
    }

    fn slot_lines(&self) -> usize {
        let packed = match &self.way {
            Way::Packed(windows) => windows.lines(&self.patches),
            Way::Straight(_) => 0,
        };
        self.patches.band_lines(ROWS) + packed
    }

    /// Computes some images.
    ///
    /// # Panics
    /// If `images` is not whole images, or is bytes where `takes_bytes` is false.
    ///
    /// # Safety
    /// The output has the geometry given to `new`, its memory lives, holds as many images, and nobody else uses it or
    /// the scratch memory meanwhile, which is large enough.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        images: Input<'_>,
        output: View,
        scratch: &Scratch,
    ) {
        assert!(
            images.len().is_multiple_of(self.image),
            "the images are not whole"
        );
        let height = self.about.output.height;
        let bands = height.div_ceil(ROWS);
        let count = images.len() / self.image;
        scratch.for_each(lead, count * bands, &|slot, task| {
            let (image, band) = (task / bands, task % bands);
            // SAFETY: the slot's part of the scratch memory, which no other task uses now.
            let memory = unsafe {
                let start = scratch.start.add(slot * self.slot_lines());
                std::slice::from_raw_parts_mut(start, self.slot_lines())
            };
            let values = images.part(image * self.image..(image + 1) * self.image);
            // SAFETY: the caller promises an output of the geometry given to `new`; no other task has these rows.
            unsafe { self.band(values, image, share(height, band, bands), output, memory) };
        });
    }

    /// # Safety
    /// The conditions of `run` hold, and nobody else uses these rows of the output.
    unsafe fn band(
        &self,
        values: Input<'_>,
        image: usize,
        rows: Range<usize>,
        output: View,
        memory: &mut [Line],
    ) {
        let (band, packed) = memory.split_at_mut(self.patches.band_lines(ROWS));
        self.patches.interleave(values, rows.clone(), band);
        for row in rows.clone() {
            let to = OutputRow { image, row, output };
            // SAFETY: the caller promises that the output lives and nobody else uses these rows of it.
            unsafe {
                match &self.way {
                    Way::Packed(windows) => {
                        let from = (&self.patches, &*band, row - rows.start);
                        windows.row(self.about, from, to, packed);
                    }
                    Way::Straight(straight) => {
                        straight.row(self.about, &self.patches, (band, row - rows.start), to);
                    }
                }
            }
        }
    }
}

impl OutputRow {
    /// A panel's tile whose outputs are this row's from `column` on; the caller adds its input `a` and its sum `k`.
    ///
    /// # Safety
    /// The column is one of the row, and the output lives.
    unsafe fn tile<'a>(
        self,
        about: ConvUse,
        weights: &Packed,
        panel: &Panel,
        column: usize,
    ) -> Tile<'a> {
        let block = panel.first / about.store.vectors_per_block() * about.store.planes_per_block();
        // SAFETY: inside of the weights and of the output.
        unsafe {
            Tile {
                a: std::ptr::null(),
                step: 1,
                k: &[],
                b: weights.lines.as_ptr().add(panel.weights),
                bias: weights.bias.as_ptr().add(panel.first),
                residual: std::ptr::null(),
                residual_stride: 0,
                out: self.output.line(self.image, block, self.row, column),
                out_stride: self.output.plane.lines(),
                relu: about.relu,
                most: about.most,
            }
        }
    }
}
