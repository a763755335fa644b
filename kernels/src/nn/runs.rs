//! Pixels of several rows of an image in one call, since a call with few pixels leaves the multiplier waiting.
//!
//! The convolution makes them, the micro-kernel reads them.

use super::line::Line;
use super::tile::Tile;

/// The most lines of a group.
pub(super) const GROUP: usize = 16;

/// The two groups of lines of the input that each call of a series multiplies.
///
/// An image row of 14 in each group makes a call of 28. Where 16 lines in a row reach over the border into the next row
/// of the image, as two rows of 7 and the border between them do, the sums of the border's lines are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Groups {
    /// Lines of the first group, and of the second, 1 to [`GROUP`]; no line of the second if it has no run.
    pub(super) rows: [u8; 2],
    /// Bytes of the input from one row to the next.
    pub(super) step: usize,
    /// Bytes of the input from the first group's first row to the second's.
    pub(super) second: usize,
}

/// One call: where it begins and what it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// Bytes from [`Tile::a`] to the first row of the first group.
    pub(super) input: u32,
    /// The first of its runs, and how many there are.
    pub(super) runs: [u32; 2],
}

/// Neighbouring pixels of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first one's row; those of the second group count from 16 on.
    pub(super) row: u8,
    /// How many; they may go on from a first group of 16 rows into the second.
    pub(super) pixels: u8,
    /// Lines from [`Tile::out`] to the first one.
    pub(super) out: u32,
    /// Lines from [`Tile::residual`] to the first one.
    pub(super) residual: u32,
}

impl Run {
    /// Those of its pixels before that one of the output.
    pub(super) fn up_to(self, pixels: u32) -> Run {
        let left = pixels.saturating_sub(self.out);
        Run {
            pixels: u32::from(self.pixels).min(left) as u8,
            ..self
        }
    }

    /// Whether one of its pixels is in the second group.
    pub(super) fn is_in_second(self) -> bool {
        self.pixels > 0 && usize::from(self.row + self.pixels) > GROUP
    }
}

/// Calls for one panel, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series<'a> {
    /// What is the same for all of them.
    pub(super) tile: Tile<'a>,
    pub(super) groups: Groups,
    pub(super) calls: &'a [Call],
    /// Those of the calls.
    pub(super) runs: &'a [Run],
    /// Pixels of the output from this one on do not count.
    pub(super) pixels: u32,
    pub(super) ahead: Ahead,
}

/// Weights that are wanted soon, and brought near meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// The next panel's, which lie as those of [`Tile::b`] do; null for none.
    pub(super) b: *const Line,
    /// Lines of a panel's weights.
    pub(super) lines: usize,
    /// Calls that share in it: as many as are made for a panel.
    pub(super) calls: usize,
    /// The number of the series' first call among them.
    pub(super) first: usize,
}

impl Ahead {
    /// Nothing is wanted.
    pub(super) const NONE: Ahead = Ahead {
        b: std::ptr::null(),
        lines: 0,
        calls: 1,
        first: 0,
    };
}

/// A micro-kernel for one number of vectors and way to store, and any pixels, up to [`GROUP`] in each group.
///
/// # Safety
/// As of [`TileFn`](super::tile::TileFn); each row of a run is one of its group, the input has each group's lines, each
/// call's runs are among those of the series.
pub(super) type SeriesFn = unsafe fn(&Series<'_>);
