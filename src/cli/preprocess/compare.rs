//! Two arrays of one picture, value by value: how many differ, by how much, where, and what may be the reason.
//!
//! Called by `resnet preprocess --compare`. Reads no file.

use super::differences::{Differences, View, number};
use crate::npy::Array;
use crate::table::Table;

/// The order of the axes behind the batch dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Row, column, channel.
    Nhwc,
    /// Channel, row, column.
    Nchw,
}

impl Layout {
    fn other(self) -> Layout {
        match self {
            Layout::Nhwc => Layout::Nchw,
            Layout::Nchw => Layout::Nhwc,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Layout::Nhwc => "NHWC (channels last)",
            Layout::Nchw => "NCHW (channels first)",
        }
    }

    /// Rows, columns and channels of three axes in this layout.
    fn extent(self, shape: &[usize; 3]) -> [usize; 3] {
        match (self, *shape) {
            (Layout::Nhwc, extent) => extent,
            (Layout::Nchw, [channels, rows, columns]) => [rows, columns, channels],
        }
    }
}

/// How the reference's shape relates to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Same,
    /// The same but for a batch dimension of 1.
    SameImage,
    /// The same extents in the other layout.
    OtherLayout,
    Different,
}

/// The outcome of a comparison.
#[derive(Debug)]
pub(super) struct Comparison {
    ours: (Vec<usize>, &'static str),
    reference: (Vec<usize>, &'static str),
    layout: Layout,
    shape: Shape,
    tolerance: f64,
    /// The differences, where the shapes allow to pair the values.
    differences: Option<Differences>,
    /// The differences if the reference's channels are in reverse order.
    reversed: Option<Differences>,
}

impl Comparison {
    /// Pairs the values of the two arrays, whichever of them has a batch dimension.
    ///
    /// # Shapes
    /// - `ours`: `[H, W, 3]` or `[1, channels, H, W]`, as `layout` says
    /// - `reference`: any
    pub(super) fn of(
        ours: &Array,
        layout: Layout,
        reference: &Array,
        tolerance: f64,
    ) -> Comparison {
        let (image, other) = (image_axes(ours.shape()), image_axes(reference.shape()));
        let shape = match (image, other) {
            _ if ours.shape() == reference.shape() => Shape::Same,
            (Some(a), Some(b)) if a == b => Shape::SameImage,
            (Some(a), Some(b)) if layout.extent(&a) == layout.other().extent(&b) => {
                Shape::OtherLayout
            }
            _ => Shape::Different,
        };
        let reference_layout = match shape {
            Shape::OtherLayout => layout.other(),
            _ => layout,
        };
        let paired = image.filter(|_| shape != Shape::Different).map(|axes| {
            let extent = layout.extent(&axes);
            let ours = View::new(ours.values(), layout, extent);
            let other = || View::new(reference.values(), reference_layout, extent);
            (
                Differences::between(&ours, &other(), extent),
                Differences::between(&ours, &other().reversed(extent[2]), extent),
            )
        });
        let (differences, reversed) = paired.unzip();
        Comparison {
            ours: (ours.shape().to_vec(), ours.values().type_name()),
            reference: (reference.shape().to_vec(), reference.values().type_name()),
            layout,
            shape,
            tolerance,
            differences,
            reversed,
        }
    }

    /// Whether layout and type agree and no value differs by more than the tolerance.
    pub(super) fn is_equal(&self) -> bool {
        let within = |d: &Differences| d.largest.size <= self.tolerance;
        self.shape != Shape::OtherLayout
            && self.ours.1 == self.reference.1
            && self.differences.as_ref().is_some_and(within)
    }

    /// The outcome for people; its last line is `equal` or `different`.
    pub(super) fn report(&self, ours: &str, reference: &str) -> String {
        let mut table = Table::of_pairs(11);
        let mut row = |key: &str, value: &str| table.row([key, value]);
        row(
            "this",
            &format!("{:?} {}  {ours}", self.ours.0, self.ours.1),
        );
        row(
            "reference",
            &format!("{:?} {}  {reference}", self.reference.0, self.reference.1),
        );
        row("shape", &self.shape_words());
        row("type", self.type_words());
        if let Some(d) = &self.differences {
            d.rows(&mut row, self.ours.1 == "uint8");
            if let Some(hint) = self.channel_hint(d) {
                row("channels", &hint);
            }
        }
        let verdict = match (self.is_equal(), self.tolerance > 0.0) {
            (true, false) => "equal".to_owned(),
            (true, true) => format!("equal within {}", self.tolerance),
            (false, _) => "different".to_owned(),
        };
        format!("{table}{verdict}\n")
    }

    fn shape_words(&self) -> String {
        match self.shape {
            Shape::Same => "same".into(),
            Shape::SameImage => "same but for the batch dimension".into(),
            Shape::OtherLayout => format!(
                "the reference is {}, this is {}; compared with its axes moved",
                self.layout.other().name(),
                self.layout.name()
            ),
            Shape::Different => "different, so no values are compared".into(),
        }
    }

    fn type_words(&self) -> &'static str {
        match (self.ours.1, self.reference.1) {
            (a, b) if a == b => "same",
            ("float32", _) => {
                "different; a reference that is not normalized belongs to --stage cropped"
            }
            _ => "different; a normalized reference belongs to --stage tensor",
        }
    }

    /// A reference whose channels are blue, green, red is much nearer with its channels reversed.
    fn channel_hint(&self, straight: &Differences) -> Option<String> {
        let reversed = self.reversed.as_ref()?;
        if straight.differing == 0 || reversed.sum.is_nan() || reversed.sum * 2.0 > straight.sum {
            return None;
        }
        Some(match reversed.differing {
            0 => "with red and blue swapped the values are equal: the reference is BGR".into(),
            _ => format!(
                "with red and blue swapped the mean difference is {}: the reference looks like BGR",
                number(reversed.mean())
            ),
        })
    }
}

/// The three axes of one image; `None` for an array of another rank, or of several images.
fn image_axes(shape: &[usize]) -> Option<[usize; 3]> {
    match *shape {
        [a, b, c] | [1, a, b, c] => Some([a, b, c]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::Values;

    /// `[2, 2, 3]`: row, column and channel in the digits of each value.
    fn pixels() -> Array {
        let value = |i: usize| (i / 6 * 100 + i / 3 % 2 * 10 + i % 3) as u8;
        Array::new(vec![2, 2, 3], Values::U8((0..12).map(value).collect()))
    }

    fn changed(change: impl Fn(usize, u8) -> u8, shape: &[usize]) -> Array {
        let Values::U8(values) = pixels().values().clone() else {
            panic!("bytes");
        };
        let values = values.iter().enumerate().map(|(i, &v)| change(i, v));
        Array::new(shape.to_vec(), Values::U8(values.collect()))
    }

    fn report(reference: &Array, tolerance: f64) -> (bool, String) {
        let comparison = Comparison::of(&pixels(), Layout::Nhwc, reference, tolerance);
        (comparison.is_equal(), comparison.report("a", "b"))
    }

    #[test]
    fn equal_arrays_are_equal_with_and_without_batch_dimension() {
        assert!(report(&pixels(), 0.0).0);
        let (equal, text) = report(&changed(|_, v| v, &[1, 2, 2, 3]), 0.0);
        assert!(equal && text.contains("same but for the batch"), "{text}");
        assert!(
            text.contains("0 of 12 values") && text.ends_with("\nequal\n"),
            "{text}"
        );
    }

    #[test]
    fn differences_are_counted_sized_and_located() {
        let by = |i: usize, v: u8| v + [0, 1, 0, 2, 0, 0, 0, 0, 9, 0, 0, 1][i];
        let (equal, text) = report(&changed(by, &[2, 2, 3]), 0.0);
        assert!(!equal && text.ends_with("\ndifferent\n"), "{text}");
        for words in [
            "differing  4 of 12 values (33.3333%)",
            "largest    9 at row 1, column 0, channel 2: 102 here, 111 in the reference",
            "mean       1.0833",
            "by size    0: 8, 1: 2, 2: 1, more: 1",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        assert!(!report(&changed(by, &[2, 2, 3]), 8.9).0);
        let (equal, text) = report(&changed(by, &[2, 2, 3]), 9.0);
        assert!(equal && text.ends_with("equal within 9\n"), "{text}");
    }

    #[test]
    fn other_layout_is_told_and_its_values_are_compared_all_the_same() {
        let Values::U8(values) = pixels().values().clone() else {
            panic!("bytes");
        };
        let planes = (0..3).flat_map(|c| values.iter().skip(c).step_by(3).copied());
        let reference = Array::new(vec![1, 3, 2, 2], Values::U8(planes.collect()));
        let (equal, text) = report(&reference, 0.0);
        assert!(!equal && text.contains("the reference is NCHW"), "{text}");
        assert!(text.contains("0 of 12 values"), "{text}");
    }

    #[test]
    fn swapped_channels_are_found() {
        let values = pixels();
        let Values::U8(v) = values.values() else {
            panic!("bytes");
        };
        let (equal, text) = report(&changed(|i, _| v[i / 3 * 3 + 2 - i % 3], &[2, 2, 3]), 0.0);
        assert!(!equal && text.contains("the reference is BGR"), "{text}");
    }

    #[test]
    fn other_type_other_size_and_no_number_are_different() {
        let floats = |f: &dyn Fn(u8) -> f32| {
            let Values::U8(v) = pixels().values().clone() else {
                panic!("bytes");
            };
            Array::new(
                vec![2, 2, 3],
                Values::F32(v.iter().map(|&x| f(x)).collect()),
            )
        };
        let (equal, text) = report(&floats(&f32::from), 255.0);
        assert!(!equal && text.contains("--stage tensor"), "{text}");
        assert!(text.contains("0 of 12 values"), "{text}");

        let strip = Array::new(vec![4, 1, 3], Values::U8(vec![0; 12]));
        let (equal, text) = report(&strip, 255.0);
        assert!(!equal && text.contains("no values are compared"), "{text}");
        let two = Array::new(vec![2, 2, 2, 3], Values::U8(vec![0; 24]));
        assert!(!report(&two, 255.0).0);

        let nan = floats(&|x| if x == 1 { f32::NAN } else { f32::from(x) });
        let same = Comparison::of(&floats(&f32::from), Layout::Nhwc, &nan, 1e9);
        let text = same.report("a", "b");
        assert!(!same.is_equal(), "{text}");
        assert!(
            text.contains("inf at row 0, column 0, channel 1: 1 here, NaN"),
            "{text}"
        );
    }
}
