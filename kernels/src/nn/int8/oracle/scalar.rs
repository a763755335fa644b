//! The 8-bit micro-kernel in plain Rust, in the order of the weights: the oracle of the vector and the tile code.

use crate::nn::int8::tile::{BLOCK_LINES, FLOAT, PANEL, Panel, RESIDUAL, SUM, Target, lane};
use crate::nn::int8::tile::{Kind, PLAIN};
use crate::nn::layout::line::Line;

/// Computes `pixels` outputs, `stride` bytes apart in the input.
///
/// # Safety
/// All that panel and target point to is there for so many pixels, and nobody else uses the output.
pub(crate) unsafe fn tile<const KIND: u8>(
    panel: &Panel<'_>,
    at: Target,
    [pixels, stride]: [usize; 2],
) {
    let kind = match KIND {
        PLAIN => Kind::Plain,
        RESIDUAL => Kind::Residual,
        SUM => Kind::Sum,
        _ => Kind::Float,
    };
    for p in 0..pixels {
        for output in 0..PANEL {
            let (vector, n) = lane(output, kind);
            // SAFETY: the caller promises all that panel and target point to.
            unsafe {
                let mut sum = (*panel.offset.add(vector)).words()[n] as i32;
                for (block, k) in panel.k.iter().enumerate() {
                    for byte in 0..4 * k.quads as usize {
                        let a = *at.a.add(p * stride + k.a as usize + byte);
                        let line = panel.b.add(block * BLOCK_LINES + byte / 4 * 2 + vector);
                        let b = *line.cast::<i8>().add(4 * n + byte % 4);
                        sum = sum.wrapping_add(i32::from(a) * i32::from(b));
                    }
                }
                let factor = (*panel.factor.add(vector)).f32()[n];
                let pixel = p * size_of::<Line>();
                if KIND == FLOAT {
                    let line = at.out.add(pixel + vector * at.out_stride).cast::<f32>();
                    let [least, most] = panel.finish.bounds();
                    let value = sum as f32 * factor;
                    let value = if value > least { value } else { least };
                    *line.add(n) = if value < most { value } else { most };
                } else {
                    let adds = KIND == RESIDUAL || KIND == SUM;
                    let residual = adds.then(|| *at.residual.add(pixel + output));
                    *at.out.add(pixel + output) = panel.finish.byte(sum, factor, residual);
                }
            }
        }
    }
}
