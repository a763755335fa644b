//! Pillow's antialiased bilinear resize with torchvision's size and crop rounding, bit for bit.
//!
//! Called by `Preprocessor` between decode and normalize. Rows are taken as they are decoded; only the rows and columns
//! that the crop keeps are asked for.
//!
//! Source: Pillow's `Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`, `ImagingResampleHorizontal_8bpc`,
//! `ImagingResampleVertical_8bpc`) and torchvision's `_compute_resized_output_size` and `center_crop`, restated here.

use super::decode::Region;

/// Fraction bits of a filter weight; Pillow keeps 8 bits for the value and 2 for the sum's headroom.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Size after the shorter side is resized to `short`: torchvision truncates the longer side.
#[must_use]
pub(super) fn resized_size(width: u32, height: u32, short: u32) -> (u32, u32) {
    let scale =
        |long: u32, side: u32| (f64::from(short) * f64::from(long) / f64::from(side)) as u32;
    if width <= height {
        (short, scale(height, width))
    } else {
        (scale(width, height), short)
    }
}

/// First row or column of a centered crop: `int(round((size - crop) / 2.0))`, halves rounded to even as Python does.
#[must_use]
pub(super) fn center_crop_offset(size: u32, crop: u32) -> u32 {
    (f64::from(size - crop) / 2.0).round_ties_even() as u32
}

/// How an image of one size becomes the crop, or the whole resized image: the filter weights of both passes.
#[derive(Debug)]
pub(super) struct ResizePlan {
    columns: Weights,
    rows: Weights,
    region: Region,
    /// Columns of the result.
    width: usize,
}

impl ResizePlan {
    /// Plans a resize of the shorter side to `resize` and the middle `crop`×`crop` of that, for an upright image.
    ///
    /// # Panics
    /// If `crop` is larger than `resize`; a validated spec rules that out.
    pub(super) fn new((width, height): (u32, u32), resize: u32, crop: u32) -> ResizePlan {
        let (to_width, to_height) = resized_size(width, height, resize);
        let (left, top) = (
            center_crop_offset(to_width, crop),
            center_crop_offset(to_height, crop),
        );
        let columns = Weights::window(width, to_width, left, crop);
        let rows = Weights::window(height, to_height, top, crop);
        ResizePlan::of(columns, rows)
    }

    /// Plans a resize of an upright image to all of the size given.
    pub(super) fn whole(
        (width, height): (u32, u32),
        (to_width, to_height): (u32, u32),
    ) -> ResizePlan {
        let columns = Weights::window(width, to_width, 0, to_width);
        let rows = Weights::window(height, to_height, 0, to_height);
        ResizePlan::of(columns, rows)
    }

    fn of(columns: Weights, rows: Weights) -> ResizePlan {
        let ((first_column, last_column), (first_row, last_row)) =
            (columns.source_range(), rows.source_range());
        ResizePlan {
            region: Region {
                left: first_column as u32,
                top: first_row as u32,
                width: (last_column - first_column) as u32,
                height: (last_row - first_row) as u32,
            },
            width: columns.bounds.len(),
            columns,
            rows,
        }
    }

    /// The pixels of the upright image that any pixel of the result depends on.
    pub(super) fn region(&self) -> Region {
        self.region
    }
}

/// Takes the rows of a plan's region from top to bottom and makes the crop, or the whole resized image, of them.
#[derive(Debug)]
pub(super) struct Resampler<'a> {
    plan: &'a ResizePlan,
    /// What the horizontal pass has made so far: `[rows, columns, 3]`.
    between: Vec<u8>,
}

impl<'a> Resampler<'a> {
    /// Starts with the first row of the plan's region.
    pub(super) fn new(plan: &'a ResizePlan) -> Resampler<'a> {
        let between = Vec::with_capacity(plan.region.height as usize * plan.width * 3);
        Resampler { plan, between }
    }

    /// Takes the next rows: `[rows, region.width, 3]`.
    ///
    /// Pillow's order: horizontal first, rounded to 8 bits in between.
    pub(super) fn push(&mut self, rows: &[u8]) {
        let plan = self.plan;
        for row in rows.chunks_exact(plan.region.width as usize * 3) {
            plan.columns
                .resample_row(row, plan.region.left as usize, &mut self.between);
        }
    }

    /// The result, `[rows, columns, 3]`, once all rows have been pushed.
    pub(super) fn finish(self) -> Vec<u8> {
        let plan = self.plan;
        plan.rows
            .resample_columns(&self.between, plan.region.top as usize, plan.width * 3)
    }
}

/// For each output position, the first source position and the fixed-point weights from there on.
#[derive(Debug)]
struct Weights {
    bounds: Vec<(usize, usize)>,
    values: Vec<i32>,
    stride: usize,
}

impl Weights {
    /// Weights of the triangle filter for the outputs `offset..offset + count` of a resize from `from` to `to`.
    fn window(from: u32, to: u32, offset: u32, count: u32) -> Weights {
        if from == to {
            // Pillow skips a pass that changes nothing.
            let bounds = (offset..offset + count).map(|i| (i as usize, 1)).collect();
            let values = vec![1 << PRECISION_BITS; count as usize];
            return Weights {
                bounds,
                values,
                stride: 1,
            };
        }
        let scale = f64::from(from) / f64::from(to);
        let support = scale.max(1.0);
        let inverse = 1.0 / support;
        let stride = support.ceil() as usize * 2 + 1;
        let mut bounds = Vec::with_capacity(count as usize);
        let mut values = vec![0; stride * count as usize];
        let mut exact = vec![0.0; stride];
        for (i, out) in (offset..offset + count).zip(values.chunks_exact_mut(stride)) {
            let center = (f64::from(i) + 0.5) * scale;
            // `as` truncates and clamps at zero, as C's cast and the `if (xmin < 0)` after it do.
            let first = (center - support + 0.5) as usize;
            let last = ((center + support + 0.5) as usize).min(from as usize);
            let length = last - first;
            let mut sum = 0.0;
            for (k, weight) in exact[..length].iter_mut().enumerate() {
                let distance = ((k + first) as f64 - center + 0.5) * inverse;
                *weight = (1.0 - distance.abs()).max(0.0);
                sum += *weight;
            }
            for (fixed, weight) in out.iter_mut().zip(&exact[..length]) {
                let weight = if sum == 0.0 { *weight } else { weight / sum };
                *fixed = (0.5 + weight * f64::from(1 << PRECISION_BITS)) as i32;
            }
            bounds.push((first, length));
        }
        Weights {
            bounds,
            values,
            stride,
        }
    }

    /// The source positions that any output reads, as a half-open range.
    fn source_range(&self) -> (usize, usize) {
        let first = self.bounds.iter().map(|b| b.0).min().unwrap_or(0);
        let last = self.bounds.iter().map(|b| b.0 + b.1).max().unwrap_or(0);
        (first, last)
    }

    fn taps(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.bounds
            .iter()
            .zip(self.values.chunks_exact(self.stride))
            .map(|(&(first, n), w)| (first, &w[..n]))
    }

    /// Appends one resampled RGB row to `out`; `row` starts at source column `first_column`.
    fn resample_row(&self, row: &[u8], first_column: usize, out: &mut Vec<u8>) {
        for (first, weights) in self.taps() {
            let mut sum = [1 << (PRECISION_BITS - 1); 3];
            for (pixel, &weight) in row[(first - first_column) * 3..]
                .chunks_exact(3)
                .zip(weights)
            {
                for (s, &value) in sum.iter_mut().zip(pixel) {
                    *s += i32::from(value) * weight;
                }
            }
            out.extend(sum.map(clip8));
        }
    }

    /// Resamples along the columns of `rows`, whose first row is source row `first_row`.
    fn resample_columns(&self, rows: &[u8], first_row: usize, row_len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bounds.len() * row_len);
        let mut sums = vec![0; row_len];
        for (first, weights) in self.taps() {
            sums.fill(1 << (PRECISION_BITS - 1));
            for (row, &weight) in rows[(first - first_row) * row_len..]
                .chunks_exact(row_len)
                .zip(weights)
            {
                for (s, &value) in sums.iter_mut().zip(row) {
                    *s += i32::from(value) * weight;
                }
            }
            out.extend(sums.iter().copied().map(clip8));
        }
        out
    }
}

fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_offsets_round_as_torchvision() {
        assert_eq!(resized_size(500, 375, 256), (341, 256));
        assert_eq!(resized_size(375, 500, 256), (256, 341));
        assert_eq!(resized_size(1, 1, 256), (256, 256));
        // (341 - 224) / 2 = 58.5 and (343 - 224) / 2 = 59.5: halves go to the even neighbour
        assert_eq!(center_crop_offset(341, 224), 58);
        assert_eq!(center_crop_offset(343, 224), 60);
        assert_eq!(center_crop_offset(256, 224), 16);
    }

    fn resize_and_crop(size: (u32, u32), data: &[u8], resize: u32, crop: u32) -> Vec<u8> {
        let plan = ResizePlan::new(size, resize, crop);
        let mut resampler = Resampler::new(&plan);
        crate::preprocess::decode::hand_over(data, size.0, plan.region(), &mut |rows| {
            resampler.push(rows);
        });
        resampler.finish()
    }

    #[test]
    fn same_size_is_a_copy() {
        let data: Vec<u8> = (0..8 * 8 * 3).map(|i| (i * 37 % 256) as u8).collect();
        assert_eq!(resize_and_crop((8, 8), &data, 8, 8), data);
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
    }
}
