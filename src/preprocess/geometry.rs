//! Which size an image is resized to, and where in it the crop lies.
//!
//! Asked by `ResizePlan`. All of it is arithmetic on sizes, in the roundings of the tools that networks are trained with.
//!
//! Source: torchvision's `_compute_resized_output_size` and `center_crop`, timm's `ResizeKeepRatio` and transformers'
//! `center_crop`, restated here.

use serde::Serialize;

use super::{CropRounding, PreprocessSpec, ResizeMode};
use crate::tensor::Size;

/// Columns or rows of the resized image that are wanted: the first, and how many.
pub(super) type Window = (u32, u32);

/// Width and height that an upright image of this width and height is resized to before the crop.
pub(super) fn target_size(image: (u32, u32), spec: &PreprocessSpec) -> (u32, u32) {
    let Size { height, width } = spec.resize;
    match spec.resize_mode {
        ResizeMode::ShorterSide => shorter_side(image, height),
        ResizeMode::Stretch => (width, height),
        ResizeMode::Cover => covering(image, spec.resize),
    }
}

/// The size after the shorter side is resized to `short`: torchvision truncates the longer side.
fn shorter_side((width, height): (u32, u32), short: u32) -> (u32, u32) {
    let scale =
        |long: u32, side: u32| (f64::from(short) * f64::from(long) / f64::from(side)) as u32;
    if width <= height {
        (short, scale(height, width))
    } else {
        (scale(width, height), short)
    }
}

/// The least size in the proportion of the image that has no side shorter than `size`: timm rounds, halves to even.
fn covering((width, height): (u32, u32), size: Size) -> (u32, u32) {
    let (width, height) = (f64::from(width), f64::from(height));
    let ratio = (height / f64::from(size.height)).min(width / f64::from(size.width));
    let scaled = |side: f64| (side / ratio).round_ties_even() as u32;
    (scaled(width), scaled(height))
}

/// The columns and the rows of the crop in a resized image of this width and height.
pub(super) fn crop_windows((width, height): (u32, u32), spec: &PreprocessSpec) -> (Window, Window) {
    let window = |side, crop| (offset(side, crop, spec.crop_rounding), crop);
    (
        window(width, spec.crop.width),
        window(height, spec.crop.height),
    )
}

/// The first row or column of a centered crop: half of what is too much.
fn offset(side: u32, crop: u32, rounding: CropRounding) -> u32 {
    let rest = side - crop;
    match rounding {
        CropRounding::HalfEven => (f64::from(rest) / 2.0).round_ties_even() as u32,
        CropRounding::Down => rest / 2,
    }
}

/// A part of a picture, in its pixels from the upper left corner; borders may lie within a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rectangle {
    /// The column of its left side.
    pub x: f64,
    /// The row of its upper side.
    pub y: f64,
    /// The columns from its left to its right side.
    pub width: f64,
    /// The rows from its upper to its lower side.
    pub height: f64,
}

impl PreprocessSpec {
    /// The part of an upright picture of this width and height that becomes the network's input.
    #[must_use]
    pub fn seen(&self, width: u32, height: u32) -> Rectangle {
        let resized = target_size((width, height), self);
        let (across, down) = crop_windows(resized, self);
        // Column `c` of the resized picture is where column `c · side / to` of the picture was.
        let side = |(offset, count): Window, side: u32, to: u32| {
            let scale = f64::from(side) / f64::from(to);
            (f64::from(offset) * scale, f64::from(count) * scale)
        };
        let (x, seen_width) = side(across, width, resized.0);
        let (y, seen_height) = side(down, height, resized.1);
        Rectangle {
            x,
            y,
            width: seen_width,
            height: seen_height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_offsets_round_as_torchvision() {
        assert_eq!(shorter_side((500, 375), 256), (341, 256));
        assert_eq!(shorter_side((375, 500), 256), (256, 341));
        assert_eq!(shorter_side((1, 1), 256), (256, 256));
        // (341 - 224) / 2 = 58.5 and (343 - 224) / 2 = 59.5: halves go to the even neighbour
        let offset = |side| offset(side, 224, CropRounding::HalfEven);
        assert_eq!([offset(341), offset(343), offset(256)], [58, 60, 16]);
    }

    #[test]
    fn offsets_round_down_as_in_transformers() {
        let offset = |side| offset(side, 224, CropRounding::Down);
        assert_eq!([offset(341), offset(343), offset(256)], [58, 59, 16]);
    }

    #[test]
    fn covering_size_rounds_as_timm() {
        let wide = Size {
            height: 219,
            width: 365,
        };
        // By the width: 375 / (500 / 365) = 273.75.
        assert_eq!(covering((500, 375), wide), (365, 274));
        // By the height: 800 / (300 / 219) = 584.
        assert_eq!(covering((800, 300), wide), (584, 219));
        // Half a pixel goes to the even neighbour: 5 / (6 / 3) = 2.5, 7 / (6 / 3) = 3.5.
        assert_eq!(
            covering(
                (6, 5),
                Size {
                    height: 1,
                    width: 3
                }
            ),
            (3, 2)
        );
        assert_eq!(
            covering(
                (6, 7),
                Size {
                    height: 1,
                    width: 3
                }
            ),
            (3, 4)
        );
    }

    #[test]
    fn seen_part_is_the_crop_before_the_resize() {
        let spec = PreprocessSpec::default();
        // 299 becomes 256, of which 16 are cut off on each side.
        let seen = spec.seen(299, 299);
        let (offset, side) = (16.0 * 299.0 / 256.0, 224.0 * 299.0 / 256.0);
        assert_eq!([seen.x, seen.y], [offset; 2]);
        assert_eq!([seen.width, seen.height], [side; 2]);
        // 500 × 375 becomes 341 × 256.
        let seen = spec.seen(500, 375);
        assert_eq!(seen.x, 58.0 * 500.0 / 341.0);
        assert_eq!(seen.y, 16.0 * 375.0 / 256.0);
        let whole = PreprocessSpec {
            resize: Size::square(224),
            resize_mode: ResizeMode::Stretch,
            ..spec
        };
        let seen = whole.seen(1000, 30);
        let all = [0.0, 0.0, 1000.0, 30.0];
        assert_eq!([seen.x, seen.y, seen.width, seen.height], all);
    }

    proptest! {
        #[test]
        fn seen_part_lies_in_the_picture_and_in_its_middle(
            width in 1_u32..70_000, height in 1_u32..70_000, resize in 224_u32..300, cover: bool,
        ) {
            let spec = PreprocessSpec {
                resize: Size::square(resize),
                resize_mode: if cover { ResizeMode::Cover } else { ResizeMode::ShorterSide },
                ..PreprocessSpec::default()
            };
            let seen = spec.seen(width, height);
            for (from, length, side) in [
                (seen.x, seen.width, f64::from(width)),
                (seen.y, seen.height, f64::from(height)),
            ] {
                prop_assert!(from >= 0.0 && from + length <= side * (1.0 + 1e-12));
                // A row of the resized picture may be on one side more.
                let behind = side - from - length;
                prop_assert!((from - behind).abs() <= length / 224.0 * 1.001, "{from} {behind}");
            }
        }

        #[test]
        fn covering_size_has_room_for_the_crop(
            image in (1_u32..70_000, 1_u32..70_000), height in 1_u32..2049, width in 1_u32..2049,
        ) {
            let (across, down) = covering(image, Size { height, width });
            prop_assert!(across >= width && down >= height);
            prop_assert!(across == width || down == height);
        }
    }
}
