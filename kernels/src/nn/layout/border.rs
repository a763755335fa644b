//! The border around planes: zeros, or the byte that means zero.
//!
//! Called by the program wherever memory that held another value gets a border.

use super::line::View;

/// Writes `byte` around the planes of `count` blocks from `block` on of an image.
///
/// # Safety
/// The blocks are inside of the value, and nobody else uses their borders.
pub(crate) unsafe fn fill_border(view: View, image: usize, block: usize, count: usize, byte: u8) {
    let plane = view.plane;
    for block in block..block + count {
        // SAFETY: a plane of the value, so the runs below are inside of it.
        let start = unsafe {
            view.start
                .add(view.offset(image, block, 0, 0) - plane.at(0, 0))
        };
        let fill = |at: usize, lines: usize| {
            // SAFETY: a run of the border of that plane; any bytes are lines.
            unsafe { start.add(at).write_bytes(byte, lines) };
        };
        // The end of a row and the start of the next are neighbours.
        let sides = 2 * plane.border;
        let first = plane.at(0, 0);
        fill(0, first);
        for row in 1..plane.height {
            fill(plane.at(row, 0) - sides, sides);
        }
        let last = plane.at(plane.height.max(1) - 1, plane.width);
        fill(last, plane.lines() - last);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::line::{Line, Plane};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn borders_become_zeros_and_nothing_else(
            height in 1usize..6, width in 1usize..6, border in 0usize..4, count in 1usize..3,
        ) {
            let plane = Plane { height, width, border };
            let mut lines = vec![Line::from_f32([1.0; 16]); 2 * 3 * plane.lines()];
            let view = View { start: lines.as_mut_ptr(), blocks: 3, plane };
            // SAFETY: a value that is only used here.
            unsafe { fill_border(view, 1, 1, count, 0) };
            let mut expected = vec![Line::from_f32([1.0; 16]); lines.len()];
            for block in 1..1 + count {
                let first = (3 + block) * plane.lines();
                expected[first..first + plane.lines()].fill(Line::ZERO);
                for row in 0..height {
                    let at = first + plane.at(row, 0);
                    expected[at..at + width].fill(Line::from_f32([1.0; 16]));
                }
            }
            prop_assert!(lines == expected);
        }
    }
}
