//! Weights laid out as the vector code reads them, and which part of a row it may read directly.
//!
//! Used by `HorizontalPass` and `VerticalPass` for AVX2 and AVX-512; holds the invariants their unsafe loads rely on.

use super::Weights;

/// Bits of a weight's low part: as many as a positive 16-bit number has.
pub(super) const LOW_BITS: u32 = 15;

/// Pixels in one load, of which the horizontal pass multiplies all.
const GROUP: usize = 4;

/// Bytes in one load: four RGB pixels, and four bytes beyond them that are ignored.
pub(super) const LOAD: usize = 16;

/// Two neighbouring weights as the two 16-bit halves of one 32-bit lane, low parts or high parts.
type Pair = u32;

/// Low parts and high parts of the weights of two neighbouring source positions.
fn split(first: i32, second: i32) -> (Pair, Pair) {
    let pair = |a: i32, b: i32| (a as u32 & 0xFFFF) | (b as u32) << 16;
    let low = (1 << LOW_BITS) - 1;
    (
        pair(first & low, second & low),
        pair(first >> LOW_BITS, second >> LOW_BITS),
    )
}

/// Weights as [`split`] pairs; an odd last one is paired with zero.
fn pairs(taps: &[i32]) -> impl Iterator<Item = (Pair, Pair)> {
    let (twos, odd) = taps.as_chunks::<2>();
    let twos = twos.iter().map(|t| split(t[0], t[1]));
    twos.chain(odd.iter().map(|t| split(*t, 0)))
}

/// 64 bytes, aligned so that no load of weights crosses a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct PairLine(pub(super) [Pair; 16]);

/// A horizontal pass for vectors of `lanes` times 128 bits, one output pixel in each lane.
///
/// A block is `4 * lanes` outputs. In its accumulator `k` (0 to 3), lane `j` holds output `4 * j + k`, so that packing
/// four accumulators to bytes leaves neighbours side by side.
#[derive(Debug)]
pub(super) struct PackedRow {
    lanes: usize,
    /// Loads of four pixels that an output needs.
    groups: usize,
    /// Per output in the order block, `k`, `j`: where its first load starts, in bytes. Every load of the first `direct`
    /// blocks ends within a row, and counts from the row's start; the others end within `edge` and count from its.
    offsets: Vec<u32>,
    /// Per block, `k` and group four vectors of `lanes` × 4 pairs: low and high parts of the weights of pixels 0 and 1,
    /// low and high parts of those of pixels 2 and 3.
    weights: Vec<PairLine>,
    direct: usize,
    /// The end of a row from byte `edge_start` on, then zeros: loads there would reach beyond the row.
    edge: Vec<u8>,
    edge_start: usize,
}

/// Blocks of a horizontal pass and the bytes that their loads stay within.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    /// What the offsets count from: each of them is at least `groups` loads, each 12 bytes after the one before, away
    /// from its end.
    pub(super) source: &'a [u8],
    /// An offset for each output, in the order block, accumulator, lane.
    pub(super) offsets: &'a [u32],
    /// Weights, laid out as [`PackedRow`] says.
    pub(super) weights: &'a [PairLine],
    /// Loads of four pixels for each output.
    pub(super) groups: usize,
    /// Number of the first output.
    pub(super) first: usize,
}

impl PackedRow {
    pub(super) fn new(weights: &Weights, width: usize, lanes: usize) -> PackedRow {
        assert!(
            width <= u32::MAX as usize / 4,
            "a row of {width} pixels fits 32-bit offsets"
        );
        let outputs = weights.len();
        let block = GROUP * lanes;
        let blocks = outputs.div_ceil(block);
        let groups = weights.longest().div_ceil(GROUP).max(1);
        let reach = (groups - 1) * GROUP * 3 + LOAD;
        // Beyond the last output a block is filled up with outputs that nobody reads.
        let offset = |i: usize| weights.taps(i.min(outputs - 1)).0 * 3;
        let fits = |b: usize| offset(b * block + block - 1) + reach <= width * 3;
        let direct = (0..blocks).take_while(|b| fits(*b)).count();
        let edge_start = if direct < blocks {
            offset(direct * block)
        } else {
            0
        };
        let edge = if direct < blocks {
            vec![0; (offset(outputs - 1) + reach - edge_start).max(width * 3 - edge_start)]
        } else {
            Vec::new()
        };
        let mut offsets = Vec::with_capacity(blocks * block);
        let mut lines = vec![PairLine([0; 16]); blocks * GROUP * groups * lanes];
        // Pairs in one vector: each lane has the same pair four times, for R, G, B and an idle fourth.
        let vector = lanes * 4;
        for b in 0..blocks {
            let base = if b < direct { 0 } else { edge_start };
            for k in 0..GROUP {
                let start = (b * GROUP + k) * groups * 4 * vector;
                for j in 0..lanes {
                    let output = b * block + GROUP * j + k;
                    offsets.push((offset(output) - base) as u32);
                    if output >= outputs {
                        continue;
                    }
                    let (_, taps) = weights.taps(output);
                    for (two, (low, high)) in pairs(taps).enumerate() {
                        let at = start + two * 2 * vector + j * 4;
                        fill_lane(&mut lines, at, low);
                        fill_lane(&mut lines, at + vector, high);
                    }
                }
            }
        }
        PackedRow {
            lanes,
            groups,
            offsets,
            weights: lines,
            direct,
            edge,
            edge_start,
        }
    }

    /// Hands the blocks of one row to `code`, which writes their outputs.
    pub(super) fn run(&mut self, row: &[u8], out: &mut [u8], code: impl Fn(Blocks<'_>, &mut [u8])) {
        let block = GROUP * self.lanes;
        let (offsets, edge_offsets) = self.offsets.split_at(self.direct * block);
        let (weights, edge_weights) = self
            .weights
            .split_at(self.direct * GROUP * self.groups * self.lanes);
        code(
            Blocks {
                source: row,
                offsets,
                weights,
                groups: self.groups,
                first: 0,
            },
            out,
        );
        if edge_offsets.is_empty() {
            return;
        }
        let end = &row[self.edge_start..];
        self.edge[..end.len()].copy_from_slice(end);
        code(
            Blocks {
                source: &self.edge,
                offsets: edge_offsets,
                weights: edge_weights,
                groups: self.groups,
                first: self.direct * block,
            },
            out,
        );
    }
}

/// Repeats `pair` in the 128 bits that start with pair number `at`, a multiple of four.
fn fill_lane(lines: &mut [PairLine], at: usize, pair: Pair) {
    lines[at / 16].0[at % 16..][..4].fill(pair);
}

/// A vertical pass: for each output its weights in pairs.
#[derive(Debug)]
pub(super) struct PackedColumns {
    /// Low and high parts of weights, two source rows an entry.
    pairs: Vec<(Pair, Pair)>,
    /// Per output, the end of its pairs.
    ends: Vec<usize>,
}

impl PackedColumns {
    pub(super) fn new(weights: &Weights) -> PackedColumns {
        let mut all = Vec::new();
        let mut ends = Vec::with_capacity(weights.len());
        for (_, taps) in weights.iter() {
            all.extend(pairs(taps));
            ends.push(all.len());
        }
        PackedColumns { pairs: all, ends }
    }

    /// Low and high parts of the weights of output `i`, two source rows an entry; an odd last row is paired with a
    /// weight of zero.
    pub(super) fn pairs(&self, i: usize) -> &[(Pair, Pair)] {
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.pairs[start..self.ends[i]]
    }
}
