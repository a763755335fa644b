//! The orientation that a camera wrote into the image's EXIF block.
//!
//! Called by `decode`. Reads one tag and nothing else of the block.

use image::metadata::Orientation;

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
