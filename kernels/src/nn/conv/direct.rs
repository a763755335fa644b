//! Direct convolution: the micro-kernel over all pixels and panels of weights, without a copy of the input.
//!
//! A window's positions are distances in the input, so the sum over `window × channels` is a list of addresses that all
//! pixels of a tile share ([`KBlock`]); zeros beyond the edge are the border lines of the input's planes.

use std::ops::Range;

use super::calls::Calls;
use super::pack::{Packed, Panel};
use super::pixels::{Neighbours, Pixels};
use super::plan::{Plan, Size};
use super::shape::{ConvShape, ConvUse};
use crate::nn::arena::scratch::share;
use crate::nn::arithmetic::Arithmetic;
use crate::nn::layout::line::{Line, View};
use crate::nn::micro::series::{Prefetch, Series, SeriesFn};
use crate::nn::micro::table::MicroKernels;
use crate::nn::micro::tile::{KBlock, Tile};
use crate::nn::team::Lead;

/// A convolution ready to run between values of fixed geometry.
#[derive(Debug)]
pub(crate) struct DirectConv {
    weights: Packed,
    /// The K-blocks of the sum, for panels of one vector and of two.
    k: [Vec<KBlock>; 2],
    shape: ConvShape,
    about: ConvUse,
    pixels: Pixels,
    plan: Plan,
}

/// Where a convolution reads and writes.
#[derive(Clone, Copy)]
struct Views {
    input: View,
    residual: Option<View>,
    output: View,
}

impl DirectConv {
    /// Packs `weights`, `[outputs, inputs / groups, height, width]`, and `bias`.
    ///
    /// None if no kernel computes it, or its groups are so narrow that most products would be with zeros.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        weights: &[f32],
        bias: &[f32],
    ) -> Option<DirectConv> {
        let kernel = MicroKernels::new(arithmetic, about.store);
        let weights = Packed::new(kernel, shape, weights, bias)?;
        let most = weights.panels.iter().map(|p| p.vectors).max()?;
        let pixels = Pixels::new(kernel, shape, about, most)?;
        let bytes = |lines: usize| lines * size_of::<Line>();
        let size = Size {
            input: bytes(about.input.lines() * weights.input_blocks),
            weights: bytes(weights.lines.len()),
            units: pixels.units(None),
            panels: weights.panels.len(),
        };
        Some(DirectConv {
            plan: Plan::new(arithmetic, size),
            k: [1, 2].map(|vectors| weights.k_blocks(shape.kernel, about.input, vectors)),
            weights,
            shape,
            about,
            pixels,
        })
    }

    /// Bytes of weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.weights.lines)
    }

    /// How the work is ordered and cut.
    pub(crate) fn plan(&self) -> Plan {
        self.plan
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output meanwhile.
    pub(crate) unsafe fn run(
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
        let row_chunks = self.plan.row_chunks.min(units);
        let panel_chunks = self.plan.panel_chunks;
        let task = |i: usize| {
            let [image, panel_chunk, row_chunk] = self.plan.task(i, planes, row_chunks);
            let panels = share(self.weights.panels.len(), panel_chunk, panel_chunks);
            let units = share(units, row_chunk, row_chunks);
            let looks_ahead = self.plan.looks_ahead(image, planes);
            for number in panels {
                let panel = &self.weights.panels[number];
                // SAFETY: the caller promises views of the geometry given to `new`; no other task has this panel and
                // these units.
                unsafe {
                    match &self.pixels {
                        Pixels::Neighbours(pixels) => {
                            let width = row.unwrap_or(pixels.width);
                            self.neighbours(pixels, panel, (image, width, units.clone()), views);
                        }
                        Pixels::Calls(calls, kernels) => {
                            let kernel = kernels[panel.vectors - 1]
                                .expect("a unit that takes calls has a kernel for each panel");
                            let prefetch = match looks_ahead {
                                true => self.prefetch(number, calls.len(), units.start),
                                false => Prefetch::NONE,
                            };
                            let images = row.map_or(u32::MAX, |images| images as u32);
                            let of = (image, images, units.clone());
                            self.calls((calls, kernel), panel, of, views, prefetch);
                        }
                    }
                }
            }
        };
        lead.for_each(planes * row_chunks * panel_chunks, &task);
    }

    /// The prefetch of the weights behind panel `number`, for the calls from `first` on of `calls` that share in it;
    /// none behind the last panel, or if the next panel's weights are laid out in another way.
    fn prefetch(&self, number: usize, calls: usize, first: usize) -> Prefetch {
        let panel = &self.weights.panels[number];
        match self.weights.panels.get(number + 1) {
            Some(next) if (next.vectors, next.blocks) == (panel.vectors, panel.blocks) => {
                Prefetch {
                    b: self.weights.lines[next.weights..].as_ptr(),
                    lines: next.weights - panel.weights,
                    calls,
                    first,
                }
            }
            _ => Prefetch::NONE,
        }
    }

    /// Computes some units of an image's rows of `width` pixels for one panel.
    ///
    /// # Safety
    /// The conditions of `run` hold, and nobody else uses these pixels of the panel's outputs.
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
            // SAFETY: the caller promises views of this geometry, and these pixels of the panel's outputs to this task
            // alone.
            unsafe { self.tile(pixels, panel, at, views) };
        }
    }

    /// Computes some calls of an image, or those for the first `pixels` images of a row, for one panel.
    ///
    /// # Safety
    /// The conditions of `neighbours` hold.
    unsafe fn calls(
        &self,
        (calls, kernel): (&Calls, SeriesFn),
        panel: &Panel,
        (image, pixels, units): (usize, u32, Range<usize>),
        views: Views,
        prefetch: Prefetch,
    ) {
        let input = image * views.input.image_lines() + panel.input * self.about.input.lines();
        // SAFETY: inside of the values by the geometry that `new` was given.
        unsafe {
            kernel(&Series {
                tile: self.panel(panel, image, input, views),
                groups: calls.groups,
                calls: &calls.calls[units],
                segments: &calls.segments,
                pixels,
                prefetch,
            });
        }
    }

    /// A panel's tile from line `input` of the input on, with output and residual at the first lines of their planes.
    ///
    /// # Safety
    /// The conditions of `run` hold, and the input has line `input`.
    #[inline]
    unsafe fn panel(&self, panel: &Panel, image: usize, input: usize, views: Views) -> Tile<'_> {
        let per_block = self.about.store.vectors_per_block();
        let block = panel.first / per_block * self.about.store.planes_per_block();
        let window = self.shape.kernel[0] * self.shape.kernel[1];
        let k = self.weights.k_len(panel, window);
        // SAFETY: inside of the values by the geometry that `new` was given.
        unsafe {
            Tile {
                a: views.input.start.add(input),
                step: self.shape.stride[1],
                k: &self.k[panel.vectors - 1][..k],
                b: self.weights.lines.as_ptr().add(panel.weights),
                bias: self.weights.bias.as_ptr().add(panel.first),
                residual: (views.residual).map_or(std::ptr::null(), |r| {
                    r.plane_start(image, block).cast_const()
                }),
                residual_stride: views.residual.map_or(0, |r| r.plane.lines()),
                out: views.output.plane_start(image, block),
                out_stride: views.output.plane.lines(),
                relu: self.about.relu,
                most: self.about.most,
            }
        }
    }

    /// # Safety
    /// The conditions of `run` hold, and nobody else uses these pixels of the output.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Features;
    use crate::Isa;
    use crate::nn::conv::plan::Order;
    use crate::nn::layout::line::Plane;
    use crate::nn::testing::{Value, random};
    use crate::nn::{Precision, Team};

    fn arithmetics() -> Vec<Arithmetic> {
        let of = |features| Precision::FLOATS.map(|precision| Arithmetic::new(precision, features));
        let avx2 = Features::vectors(Isa::Avx2);
        let all = of(Features::detect()).into_iter().chain(of(avx2));
        all.flatten().collect()
    }

    fn any_plan() -> impl Strategy<Value = Plan> {
        let order = prop::sample::select(vec![Order::ImageByImage, Order::PanelByPanel]);
        (order, 1..9_usize, 1..9_usize, 0..4_usize).prop_map(
            |(order, row_chunks, panel_chunks, ahead_below)| Plan {
                order,
                row_chunks,
                panel_chunks,
                ahead_below,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        #[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
        fn any_plan_gives_the_same_bits(
            arithmetic in prop::sample::select(arithmetics()), plan in any_plan(), threads in 1..4_usize,
            images in 1..4_usize, channels in [1..150_usize, 1..150_usize], size in [1..20_usize, 1..40_usize],
            kernel in prop::sample::select(vec![1_usize, 3]), stride in [1..5_usize, 1..5_usize], residual: bool,
            seed: u64,
        ) {
            let pad = kernel / 2;
            let output = [0, 1].map(|d| (size[d] + 2 * pad - kernel) / stride[d] + 1);
            let plane = |[height, width]: [usize; 2], border| Plane { height, width, border };
            let shape = ConvShape {
                outputs: channels[1], inputs: channels[0], groups: 1,
                kernel: [kernel; 2], stride, pad: [pad; 2],
            };
            let about = ConvUse {
                input: plane(size, pad), output: plane(output, 1), residual: residual.then(|| plane(output, 0)),
                relu: true, most: 0.5, store: arithmetic.store(), across_images: false,
            };
            let weights = random(seed, channels[0] * channels[1] * kernel * kernel);
            let numbers = random(seed ^ 1, images * channels[0] * size[0] * size[1]);
            let mut input = Value::of(about.store, channels[0], about.input, &numbers);
            let numbers = random(seed ^ 2, images * channels[1] * output[0] * output[1]);
            let mut added = Value::of(about.store, channels[1], plane(output, 0), &numbers);
            let mut conv = DirectConv::new(arithmetic, shape, about, &weights, &random(seed, channels[1])).unwrap();
            let mut run = |conv: &DirectConv, threads| {
                let mut to = Value::new(about.store, images, channels[1], about.output);
                let (read, residual, write) = (input.view(), residual.then(|| added.view()), to.view());
                // SAFETY: values of these shapes that are only used here.
                Team::new(threads).lead(threads, |lead| unsafe {
                    conv.run(lead, read, residual, write, images);
                });
                to.bits()
            };
            let planned = run(&conv, 1);
            let panels = conv.weights.panels.len();
            let units = conv.pixels.units(None);
            conv.plan = Plan {
                row_chunks: plan.row_chunks.min(units), panel_chunks: plan.panel_chunks.min(panels), ..plan
            };
            prop_assert_eq!(run(&conv, threads), planned);
        }
    }
}
