//! Weights of bytes at all positions, `4 G g Gᵀ`, as words in the order in which the products read them.

use super::POSITIONS;
use crate::nn::arena::memory::Lines;
use crate::nn::int8::pack::{QuantizedWeights, threads};
use crate::nn::int8::tile::{PANEL, lane};
use crate::nn::layout::line::Line;

/// `4 G g Gᵀ`: by columns and then by rows, each time twice as large.
#[inline(always)]
pub(super) fn transformed(g: [[i8; 3]; 3]) -> [[i16; 4]; 4] {
    let one = |[g0, g1, g2]: [i16; 3]| [2 * g0, g0 + g1 + g2, g0 - g1 + g2, 2 * g2];
    let columns: [[i16; 4]; 3] =
        std::array::from_fn(|x| one(std::array::from_fn(|y| i16::from(g[y][x]))));
    std::array::from_fn(|y| one(std::array::from_fn(|x| columns[x][y])))
}

/// Transforms and packs weights as `[panel][position][half][pair]`, a line each: two words of 8 outputs of the one
/// vector, then of the other.
pub(super) fn pack(source: &QuantizedWeights<'_>, panels: usize) -> Lines {
    let pairs = source.inputs.div_ceil(2);
    let each = POSITIONS * 2 * pairs;
    let mut lines = Lines::zeros(panels * each);
    let threads = threads(source.weights.len());
    let part = panels.div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (i, lines) in lines.chunks_mut(part * each).enumerate() {
            let mut fill = move || {
                for (panel, lines) in lines.chunks_exact_mut(each).enumerate() {
                    fill(source, i * part + panel, lines);
                }
            };
            match threads {
                1 => fill(),
                _ => drop(scope.spawn(fill)),
            }
        }
    });
    lines
}

/// Packs panel number `panel` into `lines`.
fn fill(source: &QuantizedWeights<'_>, panel: usize, lines: &mut [Line]) {
    let pairs = source.inputs.div_ceil(2);
    let outputs = panel * PANEL..(panel * PANEL + PANEL).min(source.bias.len());
    for output in outputs {
        let (vector, n) = lane(output % PANEL, source.kind);
        let weights = &source.weights[output * source.inputs * 9..][..source.inputs * 9];
        for (input, window) in weights.as_chunks::<9>().0.iter().enumerate() {
            let [a, b, c] = [0, 3, 6].map(|i| [window[i], window[i + 1], window[i + 2]]);
            let u = transformed([a, b, c]);
            for (position, weight) in u.as_flattened().iter().enumerate() {
                let line = (2 * position + n / 8) * pairs + input / 2;
                let word = u32::from(*weight as u16) << (16 * (input % 2));
                lines[line].words_mut()[8 * vector + n % 8] |= word;
            }
        }
    }
}
