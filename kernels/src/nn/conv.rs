//! Direct convolution: the micro-kernel over all pixels and panels of weights, without a copy of the input.
//!
//! A window's positions are distances in the input, so the sum over `window × channels` is a list of addresses that all
//! pixels of a tile share ([`KBlock`]); zeros beyond the edge are the border lines of the input's planes.

use std::ops::Range;

use super::Arithmetic;
use super::calls::Calls;
use super::line::{Line, Plane, View};
use super::pack::{Packed, Panel};
use super::pixels::{Neighbours, Pixels};
use super::runs::{Ahead, Series, SeriesFn};
use super::scratch::share;
use super::team::Lead;
use super::tile::{KBlock, Store, Tile, TileKernel};

/// Tasks that a step is cut into at least, where it is large enough: enough for a few threads to end together.
const TASKS: usize = 16;

/// Bytes of weights up to which the images of a batch are computed one after the other: they stay in the L2 cache, while
/// the inputs of all images would not. With more, each panel of weights is used for all images.
const WEIGHTS_IN_CACHE: usize = 1300 << 10;

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
    pixels: Pixels,
    row_chunks: usize,
    panel_chunks: usize,
}

/// Where a convolution reads and writes.
#[derive(Clone, Copy)]
struct Views {
    input: View,
    residual: Option<View>,
    output: View,
}

impl Conv {
    /// Packs `weights`, `[outputs, inputs / groups, height, width]`, and `bias`.
    ///
    /// None if no kernel does it: strides above 2, where vectors multiply, or unequal ones, or groups too narrow to be
    /// worth it.
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
        let weights = Packed::new(kernel, shape, weights, bias)?;
        let most = weights.panels.iter().map(|p| p.vectors).max()?;
        let pixels = Pixels::new(kernel, shape, about, most)?;
        let mut conv = Conv {
            k: [1, 2].map(|vectors| weights.k_blocks(shape.kernel, about.input, vectors)),
            weights,
            shape,
            about,
            pixels,
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
        let grain = self.pixels.grain();
        let units = self.pixels.units(None);
        let panels = self.weights.panels.len();
        let input = self.about.input.lines() * self.weights.input_blocks * size_of::<Line>();
        self.row_chunks = input.div_ceil(grain.bytes).clamp(1, units);
        if self.bytes() <= grain.bytes {
            self.row_chunks = self.row_chunks.max(TASKS.min(units / grain.units));
        }
        self.panel_chunks = (self.bytes() / grain.bytes)
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
        let views = Views {
            input,
            residual,
            output,
        };
        let (planes, row) = match self.about.across_images {
            true => (1, Some(images)),
            false => (images, None),
        };
        let units = self.pixels.units(row);
        let row_chunks = self.row_chunks.min(units);
        let panel_chunks = self.panel_chunks;
        let tasks = planes * row_chunks * panel_chunks;
        let image_by_image = self.bytes() <= WEIGHTS_IN_CACHE;
        let task = |i: usize| {
            let (image, panel_chunk, row_chunk) = match image_by_image {
                true => {
                    let within = i % (row_chunks * panel_chunks);
                    (
                        i / (row_chunks * panel_chunks),
                        within / row_chunks,
                        within % row_chunks,
                    )
                }
                false => {
                    let within = i % (planes * row_chunks);
                    (
                        within / row_chunks,
                        i / (planes * row_chunks),
                        within % row_chunks,
                    )
                }
            };
            let panels = share(self.weights.panels.len(), panel_chunk, panel_chunks);
            let units = share(units, row_chunk, row_chunks);
            let looks_ahead = (image_by_image || planes < 4) && image == 0;
            for number in panels {
                let panel = &self.weights.panels[number];
                // SAFETY: by the caller's promise; no other task has this panel and these units.
                unsafe {
                    match &self.pixels {
                        Pixels::Neighbours(pixels) => {
                            let width = row.unwrap_or(pixels.width);
                            self.neighbours(pixels, panel, (image, width, units.clone()), views);
                        }
                        Pixels::Calls(calls, kernels) => {
                            let kernel = kernels[panel.vectors - 1]
                                .expect("a unit that takes calls has a kernel for each panel");
                            let next = self.weights.panels.get(number + 1);
                            let ahead = match next {
                                Some(next) if looks_ahead && next.vectors == panel.vectors => {
                                    Ahead {
                                        b: self.weights.lines.as_ptr().add(next.weights),
                                        lines: next.weights - panel.weights,
                                        calls: calls.len(),
                                        first: units.start,
                                    }
                                }
                                _ => Ahead::NONE,
                            };
                            let images = row.map_or(u32::MAX, |images| images as u32);
                            let of = (image, images, units.clone());
                            self.calls((calls, kernel), panel, of, views, ahead);
                        }
                    }
                }
            }
        };
        lead.for_each(tasks, &task);
    }

    /// Computes some units of an image's rows of `width` pixels for one panel.
    ///
    /// # Safety
    /// As of `run`, and nobody else uses these pixels of the panel's outputs.
    unsafe fn neighbours(
        &self,
        pixels: &Neighbours,
        panel: &Panel,
        (image, width, units): (usize, usize, Range<usize>),
        views: Views,
    ) {
        let tiles = width.div_ceil(pixels.max_pixels);
        for unit in units {
            let columns = share(width, unit % tiles, tiles);
            let at = (image, unit / tiles, columns);
            // SAFETY: by the caller's promise.
            unsafe { self.tile(pixels, panel, at, views) };
        }
    }

    /// Computes some calls of an image, or those for the first `pixels` images of a row, for one panel.
    ///
    /// # Safety
    /// As of `neighbours`.
    unsafe fn calls(
        &self,
        (calls, kernel): (&Calls, SeriesFn),
        panel: &Panel,
        (image, pixels, units): (usize, u32, Range<usize>),
        views: Views,
        ahead: Ahead,
    ) {
        let input = image * views.input.image_lines() + panel.input * self.about.input.lines();
        // SAFETY: inside of the values by the geometry that `new` was given.
        unsafe {
            kernel(&Series {
                tile: self.panel(panel, image, input, views),
                groups: calls.groups,
                calls: &calls.calls[units],
                runs: &calls.runs,
                pixels,
                ahead,
            });
        }
    }

    /// A panel's work from line `input` of the input on, with outputs and residual at the first lines of their planes.
    ///
    /// # Safety
    /// As of `run`, and there is such a line.
    #[inline]
    unsafe fn panel(&self, panel: &Panel, image: usize, input: usize, views: Views) -> Tile<'_> {
        let per_block = self.about.store.vectors_per_block();
        let block = panel.first / per_block * self.about.store.planes_per_block();
        // SAFETY: inside of the values by the geometry that `new` was given.
        unsafe {
            Tile {
                a: views.input.start.add(input),
                k: &self.k[panel.vectors - 1],
                b: self.weights.lines.as_ptr().add(panel.weights),
                bias: self.weights.bias.as_ptr().add(panel.first),
                residual: (views.residual).map_or(std::ptr::null(), |r| {
                    r.plane_start(image, block).cast_const()
                }),
                residual_stride: views.residual.map_or(0, |r| r.plane.lines()),
                out: views.output.plane_start(image, block),
                out_stride: views.output.plane.lines(),
                relu: self.about.relu,
            }
        }
    }

    /// # Safety
    /// As of `run`, and nobody else uses these pixels of the output.
    #[inline]
    unsafe fn tile(
        &self,
        pixels: &Neighbours,
        panel: &Panel,
        (image, row, columns): (usize, usize, Range<usize>),
        views: Views,
    ) {
        let count = columns.len();
        let column = columns.start;
        let input = image * views.input.image_lines()
            + panel.input * self.about.input.lines()
            + self.about.first_line(self.shape, row, column);
        // SAFETY: inside of the values by the geometry that `new` was given.
        unsafe {
            let mut tile = self.panel(panel, image, input, views);
            tile.out = tile.out.add(self.about.output.at(row, column));
            if let Some(residual) = self.about.residual {
                tile.residual = tile.residual.add(residual.at(row, column));
            }
            (pixels.kernels[panel.vectors - 1][count - 1])(&tile);
        }
    }
}

impl ConvUse {
    /// Lines from the input plane's first to that where the window of an output pixel begins; a border takes what lies
    /// above and to the left of the image.
    pub(super) fn first_line(&self, shape: ConvShape, row: usize, column: usize) -> usize {
        let plane = self.input;
        let [above, left] = shape.pad;
        (row * shape.stride[0] + plane.border - above) * plane.pitch()
            + column * shape.stride[1]
            + plane.border
            - left
    }

    /// The same with each plane as a single row, if the pixels of one are neighbours from row to row in all of them.
    pub(super) fn flat(self, shape: ConvShape) -> ConvUse {
        let planes = [Some(self.input), Some(self.output), self.residual];
        if shape.kernel != [1, 1]
            || shape.stride != [1, 1]
            || shape.pad != [0, 0]
            || planes.into_iter().flatten().any(|p| p.border != 0)
        {
            return self;
        }
        let row = |plane: Plane| Plane {
            height: 1,
            width: plane.height * plane.width,
            border: 0,
        };
        ConvUse {
            input: row(self.input),
            output: row(self.output),
            residual: self.residual.map(row),
            ..self
        }
    }
}
