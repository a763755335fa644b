//! Calls for pixels that are not side by side, for the tests of the micro-kernel.

use proptest::prelude::*;

use super::bf16::tile_bf16;
use super::sample::Sample;
use crate::features::Bf16Unit;
use crate::nn::layout::line::Line;
use crate::nn::micro::series::{Call, GROUP, Groups, Prefetch, Segment, Series};
use crate::nn::micro::tile::Tile;

/// Calls of the kernel for a sample's pixels.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    groups: Groups,
    calls: Vec<Call>,
    segments: Vec<Segment>,
    /// The number of calls that share in prefetching weights, at least one.
    sharing: usize,
}

impl Calls {
    /// One call for all pixels of a sample, which are neighbours.
    pub(crate) fn side_by_side(sample: &Sample) -> Calls {
        let first = sample.pixels.min(GROUP);
        let step = sample.stride * size_of::<Line>();
        Calls {
            groups: Groups {
                rows: [first, (sample.pixels - first).max(1)].map(|n| n as u8),
                step,
                second: GROUP * step,
            },
            calls: vec![Call {
                input: 0,
                segments: [0, 1],
            }],
            segments: vec![Segment {
                row: 0,
                pixels: sample.pixels as u8,
                out: 0,
                residual: 0,
            }],
            sharing: 1 + sample.pixels % 3,
        }
    }

    /// The calls as a series for `tile`.
    pub(crate) fn series<'a>(&'a self, tile: &Tile<'a>) -> Series<'a> {
        Series {
            tile: *tile,
            groups: self.groups,
            calls: &self.calls,
            segments: &self.segments,
            pixels: u32::MAX,
            prefetch: Prefetch {
                b: tile.b,
                lines: 64,
                calls: self.sharing,
                first: 0,
            },
        }
    }
}

/// A sample, of whose pixels two segments are computed.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    pub(crate) sample: Sample,
    pub(crate) calls: Calls,
    /// Lines from the first group to the second.
    second: usize,
}

/// Any sample with both groups or one, segments that may begin behind the start of their group, outputs and residuals
/// elsewhere.
pub(crate) fn split() -> impl Strategy<Value = Split> {
    let numbers = prop::collection::vec(any::<prop::sample::Index>(), 10);
    (Sample::any(2 * GROUP), numbers).prop_map(|(mut sample, numbers)| {
        sample.pixels = sample.pixels.max(2);
        let mut numbers = numbers.into_iter();
        // A number from `from` to `to`, both included.
        let mut number =
            |from: usize, to: usize| from + numbers.next().map_or(0, |n| n.index(to - from + 1));
        let rows0 = number(1, 16.min(sample.pixels - 1));
        let rows1 = number(1, 16.min(sample.pixels - rows0));
        let second = number(0, sample.pixels - rows1) * sample.stride;
        let mut run = |row: usize, rows: usize, out: usize| {
            let skipped = number(0, rows - 1);
            let pixels = rows - skipped;
            Segment {
                row: (row + skipped) as u8,
                pixels: pixels as u8,
                out: out as u32,
                residual: number(0, sample.pixels - pixels) as u32,
            }
        };
        let mut segments = vec![run(0, rows0, rows1), run(16, rows1, 0)];
        segments.truncate(number(1, 2));
        Split {
            calls: Calls {
                groups: Groups {
                    rows: [rows0 as u8, rows1 as u8],
                    step: sample.stride * size_of::<Line>(),
                    second: second * size_of::<Line>(),
                },
                calls: vec![Call {
                    input: 0,
                    segments: [0, segments.len() as u32],
                }],
                segments,
                sharing: number(1, 3),
            },
            sample,
            second,
        }
    })
}

impl Split {
    /// Whether `got` has the bits that the oracle writes segment by segment, and no others.
    pub(crate) fn check(&self, got: &[Line]) -> Result<(), TestCaseError> {
        let sample = &self.sample;
        let expected = sample.run(|tile| {
            for segment in &self.calls.segments {
                let row = usize::from(segment.row);
                let group = if row < 16 { 0 } else { self.second };
                let shape = [usize::from(segment.pixels), sample.stride, sample.vectors];
                let tile = Tile {
                    a: tile.a.wrapping_add(group + row % 16 * sample.stride),
                    out: tile.out.wrapping_add(segment.out as usize),
                    residual: if tile.residual.is_null() {
                        tile.residual
                    } else {
                        tile.residual.wrapping_add(segment.residual as usize)
                    },
                    ..*tile
                };
                // SAFETY: the segment's lines are among those of the sample.
                unsafe { tile_bf16(&tile, shape, sample.store, Bf16Unit::Amx) };
            }
        });
        let bits = |lines: &[Line]| lines.iter().map(|l| *l.words()).collect::<Vec<_>>();
        prop_assert_eq!(bits(got), bits(&expected));
        Ok(())
    }
}
