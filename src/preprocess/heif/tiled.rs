//! A picture in HEIF, of one coded picture or of a grid of them: only those that the region needs are decoded, one after
//! the other, and a row of them is held at a time.
//!
//! Made by `decode::open` for the codecs, which are `heic` and `avif`.

use std::ops::Range;

use super::super::boxes::ContainerError;
use super::super::decode::{Decoder, Region, RowSink, check_size};
use super::super::exif::Orientation;
use super::super::watch::Watch;
use super::super::ycbcr::{Conversion, Library};
use super::super::{Format, ImageLimits, PreprocessError};
use super::band::{Band, Needed};
use super::{Colors, Heif};

/// Bytes that a coded picture may have, a tile of a grid or all: 16 MiB, more than a byte a pixel of the largest. The time
/// for it goes with its bytes as with its samples: 50 ms a megabyte of HEVC.
const MAX_CODED_BYTES: u64 = 16 << 20;

/// What all coded pictures of a file have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Tile {
    /// Width and height, without padding.
    pub(in super::super) size: (u32, u32),
    /// Bits of a sample, as [`Codec::copy_row`] gives it.
    pub(in super::super) bits: u32,
    /// Columns and rows of pixels that share a chroma sample, as shifts; none without colors.
    pub(in super::super) chroma: Option<(u32, u32)>,
}

/// What decodes one coded picture.
pub(in super::super) trait Codec: Sized {
    const FORMAT: Format;

    /// The library whose pixels a picture must equal.
    const LIBRARY: Library;

    /// Whether `irot` and `imir` turn the picture only where an EXIF block would, not always.
    const TURNS_AS_EXIF: bool;

    /// A decoded picture.
    type Picture;

    /// Reads what all coded pictures have in common from the first one.
    fn read(heif: &Heif) -> Result<Self, ContainerError>;

    fn tile(&self) -> Tile;

    /// The colors that the coded picture names.
    fn colors(&self) -> Option<Colors>;

    /// Bytes that decoding one picture holds, when the longest one has so many.
    fn memory(&self, longest: u64) -> u64;

    /// Decodes the picture of this number.
    fn decode(&self, heif: &Heif, index: usize) -> Result<Self::Picture, ContainerError>;

    /// Copies samples of a plane, in its row `y` from the column `x` on.
    fn copy_row(&self, picture: &Self::Picture, plane: usize, y: u32, x: u32, to: &mut [u16]);
}

/// A file whose tables and first coded picture's parameters have been read.
pub(in super::super) struct Tiled<'a, C> {
    heif: Heif<'a>,
    codec: C,
    /// Width and height of the picture that the tiles make.
    size: (u32, u32),
    columns: u32,
    /// The part of that picture that is shown.
    shown: Region,
    turn: Orientation,
    conversion: Conversion,
    /// The longest coded picture, in bytes.
    longest: u64,
}

impl<'a, C: Codec> Tiled<'a, C> {
    pub(in super::super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<Tiled<'a, C>, PreprocessError> {
        let opened = Heif::read(bytes).and_then(Tiled::read);
        let opened = opened.map_err(|e| e.of(C::FORMAT))?;
        check_size(C::FORMAT, opened.size(), limits)?;
        Ok(opened)
    }

    fn read(heif: Heif<'a>) -> Result<Tiled<'a, C>, ContainerError> {
        let codec = C::read(&heif)?;
        let longest = heif.longest()? as u64;
        if longest > MAX_CODED_BYTES {
            return Err(ContainerError::TooLarge {
                got: longest,
                unit: "bytes",
                max: MAX_CODED_BYTES,
            });
        }
        let tile = codec.tile();
        let (columns, rows, size) = match heif.grid() {
            Some(grid) => (grid.columns, grid.rows, grid.size),
            None => (1, 1, tile.size),
        };
        let covered = |tiles: u32, side: u32| u64::from(tiles) * u64::from(side);
        if covered(columns, tile.size.0) < size.0.into()
            || covered(rows, tile.size.1) < size.1.into()
        {
            return Err(ContainerError::Corrupt("tiles smaller than their picture"));
        }
        let (across, down) = tile.chroma.unwrap_or_default();
        let begins_between = |tiles: u32, side: u32, shift: u32| tiles > 1 && side & shift != 0;
        if begins_between(columns, tile.size.0, across) || begins_between(rows, tile.size.1, down) {
            return Err(ContainerError::Unsupported(
                "tiles that begin in the middle of a chroma sample",
            ));
        }
        let (shown, turn) = (heif.shown(size)?, heif.turn()?);
        let colors = heif.colors().or(codec.colors()).unwrap_or(Colors {
            matrix: 6,
            full_range: true,
        });
        Ok(Tiled {
            longest,
            heif,
            size,
            columns,
            shown,
            turn,
            conversion: Conversion::new(colors, tile.bits, C::LIBRARY),
            codec,
        })
    }

    /// What of the picture's samples a region of what is shown needs.
    fn needed(&self, region: Region) -> Needed {
        let region = Region {
            left: self.shown.left + region.left,
            top: self.shown.top + region.top,
            ..region
        };
        Needed::new(
            region,
            self.size,
            self.codec.tile().chroma,
            &self.conversion,
        )
    }

    /// Puts the samples of a tile into the band.
    fn put(&self, picture: &C::Picture, (tile_x, tile_y): (u32, u32), band: &mut Band) {
        let tile = self.codec.tile();
        let planes = if tile.chroma.is_some() { 3 } else { 1 };
        for plane in 0..planes {
            let (across, down) = match plane {
                0 => (0, 0),
                _ => tile.chroma.unwrap_or_default(),
            };
            let side = |side: u32, shift: u32| (side + (1 << shift) - 1) >> shift;
            let (width, height) = (side(tile.size.0, across), side(tile.size.1, down));
            let (left, top) = (tile_x * width, tile_y * height);
            for y in 0..height {
                if let Some((x, to)) = band.place(plane, top + y, left..left + width) {
                    self.codec.copy_row(picture, plane, y, x as u32, to);
                }
            }
        }
    }
}

impl<C: Codec> Decoder for Tiled<'_, C> {
    fn size(&self) -> (u32, u32) {
        (self.shown.width, self.shown.height)
    }

    fn orientation(&self) -> Orientation {
        // The orientation of an EXIF block does not count: the container has its own.
        match C::TURNS_AS_EXIF {
            true => self.turn,
            false => Orientation::NoTransforms,
        }
    }

    fn turn(&self) -> Orientation {
        match C::TURNS_AS_EXIF {
            true => Orientation::NoTransforms,
            false => self.turn,
        }
    }

    fn memory(&self, region: Region) -> u64 {
        let samples = self.needed(region).most(self.codec.tile().size.1);
        let row = u64::from(region.width) * 8;
        self.codec.memory(self.longest) + 2 * samples + row
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let needed = self.needed(region);
        let (width, height) = self.codec.tile().size;
        let (columns, rows) = needed.covered();
        let tiles = |range: &Range<u32>, side: u32| range.start / side..range.end.div_ceil(side);
        let mut band = Band::new(needed, self.conversion, height);
        for tile_y in tiles(&rows, height) {
            for tile_x in tiles(&columns, width) {
                watch.check()?;
                let index = (tile_y * self.columns + tile_x) as usize;
                let picture = self.codec.decode(&self.heif, index);
                let picture = picture.map_err(|e| e.of(C::FORMAT))?;
                self.put(&picture, (tile_x, tile_y), &mut band);
            }
            band.hand_over(sink);
        }
        Ok(())
    }
}
