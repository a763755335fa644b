//! PNG by the `png` crate: row by row, or the asked region as a whole where the rows come interlaced.
//!
//! Called by `decode::open`. Of an animated PNG the default image. The crate hands out rows as they are stored, and
//! `samples` makes RGB of them.

use std::io::ErrorKind;

use ::png::{DecodeOptions, DecodingError, Limits, Reader};

use super::decode::{Decoder, Region, RowSink, check_size};
use super::exif::{Orientation, orientation};
use super::png_chunks::{PngChunks, PngStream};
use super::samples::Samples;
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// What the crate may hold besides pixels, in bytes: one output row. Far above it.
const MAX_ROW_BYTES: usize = 64 << 20;

/// The crate's inflate window, tables and row buffer before they grow with the row, in bytes; rounded up from its
/// source.
const FIXED_BUFFERS: u64 = 512 << 10;

/// The seven passes of Adam7: first column, first row, column step, row step. Source: PNG (third edition), section 8.1.
const ADAM7: [(u32, u32, usize, usize); 7] = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
];

/// A PNG whose chunks before the image data have been read.
pub(super) struct PngSource<'a> {
    reader: Reader<PngStream<'a>>,
    samples: Samples,
    limits: ImageLimits,
    size: (u32, u32),
    turn: Orientation,
}

impl<'a> PngSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<PngSource<'a>, PreprocessError> {
        let refuse = |e: DecodingError| png_error(&e, limits);
        let chunks = PngChunks::find(bytes)?;
        let mut options = DecodeOptions::default();
        options.set_ignore_crc(true);
        // Pillow refuses a wrong checksum of the inflated data.
        options.set_ignore_adler32(false);
        let mut decoder = ::png::Decoder::new_with_options(chunks.stream(), options);
        decoder.set_limits(Limits {
            bytes: MAX_ROW_BYTES,
        });
        let size = decoder.read_header_info().map_err(refuse)?.size();
        check_size(Format::Png, size, limits)?;
        let reader = decoder.read_info().map_err(refuse)?;
        let info = reader.info();
        let samples = Samples::new(info.color_type, info.bit_depth, chunks.palette);
        Ok(PngSource {
            samples,
            limits,
            size,
            turn: orientation(chunks.exif),
            reader,
        })
    }

    /// Reads on to the end of the image data, whose checksum may tell that it is damaged. That it lacks something
    /// behind the last row is no damage.
    fn finish(&mut self) -> Result<(), PreprocessError> {
        match self.reader.next_row() {
            Err(e) => match png_error(&e, self.limits) {
                PreprocessError::Truncated { .. } => Ok(()),
                error => Err(error),
            },
            Ok(_) => Ok(()),
        }
    }

    fn decode_rows(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let columns = region.left as usize..(region.left + region.width) as usize;
        let mut rgb = Vec::with_capacity(region.width as usize * 3);
        for y in 0..self.size.1 {
            watch.check()?;
            let row = next_row(&mut self.reader, self.limits)?;
            if (region.top..region.top + region.height).contains(&y) {
                rgb.clear();
                self.samples.expand(row, columns.clone(), &mut rgb);
                sink(&rgb);
            }
        }
        self.finish()
    }

    fn decode_interlaced(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let mut picture = vec![0; region.width as usize * 3 * region.height as usize];
        let mut rows = 0;
        let read = self.read_passes(region, watch, &mut picture, &mut rows);
        // What there is of a damaged picture as well: it may be wanted all the same.
        if rows > 0 {
            sink(&picture);
        }
        read
    }

    /// Fills in the passes' pixels and counts their rows.
    fn read_passes(
        &mut self,
        region: Region,
        watch: &Watch,
        picture: &mut [u8],
        rows: &mut usize,
    ) -> Result<(), PreprocessError> {
        let (width, height) = self.size;
        let (left, stride) = (region.left as usize, region.width as usize * 3);
        let mut rgb = Vec::new();
        for (first_column, first_row, column_step, row_step) in ADAM7 {
            let pass_width = (width.saturating_sub(first_column) as usize).div_ceil(column_step);
            if pass_width == 0 {
                continue;
            }
            for y in (first_row..height).step_by(row_step) {
                watch.check()?;
                let row = next_row(&mut self.reader, self.limits)?;
                *rows += 1;
                if !(region.top..region.top + region.height).contains(&y) {
                    continue;
                }
                rgb.clear();
                self.samples.expand(row, 0..pass_width, &mut rgb);
                let line = &mut picture[(y - region.top) as usize * stride..][..stride];
                let columns = (first_column as usize..).step_by(column_step);
                for (x, pixel) in columns.zip(rgb.chunks_exact(3)) {
                    let at = x.checked_sub(left).map(|x| x * 3);
                    if let Some(to) = at.and_then(|at| line.get_mut(at..at + 3)) {
                        to.copy_from_slice(pixel);
                    }
                }
            }
        }
        self.finish()
    }
}

impl Decoder for PngSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn orientation(&self) -> Orientation {
        self.turn
    }

    fn memory(&self, region: Region) -> u64 {
        let row = u64::from(self.size.0) * 8; // RGBA of 16 bits, the widest there is
        let rows = if self.reader.info().interlaced {
            u64::from(region.height)
        } else {
            1
        };
        // The crate's row buffer shifts back after four rows and doubles as it grows: ten rows, and two of ours.
        FIXED_BUFFERS + 12 * row + rows * u64::from(region.width) * 3
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        if self.reader.info().interlaced {
            self.decode_interlaced(region, watch, sink)
        } else {
            self.decode_rows(region, watch, sink)
        }
    }
}

/// One row as stored, of the image or of a pass.
fn next_row<'r>(
    reader: &'r mut Reader<PngStream<'_>>,
    limits: ImageLimits,
) -> Result<&'r [u8], PreprocessError> {
    match reader.next_row() {
        Ok(Some(row)) => Ok(row.data()),
        Ok(None) => Err(PreprocessError::Truncated {
            format: Format::Png,
            detail: "fewer rows than the header says".to_owned(),
        }),
        Err(e) => Err(png_error(&e, limits)),
    }
}

fn png_error(error: &DecodingError, limits: ImageLimits) -> PreprocessError {
    let (format, detail) = (Format::Png, error.to_string());
    match error {
        DecodingError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            PreprocessError::Truncated { format, detail }
        }
        DecodingError::LimitsExceeded => PreprocessError::TooMuchMemory {
            format,
            max: limits.max_pixels,
        },
        // Rows are missing at a sound end of the data; the crate's enum of causes is private.
        DecodingError::Format(_) if detail.contains("does not have enough data") => {
            PreprocessError::Truncated { format, detail }
        }
        _ => PreprocessError::Corrupt { format, detail },
    }
}
