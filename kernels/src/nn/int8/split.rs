//! Weights for `vpmaddubsw`, which multiplies bytes four at a time but adds two products in 16 bits, where 255 × 127 × 2
//! does not fit.
//!
//! Where two neighbouring weights are too large together, the second one is split in two numbers, and what is left of it
//! is multiplied in a step of its own: the sum is the same. In ResNet-50 this is so of 0.7% of the pairs, and one step in
//! seven is for them. Steps that multiply zeros alone are left out.

use super::tile::{BLOCK_LINES, KBlock};
use crate::nn::arena::memory::Lines;
use crate::nn::layout::line::Line;

/// The largest sum of two weights of one sign, so that 255 times it fits into 16 bits.
const MOST: i16 = 128;

/// The weights of all panels, a line for each step: a quad of the input times 8 outputs of either vector.
#[derive(Debug)]
pub(crate) struct Split {
    /// Where each step's quad lies.
    k: Vec<KBlock>,
    lines: Lines,
    panels: Vec<Steps>,
}

/// The steps of a panel.
#[derive(Debug, Clone, Copy)]
struct Steps {
    start: usize,
    /// Those for lanes 0 to 7 of both vectors.
    low: usize,
    end: usize,
}

impl Split {
    /// Splits panels of weights, each with its sum.
    pub(crate) fn new<'a>(panels: impl Iterator<Item = (&'a [KBlock], &'a [Line])>) -> Split {
        let (mut k, mut lines, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (sum, weights) in panels {
            let start = k.len();
            let mut ends = [0; 2];
            for (half, end) in ends.iter_mut().enumerate() {
                for (block, weights) in sum.iter().zip(weights.chunks_exact(BLOCK_LINES)) {
                    for (quad, [first, second]) in weights.as_chunks().0.iter().enumerate() {
                        let mut line = Line::ZERO;
                        let (low, high) = line.words_mut().split_at_mut(8);
                        low.copy_from_slice(&first.words()[8 * half..][..8]);
                        high.copy_from_slice(&second.words()[8 * half..][..8]);
                        let rest = take_rest(&mut line);
                        for line in [line, rest].into_iter().filter(|line| *line != Line::ZERO) {
                            k.push(KBlock {
                                a: block.a + 4 * quad as u32,
                                quads: 1,
                            });
                            lines.push(line);
                        }
                    }
                }
                *end = k.len();
            }
            all.push(Steps {
                start,
                low: ends[0] - start,
                end: ends[1],
            });
        }
        // One at the end, for a panel may have none.
        let mut memory = Lines::zeros(lines.len() + 1);
        memory[..lines.len()].copy_from_slice(&lines);
        k.shrink_to_fit();
        Split {
            k,
            lines: memory,
            panels: all,
        }
    }

    /// Bytes of weights, and of where they belong.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.k)
    }

    /// A panel's sum, how much of it is for lanes 0 to 7, and its weights.
    pub(crate) fn panel(&self, panel: usize) -> (&[KBlock], usize, *const Line) {
        let Steps { start, low, end } = self.panels[panel];
        (&self.k[start..end], low, &raw const self.lines[start])
    }
}

/// Makes the pairs of a line small enough, and returns what has been taken from them.
fn take_rest(line: &mut Line) -> Line {
    let mut rest = Line::ZERO;
    for (word, rest) in line.words_mut().iter_mut().zip(rest.words_mut()) {
        let mut bytes = word.to_le_bytes();
        let mut left = [0; 4];
        for (pair, left) in bytes
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(left.as_chunks_mut().0)
        {
            let [first, second] = pair.map(|byte| i16::from(byte as i8));
            let fits = match second < 0 {
                true => second.max(-MOST - first.min(0)),
                false => second.min(MOST - first.max(0)),
            };
            *pair = [first, fits].map(|weight| weight as u8);
            *left = [0, (second - fits) as u8];
        }
        (*word, *rest) = (u32::from_le_bytes(bytes), u32::from_le_bytes(left));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_products_saturate_and_nothing_is_lost() {
        for first in -128..=127_i8 {
            for second in -128..=127_i8 {
                let word = u32::from_le_bytes([first, second, second, first].map(|w| w as u8));
                let mut line = Line::from_words([word; 16]);
                let rest = take_rest(&mut line);
                let weights =
                    |line: &Line| line.words()[7].to_le_bytes().map(|w| i16::from(w as i8));
                let (kept, left) = (weights(&line), weights(&rest));
                for (i, weight) in [first, second, second, first].into_iter().enumerate() {
                    assert_eq!(kept[i] + left[i], i16::from(weight), "{first} {second}");
                }
                for pair in [kept, left].as_flattened().chunks(2) {
                    for [a, b] in [[255, 255], [255, 0], [0, 255]] {
                        let sum = a * i32::from(pair[0]) + b * i32::from(pair[1]);
                        assert!(i16::try_from(sum).is_ok(), "{pair:?} of {first} {second}");
                    }
                }
            }
        }
    }
}
