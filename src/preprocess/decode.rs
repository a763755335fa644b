//! Encoded bytes to upright 8-bit RGB: JPEG by zune-jpeg; PNG, WebP and GIF by `image`.
//!
//! Called by `Preprocessor::run`. Checks the size in the header before it allocates, and never accepts a picture whose
//! data ends early: the reference stack refuses it too.

use std::io::Cursor;

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::exif::{ExifMode, orientation};
use super::{Format, ImageLimits, PreprocessError};

/// Scans a progressive JPEG may have. Encoders write about 10; thousands of empty ones are a known way to burn CPU.
const MAX_JPEG_SCANS: usize = 100;

/// What a PNG's chunks besides the picture may take in memory (color profile, text), in bytes.
const MAX_PNG_CHUNK_BYTES: u64 = 64 << 20;

/// What a decoder may allocate for each allowed pixel, in bytes: RGBA of 16 bits.
const MAX_BYTES_PER_PIXEL: u64 = 8;

/// A decoded picture: row-major RGB, `[height, width, 3]`, no padding.
#[derive(Debug, Clone)]
pub struct RgbPixels {
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// `width * height * 3` values.
    pub data: Vec<u8>,
}

/// Decodes the first frame of an image and turns it upright unless `exif` says otherwise.
///
/// Alpha is dropped and color profiles are ignored, as Pillow's `convert("RGB")` does.
pub(super) fn decode(
    bytes: &[u8],
    format: Format,
    exif: ExifMode,
    limits: ImageLimits,
) -> Result<RgbPixels, PreprocessError> {
    let (pixels, turn) = match format {
        Format::Jpeg => decode_jpeg(bytes, limits)?,
        Format::Png => {
            let mut chunk_limits = Limits::no_limits();
            chunk_limits.max_alloc = Some(MAX_PNG_CHUNK_BYTES);
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), chunk_limits);
            decode_with(decoder, format, limits)?
        }
        Format::WebP => decode_with(WebPDecoder::new(Cursor::new(bytes)), format, limits)?,
        Format::Gif => decode_with(GifDecoder::new(Cursor::new(bytes)), format, limits)?,
    };
    if exif == ExifMode::Ignore || turn == Orientation::NoTransforms {
        return Ok(pixels);
    }
    let upright = RgbImage::from_raw(pixels.width, pixels.height, pixels.data);
    let mut upright =
        DynamicImage::ImageRgb8(upright.expect("a decoder fills width × height × 3 bytes"));
    upright.apply_orientation(turn);
    Ok(RgbPixels::from(upright.into_rgb8()))
}

impl From<RgbImage> for RgbPixels {
    fn from(image: RgbImage) -> RgbPixels {
        let (width, height) = image.dimensions();
        RgbPixels {
            width,
            height,
            data: image.into_raw(),
        }
    }
}

/// Refuses by the size in the header; a picture that passes has at least one pixel.
fn check_size(
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

fn decode_jpeg(
    bytes: &[u8],
    limits: ImageLimits,
) -> Result<(RgbPixels, Orientation), PreprocessError> {
    let refuse = |e: DecodeErrors| jpeg_error(bytes, &e);
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX) // ours are checked below, with our own words
        .set_max_height(usize::MAX)
        .jpeg_set_max_scans(MAX_JPEG_SCANS)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(refuse)?;
    let info = decoder.info().expect("headers are decoded");
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(Format::Jpeg, (width, height), limits)?;
    if decoder.input_colorspace() == Some(ColorSpace::YCCK) {
        // The decoder inverts the colors of Adobe's YCCK, and a wrong answer is worse than none.
        return Err(PreprocessError::UnsupportedVariant {
            format: Format::Jpeg,
            variant: "YCCK color",
        });
    }
    let turn = orientation(decoder.exif().map(Vec::as_slice));
    let mut data = vec![0; width as usize * height as usize * 3];
    decoder.decode_into(&mut data).map_err(refuse)?;
    Ok((
        RgbPixels {
            width,
            height,
            data,
        },
        turn,
    ))
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

fn decode_with<D: ImageDecoder>(
    decoder: Result<D, ImageError>,
    format: Format,
    limits: ImageLimits,
) -> Result<(RgbPixels, Orientation), PreprocessError> {
    let refuse = |e: ImageError| image_error(format, &e, limits);
    let mut decoder = decoder.map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    check_size(format, (width, height), limits)?;
    // A GIF's frame can be larger than the canvas in its header, and is allocated as it says.
    let mut memory = Limits::no_limits();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL));
    decoder.set_limits(memory).map_err(refuse)?;
    let turn = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    Ok((RgbPixels::from(image.into_rgb8()), turn))
}

fn image_error(format: Format, error: &ImageError, limits: ImageLimits) -> PreprocessError {
    let detail = error.to_string();
    match error {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            PreprocessError::Truncated { format, detail }
        }
        ImageError::Limits(_) => PreprocessError::TooMuchMemory {
            format,
            max: limits.max_pixels,
        },
        ImageError::Unsupported(_) => PreprocessError::UnsupportedVariant {
            format,
            variant: "its color type or compression",
        },
        // The decoders wrap an early end in errors of their own, out of reach of a match.
        _ if detail.contains("unexpected end")
            || detail.contains("UnexpectedEof")
            || detail.contains("end of file") =>
        {
            PreprocessError::Truncated { format, detail }
        }
        _ => PreprocessError::Corrupt { format, detail },
    }
}
