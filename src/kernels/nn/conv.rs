//! Direct convolution: the micro-kernel over all pixels and panels of weights, without a copy of the input.
//!
//! A window's positions are distances in the input, so the sum over `window × channels` is a list of addresses that all
//! pixels of a tile share ([`KBlock`]); zeros beyond the edge are the border lines of the input's planes.

use super::Arithmetic;
use super::line::{Line, Plane, View};
use super::pack::{Packed, Panel};
use super::team::Lead;
use super::tile::{KBlock, Store, Tile, TileFn, TileKernel};

/// Bytes of input or weights that one task goes over again and again: half of a small L2 cache.
const CHUNK_BYTES: usize = 512 << 10;

/// Tasks that a step is cut into at least, where it is large enough: enough for a few threads to end together.
const TASKS: usize = 16;

/// A convolution's shape, in channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConvShape {
    /// Output channels.
    pub(super) outputs: usize,
    /// Input channels of all groups.
    pub(super) inputs: usize,
    /// Groups.
    pub(super) groups: usize,
    /// Window height and width.
    pub(super) kernel: [usize; 2],
    /// Distance of windows in rows and columns.
    pub(super) stride: [usize; 2],
    /// Rows of zeros above, columns of zeros to the left.
    pub(super) pad: [usize; 2],
}

/// What surrounds the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConvUse {
    /// Geometry of the input; its border is at least as wide as the zeros that windows reach.
    pub(super) input: Plane,
    /// Geometry of the output.
    pub(super) output: Plane,
    /// Geometry of the value that is added, if there is one.
    pub(super) residual: Option<Plane>,
    /// Whether negative results become zero.
    pub(super) relu: bool,
    /// How the output is stored.
    pub(super) store: Store,
    /// Whether the images of a batch are the neighbouring pixels of one plane: a fully connected layer.
    pub(super) across_images: bool,
}

/// A convolution ready to run between values of fixed geometry.
#[derive(Debug)]
pub(super) struct Conv {
    weights: Packed,
    /// The sum for panels of one vector and of two.
    k: [Vec<KBlock>; 2],
    shape: ConvShape,
    about: ConvUse,
    /// Kernels by pixels - 1, for one vector and for two.
    kernels: [Vec<TileFn>; 2],
    max_pixels: usize,
    /// Rows that pixels are neighbours in, and their length.
    rows: usize,
    width: usize,
    row_chunks: usize,
    panel_chunks: usize,
}

impl Conv {
    /// Packs `weights`, `[outputs, inputs / groups, height, width]`, and `bias`.
    ///
    /// None if no kernel does it: strides above 2 or unequal ones, or groups too narrow to be worth it.
    pub(super) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<Conv> {
        let kernel = TileKernel::new(arithmetic, about.store);
        if shape.stride[0] != shape.stride[1] {
            return None;
        }
        let kernels = [1, 2].map(|vectors| {
            (1..=kernel.max_pixels)
                .map_while(|pixels| kernel.function(pixels, shape.stride[1], vectors))
                .collect::<Vec<_>>()
        });
        let weights = Packed::new(kernel, shape, weights, bias)?;
        let most = weights.panels.iter().map(|p| p.vectors).max()?;
        if kernels[most - 1].is_empty() {
            return None;
        }
        let borders = about.input.border + about.output.border;
        let residual_border = about.residual.map_or(0, |r| r.border);
        let one_row = shape.kernel == [1, 1]
            && shape.stride == [1, 1]
            && shape.pad == [0, 0]
            && borders + residual_border == 0;
        let (rows, width) = match one_row {
            true => (1, about.output.height * about.output.width),
            false => (about.output.height, about.output.width),
        };
        let mut conv = Conv {
            k: [1, 2].map(|vectors| weights.k_blocks(shape.kernel, about.input, vectors)),
            weights,
            shape,
            about,
            kernels,
            max_pixels: kernel.max_pixels,
            rows,
            width,
            row_chunks: 1,
            panel_chunks: 1,
        };
        conv.cut();
        Some(conv)
    }

    /// Bytes of weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.weights.lines) + size_of_val(&*self.weights.bias)
    }

    /// Cuts the work into tasks: by panels where weights are many and by rows where pixels are, so that what a task
    /// goes over repeatedly stays in the cache.
    fn cut(&mut self) {
        let units = self.rows * self.width.div_ceil(self.max_pixels);
        let panels = self.weights.panels.len();
        let input = self.about.input.lines() * self.weights.input_blocks * size_of::<Line>();
        self.row_chunks = input.div_ceil(CHUNK_BYTES).clamp(1, units);
        if self.bytes() <= CHUNK_BYTES {
            self.row_chunks = self.row_chunks.max(TASKS.min(units));
        }
        self.panel_chunks = (self.bytes() / CHUNK_BYTES)
            .max(TASKS / self.row_chunks)
            .clamp(1, panels);
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output meanwhile.
    pub(super) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        input: View,
        residual: Option<View>,
        output: View,
        images: usize,
    ) {
        let (planes, width) = match self.about.across_images {
            true => (1, images),
            false => (images, self.width),
        };
        let tiles = width.div_ceil(self.max_pixels);
        let units = self.rows * tiles;
        let row_chunks = self.row_chunks.min(units);
        let task = |i: usize| {
            let (panel_chunk, rest) = (i / (planes * row_chunks), i % (planes * row_chunks));
            let (image, row_chunk) = (rest / row_chunks, rest % row_chunks);
            for panel in share(self.weights.panels.len(), panel_chunk, self.panel_chunks) {
                let panel = &self.weights.panels[panel];
                for unit in share(units, row_chunk, row_chunks) {
                    let columns = share(width, unit % tiles, tiles);
                    let at = (image, unit / tiles, columns);
                    // SAFETY: by the caller's promise; no other task has this panel and this run of pixels.
                    unsafe { self.tile(panel, at, input, residual, output) };
                }
            }
        };
        lead.for_each(planes * row_chunks * self.panel_chunks, &task);
    }

    /// # Safety
    /// As of `run`, and nobody else uses these pixels of the output.
    #[inline]
    unsafe fn tile(
        &self,
        panel: &Panel,
        (image, row, columns): (usize, usize, std::ops::Range<usize>),
        input: View,
        residual: Option<View>,
        output: View,
    ) {
        let [rows, cols] = self.shape.stride;
        let [above, left] = self.shape.pad;
        let plane = self.about.input;
        // Where the window begins; a border takes what lies above and to the left of the image.
        let first = (row * rows + plane.border - above) * plane.pitch()
            + columns.start * cols
            + plane.border
            - left;
        let pixels = columns.len();
        let per_block = self.about.store.vectors_per_block();
        let block = panel.first / per_block * self.about.store.planes_per_block();
        // SAFETY: inside of the values by the geometry that `new` was given.
        unsafe {
            let tile = Tile {
                a: input
                    .start
                    .add(image * input.image_lines() + panel.input * plane.lines() + first),
                k: &self.k[panel.vectors - 1],
                b: self.weights.lines.as_ptr().add(panel.weights),
                bias: self.weights.bias.as_ptr().add(panel.first),
                residual: residual.map_or(std::ptr::null(), |r| {
                    r.line(image, block, row, columns.start).cast_const()
                }),
                residual_stride: residual.map_or(0, |r| r.plane.lines()),
                out: output.line(image, block, row, columns.start),
                out_stride: output.plane.lines(),
                relu: self.about.relu,
            };
            (self.kernels[panel.vectors - 1][pixels - 1])(&tile);
        }
    }
}

/// Part number `part` of `parts` nearly equal ones of `0..whole`.
fn share(whole: usize, part: usize, parts: usize) -> std::ops::Range<usize> {
    whole * part / parts..whole * (part + 1) / parts
}
