//! Encoded bytes to rows of 8-bit RGB: what every format's decoder is to its caller; and JPEG, by zune-jpeg.
//!
//! Called by `Preprocessor`; `png`, `webp` and `gif` have the other formats. Checks the size in the header before it
//! allocates, and never accepts a picture whose data ends early: the reference stack refuses it too.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::exif::{Orientation, orientation};
use super::gif::GifSource;
use super::png::PngSource;
use super::webp::WebPSource;
use super::{Format, ImageLimits, PreprocessError};

/// Scans a progressive JPEG may have. Encoders write about 10; thousands of empty ones are a known way to burn CPU.
const MAX_JPEG_SCANS: usize = 100;

/// A rectangle of an image's pixels as they are stored, before any orientation is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    /// First column.
    pub(super) left: u32,
    /// First row.
    pub(super) top: u32,
    /// Columns, at least 1.
    pub(super) width: u32,
    /// Rows, at least 1.
    pub(super) height: u32,
}

impl Region {
    /// All of an image of this size.
    pub(super) fn whole((width, height): (u32, u32)) -> Region {
        Region {
            left: 0,
            top: 0,
            width,
            height,
        }
    }
}

/// Takes decoded rows from top to bottom, one or more at a time: `[rows, region.width, 3]` `u8`.
pub(super) type RowSink<'a> = dyn FnMut(&[u8]) + 'a;

/// An image whose header has been read and whose size is within the limits.
pub(super) trait Decoder {
    /// Width and height as stored, in pixels, each at least 1.
    fn size(&self) -> (u32, u32);

    /// How the stored picture must be turned to be upright.
    fn orientation(&self) -> Orientation;

    /// What [`Decoder::decode`] of this region holds at most, in bytes, besides the encoded image and what `sink` keeps.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "the budget of decode memory asks it")
    )]
    fn memory(&self, region: Region) -> u64;

    /// Decodes the first frame and hands the rows of `region` to `sink`, each exactly once, from top to bottom.
    ///
    /// Alpha is dropped and color profiles are ignored, as Pillow's `convert("RGB")` does.
    ///
    /// # Errors
    /// The image's fault; rows may have been handed over before.
    fn decode(&mut self, region: Region, sink: &mut RowSink<'_>) -> Result<(), PreprocessError>;
}

/// Reads an image's header and refuses it if it is damaged or over the limits.
pub(super) fn open<'a>(
    bytes: &'a [u8],
    format: Format,
    limits: ImageLimits,
) -> Result<Box<dyn Decoder + 'a>, PreprocessError> {
    Ok(match format {
        Format::Jpeg => Box::new(JpegSource::open(bytes, limits)?),
        Format::Png => Box::new(PngSource::open(bytes, limits)?),
        Format::WebP => Box::new(WebPSource::open(bytes, limits)?),
        Format::Gif => Box::new(GifSource::open(bytes, limits)?),
    })
}

/// Hands the rows of `region` of a whole picture of this width to `sink`.
pub(super) fn hand_over(rgb: &[u8], width: u32, region: Region, sink: &mut RowSink<'_>) {
    let stride = width as usize * 3;
    let columns = region.left as usize * 3..(region.left + region.width) as usize * 3;
    for row in rgb
        .chunks_exact(stride)
        .skip(region.top as usize)
        .take(region.height as usize)
    {
        sink(&row[columns.clone()]);
    }
}

/// Lays a row of a picture whose first column is `left` over `line`, a row of `region`; the rest stays as it is.
///
/// # Shapes
/// - `line`: `[region.width, 3]` `u8`
/// - `picture`: `[columns, 3]` `u8`
pub(super) fn overlay(line: &mut [u8], region: Region, left: u32, picture: &[u8]) {
    let (first, skipped) = (
        left.saturating_sub(region.left) as usize * 3,
        region.left.saturating_sub(left) as usize * 3,
    );
    let to = line.get_mut(first..).unwrap_or_default();
    let from = picture.get(skipped..).unwrap_or_default();
    let length = to.len().min(from.len());
    to[..length].copy_from_slice(&from[..length]);
}

/// Refuses by the size in the header; a picture that passes has at least one pixel.
pub(super) fn check_size(
    format: Format,
    (width, height): (u32, u32),
    limits: ImageLimits,
) -> Result<(), PreprocessError> {
    if width.max(height) > limits.max_side {
        return Err(PreprocessError::SideTooLong {
            width,
            height,
            max: limits.max_side,
        });
    }
    if width == 0 || height == 0 {
        let detail = format!("its header says {width}×{height}");
        return Err(PreprocessError::Corrupt { format, detail });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(PreprocessError::TooManyPixels {
            width,
            height,
            max: limits.max_pixels,
        });
    }
    Ok(())
}

struct JpegSource<'a> {
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    bytes: &'a [u8],
    size: (u32, u32),
    turn: Orientation,
}

impl<'a> JpegSource<'a> {
    fn open(bytes: &'a [u8], limits: ImageLimits) -> Result<JpegSource<'a>, PreprocessError> {
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(usize::MAX) // ours are checked below, with our own words
            .set_max_height(usize::MAX)
            .jpeg_set_max_scans(MAX_JPEG_SCANS)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder
            .decode_headers()
            .map_err(|e| jpeg_error(bytes, &e))?;
        let info = decoder.info().expect("headers are decoded");
        let size = (u32::from(info.width), u32::from(info.height));
        check_size(Format::Jpeg, size, limits)?;
        if decoder.input_colorspace() == Some(ColorSpace::YCCK) {
            // The decoder inverts the colors of Adobe's YCCK, and a wrong answer is worse than none.
            return Err(PreprocessError::UnsupportedVariant {
                format: Format::Jpeg,
                variant: "YCCK color",
            });
        }
        let turn = orientation(decoder.exif().map(Vec::as_slice));
        Ok(JpegSource {
            decoder,
            bytes,
            size,
            turn,
        })
    }
}

impl Decoder for JpegSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn orientation(&self) -> Orientation {
        self.turn
    }

    fn memory(&self, _: Region) -> u64 {
        u64::from(self.size.0) * u64::from(self.size.1) * 3
    }

    fn decode(&mut self, region: Region, sink: &mut RowSink<'_>) -> Result<(), PreprocessError> {
        let mut data = vec![0; self.size.0 as usize * self.size.1 as usize * 3];
        self.decoder
            .decode_into(&mut data)
            .map_err(|e| jpeg_error(self.bytes, &e))?;
        hand_over(&data, self.size.0, region, sink);
        Ok(())
    }
}

/// The decoder does not tell an early end from damage; the end-of-image marker after the picture's data does.
fn jpeg_error(bytes: &[u8], error: &DecodeErrors) -> PreprocessError {
    let (format, detail) = (Format::Jpeg, error.to_string());
    match error {
        DecodeErrors::Unsupported(_) => PreprocessError::UnsupportedVariant {
            format,
            variant: "arithmetic coding, lossless or 12-bit",
        },
        _ if jpeg_scan(bytes).windows(2).any(|pair| pair == [0xFF, 0xD9]) => {
            PreprocessError::Corrupt { format, detail }
        }
        _ => PreprocessError::Truncated { format, detail },
    }
}

/// What follows the header of the first scan; empty if the file ends before. The segments before it are skipped by
/// their lengths, because a thumbnail in one of them has an end-of-image marker of its own.
fn jpeg_scan(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        match rest {
            [0xFF, 0xDA, scan @ ..] => return scan,
            [0xFF, 0xFF, ..] => rest = &rest[1..], // fill byte
            [0xFF, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(2 + length.max(2)..).unwrap_or_default();
            }
            _ => return rest,
        }
    }
}
