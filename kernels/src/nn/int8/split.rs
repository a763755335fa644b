//! Weights for `vpmaddubsw`, which multiplies bytes four at a time but adds two products in 16 bits, where 255 × 127 × 2
//! does not fit.
//!
//! Where two neighbouring weights are too large together, the second one is split in two numbers, and what is left of it
//! is multiplied in a step of its own, for the vector that wants it: the sum is the same. In ResNet-50 this is so of 0.7%
//! of the pairs, for which there are 10% more steps. These take half of the others' time, for what is left is small: some
//! of them are added up in 16 bits, and then widened together. Steps that multiply zeros alone are left out.

use super::tile::{BLOCK_LINES, KBlock};
use crate::nn::arena::memory::Lines;
use crate::nn::layout::line::Line;

/// The largest sum of two weights of one sign, so that 255 times it fits into 16 bits.
const MOST: i16 = 128;

/// Steps with what is left of weights that are added up in 16 bits. Of how many did not matter.
pub(crate) const GROUP: usize = 8;

/// Four weights of 8 outputs, an output a word.
type Quad = [u32; 8];

/// The weights of all panels in steps: a quad of the input times 8 outputs of one vector or both.
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
    /// The first one's place in `k`, and that of its weights in units of 32 bytes.
    k: usize,
    weights: usize,
    /// As [`Panel`](super::tile::Panel) has them.
    count: [[usize; 3]; 2],
}

impl Split {
    /// Splits panels of weights, each with its sum.
    pub(crate) fn new<'a>(panels: impl Iterator<Item = (&'a [KBlock], &'a [Line])>) -> Split {
        let (mut k, mut quads, mut all) = (Vec::new(), Vec::<Quad>::new(), Vec::new());
        for (sum, weights) in panels {
            let mut steps = Steps {
                k: k.len(),
                weights: quads.len(),
                count: [[0; 3]; 2],
            };
            for (half, [both, first, second]) in steps.count.iter_mut().enumerate() {
                let mut rests = [Rests::default(), Rests::default()];
                for (block, weights) in sum.iter().zip(weights.chunks_exact(BLOCK_LINES)) {
                    for (quad, lines) in weights.as_chunks::<2>().0.iter().enumerate() {
                        let a = block.a + 4 * quad as u32;
                        let at = KBlock { a, quads: 1 };
                        let mut of = lines.map(|line| line.words().as_chunks().0[half]);
                        for (of, rests) in of.iter_mut().zip(&mut rests) {
                            rests.push(at, take_rest(of));
                        }
                        if of != [[0; 8]; 2] {
                            k.push(at);
                            quads.extend(of);
                            *both += 1;
                        }
                    }
                }
                [*first, *second] = rests.each_ref().map(|rests| rests.steps.len());
                for (at, rest) in rests.into_iter().flat_map(|rests| rests.steps) {
                    k.push(at);
                    quads.push(rest);
                }
            }
            all.push(steps);
        }
        // One more, for a panel may have none.
        let mut lines = Lines::zeros(quads.len() / 2 + 1);
        for (i, quad) in quads.into_iter().enumerate() {
            lines[i / 2].words_mut()[8 * (i % 2)..][..8].copy_from_slice(&quad);
        }
        k.shrink_to_fit();
        Split {
            k,
            lines,
            panels: all,
        }
    }

    /// Bytes of weights, and of where they belong.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.k)
    }

    /// A panel's sum, its steps and its weights.
    pub(crate) fn panel(&self, panel: usize) -> (&[KBlock], [[usize; 3]; 2], *const Line) {
        let Steps { k, weights, count } = self.panels[panel];
        let steps: usize = count.iter().flatten().sum();
        let first = self.lines.as_ptr().cast::<Quad>().wrapping_add(weights);
        (&self.k[k..k + steps], count, first.cast())
    }
}

/// What is left of the weights of a vector.
#[derive(Debug, Default)]
struct Rests {
    steps: Vec<(KBlock, Quad)>,
    /// What the last group's weights of each pair come to, those below zero and those above.
    sums: [[[i16; 2]; 2]; 8],
}

impl Rests {
    /// Appends a step, unless it multiplies zeros; before it, where the group's sums might not fit into 16 bits with it,
    /// steps that do, up to the end of the group.
    fn push(&mut self, at: KBlock, quad: Quad) {
        if quad == [0; 8] {
            return;
        }
        let added = |mut sums: [[[i16; 2]; 2]; 8]| {
            for (sums, word) in sums.iter_mut().zip(quad) {
                let weights = word.to_le_bytes().map(|byte| i16::from(byte as i8));
                for (sums, pair) in sums.iter_mut().zip(weights.as_chunks::<2>().0) {
                    sums[0] += pair[0].min(0) + pair[1].min(0);
                    sums[1] += pair[0].max(0) + pair[1].max(0);
                }
            }
            sums
        };
        if self.steps.len().is_multiple_of(GROUP) {
            self.sums = Default::default();
        }
        let mut sums = added(self.sums);
        if sums
            .as_flattened()
            .as_flattened()
            .iter()
            .any(|sum| sum.abs() > MOST)
        {
            let end = self.steps.len().next_multiple_of(GROUP);
            self.steps.resize(end, (at, [0; 8]));
            sums = added(Default::default());
        }
        self.steps.push((at, quad));
        self.sums = sums;
    }
}

/// Makes pairs of weights small enough, and returns what has been taken from them.
fn take_rest(quad: &mut Quad) -> Quad {
    let mut rest = [0; 8];
    for (word, rest) in quad.iter_mut().zip(&mut rest) {
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
                let mut kept = [word; 8];
                let left = take_rest(&mut kept);
                let weights = |quad: Quad| quad[7].to_le_bytes().map(|w| i16::from(w as i8));
                let (kept, left) = (weights(kept), weights(left));
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
