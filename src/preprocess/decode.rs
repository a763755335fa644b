//! What every format's decoder is to its caller: a size from the header, then rows of 8-bit RGB.
//!
//! Called by `OpenImage`; a file each has the formats. The size in the header is checked before anything is allocated.

#[cfg(feature = "avif")]
use super::avif::Av1;
use super::bmp::BmpSource;
use super::exif::{Orientation, orientation};
use super::gif::GifSource;
#[cfg(feature = "heic")]
use super::heic::Hevc;
#[cfg(any(feature = "heic", feature = "avif"))]
use super::heif::Tiled;
use super::jpeg::{Jpeg, JpegError};
#[cfg(feature = "jxl")]
use super::jxl::JxlSource;
use super::png::PngSource;
use super::pnm::PnmSource;
use super::qoi::QoiSource;
use super::tga::TgaSource;
use super::tiff::TiffSource;
use super::watch::{Stopped, Watch};
use super::webp::WebPSource;
use super::{Format, ImageLimits, PreprocessError, ico};
use kernels::Isa;

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
    /// The region of a whole image of this size.
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

    /// How the stored picture must be turned to be upright, by its EXIF block or what stands for it; most formats have
    /// none.
    fn orientation(&self) -> Orientation {
        Orientation::NoTransforms
    }

    /// How the stored picture must be turned to be the image that the format means, whatever the EXIF mode.
    fn turn(&self) -> Orientation {
        Orientation::NoTransforms
    }

    /// Most bytes that [`Decoder::decode`] of this region holds besides the encoded image and what `sink` keeps.
    fn memory(&self, region: Region) -> u64;

    /// Makes the picture smaller while decoding where the format can, its shorter side at least `shortest` pixels;
    /// `size` then tells what it has become.
    fn reduce(&mut self, shortest: u32) {
        let _ = shortest;
    }

    /// Decodes the first frame and hands the rows of `region` to `sink`, each exactly once, from top to bottom.
    ///
    /// Alpha is dropped and color profiles are ignored, as Pillow's `convert("RGB")` does. `watch` is asked now and
    /// then whether to go on.
    ///
    /// # Errors
    /// The image's fault, or that `watch` stopped it; rows may have been handed over before.
    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError>;
}

/// Reads an image's header and refuses it if it is damaged or over the limits.
pub(super) fn open<'a>(
    bytes: &'a [u8],
    format: Format,
    limits: ImageLimits,
    isa: Isa,
) -> Result<Box<dyn Decoder + 'a>, PreprocessError> {
    Ok(match format {
        Format::Jpeg => {
            let jpeg = Jpeg::open(bytes, isa)?;
            check_size(format, jpeg.size(), limits)?;
            Box::new(jpeg)
        }
        Format::Png => Box::new(PngSource::open(bytes, limits)?),
        Format::WebP => Box::new(WebPSource::open(bytes, limits)?),
        Format::Gif => Box::new(GifSource::open(bytes, limits)?),
        Format::Bmp => Box::new(BmpSource::open(bytes, limits)?),
        Format::Tiff => Box::new(TiffSource::open(bytes, limits, isa)?),
        Format::Pnm => Box::new(PnmSource::open(bytes, limits)?),
        Format::Ico => ico::open(bytes, limits)?,
        Format::Qoi => Box::new(QoiSource::open(bytes, limits)?),
        Format::Tga => Box::new(TgaSource::open(bytes, limits)?),
        #[cfg(feature = "heic")]
        Format::Heic => Box::new(Tiled::<Hevc>::open(bytes, limits)?),
        #[cfg(feature = "avif")]
        Format::Avif => Box::new(Tiled::<Av1>::open(bytes, limits)?),
        #[cfg(feature = "jxl")]
        Format::Jxl => Box::new(JxlSource::open(bytes, limits)?),
        #[cfg(not(feature = "heic"))]
        Format::Heic => return not_built_in(),
        #[cfg(not(feature = "avif"))]
        Format::Avif => return not_built_in(),
        #[cfg(not(feature = "jxl"))]
        Format::Jxl => return not_built_in(),
    })
}

/// The refusal of a format that is not in this build, which `sniff` does not tell.
#[cfg(not(all(feature = "heic", feature = "avif", feature = "jxl")))]
fn not_built_in<T>() -> Result<T, PreprocessError> {
    Err(PreprocessError::UnsupportedFormat { looks_like: None })
}

/// Makes the rows of `region` one after the other: `row` appends the RGB of its columns of one.
pub(super) fn hand_over_rows(
    region: Region,
    watch: &Watch,
    sink: &mut RowSink<'_>,
    mut row: impl FnMut(usize, &mut Vec<u8>),
) -> Result<(), PreprocessError> {
    let mut rgb = Vec::with_capacity(region.width as usize * 3);
    for y in region.top as usize..(region.top + region.height) as usize {
        watch.check()?;
        rgb.clear();
        row(y, &mut rgb);
        sink(&rgb);
    }
    Ok(())
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

impl Decoder for Jpeg<'_> {
    fn size(&self) -> (u32, u32) {
        self.size()
    }

    fn orientation(&self) -> Orientation {
        orientation(self.exif())
    }

    fn memory(&self, region: Region) -> u64 {
        self.memory(region)
    }

    fn reduce(&mut self, shortest: u32) {
        self.reduce(shortest);
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        Ok(self.decode(region, watch, sink)?)
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
            JpegError::Stopped(stopped) => stopped.into(),
        }
    }
}

impl From<Stopped> for PreprocessError {
    fn from(stopped: Stopped) -> PreprocessError {
        match stopped {
            Stopped::TimedOut(limit) => PreprocessError::DecodeTimeout(limit),
            Stopped::Canceled => PreprocessError::Canceled,
        }
    }
}
