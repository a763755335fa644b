//! Where a layer's window lies on its input, as the file's attributes say it.
//!
//! Made by `network`, used by `samples`.

use tract_onnx::pb::NodeProto;

use super::network::attribute;

/// A window and how it moves; of a fully connected layer one of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Height and width, as of all below.
    pub(super) kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad_before: [usize; 2],
    pad_after: [usize; 2],
}

impl Window {
    /// That of a node with weights of such extents; none if it is padded as its input wants it.
    pub(super) fn of(node: &NodeProto, dims: &[i64]) -> Option<Window> {
        let of_dims = |i: usize| dims.get(i).map_or(Some(1), |n| usize::try_from(*n).ok());
        let padding = attribute(node, "auto_pad").map(|a| &*a.s);
        if padding.is_some_and(|padding| padding != b"NOTSET") {
            return None;
        }
        let numbers = |name: &str, default: usize| -> Option<Vec<usize>> {
            let Some(attribute) = attribute(node, name) else {
                return Some(vec![default; 4]);
            };
            let numbers = attribute.ints.iter().map(|n| usize::try_from(*n).ok());
            numbers.collect()
        };
        let pair = |numbers: &[usize], at: usize| numbers.get(at..at + 2)?.try_into().ok();
        let pads = numbers("pads", 0)?;
        let window = Window {
            kernel: [of_dims(2)?, of_dims(3)?],
            stride: pair(&numbers("strides", 1)?, 0)?,
            dilation: pair(&numbers("dilations", 1)?, 0)?,
            pad_before: pair(&pads, 0)?,
            pad_after: pair(&pads, 2)?,
        };
        (!window.stride.contains(&0) && !window.kernel.contains(&0)).then_some(window)
    }

    /// Rows and columns of places on an image of that height and width; none of either where it is too small.
    pub(super) fn places(&self, image: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|d| {
            let reach = (self.kernel[d] - 1) * self.dilation[d] + 1;
            let padded = image[d] + self.pad_before[d] + self.pad_after[d];
            padded
                .checked_sub(reach)
                .map_or(0, |left| left / self.stride[d] + 1)
        })
    }

    /// Where its values lie in a channel of an image, for each row of the window each column; none outside of the image.
    pub(super) fn under(
        self,
        place: [usize; 2],
        image: [usize; 2],
    ) -> impl Iterator<Item = Option<usize>> {
        let at = move |d: usize, tap: usize| {
            let at = place[d] * self.stride[d] + tap * self.dilation[d];
            at.checked_sub(self.pad_before[d])
                .filter(|at| *at < image[d])
        };
        let [rows, columns] = self.kernel;
        let taps = (0..rows).flat_map(move |y| (0..columns).map(move |x| (y, x)));
        taps.map(move |(y, x)| Some(at(0, y)? * image[1] + at(1, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::proto::{self, integers};
    use super::*;

    #[test]
    fn window_lies_where_its_attributes_say() {
        let mut node = proto::node("Conv", &["x", "w"], &["y"]);
        node.attribute = vec![
            integers("strides", &[2, 1]),
            integers("pads", &[1, 0, 0, 2]),
            integers("dilations", &[1, 2]),
        ];
        let window = Window::of(&node, &[8, 3, 3, 2]).unwrap();
        // Rows 5 + 1 - 3 over 2, columns 4 + 2 - 3 over 1.
        assert_eq!(window.places([5, 4]), [2, 4]);
        let under: Vec<_> = window.under([0, 3], [5, 4]).collect();
        assert_eq!(under, [None, None, Some(3), None, Some(7), None]);
        let under: Vec<_> = window.under([1, 0], [5, 4]).collect();
        assert_eq!(under, [4, 6, 8, 10, 12, 14].map(Some));
        assert_eq!(window.places([1, 2])[0], 0);
        node.attribute = vec![proto::text("auto_pad", "SAME_UPPER")];
        assert_eq!(Window::of(&node, &[8, 3, 3, 2]), None);
        let single = Window::of(&proto::node("Gemm", &["x", "w"], &["y"]), &[8, 3]).unwrap();
        assert_eq!(single.places([1, 1]), [1, 1]);
    }
}
