//! How the micro-kernels of a unit take the pixels of a plane: vectors as neighbours in a row, tiles as calls for lines
//! of several rows.
//!
//! Called by the convolutions.

use super::calls::Calls;
use super::shape::{ConvShape, ConvUse};
use crate::nn::micro::series::SeriesFn;
use crate::nn::micro::table::MicroKernels;
use crate::nn::micro::tile::TileFn;

/// How the kernels take the pixels of a plane.
#[derive(Debug)]
pub(crate) enum Pixels {
    /// As neighbours in a row.
    Neighbours(Neighbours),
    /// As calls, by the kernel for one vector and the one for two.
    Calls(Calls, [Option<SeriesFn>; 2]),
}

/// The pixels of a plane in rows of neighbours.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// Kernels by pixels - 1, for one vector and for two.
    pub(crate) kernels: [Vec<TileFn>; 2],
    pub(crate) max_pixels: usize,
    /// Rows that pixels are neighbours in, and their length.
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

impl Pixels {
    /// None if there is no kernel for `vectors`.
    pub(crate) fn new(
        kernel: MicroKernels,
        shape: ConvShape,
        about: ConvUse,
        vectors: usize,
    ) -> Option<Pixels> {
        let flat = about.flat(shape);
        let series = [1, 2].map(|vectors| kernel.series_function(vectors));
        if series[vectors - 1].is_some() {
            return Some(Pixels::Calls(Calls::new(shape, flat), series));
        }
        let kernels = [1, 2].map(|vectors| {
            (1..=kernel.max_pixels)
                .map_while(|pixels| kernel.function(pixels, shape.stride[1], vectors))
                .collect::<Vec<_>>()
        });
        if kernels[vectors - 1].is_empty() {
            return None;
        }
        Some(Pixels::Neighbours(Neighbours {
            kernels,
            max_pixels: kernel.max_pixels,
            rows: flat.output.height,
            width: flat.output.width,
        }))
    }

    /// The number of units that tasks consist of: those of a plane, or of a row of `row` images.
    pub(crate) fn units(&self, row: Option<usize>) -> usize {
        match self {
            Pixels::Neighbours(n) => n.rows * row.unwrap_or(n.width).div_ceil(n.max_pixels),
            Pixels::Calls(calls, _) => calls.len(),
        }
    }
}
