//! The two-dimensional transforms: tiles of the input to their values at all positions, and sums at all positions to
//! tiles of the output with all that is fused into the convolution.
//!
//! Called by `Winograd`, for a run of tiles of one block of channels at a time.

use std::marker::PhantomData;
use std::ops::Range;

use super::Chunk;
use super::scheme::Scheme;
use crate::nn::layout::format::{Format, Lanes, with_format};
use crate::nn::layout::line::{Line, Plane, View};
use crate::nn::layout::store::Store;
use crate::{Task, Vectorized};

/// A loop over tiles of one block of a value that may be stored in any format.
pub(crate) trait Transform {
    /// Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// The views live, are stored in this format and hold the block of all images that the tiles lie in; the chunk's
    /// memory is there; and nobody else uses what is written: the block's lines of the chunk, or its pixels under the
    /// tiles.
    unsafe fn transform<const H: usize, F: Format<H>>(self);
}

/// Runs the loop for values that are stored as `store` says.
///
/// # Safety
/// The conditions of [`Transform::transform`] hold, for the format of `store`.
pub(crate) unsafe fn run(vectorized: Vectorized, store: Store, transform: impl Transform) {
    with_format!(store, run_in(vectorized, transform));
}

fn run_in<const H: usize, F: Format<H>>(vectorized: Vectorized, transform: impl Transform) {
    vectorized.run(In::<_, F, H>(transform, PhantomData));
}

/// A loop for one format; made by [`run`] alone, whose caller has promised what it needs.
struct In<T, F, const H: usize>(T, PhantomData<F>);

impl<T: Transform, F: Format<H>, const H: usize> Task for In<T, F, H> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // SAFETY: only `run` makes an `In`, and its caller promised the conditions of `transform`.
        unsafe { self.0.transform::<H, F>() };
    }
}

/// `A × A` transforms with outputs of `M × M`; the places of tiles in the images of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid<const A: usize, const M: usize> {
    columns: usize,
    rows: usize,
}

impl<const A: usize, const M: usize> Grid<A, M> {
    /// The tiles that cover the output's planes.
    pub(crate) fn new(output: Plane) -> Grid<A, M> {
        Grid {
            columns: output.width.div_ceil(M),
            rows: output.height.div_ceil(M),
        }
    }

    /// Image, first row and first column of the outputs of a tile.
    #[inline(always)]
    pub(crate) fn place(self, tile: usize) -> (usize, usize, usize) {
        let (row, column) = (tile / self.columns, tile % self.columns);
        (row / self.rows, row % self.rows * M, column * M)
    }
}

/// A one-dimensional transform on 16 lanes side by side.
#[inline(always)]
fn lanes<const I: usize, const O: usize>(
    from: &[Line; I],
    transform: impl Fn([f32; I]) -> [f32; O],
) -> [Line; O] {
    let mut to = [Line::ZERO; O];
    for lane in 0..16 {
        let values = transform(std::array::from_fn(|i| from[i].f32()[lane]));
        for (to, value) in to.iter_mut().zip(values) {
            to.f32_mut()[lane] = value;
        }
    }
    to
}

/// Input tiles to `Bᵀ d B`.
pub(crate) struct Forward<S, const A: usize, const M: usize> {
    pub(crate) scheme: PhantomData<S>,
    pub(crate) grid: Grid<A, M>,
    pub(crate) chunk: Chunk,
    /// The chunk's tiles to transform.
    pub(crate) tiles: Range<usize>,
    /// The value's block of channels.
    pub(crate) block: usize,
    /// Whether the result is rounded to the value's format, or single precision.
    pub(crate) narrow: bool,
    pub(crate) input: View,
}

impl<S: Scheme<A, M>, const A: usize, const M: usize> Forward<S, A, M> {
    /// Transforms a tile. `columns` is memory for its transformed columns, made by the caller because clearing it takes
    /// longer than filling it.
    ///
    /// # Safety
    /// `to` points to `A²` lines that are the chunk's `v_pitch` apart, for each of `H` vectors of channels.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one row across columns")]
    unsafe fn tile<const H: usize, F: Format<H>>(
        &self,
        read: impl Fn(usize, usize) -> [Lanes; H],
        columns: &mut [[[Line; A]; A]; H],
        to: *mut Line,
    ) {
        for x in 0..A {
            // A loop, for `from_fn` is a function that is not inlined when it is large.
            let mut values = [[Line::ZERO; A]; H];
            for y in 0..A {
                for (values, lanes) in values.iter_mut().zip(read(y, x)) {
                    values[y] = Line::from_f32(lanes);
                }
            }
            for (columns, values) in columns.iter_mut().zip(&values) {
                columns[x] = lanes(values, S::input);
            }
        }
        if self.narrow {
            for y in 0..A {
                let mut rows = [[Line::ZERO; A]; H];
                for (row, columns) in rows.iter_mut().zip(columns.iter()) {
                    *row = lanes(&std::array::from_fn(|x| columns[x][y]), S::input);
                }
                for x in 0..A {
                    let mut values = [[0.0; 16]; H];
                    for (values, row) in values.iter_mut().zip(&rows) {
                        *values = *row[x].f32();
                    }
                    let at = (y * A + x) * self.chunk.v_pitch;
                    // SAFETY: the caller promises a line for each position and vector from `to` on.
                    unsafe { F::write(to.add(at), self.chunk.pitch, values) };
                }
            }
            return;
        }
        for (h, columns) in columns.iter().enumerate() {
            for y in 0..A {
                let row = lanes(&std::array::from_fn(|x| columns[x][y]), S::input);
                for (x, values) in row.into_iter().enumerate() {
                    let at = h * self.chunk.pitch + (y * A + x) * self.chunk.v_pitch;
                    // SAFETY: the caller promises a line for each position and vector from `to` on.
                    unsafe { *to.add(at) = values };
                }
            }
        }
    }
}

impl<S: Scheme<A, M>, const A: usize, const M: usize> Transform for Forward<S, A, M> {
    #[inline(always)]
    unsafe fn transform<const H: usize, F: Format<H>>(mut self) {
        let tiles = std::mem::take(&mut self.tiles);
        let plane = self.input.plane;
        let pitch = plane.pitch();
        let border = plane.border as isize;
        let lines = plane.lines();
        let per_block = if self.narrow { F::BLOCKS } else { H };
        let mut columns = [[[Line::ZERO; A]; A]; H];
        for tile in tiles {
            let (image, row, column) = self.grid.place(self.chunk.first + tile);
            // The window's first row and column, one pixel above and to the left of the outputs.
            let (top, left) = (row as isize - 1, column as isize - 1);
            let (bottom, right) = (top + A as isize, left + A as isize);
            // SAFETY: inside of the chunk's memory.
            let to = unsafe {
                self.chunk
                    .v
                    .add(self.block * per_block * self.chunk.pitch + tile)
            };
            // SAFETY: addresses inside of the input's block, or of a line of zeros; the chunk's memory is this task's
            // for this block and these tiles.
            unsafe {
                let start = self.input.line(image, self.block * F::BLOCKS, 0, 0);
                let whole = top >= -border
                    && left >= -border
                    && bottom <= plane.height as isize + border
                    && right <= plane.width as isize + border;
                if whole {
                    let first = start.offset(top * pitch as isize + left);
                    let read = |y: usize, x: usize| F::read(first.add(y * pitch + x), lines);
                    self.tile::<H, F>(read, &mut columns, to);
                } else {
                    let inside = |from: isize, size: usize| -> [bool; A] {
                        std::array::from_fn(|i| (0..size as isize).contains(&(from + i as isize)))
                    };
                    let inside = (inside(top, plane.height), inside(left, plane.width));
                    let read = |y: usize, x: usize| {
                        let at = (top + y as isize) * pitch as isize + left + x as isize;
                        let (line, lines) = match inside.0[y] & inside.1[x] {
                            true => (start.offset(at).cast_const(), lines),
                            false => (&raw const ZERO, 0),
                        };
                        F::read(line, lines)
                    };
                    self.tile::<H, F>(read, &mut columns, to);
                }
            }
        }
    }
}

static ZERO: Line = Line::ZERO;

/// Sums at all positions to `Aᵀ m A`, and from there to outputs.
pub(crate) struct Inverse<'a, S, const A: usize, const M: usize> {
    pub(crate) scheme: PhantomData<S>,
    pub(crate) grid: Grid<A, M>,
    pub(crate) chunk: Chunk,
    /// The chunk's tiles to transform.
    pub(crate) tiles: Range<usize>,
    /// The value's block of output channels.
    pub(crate) block: usize,
    /// The bias, a line for each vector of outputs.
    pub(crate) bias: &'a [Line],
    pub(crate) residual: Option<View>,
    pub(crate) relu: bool,
    /// Upper bound of the results; of no meaning without `relu`.
    pub(crate) most: f32,
    pub(crate) output: View,
}

impl<S: Scheme<A, M>, const A: usize, const M: usize> Transform for Inverse<'_, S, A, M> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one row across columns")]
    unsafe fn transform<const H: usize, F: Format<H>>(self) {
        let (plane, pitch) = (self.output.plane, self.chunk.m_pitch);
        let mut columns = [[[Line::ZERO; M]; A]; H];
        let mut bias = [Line::ZERO; H];
        bias.copy_from_slice(self.bias);
        for tile in self.tiles {
            let (image, row, column) = self.grid.place(self.chunk.first + tile);
            for (h, columns) in columns.iter_mut().enumerate() {
                let block = (self.block * H + h) * self.chunk.pitch;
                // SAFETY: inside of the chunk's memory, which nobody writes to now.
                unsafe {
                    let from = self.chunk.m.add(block + tile);
                    for (x, column) in columns.iter_mut().enumerate() {
                        let values = std::array::from_fn(|y| *from.add((y * A + x) * pitch));
                        *column = lanes(&values, S::output);
                    }
                }
            }
            let width = M.min(plane.width - column);
            for y in 0..M.min(plane.height - row) {
                let mut rows = [[Line::ZERO; M]; H];
                for (h, row) in rows.iter_mut().enumerate() {
                    *row = lanes(&std::array::from_fn(|x| columns[h][x][y]), S::output);
                    for values in row.iter_mut() {
                        for (value, bias) in values.f32_mut().iter_mut().zip(bias[h].f32()) {
                            *value += bias;
                        }
                    }
                }
                // SAFETY: pixels of the plane; this block and these tiles of the output are this task's.
                unsafe {
                    let at = |view: View| view.line(image, self.block * F::BLOCKS, row + y, column);
                    let residual = self.residual.map(|r| (at(r), r.plane.lines()));
                    let output = at(self.output);
                    for x in 0..M {
                        if x < width {
                            let mut values = [[0.0; 16]; H];
                            for (values, row) in values.iter_mut().zip(&rows) {
                                *values = *row[x].f32();
                            }
                            if let Some((residual, lines)) = residual {
                                let residual = F::read(residual.add(x), lines);
                                for (value, residual) in values
                                    .as_flattened_mut()
                                    .iter_mut()
                                    .zip(residual.as_flattened())
                                {
                                    *value += residual;
                                }
                            }
                            if self.relu {
                                for value in values.as_flattened_mut() {
                                    *value = if *value > 0.0 { *value } else { 0.0 };
                                    *value = if *value < self.most {
                                        *value
                                    } else {
                                        self.most
                                    };
                                }
                            }
                            F::write(output.add(x), plane.lines(), values);
                        }
                    }
                }
            }
        }
    }
}
