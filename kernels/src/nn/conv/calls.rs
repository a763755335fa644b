//! The pixels of a convolution as calls of a micro-kernel that takes two groups of lines: made once for a plane, the
//! same for all its images and panels.
//!
//! Called by the convolutions where tiles multiply. All calls have the same numbers of lines, since tiles are slow to
//! change their shape; where pixels do not divide evenly, neighbouring calls overlap and all but one leave a pixel out.
//! So no call reads a line beyond those that the pixels' own windows reach.

use super::shape::{ConvShape, ConvUse};
use crate::nn::arena::scratch::share;
use crate::nn::layout::line::{Line, Plane};
use crate::nn::micro::series::{Call, GROUP, Groups, Segment};

/// All pixels of a plane as calls of a micro-kernel; inputs count from the input plane's first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) groups: Groups,
    pub(crate) calls: Vec<Call>,
    /// The segments of all calls; their lines count from the first of the output's and the residual's plane.
    pub(crate) segments: Vec<Segment>,
}

impl Calls {
    /// The calls for all pixels of the output.
    pub(crate) fn new(shape: ConvShape, about: ConvUse) -> Calls {
        let [down, right] = shape.stride;
        match down == right && about.output.width <= GROUP {
            true => Calls::of_rows(shape, about),
            false => Calls::of_parts_of_rows(shape, about),
        }
    }

    /// The calls for a row of `width` pixels that are `step` bytes apart in the input.
    pub(crate) fn of_row(width: usize, step: usize) -> Calls {
        let parts = width.div_ceil(2 * GROUP);
        let lines = width.div_ceil(parts);
        let mut calls = Calls::none(Groups {
            rows: [lines.min(GROUP), lines.saturating_sub(GROUP).max(1)].map(|n| n as u8),
            step,
            second: GROUP * step,
        });
        for part in 0..parts {
            let columns = share(width, part, parts);
            let segment = Segment {
                row: 0,
                pixels: columns.len() as u8,
                out: columns.start as u32,
                residual: columns.start as u32,
            };
            calls.push(columns.start * step, [segment]);
        }
        calls
    }

    /// A call for each part of each row: rows are cut into nearly equal parts, whose lines go on from the first group
    /// into the second.
    fn of_parts_of_rows(shape: ConvShape, about: ConvUse) -> Calls {
        let Plane { height, width, .. } = about.output;
        let parts = width.div_ceil(2 * GROUP);
        let lines = width.div_ceil(parts);
        let step = shape.stride[1] * size_of::<Line>();
        let mut calls = Calls::none(Groups {
            rows: [lines.min(GROUP), lines.saturating_sub(GROUP).max(1)].map(|n| n as u8),
            step,
            second: GROUP * step,
        });
        for (row, part) in (0..height).flat_map(|row| (0..parts).map(move |part| (row, part))) {
            let columns = share(width, part, parts);
            let segment = segment(about, [row, columns.start], 0, columns.len());
            let line = about.first_line(shape, row, columns.start);
            calls.push(line * size_of::<Line>(), [segment]);
        }
        calls
    }

    /// Calls for whole rows: a group holds as many rows as fit into it together with the lines between them.
    fn of_rows(shape: ConvShape, about: ConvUse) -> Calls {
        let Plane { height, width, .. } = about.output;
        // The stride is the same in both directions here, so rows are as many steps apart as lines are in a row.
        let pitch = about.input.pitch();
        let most = 1 + (GROUP - width) / pitch;
        let parts = height.div_ceil(2 * most);
        let both = height.div_ceil(parts);
        let group = if both > most { both.div_ceil(2) } else { both };
        let lines = (group - 1) * pitch + width;
        // Of an odd number of rows the middle one is in both groups.
        let second = both - group;
        let step = shape.stride[1] * size_of::<Line>();
        let mut calls = Calls::none(Groups {
            rows: [lines as u8; 2],
            step,
            second: second * pitch * step,
        });
        for part in 0..parts {
            let rows = share(height, part, parts);
            let first = rows.start;
            let row = |row: usize| {
                let line = match row - first < group {
                    true => (row - first) * pitch,
                    false => GROUP + (row - first - second) * pitch,
                };
                segment(about, [row, 0], line, width)
            };
            let line = about.first_line(shape, first, 0);
            calls.push(line * size_of::<Line>(), rows.map(row));
        }
        calls
    }

    fn none(groups: Groups) -> Calls {
        Calls {
            groups,
            calls: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Adds a call whose first row is `input` bytes from the input's first line.
    fn push(&mut self, input: usize, segments: impl IntoIterator<Item = Segment>) {
        let first = self.segments.len();
        self.segments.extend(segments);
        self.calls.push(Call {
            input: input as u32,
            segments: [first, self.segments.len() - first].map(|n| n as u32),
        });
    }

    /// The number of calls.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }
}

/// Neighbouring pixels that begin at `[row, column]` of the output and line `line` of the call.
fn segment(about: ConvUse, [row, column]: [usize; 2], line: usize, pixels: usize) -> Segment {
    Segment {
        row: line as u8,
        pixels: pixels as u8,
        out: about.output.at(row, column) as u32,
        residual: about.residual.map_or(0, |r| r.at(row, column)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::nn::layout::store::Store;

    fn plane([height, width]: [usize; 2], border: usize) -> Plane {
        Plane {
            height,
            width,
            border,
        }
    }

    /// A convolution to `size` pixels whose windows reach `pad` and `after` beyond the image.
    fn convolution(
        size: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        [pad, after]: [[usize; 2]; 2],
        borders: [usize; 3],
    ) -> (ConvShape, ConvUse) {
        let shape = ConvShape {
            outputs: 32,
            inputs: 32,
            groups: 1,
            kernel,
            stride,
            pad,
        };
        let image = [0, 1].map(|axis| {
            let span = (size[axis] - 1) * stride[axis] + kernel[axis];
            span.saturating_sub(pad[axis] + after[axis]).max(1)
        });
        let about = ConvUse {
            input: plane(image, borders[0]),
            output: plane(size, borders[1]),
            residual: Some(plane(size, borders[2])),
            relu: false,
            most: f32::INFINITY,
            store: Store::Bf16,
            across_images: false,
        };
        (shape, about)
    }

    fn any_convolution() -> impl Strategy<Value = (ConvShape, ConvUse)> {
        let size = [1..20_usize, 1..70];
        let border = (0..4_usize).prop_flat_map(|border| {
            let reach = || [0..=border, 0..=border];
            (Just(border), [reach(), reach()])
        });
        (
            size,
            [1..8_usize, 1..8],
            [1..4_usize, 1..4],
            border,
            [0..4_usize, 0..4],
        )
            .prop_map(
                |(size, kernel, stride, (border, reach), [output, residual])| {
                    convolution(size, kernel, stride, reach, [border, output, residual])
                },
            )
    }

    /// A call's segments without the pixels of the output from `pixels` on.
    fn segments<'a>(
        calls: &'a Calls,
        call: &Call,
        pixels: u32,
    ) -> impl Iterator<Item = Segment> + 'a {
        let [first, count] = call.segments.map(|n| n as usize);
        calls.segments[first..first + count]
            .iter()
            .map(move |segment| segment.up_to(pixels))
    }

    /// The input's line of each row of a call that the kernel reads, by row.
    fn lines(calls: &Calls, call: &Call, pixels: u32) -> BTreeMap<usize, usize> {
        let Groups { rows, step, second } = calls.groups;
        let groups = match segments(calls, call, pixels).any(Segment::is_in_second) {
            true => 2,
            false => 1,
        };
        let rows = |group: usize| {
            let count = usize::from(rows[group]);
            assert!((1..=GROUP).contains(&count), "{count} lines");
            let line = move |i| (call.input as usize + group * second + i * step) / 64;
            (0..count).map(move |i| (group * GROUP + i, line(i)))
        };
        (0..groups).flat_map(rows).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn each_pixel_is_computed_once_from_its_window_and_nothing_else_is_read((shape, about) in any_convolution()) {
            let calls = Calls::new(shape, about);
            let mut windows = BTreeMap::new();
            for call in &calls.calls {
                let lines = lines(&calls, call, u32::MAX);
                let last = (shape.kernel[0] - 1) * about.input.pitch() + shape.kernel[1] - 1;
                for line in lines.values() {
                    prop_assert!(line + last < about.input.lines(), "a line beyond the plane");
                }
                for segment in segments(&calls, call, u32::MAX) {
                    for p in 0..usize::from(segment.pixels) {
                        let window = lines[&(usize::from(segment.row) + p)];
                        let (out, residual) = (segment.out as usize + p, segment.residual as usize + p);
                        prop_assert_eq!(windows.insert(out, (window, residual)), None);
                    }
                }
            }
            let mut expected = BTreeMap::new();
            let [above, left] = shape.pad;
            for (row, column) in (0..about.output.height).flat_map(|r| (0..about.output.width).map(move |c| (r, c))) {
                let [y, x] = [row * shape.stride[0], column * shape.stride[1]];
                let window = about.input.at(y, x) - above * about.input.pitch() - left;
                let residual = about.residual.unwrap().at(row, column);
                expected.insert(about.output.at(row, column), (window, residual));
            }
            prop_assert_eq!(windows, expected);
        }

        #[test]
        fn each_pixel_of_a_row_is_computed_once_and_nothing_behind_it_is_read(width in 1..140_usize) {
            let calls = Calls::of_row(width, size_of::<Line>());
            let mut computed = Vec::new();
            for call in &calls.calls {
                let lines = lines(&calls, call, u32::MAX);
                prop_assert!(lines.values().all(|line| *line < width), "a pixel behind the row");
                for segment in segments(&calls, call, u32::MAX) {
                    for p in 0..usize::from(segment.pixels) {
                        computed.push(lines[&(usize::from(segment.row) + p)]);
                        prop_assert_eq!(computed.last(), Some(&(segment.out as usize + p)));
                    }
                }
            }
            prop_assert_eq!(computed, (0..width).collect::<Vec<_>>());
        }

        #[test]
        fn each_image_of_a_row_is_computed_once(capacity in 1..140_usize, images in 1..140_usize) {
            let images = images.min(capacity);
            let (shape, about) = convolution([1, capacity], [1, 1], [1, 1], [[0; 2]; 2], [0; 3]);
            let calls = Calls::new(shape, about);
            let mut computed = Vec::new();
            for call in &calls.calls {
                let lines = lines(&calls, call, images as u32);
                prop_assert!(lines.values().all(|line| *line < capacity));
                for segment in segments(&calls, call, images as u32) {
                    for p in 0..usize::from(segment.pixels) {
                        computed.push(lines[&(usize::from(segment.row) + p)]);
                        prop_assert_eq!(computed.last(), Some(&(segment.out as usize + p)));
                    }
                }
            }
            prop_assert_eq!(computed, (0..images).collect::<Vec<_>>());
        }
    }

    /// The multiplier waits in calls of fewer than 26 pixels.
    #[test]
    fn planes_of_resnets_make_few_calls() {
        let calls = |side, kernel: usize, stride, flat| {
            let pad = [[kernel / 2; 2]; 2];
            let (shape, about) =
                convolution([side; 2], [kernel; 2], [stride; 2], pad, [kernel / 2, 0, 0]);
            let row = plane([1, side * side], 0);
            let about = match flat {
                true => ConvUse {
                    input: row,
                    output: row,
                    residual: None,
                    ..about
                },
                false => about,
            };
            Calls::new(shape, about).len()
        };
        for (side, kernel, stride, expected) in [
            (112, 7, 2, 112 * 4),
            (56, 3, 1, 56 * 2),
            (28, 3, 1, 28),
            (28, 3, 2, 28),
            (14, 3, 1, 7),
            (14, 3, 2, 7),
            (7, 3, 1, 2),
            // Rows of the input are further apart than a group is long.
            (7, 3, 2, 4),
        ] {
            assert_eq!(
                calls(side, kernel, stride, false),
                expected,
                "{side}, {kernel}×{kernel}/{stride}"
            );
        }
        for (side, expected) in [(56, 98), (28, 25), (14, 7), (7, 2)] {
            assert_eq!(calls(side, 1, 1, true), expected, "{side}");
        }
    }
}
