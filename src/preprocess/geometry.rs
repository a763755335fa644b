//! Which size an image is resized to, and where in it the crop lies.
//!
//! Asked by `ResizePlan`. All of it is arithmetic on sizes, in the roundings of the tools that networks are trained with.
//!
//! Source: torchvision's `_compute_resized_output_size` and `center_crop`, timm's `ResizeKeepRatio` and transformers'
//! `center_crop`, restated here.

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

    proptest! {
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
