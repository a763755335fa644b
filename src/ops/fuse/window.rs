//! Windows without the rows and columns that only ever lie on the zeros around the image.
//!
//! Called by [`super::fuse`], at its end. On the last planes of small images that is most of a window: 3×3 weights over
//! a single pixel are those in its middle.

use std::ops::Range;

use crate::ops::graph::{Graph, Op};

/// Cuts each convolution's window to what sees the image, and its weights with it.
pub(super) fn trim(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let (earlier, later) = graph.nodes.split_at_mut(index);
        let node = &mut later[0];
        let Op::Conv(conv) = &mut node.op else {
            continue;
        };
        let image = earlier[conv.input.0].shape;
        let image = [image.height, image.width];
        let output = [node.shape.height, node.shape.width];
        let window = &mut conv.window;
        let seen = [0, 1].map(|axis| {
            let (stride, pad) = (window.stride[axis], window.pad_before[axis]);
            seen(
                window.kernel[axis],
                (stride, pad),
                image[axis],
                output[axis],
            )
        });
        let kernel = window.kernel;
        let kept = seen.each_ref().map(Range::len);
        if kept == kernel || kept.contains(&0) {
            continue;
        }
        conv.weights.keep(kernel, seen.clone());
        window.kernel = kept;
        for axis in 0..2 {
            window.pad_before[axis] -= seen[axis].start;
            let end = (output[axis] - 1) * window.stride[axis] + kept[axis];
            window.pad_after[axis] = end.saturating_sub(image[axis] + window.pad_before[axis]);
        }
    }
}

/// From the first to the last position of a window, along one axis, that is inside of the image for some output.
fn seen(kernel: usize, (stride, pad): (usize, usize), image: usize, output: usize) -> Range<usize> {
    let is_seen = |at: &usize| (0..output).any(|y| (pad..pad + image).contains(&(y * stride + at)));
    match ((0..kernel).find(is_seen), (0..kernel).rfind(is_seen)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sees_the_image_is_kept() {
        for (kernel, stride, pad, image, output, kept) in [
            (3, 1, 1, 1, 1, 1..2),
            (3, 1, 1, 2, 2, 0..3),
            (3, 2, 1, 2, 1, 1..3),
            (3, 2, 1, 3, 2, 0..3),
            (7, 2, 3, 1, 1, 3..4),
            (7, 2, 3, 4, 2, 1..7),
            (5, 1, 0, 5, 1, 0..5),
            (1, 1, 1, 1, 3, 0..1),
            // Steps so large that a position between the two is never inside.
            (7, 5, 5, 1, 2, 0..6),
            (2, 9, 3, 1, 1, 0..0),
        ] {
            let got = seen(kernel, (stride, pad), image, output);
            assert_eq!(got, kept, "{kernel}/{stride}, {pad} before {image}");
        }
    }
}
