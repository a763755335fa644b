//! Pixels of several rows of an image in one call, since a call with few pixels leaves the multiplier waiting.
//!
//! A convolution makes the calls, the micro-kernel reads them.

use super::tile::Tile;
use crate::nn::layout::line::Line;

/// The most lines of a group.
pub(crate) const GROUP: usize = 16;

/// The two groups of lines of the input that each call of a series multiplies.
///
/// An image row of 14 in each group makes a call of 28. Where 16 lines in a row reach over the border into the next row
/// of the image, as two rows of 7 and the border between them do, the sums of the border's lines are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Lines of the first group, and of the second, 1 to [`GROUP`]; no line of the second if it has no segment.
    pub(crate) rows: [u8; 2],
    /// Bytes of the input from one row to the next.
    pub(crate) step: usize,
    /// Bytes of the input from the first group's first row to the second's.
    pub(crate) second: usize,
}

/// One call: where it begins and what it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// Bytes from [`Tile::a`] to the first row of the first group.
    pub(crate) input: u32,
    /// The first of its segments, and how many there are.
    pub(crate) segments: [u32; 2],
}

/// Neighbouring pixels of the output that a call computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The first pixel's row in the groups; those of the second group count from 16 on.
    pub(crate) row: u8,
    /// The number of pixels; they may go on from a first group of 16 rows into the second.
    pub(crate) pixels: u8,
    /// Lines from [`Tile::out`] to the first pixel.
    pub(crate) out: u32,
    /// Lines from [`Tile::residual`] to the first pixel.
    pub(crate) residual: u32,
}

impl Segment {
    /// The segment without its pixels from number `pixels` of the output on.
    pub(crate) fn up_to(self, pixels: u32) -> Segment {
        let left = pixels.saturating_sub(self.out);
        Segment {
            pixels: u32::from(self.pixels).min(left) as u8,
            ..self
        }
    }

    /// Whether one of its pixels is in the second group.
    pub(crate) fn is_in_second(self) -> bool {
        self.pixels > 0 && usize::from(self.row + self.pixels) > GROUP
    }
}

/// Calls for one panel, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Series<'a> {
    /// What is the same for all calls.
    pub(crate) tile: Tile<'a>,
    pub(crate) groups: Groups,
    pub(crate) calls: &'a [Call],
    /// The segments that the calls refer to by number.
    pub(crate) segments: &'a [Segment],
    /// Pixels of the output from this one on do not count.
    pub(crate) pixels: u32,
    pub(crate) prefetch: Prefetch,
}

/// Weights that are wanted soon, and brought near meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefetch {
    /// The next panel's weights, laid out as those at [`Tile::b`]; null for none.
    pub(crate) b: *const Line,
    /// Lines of a panel's weights.
    pub(crate) lines: usize,
    /// Calls that share in the prefetch: as many as are made for a panel.
    pub(crate) calls: usize,
    /// The number of the series' first call among them.
    pub(crate) first: usize,
}

impl Prefetch {
    /// No prefetch.
    pub(crate) const NONE: Prefetch = Prefetch {
        b: std::ptr::null(),
        lines: 0,
        calls: 1,
        first: 0,
    };
}

/// A micro-kernel for one number of vectors and way to store, and any pixels, up to [`GROUP`] in each group.
///
/// # Safety
/// The conditions of [`TileFn`](super::tile::TileFn) hold; each row of a segment is one of its group, the input has
/// each group's lines, each call's segments are among those of the series.
pub(crate) type SeriesFn = unsafe fn(&Series<'_>);
