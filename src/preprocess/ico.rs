//! ICO: the largest picture of an icon, which is a PNG or a bitmap.
//!
//! Called by `decode::open`; `png` and `bmp` decode the picture. The mask that cuts it out is dropped as alpha is.
//! Source: the structures `ICONDIR` and `ICONDIRENTRY` of Windows; which picture of several is Pillow's choice.

use super::bmp::BmpSource;
use super::decode::Decoder;
use super::png::PngSource;
use super::{Format, ImageLimits, PreprocessError, sniff};

/// Opens the picture with the most pixels, and of those the one of the fewest colors.
///
/// # Errors
/// As of the picture's format, and [`PreprocessError::Truncated`] where there is none.
pub(super) fn open<'a>(
    bytes: &'a [u8],
    limits: ImageLimits,
) -> Result<Box<dyn Decoder + 'a>, PreprocessError> {
    let picture = largest(bytes).ok_or_else(|| truncated("no picture"))?;
    if sniff(picture) == Some(Format::Png) {
        return Ok(Box::new(PngSource::open(picture, limits)?));
    }
    Ok(Box::new(BmpSource::in_icon(picture, limits)?))
}

/// The picture to show, from its first byte to the end of the file.
fn largest(bytes: &[u8]) -> Option<&[u8]> {
    let count = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let entries = bytes.get(6..)?.as_chunks::<16>().0.iter();
    let picture = entries.take(usize::from(count)).min_by_key(|entry| {
        let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
        let colors = u32::from(entry[2]);
        let depth = match u16::from_le_bytes([entry[6], entry[7]]) {
            0 if colors > 0 => colors.next_power_of_two().trailing_zeros(),
            0 => 256,
            bits => u32::from(bits),
        };
        (std::cmp::Reverse(side(entry[0]) * side(entry[1])), depth)
    })?;
    let offset = u32::from_le_bytes(*picture.last_chunk()?);
    bytes.get(offset as usize..)
}

fn truncated(detail: &str) -> PreprocessError {
    PreprocessError::truncated(Format::Ico, detail)
}
