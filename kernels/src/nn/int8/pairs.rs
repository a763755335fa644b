//! Weights for `vpmaddubsw`, which multiplies bytes as they are but adds two products in 16 bits, where 255 × 127 × 2 does
//! not fit. Words would be as simple, but it multiplies twice as many bytes as `vpmaddwd` does words.
//!
//! So inputs are paired whose weights are small enough together, for all outputs of a step: four neighbours as they lie
//! where that fits, else any two of 16, which a shuffle puts side by side. An input that finds no partner is multiplied
//! alone; one whose weights are all zero is left out. A sum of integers has no order, so the result is the same.

use super::tile::{BLOCK_LINES, KBlock};
use crate::nn::arena::memory::Lines;
use crate::nn::layout::line::Line;
use crate::vectorize::{Task, Vectorized};

/// The largest sum of two weights, so that 255 times it fits into 16 bits.
const MOST: i16 = 128;

/// Bytes of the input that a step chooses from.
const WINDOW: usize = 16;

/// The index that stands for no byte: a shuffle makes a zero of it.
const NONE: u8 = 0x80;

/// Four bytes of the input times half a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes from a pixel's first to the window, or to four neighbours.
    pub(crate) a: u32,
    /// Which of the window's bytes, the first and the second two of which are added in 16 bits; of no meaning for
    /// neighbours.
    pub(crate) bytes: [u8; 4],
}

/// The steps of half a panel, and a line of weights for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half<'a> {
    /// Steps that read four neighbouring bytes.
    pub(crate) neighbours: &'a [Step],
    /// Steps that read any bytes of a window.
    pub(crate) shuffled: &'a [Step],
    /// A line for each step, those of the neighbours first: four weights for each of 8 outputs of one vector, then of
    /// the other.
    pub(crate) b: *const Line,
}

impl Half<'_> {
    /// No steps.
    pub(crate) const NONE: Half<'static> = Half {
        neighbours: &[],
        shuffled: &[],
        b: std::ptr::null(),
    };
}

/// The weights of all panels in steps.
#[derive(Debug)]
pub(crate) struct PairedWeights {
    steps: Vec<Step>,
    /// The weights of all steps, each as [`Half::b`] says.
    lines: Lines,
    /// Of each half of each panel: its first step, its first step over a window, and the end of its steps.
    panels: Vec<[[usize; 3]; 2]>,
}

/// The steps of half a panel with their weights: of neighbours, and of windows.
type Steps = [Vec<(Step, Line)>; 2];

impl PairedWeights {
    /// Pairs the weights of panels, each with its sum, a part on each of `threads` threads.
    pub(crate) fn new<'a>(
        vectorized: Vectorized,
        threads: usize,
        panels: &[(&'a [KBlock], &'a [Line])],
    ) -> PairedWeights {
        let part = |panels: &[(&'a [KBlock], &'a [Line])]| -> Vec<[Steps; 2]> {
            let steps = |&(sum, weights)| [0, 1].map(|half| steps(vectorized, sum, weights, half));
            panels.iter().map(steps).collect()
        };
        let each = panels.len().div_ceil(threads.max(1)).max(1);
        let parts = std::thread::scope(|scope| {
            let handles: Vec<_> = (panels.chunks(each).skip(1))
                .map(|panels| scope.spawn(move || part(panels)))
                .collect();
            let first = panels.chunks(each).next().map(part);
            let rest = handles.into_iter().map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            first.into_iter().chain(rest).flatten().collect::<Vec<_>>()
        });
        let count = parts.iter().flatten().flatten().map(Vec::len).sum();
        let mut all = PairedWeights {
            steps: Vec::with_capacity(count),
            // One line more than steps, to point at where the last half of a panel has no step.
            lines: Lines::zeros(count + 1),
            panels: Vec::with_capacity(panels.len()),
        };
        for halves in parts {
            let places = halves.map(|half| {
                let mut ends = [all.steps.len(); 3];
                for (steps, end) in half.into_iter().zip(&mut ends[1..]) {
                    for (step, line) in steps {
                        all.lines[all.steps.len()] = line;
                        all.steps.push(step);
                    }
                    *end = all.steps.len();
                }
                ends
            });
            all.panels.push(places);
        }
        all
    }

    /// Bytes of weights and of steps.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.steps)
    }

    /// The steps of half a panel.
    pub(crate) fn half(&self, panel: usize, half: usize) -> Half<'_> {
        let [start, shuffled, end] = self.panels[panel][half];
        Half {
            neighbours: &self.steps[start..shuffled],
            shuffled: &self.steps[shuffled..end],
            b: &raw const self.lines[start],
        }
    }
}

/// The steps of half a panel.
fn steps(vectorized: Vectorized, sum: &[KBlock], weights: &[Line], half: usize) -> Steps {
    let mut steps = Steps::default();
    for (block, weights) in sum.iter().zip(weights.chunks_exact(BLOCK_LINES)) {
        let first = block.a as usize;
        let end = first + 4 * block.quads as usize;
        for window in (first / WINDOW * WINDOW..end).step_by(WINDOW) {
            let column = |byte: usize| -> Column {
                match (first..end).contains(&(window + byte)) {
                    true => column(weights, window + byte - first, half),
                    false => [0; 16],
                }
            };
            let columns: [Column; WINDOW] = std::array::from_fn(column);
            let Pairing { neighbours, pairs } = vectorized.run(Pair(&columns));
            let step = |a: usize, bytes: [u8; 4]| {
                let weight = |output: usize, byte: u8| match columns.get(usize::from(byte)) {
                    Some(column) => column[output] as u8,
                    None => 0,
                };
                let word = |output| u32::from_le_bytes(bytes.map(|byte| weight(output, byte)));
                let step = Step { a: a as u32, bytes };
                (step, Line::from_words(std::array::from_fn(word)))
            };
            for quad in (0..4).filter(|quad| neighbours >> (4 * quad) & 1 == 1) {
                let bytes = [0, 1, 2, 3].map(|i| 4 * quad + i);
                steps[0].push(step(window + 4 * usize::from(quad), bytes));
            }
            for pairs in pairs.chunks(2) {
                let mut bytes = [NONE; 4];
                bytes[..2 * pairs.len()].copy_from_slice(pairs.as_flattened());
                steps[1].push(step(window, bytes));
            }
        }
    }
    steps
}

/// The weights of a byte of the input: for lanes 0 to 7, or 8 to 15, of the one vector, then of the other.
type Column = [i16; 16];

/// The column of a byte of a block.
fn column(weights: &[Line], byte: usize, half: usize) -> Column {
    std::array::from_fn(|output| {
        let word = weights[byte / 4 * 2 + output / 8].words()[8 * half + output % 8];
        i16::from(word.to_le_bytes()[byte % 4] as i8)
    })
}

/// Pairs the bytes of a window so that no two products saturate; those whose weights are zeros are in none.
struct Pair<'a>(&'a [Column; WINDOW]);

/// How the bytes of a window are multiplied.
#[derive(Debug)]
struct Pairing {
    /// A bit for each byte that is multiplied as it lies, with its neighbours in fours.
    neighbours: u16,
    /// Pairs of the other bytes; the second is [`NONE`] for a byte that is multiplied alone.
    pairs: Vec<[u8; 2]>,
}

impl Task for Pair<'_> {
    type Output = Pairing;

    #[inline(always)]
    fn run(self) -> Pairing {
        // Bit by bit, the bytes that are multiplied at all, and the possible partners of each.
        let mut all = 0_u16;
        let mut partners = [0_u16; WINDOW];
        for (i, column) in self.0.iter().enumerate() {
            if *column == [0; 16] {
                continue;
            }
            for (j, other) in self.0.iter().enumerate().take(i) {
                let mut most = 0;
                for (a, b) in column.iter().zip(other) {
                    most = most.max((a + b).abs());
                }
                let fit = u16::from(most <= MOST) & (all >> j);
                partners[i] |= fit << j;
                partners[j] |= fit << i;
            }
            all |= 1 << i;
        }
        let mut neighbours = 0;
        for quad in (0..WINDOW).step_by(4) {
            let fit = |byte: usize| partners[byte] >> (byte + 1) & 1 == 1;
            if fit(quad) && fit(quad + 2) {
                neighbours |= 0b1111 << quad;
            }
        }
        let pairs = matched(all & !neighbours, &partners);
        let count = neighbours.count_ones() / 4 + pairs.len().div_ceil(2) as u32;
        if neighbours != 0 && count > all.count_ones().div_ceil(4) {
            // Together with the neighbours more may find a partner.
            let pairs = matched(all, &partners);
            if (pairs.len().div_ceil(2) as u32) < count {
                return Pairing {
                    neighbours: 0,
                    pairs,
                };
            }
        }
        Pairing { neighbours, pairs }
    }
}

/// Pairs the bytes in `left`; the second of a pair is [`NONE`] for a byte that stays alone. Each time the byte with the
/// fewest possible partners gets the partner that has the fewest itself. With 16 bytes this leaves no more alone than
/// necessary, in all but odd cases.
#[inline(always)]
fn matched(mut left: u16, partners: &[u16; WINDOW]) -> Vec<[u8; 2]> {
    let mut pairs = Vec::with_capacity(WINDOW);
    let fewest = |among: u16, left: u16| {
        let bytes = (0..WINDOW as u8).filter(|byte| among >> byte & 1 == 1);
        bytes.min_by_key(|byte| (partners[usize::from(*byte)] & left).count_ones())
    };
    while let Some(byte) = fewest(left, left) {
        left &= !(1 << byte);
        let partner = fewest(partners[usize::from(byte)] & left, left);
        left &= !partner.map_or(0, |partner| 1 << partner);
        pairs.push([byte, partner.unwrap_or(NONE)]);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Isa;

    proptest! {
        #[test]
        fn no_two_products_saturate_and_each_weight_is_multiplied_once(
            bytes in prop::collection::vec(any::<u8>(), 64 * 32), quads in 1..=16_u32, a in 0..40_u32,
            loud in 1..=128_i16,
        ) {
            let bytes = bytes.iter().map(|byte| (i16::from(*byte as i8) * loud / 128) as u8);
            let words: Vec<u32> = (bytes.collect::<Vec<_>>().as_chunks().0.iter())
                .map(|bytes| u32::from_le_bytes(*bytes))
                .collect();
            let mut lines: Vec<Line> =
                words.as_chunks().0.iter().map(|words| Line::from_words(*words)).collect();
            lines[2 * quads as usize..].fill(Line::ZERO);
            let vectorized = Vectorized::new(Isa::Scalar).unwrap();
            for half in 0..2 {
                let mut seen = vec![[0_i16; 16]; 128];
                let steps = steps(vectorized, &[KBlock { a, quads }], &lines, half);
                let neighbours = steps[0].len();
                for (i, (Step { a, bytes }, line)) in steps.into_iter().flatten().enumerate() {
                    let (window, bytes) = match i < neighbours {
                        true => (a, [0, 1, 2, 3]),
                        false => (a, bytes),
                    };
                    for (output, word) in line.words().iter().enumerate() {
                        let weights = word.to_le_bytes().map(|w| i32::from(w as i8));
                        for pair in [[weights[0], weights[1]], [weights[2], weights[3]]] {
                            for [a, b] in [[255, 255], [255, 0], [0, 255]] {
                                prop_assert!(i16::try_from(a * pair[0] + b * pair[1]).is_ok());
                            }
                        }
                        for (byte, weight) in bytes.into_iter().zip(weights) {
                            match byte {
                                NONE => prop_assert_eq!(weight, 0),
                                _ => seen[window as usize + usize::from(byte)][output] += weight as i16,
                            }
                        }
                    }
                }
                for (at, seen) in seen.into_iter().enumerate() {
                    let byte = at.wrapping_sub(a as usize);
                    let expected = match byte < 4 * quads as usize {
                        true => column(&lines, byte, half),
                        false => [0; 16],
                    };
                    prop_assert_eq!(seen, expected, "byte {}", at);
                }
            }
        }
    }

    #[test]
    fn large_weights_find_small_partners() {
        // Two large and two small ones after each other: neighbours would saturate, and 4 steps do without any.
        let columns: [Column; WINDOW] =
            std::array::from_fn(|i| [if i % 4 < 2 { 127 } else { 1 }; 16]);
        let Pairing { neighbours, pairs } = Pair(&columns).run();
        assert_eq!((neighbours, pairs.len()), (0, WINDOW / 2));
        for [first, second] in pairs {
            assert_ne!(first % 4 < 2, second % 4 < 2, "{first} with {second}");
        }
        let alone = Pair(&[[127; 16]; WINDOW]).run().pairs;
        assert_eq!(alone.len(), WINDOW, "{alone:?}");
        let Pairing { neighbours, pairs } = Pair(&[[64; 16]; WINDOW]).run();
        assert_eq!((neighbours, pairs.len()), (u16::MAX, 0));
    }
}
