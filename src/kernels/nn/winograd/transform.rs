//! The two-dimensional transforms: tiles of the input to their values at all positions, and sums at all positions to
//! tiles of the output with all that is fused into the convolution.
//!
//! Called by `Winograd`, for a run of tiles of one block of channels at a time.

use super::Chunk;
use super::scheme::Scheme;
use crate::kernels::Task;
use crate::kernels::nn::format::Lanes;
use crate::kernels::nn::line::{Line, Plane, View};

/// `A × A` transforms with outputs of `M × M`; the places of tiles in the images of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid<const A: usize, const M: usize> {
    columns: usize,
    rows: usize,
}

impl<const A: usize, const M: usize> Grid<A, M> {
    /// The tiles that cover the output's planes.
    pub(super) fn new(output: Plane) -> Grid<A, M> {
        Grid {
            columns: output.width.div_ceil(M),
            rows: output.height.div_ceil(M),
        }
    }

    /// Image, first row and first column of the outputs of a tile.
    #[inline(always)]
    fn place(self, tile: usize) -> (usize, usize, usize) {
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
        let values = transform(std::array::from_fn(|i| from[i].0[lane]));
        for (to, value) in to.iter_mut().zip(values) {
            to.0[lane] = value;
        }
    }
    to
}

/// Input tiles to `Bᵀ d B`.
pub(super) struct Forward<S, const A: usize, const M: usize> {
    pub(super) scheme: std::marker::PhantomData<S>,
    pub(super) grid: Grid<A, M>,
    pub(super) chunk: Chunk,
    /// Which of its tiles.
    pub(super) tiles: std::ops::Range<usize>,
    /// The block of channels.
    pub(super) block: usize,
    pub(super) input: View,
}

impl<S: Scheme<A, M>, const A: usize, const M: usize> Forward<S, A, M> {
    /// `columns` is memory for the half of it, outside because clearing it takes longer than filling it.
    ///
    /// # Safety
    /// `read(y, x)` points to a line for all rows and columns, `to` to `A²` lines that are `to_pitch` apart.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one row across columns")]
    unsafe fn tile(
        read: impl Fn(usize, usize) -> *const Line,
        columns: &mut [[Line; A]; A],
        to: *mut Line,
        to_pitch: usize,
    ) {
        for (x, column) in columns.iter_mut().enumerate() {
            // SAFETY: by the caller's promise.
            let values = std::array::from_fn(|y| unsafe { *read(y, x) });
            *column = lanes(&values, S::input);
        }
        for y in 0..A {
            let row = lanes(&std::array::from_fn(|x| columns[x][y]), S::input);
            for (x, values) in row.into_iter().enumerate() {
                // SAFETY: by the caller's promise.
                unsafe { *to.add((y * A + x) * to_pitch) = values };
            }
        }
    }
}

impl<S: Scheme<A, M>, const A: usize, const M: usize> Task for Forward<S, A, M> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let plane = self.input.plane;
        let pitch = plane.pitch();
        let border = plane.border as isize;
        let mut columns = [[Line::ZERO; A]; A];
        for tile in self.tiles {
            let (image, row, column) = self.grid.place(self.chunk.first + tile);
            // The window's first row and column, one pixel above and to the left of the outputs.
            let (top, left) = (row as isize - 1, column as isize - 1);
            let (bottom, right) = (top + A as isize, left + A as isize);
            // SAFETY: inside of the chunk's memory.
            let to = unsafe { self.chunk.v.add(self.block * self.chunk.pitch + tile) };
            // SAFETY: addresses inside of the input's block, or of a line of zeros; the chunk's memory is this task's
            // for this block and these tiles.
            unsafe {
                let start = self.input.line(image, self.block, 0, 0);
                let whole = top >= -border
                    && left >= -border
                    && bottom <= plane.height as isize + border
                    && right <= plane.width as isize + border;
                if whole {
                    let first = start.offset(top * pitch as isize + left);
                    let read = |y: usize, x: usize| first.add(y * pitch + x).cast_const();
                    Self::tile(read, &mut columns, to, self.chunk.v_pitch);
                } else {
                    let inside = |from: isize, size: usize| -> [bool; A] {
                        std::array::from_fn(|i| (0..size as isize).contains(&(from + i as isize)))
                    };
                    let inside = (inside(top, plane.height), inside(left, plane.width));
                    let read = |y: usize, x: usize| {
                        let at = (top + y as isize) * pitch as isize + left + x as isize;
                        match inside.0[y] & inside.1[x] {
                            true => start.offset(at).cast_const(),
                            false => &raw const ZERO,
                        }
                    };
                    Self::tile(read, &mut columns, to, self.chunk.v_pitch);
                }
            }
        }
    }
}

static ZERO: Line = Line::ZERO;

/// Sums at all positions to `Aᵀ m A`, and from there to outputs.
pub(super) struct Inverse<S, const A: usize, const M: usize> {
    pub(super) scheme: std::marker::PhantomData<S>,
    pub(super) grid: Grid<A, M>,
    pub(super) chunk: Chunk,
    /// Which of its tiles.
    pub(super) tiles: std::ops::Range<usize>,
    /// The block of output channels.
    pub(super) block: usize,
    pub(super) bias: Lanes,
    pub(super) residual: Option<View>,
    pub(super) relu: bool,
    pub(super) output: View,
}

impl<S: Scheme<A, M>, const A: usize, const M: usize> Task for Inverse<S, A, M> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one row across columns")]
    fn run(self) {
        let (plane, pitch) = (self.output.plane, self.chunk.m_pitch);
        let mut columns = [[Line::ZERO; M]; A];
        for tile in self.tiles {
            let (image, row, column) = self.grid.place(self.chunk.first + tile);
            // SAFETY: inside of the chunk's memory, which nobody writes to now.
            unsafe {
                let from = self.chunk.m.add(self.block * self.chunk.pitch + tile);
                for (x, column) in columns.iter_mut().enumerate() {
                    let values = std::array::from_fn(|y| *from.add((y * A + x) * pitch));
                    *column = lanes(&values, S::output);
                }
            }
            for y in 0..M.min(plane.height - row) {
                let mut values = lanes(&std::array::from_fn(|x| columns[x][y]), S::output);
                for values in &mut values {
                    for (value, bias) in values.0.iter_mut().zip(self.bias) {
                        *value += bias;
                    }
                }
                // SAFETY: pixels of the plane; this block and these tiles of the output are this task's.
                unsafe {
                    let at = |view: View| view.line(image, self.block, row + y, column);
                    let width = M.min(plane.width - column);
                    let residual = self.residual.map(at);
                    let output = at(self.output);
                    for (x, values) in values.iter_mut().enumerate() {
                        if x < width {
                            if let Some(residual) = residual {
                                let residual = (*residual.add(x)).0;
                                for (value, residual) in values.0.iter_mut().zip(residual) {
                                    *value += residual;
                                }
                            }
                            if self.relu {
                                for value in &mut values.0 {
                                    *value = if *value > 0.0 { *value } else { 0.0 };
                                }
                            }
                            *output.add(x) = *values;
                        }
                    }
                }
            }
        }
    }
}
