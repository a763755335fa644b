//! Pixels of several rows of an image in one call, since a call with few pixels leaves the multiplier waiting.
//!
//! The convolution makes them, the micro-kernel reads them.

use super::tile::Tile;

/// The most lines of a group.
pub(super) const GROUP: usize = 16;

/// Where the pixels of one call lie: two groups of lines of the input, and those of them that are pixels.
///
/// An image row of 14 in each group makes a call of 28. Where 16 lines in a row reach over the border into the next row
/// of the image, as two rows of 7 and the border between them do, the sums of the border's lines are left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs<'a> {
    /// Lines of the first group, and of the second, 1 to [`GROUP`]; no line of the second if it has no run.
    pub(super) rows: [u8; 2],
    /// Lines of the input from one row to the next.
    pub(super) step: usize,
    /// Lines of the input from the first group's first row to the second's.
    pub(super) second: usize,
    /// The rows that are pixels; those of the second group count from 16 on.
    pub(super) runs: &'a [Run],
}

/// Neighbouring pixels of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first one's row.
    pub(super) row: u8,
    /// How many; they may go on from a first group of 16 rows into the second.
    pub(super) pixels: u8,
    /// Lines from [`Tile::out`] to the first one.
    pub(super) out: u32,
    /// Lines from [`Tile::residual`] to the first one.
    pub(super) residual: u32,
}

impl Runs<'_> {
    /// Whether any pixel is in the second group.
    pub(super) fn has_second(&self) -> bool {
        (self.runs.iter()).any(|run| usize::from(run.row + run.pixels) > GROUP)
    }
}

/// A micro-kernel for one number of vectors and way to store, and any pixels, up to [`GROUP`] in each group.
///
/// # Safety
/// As of [`TileFn`](super::tile::TileFn); each row of a run is one of its group, and the input has each group's lines.
pub(super) type RunsFn = unsafe fn(&Tile<'_>, &Runs<'_>);
