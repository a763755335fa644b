//! GIF by the `gif` crate: the first frame on its canvas, row by row unless it is interlaced.
//!
//! Called by `decode::open`. Transparency is dropped: a transparent pixel has its palette color. The canvas around a
//! smaller frame has the transparent index's color, or color 0; the background color of the header is not used. A frame
//! that reaches beyond the canvas enlarges it. Source: what Pillow 13 does, by experiment.

use std::num::NonZeroU64;

use ::gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::decode::{Decoder, Region, RowSink, check_size, overlay};
use super::exif::Orientation;
use super::samples::colors_of;
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// What the crate may collect of XMP, and of a color profile, in bytes. We use neither, so little is allowed.
const MAX_METADATA_BYTES: u64 = 8 << 20;

/// LZW tables, the reader's buffer and palettes, in bytes; rounded up from the crates' source.
const FIXED_BUFFERS: u64 = 128 << 10;

/// First row and row step of an interlaced frame's passes. Source: GIF89a, appendix E.
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

/// A GIF whose first frame's head has been read.
pub(super) struct GifSource<'a> {
    decoder: ::gif::Decoder<&'a [u8]>,
    size: (u32, u32),
    /// Where the frame lies on the canvas.
    frame: Region,
    interlaced: bool,
    colors: Vec<[u8; 3]>,
    /// The color of the canvas.
    fill: [u8; 3],
    limits: ImageLimits,
    encoded: u64,
}

impl<'a> GifSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<GifSource<'a>, PreprocessError> {
        let refuse = |e: DecodingError| gif_error(&e, limits);
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        let most = NonZeroU64::new(MAX_METADATA_BYTES).expect("not zero");
        options.set_memory_limit(MemoryLimit::Bytes(most));
        let mut decoder = options.read_info(bytes).map_err(refuse)?;
        let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
        check_size(Format::Gif, screen, limits)?;
        let Some(head) = decoder.next_frame_info().map_err(refuse)? else {
            return Err(corrupt("no frame"));
        };
        let frame = Region {
            left: u32::from(head.left),
            top: u32::from(head.top),
            width: u32::from(head.width),
            height: u32::from(head.height),
        };
        let (interlaced, transparent) = (head.interlaced, head.transparent);
        if frame.width == 0 || frame.height == 0 {
            return Err(corrupt("the first frame is empty"));
        }
        let size = (
            screen.0.max(frame.left + frame.width),
            screen.1.max(frame.top + frame.height),
        );
        check_size(Format::Gif, size, limits)?;
        let colors = with_ramp(colors_of(decoder.palette().map_err(refuse)?));
        let fill = colors.get(usize::from(transparent.unwrap_or(0)));
        Ok(GifSource {
            fill: fill.copied().unwrap_or_default(),
            decoder,
            size,
            frame,
            interlaced,
            colors,
            limits,
            encoded: bytes.len() as u64,
        })
    }

    /// Fills `indices` with the next rows as they are stored.
    fn read(&mut self, indices: &mut [u8]) -> Result<(), PreprocessError> {
        match self.decoder.fill_buffer(indices) {
            Ok(true) => Ok(()),
            Ok(false) => Err(PreprocessError::Truncated {
                format: Format::Gif,
                detail: "fewer pixels than the frame's head says".to_owned(),
            }),
            Err(e) => Err(gif_error(&e, self.limits)),
        }
    }

    /// Hands over the rows of `region`; `row_of` gives the indices of a row of the frame.
    fn paint(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
        mut row_of: impl FnMut(&mut Self, usize, &mut [u8]) -> Result<(), PreprocessError>,
    ) -> Result<(), PreprocessError> {
        let frame = self.frame;
        let mut indices = vec![0; frame.width as usize];
        let mut rgb = Vec::with_capacity(indices.len() * 3);
        let mut line = Vec::with_capacity(region.width as usize * 3);
        // To the last row of the frame even where the region ends before: its data must be whole.
        for y in 0..self.size.1 {
            watch.check()?;
            line.clear();
            line.extend(std::iter::repeat_n(self.fill, region.width as usize).flatten());
            if (frame.top..frame.top + frame.height).contains(&y) {
                row_of(self, (y - frame.top) as usize, &mut indices)?;
                rgb.clear();
                for &index in &indices {
                    let color = self.colors.get(usize::from(index));
                    rgb.extend(color.copied().unwrap_or_default());
                }
                overlay(&mut line, region, frame.left, &rgb);
            }
            if (region.top..region.top + region.height).contains(&y) {
                sink(&line);
            }
        }
        Ok(())
    }
}

impl Decoder for GifSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn orientation(&self) -> Orientation {
        Orientation::NoTransforms // GIF has no EXIF
    }

    fn memory(&self, region: Region) -> u64 {
        let frame = (u64::from(self.frame.width), u64::from(self.frame.height));
        let whole = if self.interlaced {
            frame.0 * frame.1
        } else {
            0
        };
        // Both of the two kinds of metadata double as they grow.
        let metadata = 4 * self.encoded.min(MAX_METADATA_BYTES);
        whole + frame.0 * 4 + u64::from(region.width) * 3 + FIXED_BUFFERS + metadata
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        if !self.interlaced {
            return self.paint(region, watch, sink, |source, _, indices| {
                source.read(indices)
            });
        }
        let (width, height) = (self.frame.width as usize, self.frame.height as usize);
        let mut whole = vec![0; width * height];
        let mut rows = PASSES
            .iter()
            .flat_map(|&(first, step)| (first..height).step_by(step));
        let (mut read, mut any) = (Ok(()), false);
        while let (Ok(()), Some(y)) = (&read, rows.next()) {
            watch.check()?;
            read = self.read(&mut whole[y * width..][..width]);
            any |= read.is_ok();
        }
        // What there is of a damaged picture as well: it may be wanted all the same.
        if any {
            self.paint(region, watch, sink, |_, y, indices| {
                indices.copy_from_slice(&whole[y * width..][..width]);
                Ok(())
            })?;
        }
        read
    }
}

/// A palette that maps every index to its own grey does so beyond its end too; for Pillow it is no palette at all.
fn with_ramp(mut colors: Vec<[u8; 3]>) -> Vec<[u8; 3]> {
    if (0..).zip(&colors).all(|(i, color)| *color == [i; 3]) {
        let more = (0..=u8::MAX).skip(colors.len());
        colors.extend(more.map(|i| [i; 3]));
    }
    colors
}

fn corrupt(detail: &str) -> PreprocessError {
    PreprocessError::Corrupt {
        format: Format::Gif,
        detail: detail.to_owned(),
    }
}

fn gif_error(error: &DecodingError, limits: ImageLimits) -> PreprocessError {
    let (format, detail) = (Format::Gif, error.to_string());
    match error {
        DecodingError::UnexpectedEof => PreprocessError::Truncated { format, detail },
        DecodingError::MemoryLimit | DecodingError::OutOfMemory => PreprocessError::TooMuchMemory {
            format,
            max: limits.max_pixels,
        },
        _ => PreprocessError::Corrupt { format, detail },
    }
}
