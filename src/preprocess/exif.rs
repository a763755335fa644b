//! The orientation that a camera wrote into the image's EXIF block.
//!
//! Read by `decode`, applied by `Preprocessor`. Reads one tag and nothing else of the block.

use image::metadata::Orientation;

use super::decode::Region;

/// Whether a picture is turned the way its EXIF orientation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExifMode {
    /// Turn it, as every viewer does.
    #[default]
    Apply,
    /// Leave the pixels as stored, as Pillow's `Image.open` and torchvision do.
    Ignore,
}

/// The orientation in an EXIF block; upright if the block is damaged or has none.
pub(super) fn orientation(exif: Option<&[u8]>) -> Orientation {
    exif.and_then(Orientation::from_exif_chunk)
        .unwrap_or(Orientation::NoTransforms)
}

/// Width and height of an image of this stored size once it is upright.
pub(super) fn upright_size((width, height): (u32, u32), turn: Orientation) -> (u32, u32) {
    if swaps_sides(turn) {
        (height, width)
    } else {
        (width, height)
    }
}

/// Where the pixels of a region of the upright image lie in the stored one, whose size is given.
pub(super) fn stored_region(
    upright: Region,
    (width, height): (u32, u32),
    turn: Orientation,
) -> Region {
    use Orientation as O;
    let mirrored = |first: u32, count: u32, side: u32| side - first - count;
    let Region {
        left: x,
        top: y,
        width: w,
        height: h,
    } = upright;
    let (left, top) = match turn {
        O::NoTransforms => (x, y),
        O::FlipHorizontal => (mirrored(x, w, width), y),
        O::Rotate180 => (mirrored(x, w, width), mirrored(y, h, height)),
        O::FlipVertical => (x, mirrored(y, h, height)),
        O::Rotate90FlipH => (y, x),
        O::Rotate90 => (y, mirrored(x, w, height)),
        O::Rotate270FlipH => (mirrored(y, h, width), mirrored(x, w, height)),
        O::Rotate270 => (mirrored(y, h, width), x),
    };
    let (width, height) = upright_size((w, h), turn);
    Region {
        left,
        top,
        width,
        height,
    }
}

/// Turns stored pixels upright.
///
/// # Shapes
/// - `stored`: `[height, width, 3]` `u8`, of the size given
/// - returns: the same pixels, `[width, height, 3]` where the turn swaps the sides
pub(super) fn upright(stored: &[u8], (width, height): (u32, u32), turn: Orientation) -> Vec<u8> {
    use Orientation as O;
    let (w, h) = (width as usize, height as usize);
    let (out_w, out_h) = if swaps_sides(turn) { (h, w) } else { (w, h) };
    let mut out = Vec::with_capacity(stored.len());
    for y in 0..out_h {
        for x in 0..out_w {
            let (from_x, from_y) = match turn {
                O::NoTransforms => (x, y),
                O::FlipHorizontal => (w - 1 - x, y),
                O::Rotate180 => (w - 1 - x, h - 1 - y),
                O::FlipVertical => (x, h - 1 - y),
                O::Rotate90FlipH => (y, x),
                O::Rotate90 => (y, h - 1 - x),
                O::Rotate270FlipH => (w - 1 - y, h - 1 - x),
                O::Rotate270 => (w - 1 - y, x),
            };
            let at = (from_y * w + from_x) * 3;
            out.extend_from_slice(&stored[at..at + 3]);
        }
    }
    out
}

fn swaps_sides(turn: Orientation) -> bool {
    matches!(
        turn,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, RgbImage};

    #[test]
    fn region_of_the_turned_image_is_the_turned_region() {
        let (width, height) = (7, 5);
        let stored = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 9]));
        for value in 1..=8 {
            let turn = Orientation::from_exif(value).expect("eight of them");
            let mut turned = DynamicImage::ImageRgb8(stored.clone());
            turned.apply_orientation(turn);
            assert_eq!(
                upright(&stored, (width, height), turn),
                turned.as_bytes(),
                "{turn:?}"
            );
            let (w, h) = upright_size((width, height), turn);
            let wanted = Region {
                left: 1,
                top: 2,
                width: w - 3,
                height: h - 3,
            };
            let from = stored_region(wanted, (width, height), turn);
            let part =
                image::imageops::crop_imm(&stored, from.left, from.top, from.width, from.height);
            let expected = turned.crop_imm(wanted.left, wanted.top, wanted.width, wanted.height);
            assert_eq!(
                upright(&part.to_image(), (from.width, from.height), turn),
                expected.as_bytes(),
                "{turn:?}"
            );
        }
    }
}
