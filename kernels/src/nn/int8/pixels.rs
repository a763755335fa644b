//! How the micro-kernels of an instruction set take the pixels of a plane: vectors as neighbours in a row, tiles as
//! calls for lines of several rows.
//!
//! Called by the convolutions; the 8-bit counterpart of [`crate::nn::conv::pixels`].

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::amx::{self, Series, SeriesFn};
use super::tile::{Kind, Panel, Target, TileFn};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::Int8Unit;
use crate::nn::arithmetic::Arithmetic;
#[cfg(target_arch = "x86_64")]
use crate::nn::conv::calls::Calls;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::layout::line::Line;

/// The pixels of a plane, and the kernels that compute them.
#[derive(Debug)]
pub(crate) enum Pixels {
    /// Neighbours in rows, by the kernels for 1, 2, … of them.
    Neighbours(Vec<TileFn>, Rows),
    #[cfg(target_arch = "x86_64")]
    Calls(Calls, SeriesFn),
}

/// Rows of neighbouring pixels.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Of each row: bytes from the input plane's first line to the first pixel's window; lines from the output's and
    /// the residual's first to the pixel.
    starts: Vec<[usize; 3]>,
    width: usize,
    /// Bytes from one pixel's window to the next.
    distance: usize,
    /// Halves that a panel is computed in, 2, or 1 where a call computes all of it. One half is computed for all pixels
    /// before the other, so that its weights stay in the first-level cache.
    halves: usize,
}

/// The part of a plane to compute: some units, and in `row` the number of images where pixels are images.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) units: Range<usize>,
    pub(crate) row: Option<usize>,
}

impl Pixels {
    /// The pixels of a convolution's output. None if there is no kernel for this CPU.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        kind: Kind,
        shape: ConvShape,
        about: ConvUse,
    ) -> Option<Pixels> {
        let about = about.flat(shape);
        #[cfg(target_arch = "x86_64")]
        if arithmetic.features().int8 == Some(Int8Unit::Amx) {
            return Some(Pixels::Calls(Calls::new(shape, about), amx::kernel(kind)));
        }
        let start = |row: usize| {
            [
                about.first_line(shape, row, 0) * size_of::<Line>(),
                about.output.at(row, 0),
                about.residual.map_or(0, |plane| plane.at(row, 0)),
            ]
        };
        let rows = Rows {
            starts: (0..about.output.height).map(start).collect(),
            width: about.output.width,
            distance: shape.stride[1] * size_of::<Line>(),
            halves: halves(arithmetic),
        };
        Some(Pixels::Neighbours(kernels(arithmetic, kind)?, rows))
    }

    /// A row of `width` pixels whose windows are `distance` bytes apart. None if there is no kernel for this CPU.
    pub(crate) fn of_row(
        arithmetic: Arithmetic,
        kind: Kind,
        width: usize,
        distance: usize,
    ) -> Option<Pixels> {
        #[cfg(target_arch = "x86_64")]
        if arithmetic.features().int8 == Some(Int8Unit::Amx) {
            return Some(Pixels::Calls(
                Calls::of_row(width, distance),
                amx::kernel(kind),
            ));
        }
        let rows = Rows {
            starts: vec![[0; 3]],
            width,
            distance,
            halves: halves(arithmetic),
        };
        Some(Pixels::Neighbours(kernels(arithmetic, kind)?, rows))
    }

    /// Whether the kernels want weights in pairs.
    pub(crate) fn wants_pairs(arithmetic: Arithmetic) -> bool {
        arithmetic.features().int8.is_none()
    }

    /// What the first byte of a block of the sum is a multiple of: vectors read a quad at a time, tiles whole lines.
    pub(crate) fn align(&self) -> usize {
        match self {
            Pixels::Neighbours(..) => 4,
            #[cfg(target_arch = "x86_64")]
            Pixels::Calls(..) => size_of::<Line>(),
        }
    }

    /// The number of units that tasks consist of: those of a plane, or of a row of `row` images.
    pub(crate) fn units(&self, row: Option<usize>) -> usize {
        match self {
            Pixels::Neighbours(kernels, rows) => {
                rows.starts.len() * row.unwrap_or(rows.width).div_ceil(kernels.len())
            }
            #[cfg(target_arch = "x86_64")]
            Pixels::Calls(calls, _) => calls.len(),
        }
    }

    /// Computes a part for one panel; `at` is at the first lines of the planes.
    ///
    /// # Safety
    /// The conditions of the kernels, [`TileFn`] or `SeriesFn`, hold; nobody else uses these pixels of the panel's
    /// outputs.
    pub(crate) unsafe fn run(&self, panel: &Panel<'_>, at: Target, part: &Part) {
        match self {
            Pixels::Neighbours(kernels, rows) => {
                let width = part.row.unwrap_or(rows.width);
                let tiles = width.div_ceil(kernels.len());
                // The first tiles of a row have one pixel more than the others.
                let [least, more] = [width / tiles, width % tiles];
                let first = [part.units.start / tiles, part.units.start % tiles];
                for half in 0..rows.halves {
                    let panel = Panel { half, ..*panel };
                    let [mut row, mut tile] = first;
                    for _ in part.units.clone() {
                        let column = tile * least + tile.min(more);
                        let pixels = least + usize::from(tile < more);
                        let [input, output, residual] = rows.starts[row];
                        let line = |lines: usize| (lines + column) * size_of::<Line>();
                        // SAFETY: inside of the values by the geometry that `new` was given.
                        unsafe {
                            let target = Target {
                                a: at.a.add(input + column * rows.distance),
                                out: at.out.add(line(output)),
                                residual: match at.residual.is_null() {
                                    true => at.residual,
                                    false => at.residual.add(line(residual)),
                                },
                                ..at
                            };
                            kernels[pixels - 1](&panel, target, rows.distance);
                        }
                        tile += 1;
                        if tile == tiles {
                            [row, tile] = [row + 1, 0];
                        }
                    }
                }
            }
            #[cfg(target_arch = "x86_64")]
            Pixels::Calls(calls, kernel) => {
                let series = Series {
                    groups: calls.groups,
                    calls: &calls.calls[part.units.clone()],
                    segments: &calls.segments,
                    first: part.units.start,
                    pixels: part.row.map_or(u32::MAX, |images| images as u32),
                };
                // SAFETY: the caller promises the conditions of `SeriesFn`, and these pixels of the output to itself.
                unsafe { kernel(panel, at, &series) };
            }
        }
    }
}

/// Calls that the vectors' kernels compute a panel in.
fn halves(arithmetic: Arithmetic) -> usize {
    match arithmetic.features().int8 {
        Some(Int8Unit::Amx | Int8Unit::Avx512Vnni) => 1,
        Some(Int8Unit::AvxVnni) | None => 2,
    }
}

/// The vectors' kernels for 1, 2, … pixels.
fn kernels(arithmetic: Arithmetic, kind: Kind) -> Option<Vec<TileFn>> {
    #[cfg(target_arch = "x86_64")]
    {
        Some(match arithmetic.features().int8 {
            Some(Int8Unit::Amx | Int8Unit::Avx512Vnni) => avx512::kernels(kind).to_vec(),
            Some(Int8Unit::AvxVnni) => avx2::vnni_kernels(kind).to_vec(),
            None => avx2::paired_kernels(kind).to_vec(),
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (arithmetic, kind);
        None
    }
}
