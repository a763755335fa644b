//! What the micro-kernel asks of tiles: the CPU's in use, a model's in tests.

use crate::nn::layout::line::Line;

/// Eight matrices of 16 rows of a line, and what the algorithm does with them.
///
/// Tiles 0 to 3 hold sums: number `2 * group + vector` those of 16 pixels and a vector of outputs; 4 and 5 the pixels
/// of either group; 6 and 7 the weights of either vector.
pub(crate) trait Tiles {
    /// Gives the tiles of each group of pixels as many rows as `pixels` says, 1 to 16.
    ///
    /// # Safety
    /// For all functions of this trait: the CPU has tiles and multiplies bfloat16, and the system lets this process use
    /// them.
    unsafe fn shape(&mut self, pixels: [u8; 2]);

    /// Loads the tile's rows, `step` bytes apart, at any address.
    ///
    /// # Safety
    /// 64 bytes of each row are there, and [`Tiles::shape`] was called.
    unsafe fn load<const TILE: u8>(&mut self, from: *const Line, step: usize);

    /// Adds the products of the bytes of tile `A`, without sign, and of tile `B`, with theirs, to the integers of
    /// `SUM`.
    ///
    /// # Safety
    /// [`Tiles::shape`] was called, and the CPU multiplies bytes.
    unsafe fn dot_bytes<const SUM: u8, const A: u8, const B: u8>(&mut self);

    /// Adds the products of tiles `A` and `B` to `SUM`.
    ///
    /// # Safety
    /// [`Tiles::shape`] was called.
    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>(&mut self);

    /// Stores the tile's rows, `step` bytes apart.
    ///
    /// # Safety
    /// The lines are there and nobody else uses them, and [`Tiles::shape`] was called.
    unsafe fn store<const TILE: u8>(&mut self, to: *mut Line, step: usize);
}
