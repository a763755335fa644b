//! Pillow's antialiased resize, bit for bit, of what the crop needs.
//!
//! Called by `OpenImage` between decode and normalize. Rows are taken as they are decoded; only the rows and columns
//! that the crop keeps are asked for, and only the rows that one row of the crop depends on are kept. An image that must
//! be turned is resized as it is stored, by the weights of the upright one; so only the crop is turned.
//!
//! Source: the order of passes and their rounding to 8 bits in between are those of Pillow 13's `Resample.c`
//! (`ImagingResampleInner`), restated here.

use super::decode::Region;
use super::exif::{Orientation, upright_planes, upright_size};
use super::geometry::{Window, crop_windows, target_size};
use super::{PreprocessSpec, filter};
use kernels::{HorizontalPass, ResampleKernel, VerticalPass, Weights};

/// Which pass comes first; in between, values are rounded to 8 bits, so the order shows in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    HorizontalFirst,
    VerticalFirst,
}

impl Order {
    /// Pillow's choice since version 13: vertical first if the height shrinks, and by more than twice the pixels that
    /// the width does. Older versions always start horizontally.
    fn of((width, height): (u32, u32), (to_width, to_height): (u32, u32)) -> Order {
        let (across, down) = (
            i64::from(width) - i64::from(to_width),
            i64::from(height) - i64::from(to_height),
        );
        if down > 0 && down > 2 * across {
            Order::VerticalFirst
        } else {
            Order::HorizontalFirst
        }
    }

    /// The order for an image whose columns are stored as rows.
    fn swapped(self) -> Order {
        match self {
            Order::HorizontalFirst => Order::VerticalFirst,
            Order::VerticalFirst => Order::HorizontalFirst,
        }
    }
}

/// An image to be resized: its size once it is upright, and how it must be turned for that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pose {
    pub(super) size: (u32, u32),
    pub(super) turn: Orientation,
}

/// How a stored image of one size becomes the crop, or the whole resized image: both passes with their weights, and
/// their order.
#[derive(Debug)]
pub(super) struct ResizePlan {
    columns: HorizontalPass,
    rows: VerticalPass,
    order: Order,
    region: Region,
    /// Columns and rows of the result before it is turned.
    width: usize,
    height: usize,
    turn: Orientation,
}

impl ResizePlan {
    /// Plans the resize and crop of `spec` for an image whose sides are at least 1.
    ///
    /// # Panics
    /// If the crop is larger than the resized image; a validated spec rules that out.
    pub(super) fn new(pose: Pose, spec: &PreprocessSpec, kernel: ResampleKernel) -> ResizePlan {
        let (across, down) = crop_windows(target_size(pose.size, spec), spec);
        ResizePlan::of(pose, spec, kernel, across, down)
    }

    /// Plans the resize of `spec` without the crop.
    pub(super) fn whole(pose: Pose, spec: &PreprocessSpec, kernel: ResampleKernel) -> ResizePlan {
        let (width, height) = target_size(pose.size, spec);
        ResizePlan::of(pose, spec, kernel, (0, width), (0, height))
    }

    fn of(
        Pose { size, turn }: Pose,
        spec: &PreprocessSpec,
        kernel: ResampleKernel,
        across: Window,
        down: Window,
    ) -> ResizePlan {
        let to = target_size(size, spec);
        let weights = |from, to, (offset, count): Window| {
            filter::window(spec.interpolation, (from, to), offset, count)
        };
        let mut columns = weights(size.0, to.0, across);
        let mut rows = weights(size.1, to.1, down);
        let (mut width, mut height) = (across.1 as usize, down.1 as usize);
        let mut order = Order::of(size, to);
        if turn.swaps_sides() {
            (columns, rows) = (rows, columns);
            (width, height) = (height, width);
            order = order.swapped();
        }
        let stored = upright_size(size, turn);
        let (mirrors_columns, mirrors_rows) = turn.mirrors();
        if mirrors_columns {
            columns = mirrored(&columns, stored.0);
        }
        if mirrors_rows {
            rows = mirrored(&rows, stored.1);
        }
        let (from_columns, from_rows) = (columns.source_range(), rows.source_range());
        columns.shift(from_columns.start);
        rows.shift(from_rows.start);
        ResizePlan {
            region: Region {
                left: from_columns.start as u32,
                top: from_rows.start as u32,
                width: from_columns.len() as u32,
                height: from_rows.len() as u32,
            },
            columns: HorizontalPass::new(kernel, columns, from_columns.len()),
            rows: VerticalPass::new(kernel, rows),
            order,
            width,
            height,
            turn,
        }
    }

    /// The pixels of the stored image that any pixel of the result depends on.
    pub(super) fn region(&self) -> Region {
        self.region
    }
}

/// The weights for `side` pixels that come in the reverse order, of the outputs in the reverse order.
fn mirrored(weights: &Weights, side: u32) -> Weights {
    let mut out = Weights::default();
    for i in (0..weights.len()).rev() {
        let (first, taps) = weights.taps(i);
        let first = side as usize - first - taps.len();
        out.push(first, taps.iter().rev().copied());
    }
    out
}

/// Takes the rows of a plan's region from top to bottom and makes the crop of them.
#[derive(Debug)]
pub(super) struct Resampler {
    plan: ResizePlan,
    /// The vertical pass's input, as far as it is still needed: `[rows, 3, crop.width]` made by the horizontal pass, or
    /// `[rows, region.width, 3]` as pushed where the vertical pass comes first. At most twice as many rows as one
    /// output needs, so that they stay in the cache whatever the image's height.
    window: Vec<u8>,
    /// Bytes of a row in `window`.
    stride: usize,
    /// One row between the passes where the vertical one comes first: `[region.width, 3]`.
    between: Vec<u8>,
    /// Rows in `window`, and the row of the region that the first of them is.
    filled: usize,
    first: usize,
    /// Rows of the crop that are done.
    done: usize,
    /// The rows of the crop so far, `[done, 3, crop]`.
    crop: Vec<u8>,
}

/// Rows beyond what one output needs for which the window has room: how often the window is moved up.
const WINDOW_SLACK: usize = 8;

impl Resampler {
    /// Starts with the first row of the plan's region.
    pub(super) fn new(plan: ResizePlan) -> Resampler {
        let longest = plan.rows.weights().longest();
        let (stride, between) = match plan.order {
            Order::HorizontalFirst => (plan.width * 3, 0),
            Order::VerticalFirst => (
                plan.region.width as usize * 3,
                plan.region.width as usize * 3,
            ),
        };
        Resampler {
            window: vec![0; (longest + longest.max(WINDOW_SLACK)) * stride],
            stride,
            between: vec![0; between],
            filled: 0,
            first: 0,
            done: 0,
            crop: Vec::with_capacity(plan.height * plan.width * 3),
            plan,
        }
    }

    /// Takes the next rows: `[rows, region.width, 3]`. Rows beyond the region are ignored.
    pub(super) fn push(&mut self, rows: &[u8]) {
        for row in rows.chunks_exact(self.plan.region.width as usize * 3) {
            if self.done == self.plan.height {
                break;
            }
            if (self.filled + 1) * self.stride > self.window.len() {
                self.forget_used_rows();
            }
            let to = &mut self.window[self.filled * self.stride..][..self.stride];
            match self.plan.order {
                Order::HorizontalFirst => self.plan.columns.run(row, to),
                Order::VerticalFirst => to.copy_from_slice(row),
            }
            self.filled += 1;
            self.finish_rows();
        }
    }

    /// Moves the rows that are still needed to the front of the window.
    fn forget_used_rows(&mut self) {
        let used = self.plan.rows.weights().taps(self.done).0 - self.first;
        self.window
            .copy_within(used * self.stride..self.filled * self.stride, 0);
        self.first += used;
        self.filled -= used;
    }

    /// Makes the rows of the crop for which all source rows are there.
    fn finish_rows(&mut self) {
        let plan = &mut self.plan;
        while self.done < plan.height {
            let (first, taps) = plan.rows.weights().taps(self.done);
            if first + taps.len() > self.first + self.filled {
                break;
            }
            let rows = &self.window[(first - self.first) * self.stride..];
            let start = self.crop.len();
            self.crop.resize(start + plan.width * 3, 0);
            let out = &mut self.crop[start..];
            match plan.order {
                Order::HorizontalFirst => plan.rows.run(self.done, rows, out),
                Order::VerticalFirst => {
                    plan.rows.run(self.done, rows, &mut self.between);
                    plan.columns.run(&self.between, out);
                }
            }
            self.done += 1;
        }
    }

    /// The result, upright, as `[row, channel, column]`: `[crop.height, 3, crop.width]`, or the whole resized image.
    ///
    /// # Panics
    /// If not all rows of the region have been pushed.
    pub(super) fn finish(self) -> Vec<u8> {
        assert_eq!(
            self.done, self.plan.height,
            "all rows of the region are pushed"
        );
        match self.plan.turn {
            Orientation::NoTransforms => self.crop,
            turn => upright_planes(
                &self.crop,
                (self.plan.width as u32, self.plan.height as u32),
                turn,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::decode::hand_over;
    use crate::preprocess::{Interpolation, ResizeMode, exif};
    use crate::tensor::Size;
    use proptest::prelude::*;

    fn upright(size: (u32, u32)) -> Pose {
        let turn = Orientation::NoTransforms;
        Pose { size, turn }
    }

    /// The crop of a stored picture `[height, width, 3]`, as `[crop.height, 3, crop.width]`.
    fn cropped(pose: Pose, data: &[u8], spec: &PreprocessSpec) -> Vec<u8> {
        let stored = upright_size(pose.size, pose.turn);
        let plan = ResizePlan::new(pose, spec, ResampleKernel::detect());
        let region = plan.region();
        let mut resampler = Resampler::new(plan);
        hand_over(data, stored.0, region, &mut |rows| resampler.push(rows));
        resampler.finish()
    }

    /// The same of an upright picture.
    fn resize_and_crop(size: (u32, u32), data: &[u8], resize: u32, crop: u32) -> Vec<u8> {
        let spec = PreprocessSpec {
            resize: Size::square(resize),
            crop: Size::square(crop),
            ..PreprocessSpec::default()
        };
        cropped(upright(size), data, &spec)
    }

    #[test]
    fn same_size_is_a_copy() {
        let data: Vec<u8> = (0..8 * 8 * 3).map(|i| (i * 37 % 256) as u8).collect();
        for (i, value) in resize_and_crop((8, 8), &data, 8, 8).iter().enumerate() {
            let (row, channel, column) = (i / 24, i / 8 % 3, i % 8);
            assert_eq!(*value, data[(row * 8 + column) * 3 + channel]);
        }
    }

    #[test]
    fn rows_may_come_in_any_portions() {
        let data: Vec<u8> = (0..90 * 70 * 3).map(|i| (i * i % 251) as u8).collect();
        let expected = resize_and_crop((90, 70), &data, 40, 40);
        for portion in [1, 2, 7, 16, 70] {
            let spec = PreprocessSpec {
                resize: Size::square(40),
                crop: Size::square(40),
                ..PreprocessSpec::default()
            };
            let plan = ResizePlan::new(upright((90, 70)), &spec, ResampleKernel::detect());
            let mut cut = Vec::new();
            hand_over(&data, 90, plan.region(), &mut |rows| {
                cut.extend_from_slice(rows)
            });
            let stride = plan.region().width as usize * 3;
            let mut resampler = Resampler::new(plan);
            cut.chunks(portion * stride)
                .for_each(|rows| resampler.push(rows));
            assert_eq!(resampler.finish(), expected, "{portion} rows at a time");
        }
    }

    #[test]
    fn order_of_passes_is_that_of_pillow_13() {
        // 2 × (100 - 50) = 100 rows fewer are the last that still start horizontally.
        assert_eq!(Order::of((100, 140), (50, 40)), Order::HorizontalFirst);
        assert_eq!(Order::of((100, 141), (50, 40)), Order::VerticalFirst);
        // A width that grows lets any loss of height decide, a height that grows none.
        assert_eq!(Order::of((50, 41), (100, 40)), Order::VerticalFirst);
        assert_eq!(Order::of((50, 40), (100, 40)), Order::HorizontalFirst);
        assert_eq!(Order::of((50, 39), (100, 40)), Order::HorizontalFirst);
    }

    #[test]
    fn only_the_rows_and_columns_of_the_crop_are_asked_for() {
        let spec = PreprocessSpec::default();
        let plan = ResizePlan::new(upright((500, 375)), &spec, ResampleKernel::detect());
        let Region {
            left,
            top,
            width,
            height,
        } = plan.region();
        // The crop is columns 58 to 281 and rows 16 to 239 of 341×256; (58 + 0.5) * 500 / 341 - 500 / 341 + 0.5 = 84.8,
        // and so on.
        assert_eq!((left, width), (84, 330));
        assert_eq!((top, height), (23, 329));
    }

    proptest! {
        #[test]
        fn any_size_gives_a_full_crop_within_the_input_range(
            width in 1u32..300, height in 1u32..300, low in 0u8..100, span in 0u8..100, resize in 1u32..80,
        ) {
            let n = (width * height * 3) as usize;
            let data: Vec<u8> = (0..n).map(|i| low + (i * 31 % (usize::from(span) + 1)) as u8).collect();
            let out = resize_and_crop((width, height), &data, resize, resize.div_ceil(2));
            prop_assert_eq!(out.len(), (resize.div_ceil(2).pow(2) * 3) as usize);
            prop_assert!(out.iter().all(|v| (low..=low + span).contains(v)));
        }

        #[test]
        fn crop_of_a_turned_picture_is_that_of_the_upright_one(
            width in 1u32..150, height in 1u32..150, resize in (1u32..60, 1u32..60), mode in 0..3_usize, bicubic: bool,
        ) {
            let stored: Vec<u8> = (0..width * height * 3).map(|i| (i.wrapping_mul(i) % 251) as u8).collect();
            let resize_mode = [ResizeMode::ShorterSide, ResizeMode::Stretch, ResizeMode::Cover][mode];
            let resize = match resize_mode {
                ResizeMode::ShorterSide => Size::square(resize.0),
                _ => Size { height: resize.0, width: resize.1 },
            };
            let spec = PreprocessSpec {
                resize,
                crop: Size { height: resize.height.div_ceil(2), width: resize.width.div_ceil(3) },
                resize_mode,
                interpolation: if bicubic { Interpolation::Bicubic } else { Interpolation::Bilinear },
                ..PreprocessSpec::default()
            };
            for value in 1..=8 {
                let turn = Orientation::of_tag(value).expect("eight of them");
                let size = upright_size((width, height), turn);
                let seen = exif::upright(&stored, (width, height), turn);
                prop_assert_eq!(
                    cropped(Pose { size, turn }, &stored, &spec),
                    cropped(upright(size), &seen, &spec),
                    "{:?}", turn
                );
            }
        }
    }
}
