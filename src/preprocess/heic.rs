//! HEIC: pictures that are coded by HEVC, in HEIF. The codec is `heic-decoder`'s, which decodes one coded picture.
//!
//! Called by `decode::open`. Photos of phones are grids of tiles: only those that the region needs are decoded, one
//! after the other, and a row of them is held at a time. Pixels are those of libheif: of samples the bits beyond 8 are
//! dropped, at 4:2:0 before colors are converted; chroma samples are repeated; a monochrome picture is taken for full
//! range; colors that no box names are those of the stream, else BT.601 in full range. Alpha is dropped. The crate's
//! internals are used, so its version is exact.

use std::ops::Range;

use heic_decoder::bitreader::strip_emulation_prevention;
use heic_decoder::hevc::ctu::Picture;
use heic_decoder::hevc::nal::{NAL_PPS, NAL_SPS};
use heic_decoder::hevc::params::{Sps, parse_sps};
use heic_decoder::isobmff::{HevcDecoderConfig, HevcNalArray, ResolvedImage};

use super::decode::{Decoder, Region, RowSink, check_size};
use super::exif::Orientation;
use super::heif::{Colors, Heif, HeifError};
use super::watch::Watch;
use super::ycbcr::Conversion;
use super::{Format, ImageLimits, PreprocessError};

/// What a coded picture holds while it is decoded, in bytes a sample: 32 bits, whether it is decoded, and a copy for the
/// last filter.
const SAMPLE_BYTES: u64 = 9;

/// What it holds for each block of 4×4 pixels: motion, modes, edges. Rounded up from heic-decoder 0.1.1, `ctu.rs`.
const BLOCK_BYTES: u64 = 28;

/// Tables, and what a picture has for each of its rows; by a counting allocator, rounded up.
const FIXED_BYTES: u64 = 64 << 10;

/// Parameter sets of a picture that are looked at, of each kind; the first that fits counts.
const MAX_PARAMETER_SETS: usize = 4;

/// A HEIC whose tables and first parameter set have been read.
pub(super) struct HeicSource<'a> {
    heif: Heif<'a>,
    /// All tiles have the first one's parameters.
    tile: Tile,
    columns: u32,
    /// The part of the picture that is shown.
    shown: Region,
    turn: Orientation,
    conversion: Conversion,
    /// The longest coded picture, in bytes.
    longest: u64,
}

/// What all coded pictures of a file have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    /// As it is coded, padding included.
    coded: (u32, u32),
    /// Columns and rows of padding on the left and above.
    padding: (u32, u32),
    /// Without padding.
    size: (u32, u32),
    bits: u32,
    /// Columns and rows of pixels that share a chroma sample, as shifts; none without colors.
    chroma: Option<(u32, u32)>,
}

impl<'a> HeicSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<HeicSource<'a>, PreprocessError> {
        let source = Heif::read(bytes).and_then(HeicSource::read);
        let source = source.map_err(|e| e.of(Format::Heic))?;
        check_size(Format::Heic, source.size(), limits)?;
        Ok(source)
    }

    fn read(heif: Heif<'a>) -> Result<HeicSource<'a>, HeifError> {
        let sps = parameters(&heif, 0)?.1;
        let tile = Tile::of(&sps)?;
        let (columns, rows, size) = match heif.grid() {
            Some(grid) => (grid.columns, grid.rows, grid.size),
            None => (1, 1, tile.size),
        };
        let covered = |tiles: u32, side: u32| u64::from(tiles) * u64::from(side);
        if covered(columns, tile.size.0) < size.0.into()
            || covered(rows, tile.size.1) < size.1.into()
        {
            return Err(HeifError::Corrupt("tiles smaller than their picture"));
        }
        let (shown, turn) = (heif.shown(size)?, heif.turn()?);
        let named = sps.color_info.map(|named| Colors {
            matrix: named.matrix_coefficients,
            full_range: named.full_range,
        });
        let colors = heif.colors().or(named).unwrap_or(Colors {
            matrix: 6,
            full_range: true,
        });
        Ok(HeicSource {
            longest: heif.longest()? as u64,
            heif,
            tile,
            columns,
            shown,
            turn,
            conversion: Conversion::new(colors, tile.bits - tile.dropped()),
        })
    }

    /// Decodes the coded picture of this number.
    fn picture(&self, index: usize) -> Result<Picture, HeifError> {
        let (config, sps) = parameters(&self.heif, index)?;
        if Tile::of(&sps)? != self.tile {
            return Err(HeifError::Unsupported("tiles of several sizes or kinds"));
        }
        let data = self.heif.tile(index, b"hvc1")?.into_owned();
        let image = ResolvedImage {
            hevc_config: config,
            data,
        };
        Ok(heic_decoder::decode_one_image(&image)
            .map_err(|e| hevc_error(&e))?
            .1)
    }

    /// Decodes the tiles of this row of tiles that a region of the grid needs, and puts their RGB into `band`, which
    /// begins with the grid's row `rows.start`.
    fn band(
        &self,
        tile_y: u32,
        region: Region,
        rows: Range<u32>,
        watch: &Watch,
        band: &mut [u8],
    ) -> Result<(), PreprocessError> {
        let (width, height) = self.tile.size;
        let mut rgb = Vec::with_capacity(width.min(region.width) as usize * 3);
        for tile_x in region.left / width..(region.left + region.width).div_ceil(width) {
            watch.check()?;
            let index = (tile_y * self.columns + tile_x) as usize;
            let picture = self.picture(index).map_err(|e| e.of(Format::Heic))?;
            let planes = Planes::of(picture, self.tile);
            let columns = common(tile_x, width, region.left, region.width);
            for y in rows.clone() {
                rgb.clear();
                let inside = columns.start - tile_x * width..columns.end - tile_x * width;
                planes.row(&self.conversion, y - tile_y * height, inside, &mut rgb);
                let (row, column) = (y - rows.start, columns.start - region.left);
                let at = (row as usize * region.width as usize + column as usize) * 3;
                band[at..at + rgb.len()].copy_from_slice(&rgb);
            }
        }
        Ok(())
    }
}

impl Decoder for HeicSource<'_> {
    fn size(&self) -> (u32, u32) {
        (self.shown.width, self.shown.height)
    }

    fn orientation(&self) -> Orientation {
        Orientation::NoTransforms // that of EXIF does not count: the container has its own
    }

    fn turn(&self) -> Orientation {
        self.turn
    }

    fn memory(&self, region: Region) -> u64 {
        let (width, height) = self.tile.coded;
        let luma = u64::from(width) * u64::from(height);
        let samples = match self.tile.chroma {
            Some((across, down)) => luma + 2 * (luma >> (across + down)),
            None => luma,
        };
        let blocks = u64::from(width.div_ceil(4)) * u64::from(height.div_ceil(4));
        let rows = u64::from(self.tile.size.1.min(region.height));
        let band = u64::from(region.width) * (rows + 1) * 3;
        // The item's parts put together, and its units twice: as they are, and without the bytes that escape others.
        let data = 4 * self.longest;
        samples * SAMPLE_BYTES + blocks * BLOCK_BYTES + band + data + FIXED_BYTES
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let region = Region {
            left: self.shown.left + region.left,
            top: self.shown.top + region.top,
            ..region
        };
        let height = self.tile.size.1;
        let stride = region.width as usize * 3;
        let mut band = vec![0; stride * height.min(region.height) as usize];
        for tile_y in region.top / height..(region.top + region.height).div_ceil(height) {
            let rows = common(tile_y, height, region.top, region.height);
            let band = &mut band[..rows.len() * stride];
            self.band(tile_y, region, rows, watch, band)?;
            sink(band);
        }
        Ok(())
    }
}

/// The rows, or columns, of the grid that are both in this row of tiles and in the region.
fn common(tile: u32, side: u32, first: u32, count: u32) -> Range<u32> {
    (tile * side).max(first)..((tile + 1) * side).min(first + count)
}

impl Tile {
    fn of(sps: &Sps) -> Result<Tile, HeifError> {
        let coded = (
            sps.pic_width_in_luma_samples,
            sps.pic_height_in_luma_samples,
        );
        let [left, right, top, bottom] = sps.conformance_window;
        let bits = sps.bit_depth_luma;
        let chroma = match sps.chroma_format_idc {
            0 => None,
            1 => Some((1, 1)),
            2 => Some((1, 0)),
            _ => Some((0, 0)),
        };
        if chroma.is_some() && sps.bit_depth_chroma != bits {
            return Err(HeifError::Unsupported(
                "luma and chroma of different depths",
            ));
        }
        Ok(Tile {
            coded,
            padding: (left, top),
            // The crate has checked that something is left.
            size: (coded.0 - left - right, coded.1 - top - bottom),
            bits,
            chroma,
        })
    }

    /// How many low bits are dropped before anything else, as libheif does where there is no color to convert or 4:2:0.
    fn dropped(self) -> u32 {
        match self.chroma {
            None | Some((1, 1)) => self.bits - 8,
            Some(_) => 0,
        }
    }
}

/// The samples of a coded picture.
struct Planes {
    tile: Tile,
    y: Vec<i32>,
    /// Cb, Cr, and their columns.
    chroma: Option<(Vec<i32>, Vec<i32>, usize)>,
}

impl Planes {
    fn of(picture: Picture, tile: Tile) -> Planes {
        let columns = picture.cb.width;
        Planes {
            tile,
            y: picture.y.into_samples(),
            chroma: tile.chroma.map(|_| {
                let (cb, cr) = (picture.cb, picture.cr);
                (cb.into_samples(), cr.into_samples(), columns)
            }),
        }
    }

    /// Appends the RGB of some columns of a row, both counted without padding.
    fn row(&self, conversion: &Conversion, y: u32, columns: Range<u32>, rgb: &mut Vec<u8>) {
        let (left, top) = self.tile.padding;
        let (y, columns) = ((top + y) as usize, columns.start + left..columns.end + left);
        let from = y * self.tile.coded.0 as usize;
        let shortened = |sample: i32| sample >> self.tile.dropped();
        let luma = &self.y[from..][columns.start as usize..columns.end as usize];
        let luma = luma.iter().map(|sample| shortened(*sample));
        let (Some((cb, cr, stride)), Some((across, down))) = (&self.chroma, self.tile.chroma)
        else {
            rgb.extend(luma.flat_map(|sample| [sample as u8; 3]));
            return;
        };
        let from = (y >> down) * stride;
        let repeated = |plane: &[i32]| -> Vec<i32> {
            let row = &plane[from..][..*stride];
            let at = |x: u32| shortened(row[(x >> across) as usize]);
            columns.clone().map(at).collect()
        };
        let luma: Vec<i32> = luma.collect();
        conversion.row(&luma, &repeated(cb), &repeated(cr), rgb);
    }
}

/// The parameter sets of the coded picture of this number, and the first of them read.
fn parameters(heif: &Heif, index: usize) -> Result<(HevcDecoderConfig, Sps), HeifError> {
    let hvcc = heif.property(index, b"hvcC").ok_or(HeifError::Unsupported(
        "a picture that is not coded by HEVC",
    ))?;
    let config = configuration(hvcc)?;
    let sps = config
        .nalus_of_type(NAL_SPS)
        .next()
        .and_then(|unit| unit.get(2..))
        .ok_or(HeifError::Corrupt("no sequence parameters"))?;
    let sps = parse_sps(&strip_emulation_prevention(sps)).map_err(|e| hevc_error(&e))?;
    Ok((config, sps))
}

/// Reads the parameter sets of an `hvcC` box. Source: ISO/IEC 14496-15, section 8.3.3.1.
fn configuration(hvcc: &[u8]) -> Result<HevcDecoderConfig, HeifError> {
    let cut = || HeifError::Truncated;
    let lengths = hvcc.get(21).ok_or_else(cut)? & 3;
    let (count, mut rest) = hvcc
        .get(22..)
        .and_then(<[u8]>::split_first)
        .ok_or_else(cut)?;
    let mut sets = [(NAL_SPS, Vec::new()), (NAL_PPS, Vec::new())];
    for _ in 0..*count {
        let ([kind, high, low], after) = rest.split_first_chunk().ok_or_else(cut)?;
        rest = after;
        let kind = kind & 0x3F;
        for _ in 0..u16::from_be_bytes([*high, *low]) {
            let (length, after) = rest.split_first_chunk().ok_or_else(cut)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (unit, after) = after.split_at_checked(length).ok_or_else(cut)?;
            rest = after;
            // The crate passes over units whose own header is of another kind or layer, so that the first one here
            // would not be the one that it decodes by.
            let is_base = matches!(*unit, [head, layer, ..] if head >> 1 == kind && head & 1 == 0 && layer >> 3 == 0);
            let of_kind = sets.iter_mut().find(|(wanted, _)| *wanted == kind);
            if let Some((_, units)) =
                of_kind.filter(|(_, units)| is_base && units.len() < MAX_PARAMETER_SETS)
            {
                units.push(unit.to_vec());
            }
        }
    }
    let arrays = sets.map(|(nal_unit_type, nalus)| HevcNalArray {
        nal_unit_type,
        nalus,
    });
    Ok(HevcDecoderConfig {
        length_size_minus_one: lengths,
        arrays: arrays.into(),
        ..HevcDecoderConfig::default()
    })
}

fn hevc_error(error: &heic_decoder::HeifError) -> HeifError {
    use heic_decoder::HeifError as E;
    match error {
        E::Truncated { .. } => HeifError::Truncated,
        E::Unsupported(_) => HeifError::Unsupported("a tool of HEVC that photos rarely have"),
        E::LimitExceeded(what)
        | E::NotHeif(what)
        | E::MalformedBox(what)
        | E::MalformedHevc(what)
        | E::CabacDesync(what) => HeifError::Corrupt(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An `hvcC` box of arrays of units, each with the kind that the array has.
    fn hvcc(arrays: &[(u8, &[&[u8]])]) -> Vec<u8> {
        let mut out = vec![0; 22];
        out.push(arrays.len() as u8);
        for (kind, units) in arrays {
            out.push(*kind);
            out.extend((units.len() as u16).to_be_bytes());
            for unit in *units {
                out.extend((unit.len() as u16).to_be_bytes());
                out.extend(*unit);
            }
        }
        out
    }

    #[test]
    fn only_units_that_the_decoder_takes_are_parameter_sets() {
        let (sps, pps) = (NAL_SPS << 1, NAL_PPS << 1);
        let other_kind = [pps, 1, 7];
        let other_layers = [[sps | 1, 1, 7], [sps, 9, 7]];
        let forbidden = [sps | 0x80, 1, 7];
        let good = [
            [sps, 1, 0],
            [sps, 1, 1],
            [sps, 1, 2],
            [sps, 1, 3],
            [sps, 1, 4],
        ];
        let bytes = hvcc(&[
            (
                NAL_SPS,
                &[&other_kind, &other_layers[0], &other_layers[1], &forbidden],
            ),
            (NAL_SPS, &[&[sps], &good[0], &good[1], &good[2]]),
            (NAL_PPS, &[&other_kind]),
            (NAL_SPS, &[&good[3], &good[4]]),
        ]);
        let config = configuration(&bytes).expect("parameter sets");
        let units = |kind| -> Vec<&[u8]> {
            let units = config.nalus_of_type(kind);
            units.map(|unit| &unit[..]).collect()
        };
        let first = good.iter().take(MAX_PARAMETER_SETS);
        let first: Vec<&[u8]> = first.map(|unit| &unit[..]).collect();
        assert_eq!(units(NAL_SPS), first);
        assert_eq!(units(NAL_PPS), [&other_kind[..]]);
    }
}
