//! What images are resized to for a network, by what the sources say or else as for ImageNet.

use super::Resize;
use crate::preprocess::{MAX_SIDE, PreprocessSpec, ResizeMode};
use crate::tensor::Size;

/// The size that images are resized to for a network of this size, and how. What keeps the proportion covers that size
/// where it is not square and only a share of the input, or nothing, says it: no one shorter side would be enough.
pub(super) fn resized(
    size: Size,
    resize: Option<Resize>,
    mode: Option<ResizeMode>,
) -> (Size, ResizeMode) {
    let resize = match (resize, mode) {
        (Some(Resize::Pixels(pixels)), _) => return (pixels, mode.unwrap_or_default()),
        (Some(Resize::Share(share, other)), _) => {
            let other = other.filter(|(at, _)| *at == size);
            let share = other.map_or(share, |(_, share)| share);
            size.map(|side| (f64::from(side) / share) as u32)
        }
        (None, Some(ResizeMode::ShorterSide)) => Size::square(standard_resize(size.longest())),
        (None, _) => size.map(standard_resize),
    };
    let mode = match mode.unwrap_or_default() {
        ResizeMode::ShorterSide if !resize.is_square() => ResizeMode::Cover,
        mode => mode,
    };
    (resize, mode)
}

/// ImageNet's ratio of resize to crop, 256 to 224, for other sizes.
fn standard_resize(side: u32) -> u32 {
    let PreprocessSpec { resize, crop, .. } = PreprocessSpec::default();
    let resize = (u64::from(side) * u64::from(resize.height)).div_ceil(u64::from(crop.height));
    u32::try_from(resize)
        .unwrap_or(u32::MAX)
        .min(MAX_SIDE.max(side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_that_of_the_side_where_there_are_two() {
        let share = Resize::Share(0.95, Some((Size::square(288), 1.0)));
        let of = |size, mode| resized(size, Some(share), mode);
        let square = |side| (Size::square(side), ResizeMode::ShorterSide);
        assert_eq!(of(Size::square(224), None), square(235));
        assert_eq!(
            of(Size::square(288), Some(ResizeMode::ShorterSide)),
            square(288)
        );
        // timm's, of each side.
        let (tall, larger) = (
            Size {
                height: 288,
                width: 160,
            },
            Size {
                height: 303,
                width: 168,
            },
        );
        assert_eq!(
            of(tall, Some(ResizeMode::ShorterSide)),
            (larger, ResizeMode::Cover)
        );
        assert_eq!(
            of(tall, Some(ResizeMode::Stretch)),
            (larger, ResizeMode::Stretch)
        );
    }
}
