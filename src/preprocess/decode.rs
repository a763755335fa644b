//! Encoded bytes to rows of 8-bit RGB: PNG, WebP and GIF by `image`, JPEG by our own `jpeg`.
//!
//! Called by `Preprocessor`. Checks the size in the header before it allocates, and never accepts a picture whose
//! data ends early: the reference stack refuses it too.

use std::io::Cursor;

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits};

use super::exif::orientation;
use super::jpeg::{Jpeg, JpegError};
use super::{Format, ImageLimits, PreprocessError};

/// What a PNG's chunks besides the picture may take in memory (color profile, text), in bytes.
const MAX_PNG_CHUNK_BYTES: u64 = 64 << 20;

/// What a decoder may allocate for each allowed pixel, in bytes: RGBA of 16 bits.
const MAX_BYTES_PER_PIXEL: u64 = 8;

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
        Format::Jpeg => {
            let jpeg = Jpeg::open(bytes)?;
            check_size(format, jpeg.size(), limits)?;
            Box::new(jpeg)
        }
        Format::Png => {
            let mut chunk_limits = Limits::no_limits();
            chunk_limits.max_alloc = Some(MAX_PNG_CHUNK_BYTES);
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), chunk_limits);
            Box::new(ImageSource::open(decoder, format, limits)?)
        }
        Format::WebP => Box::new(ImageSource::open(
            WebPDecoder::new(Cursor::new(bytes)),
            format,
            limits,
        )?),
        Format::Gif => Box::new(ImageSource::open(
            GifDecoder::new(Cursor::new(bytes)),
            format,
            limits,
        )?),
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

impl Decoder for Jpeg<'_> {
    fn size(&self) -> (u32, u32) {
        self.size()
    }

    fn orientation(&self) -> Orientation {
        orientation(self.exif())
    }

    fn decode(&mut self, region: Region, sink: &mut RowSink<'_>) -> Result<(), PreprocessError> {
        Ok(self.decode(region, 8, sink)?)
    }
}

impl From<JpegError> for PreprocessError {
    fn from(error: JpegError) -> PreprocessError {
        let format = Format::Jpeg;
        match error {
            JpegError::Truncated(detail) => PreprocessError::Truncated {
                format,
                detail: detail.into(),
            },
            JpegError::Corrupt(detail) => PreprocessError::Corrupt {
                format,
                detail: detail.into(),
            },
            JpegError::Unsupported(variant) => {
                PreprocessError::UnsupportedVariant { format, variant }
            }
        }
    }
}

struct ImageSource<D> {
    decoder: Option<D>,
    format: Format,
    limits: ImageLimits,
    size: (u32, u32),
    turn: Orientation,
}

impl<D: ImageDecoder> ImageSource<D> {
    fn open(
        decoder: Result<D, ImageError>,
        format: Format,
        limits: ImageLimits,
    ) -> Result<ImageSource<D>, PreprocessError> {
        let refuse = |e: ImageError| image_error(format, &e, limits);
        let mut decoder = decoder.map_err(refuse)?;
        let size = decoder.dimensions();
        check_size(format, size, limits)?;
        // A GIF's frame can be larger than the canvas in its header, and is allocated as it says.
        let mut memory = Limits::no_limits();
        memory.max_alloc = Some(limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL));
        decoder.set_limits(memory).map_err(refuse)?;
        let turn = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok(ImageSource {
            decoder: Some(decoder),
            format,
            limits,
            size,
            turn,
        })
    }
}

impl<D: ImageDecoder> Decoder for ImageSource<D> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn orientation(&self) -> Orientation {
        self.turn
    }

    fn decode(&mut self, region: Region, sink: &mut RowSink<'_>) -> Result<(), PreprocessError> {
        let decoder = self.decoder.take().expect("an image is decoded once");
        let image = DynamicImage::from_decoder(decoder)
            .map_err(|e| image_error(self.format, &e, self.limits))?;
        hand_over(&image.into_rgb8(), self.size.0, region, sink);
        Ok(())
    }
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
