//! TIFF: the first picture, row by row but for strips and tiles that are JPEGs.
//!
//! Called by `decode::open`; fields are found by `tiff_directory`, strips and tiles unpacked by `tiff_chunks`, samples
//! become colors in `tiff_samples`. Tag 274 turns the picture, as Pillow turns a TIFF.

use super::decode::{Decoder, Region, RowSink, check_size};
use super::exif::Orientation;
use super::tiff_chunks::{Chunk, Grid, JpegChunks, Packing, UNPACKER_BYTES, corrupt};
use super::tiff_directory::{Directory, tag};
use super::tiff_samples::Samples;
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};
use kernels::Isa;

/// A TIFF whose first directory has been read.
pub(super) struct TiffSource<'a> {
    size: (u32, u32),
    turn: Orientation,
    grid: Grid<'a>,
    packing: Packing,
    samples: Samples,
    /// Samples of a pixel that lie together: all of them, or one where each has a plane of its own.
    together: usize,
    planes: u32,
    /// Whether each sample is stored as the difference to the one on its left.
    differences: bool,
    /// Whether the bits of each byte are stored in reverse.
    reversed: bool,
    /// What chunks that are JPEGs have in common.
    jpegs: Option<JpegChunks<'a>>,
}

impl<'a> TiffSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
        isa: Isa,
    ) -> Result<TiffSource<'a>, PreprocessError> {
        let directory = Directory::first(bytes);
        let directory = directory.ok_or_else(|| PreprocessError::Truncated {
            format: Format::Tiff,
            detail: "it ends before its directory".to_owned(),
        })?;
        const REDUCED: u64 = 1;
        let subfile = directory.value_or(tag::NEW_SUBFILE_TYPE, 0);
        if directory.value(tag::DNG_VERSION).is_some() || subfile & REDUCED != 0 {
            return Err(unsupported(
                "a camera's raw file, or a thumbnail in front of the picture; save it as JPEG",
            ));
        }
        let side = |tag| {
            let side = directory
                .value(tag)
                .ok_or_else(|| corrupt(format!("no field {tag}")))?;
            Ok::<_, PreprocessError>(u32::try_from(side).unwrap_or(u32::MAX))
        };
        let size = (side(tag::IMAGE_WIDTH)?, side(tag::IMAGE_LENGTH)?);
        check_size(Format::Tiff, size, limits)?;
        let packing = Packing::of(directory.value_or(tag::COMPRESSION, 1)).map_err(unsupported)?;
        let samples = Samples::of(&directory, packing)?;
        // As they are stored: a JPEG of grey is decoded to three.
        let planar = directory.value_or(tag::PLANAR_CONFIGURATION, 1) == 2
            && directory.value_or(tag::SAMPLES_PER_PIXEL, 1) > 1;
        if planar && packing == Packing::Jpeg {
            return Err(unsupported("JPEGs of single samples; save it as JPEG"));
        }
        let packed_by_code = matches!(packing, Packing::Lzw | Packing::Deflate);
        let differences = match directory.value_or(tag::PREDICTOR, 1) {
            2 if packed_by_code && samples.bits >= 8 => true,
            1 => false,
            _ if packed_by_code => {
                return Err(unsupported("a rare predictor; save it without one"));
            }
            _ => false,
        };
        let reversed = directory.value_or(tag::FILL_ORDER, 1) == 2;
        if reversed && packing != Packing::None {
            return Err(unsupported("compressed with reversed bits; save it as PNG"));
        }
        let grid = Grid::of(bytes, &directory, size)?;
        let jpegs = (packing == Packing::Jpeg)
            .then(|| JpegChunks::of(&directory, &grid, samples.is_ycbcr, isa));
        Ok(TiffSource {
            size,
            turn: directory
                .value(tag::ORIENTATION)
                .and_then(|value| Orientation::of_tag(u32::try_from(value).ok()?))
                .unwrap_or_default(),
            grid,
            packing,
            together: if planar { 1 } else { samples.count },
            planes: if planar { samples.count as u32 } else { 1 },
            samples,
            differences,
            reversed,
            jpegs,
        })
    }

    /// Bytes of a row of a chunk as it is unpacked.
    fn chunk_row(&self) -> usize {
        (self.grid.chunk.0 as usize * self.together * self.samples.bits).div_ceil(8)
    }

    /// Begins to unpack all chunks of a row of chunks: plane by plane, from left to right.
    fn band(&self, band: u32, watch: &Watch) -> Result<Vec<Chunk<'a>>, PreprocessError> {
        let mut chunks = Vec::with_capacity((self.planes * self.grid.across()) as usize);
        for plane in 0..self.planes {
            for column in 0..self.grid.across() {
                let stored = self.grid.stored(plane, band, column)?;
                watch.check()?;
                chunks.push(match &self.jpegs {
                    Some(jpegs) => {
                        jpegs.chunk(stored, (self.grid.chunk.0, self.grid.rows(band)), watch)?
                    }
                    None => Chunk::new(self.packing, stored),
                });
            }
        }
        Ok(chunks)
    }

    /// Reads the next row of every chunk and lays their samples side by side into `row`, 8 bits each.
    ///
    /// # Shapes
    /// - `row`: `[width, samples]` `u8`
    fn row(
        &self,
        chunks: &mut [Chunk<'a>],
        stored: &mut [u8],
        row: &mut [u8],
        watch: &Watch,
    ) -> Result<(), PreprocessError> {
        let (across, count) = (self.grid.across() as usize, self.samples.count);
        for (index, chunk) in chunks.iter_mut().enumerate() {
            watch.check()?;
            chunk.read(stored)?;
            if self.reversed {
                stored
                    .iter_mut()
                    .for_each(|byte| *byte = byte.reverse_bits());
            }
            if self.differences {
                self.samples.add_up(stored, self.together);
            }
            let (plane, column) = (index / across, index % across);
            let left = column * self.grid.chunk.0 as usize;
            let width = (self.size.0 as usize - left).min(self.grid.chunk.0 as usize);
            if self.samples.bits == 8 && self.together == count {
                row[left * count..][..width * count].copy_from_slice(&stored[..width * count]);
                continue;
            }
            let pixels = row[left * count..][..width * count].chunks_exact_mut(count);
            for (x, pixel) in pixels.enumerate() {
                for (i, sample) in pixel[plane..].iter_mut().take(self.together).enumerate() {
                    *sample = self.samples.at(stored, x * self.together + i);
                }
            }
        }
        Ok(())
    }
}

impl Decoder for TiffSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn turn(&self) -> Orientation {
        self.turn
    }

    fn memory(&self, region: Region) -> u64 {
        let chunks = u64::from(self.planes) * u64::from(self.grid.across());
        let row = self.size.0 as usize * self.samples.count + 2 * self.chunk_row();
        let rows = row as u64 + u64::from(region.width) * 3;
        let each = match self.packing {
            Packing::None | Packing::PackBits => 64,
            Packing::Lzw | Packing::Deflate => UNPACKER_BYTES,
            Packing::Jpeg => {
                64 + self.chunk_row() as u64 * u64::from(self.grid.chunk.1.min(self.size.1))
            }
        };
        rows + chunks * each + self.jpegs.as_ref().map_or(0, |jpegs| jpegs.memory)
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let count = self.samples.count;
        let columns = region.left as usize * count..(region.left + region.width) as usize * count;
        let mut stored = vec![0; self.chunk_row()];
        let mut row = vec![0; self.size.0 as usize * count];
        let mut rgb = Vec::with_capacity(region.width as usize * 3);
        let mut y = 0;
        // To the last row even where the region ends before: they must all be there.
        for band in 0..self.grid.down() {
            let mut chunks = self.band(band, watch)?;
            for _ in 0..self.grid.rows(band) {
                self.row(&mut chunks, &mut stored, &mut row, watch)?;
                if (region.top..region.top + region.height).contains(&y) {
                    rgb.clear();
                    self.samples.expand(&row[columns.clone()], &mut rgb);
                    sink(&rgb);
                }
                y += 1;
            }
        }
        Ok(())
    }
}

pub(super) fn unsupported(variant: &'static str) -> PreprocessError {
    let format = Format::Tiff;
    PreprocessError::UnsupportedVariant { format, variant }
}
