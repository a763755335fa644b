//! HEIC: pictures that are coded by HEVC, in HEIF. The codec is `heic-decoder`'s, which decodes one coded picture.
//!
//! Used by `decode::open`, in `heif::Tiled`. Pixels are those of libheif: of samples the bits beyond 8 are dropped, at
//! 4:2:0 before colors are converted; chroma samples are repeated; a monochrome picture is taken for full range; colors
//! that no box names are those of the stream, else BT.601 in full range. Alpha is dropped. The crate's internals are
//! used, so its version is exact.

use heic_decoder::bitreader::strip_emulation_prevention;
use heic_decoder::hevc::ctu::Picture;
use heic_decoder::hevc::nal::{NAL_PPS, NAL_SPS};
use heic_decoder::hevc::params::{Sps, parse_sps};
use heic_decoder::isobmff::{HevcDecoderConfig, HevcNalArray, ResolvedImage};

use super::Format;
use super::boxes::ContainerError;
use super::heif::{Codec, Colors, Heif, Tile};
use super::ycbcr::Library;

/// Pixels that a coded picture may have, a tile of a grid or all: 16 megapixels. It takes a few tenths of a second a
/// megapixel, noise without loss at 4:4:4 about a second, and cannot be stopped within.
const MAX_PIXELS: u64 = 1 << 24;

/// What a coded picture holds while it is decoded, in bytes a sample: 32 bits, whether it is decoded, and a copy for the
/// last filter.
const SAMPLE_BYTES: u64 = 9;

/// What it holds for each block of 4×4 pixels: motion, modes, edges. Rounded up from heic-decoder 0.1.1, `ctu.rs`.
const BLOCK_BYTES: u64 = 28;

/// Tables, and what a picture has for each of its rows; by a counting allocator, rounded up.
const FIXED_BYTES: u64 = 64 << 10;

/// Parameter sets of a picture that are looked at, of each kind; the first that fits counts.
const MAX_PARAMETER_SETS: usize = 4;

/// HEVC as HEIC has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hevc {
    /// As it is coded, padding included.
    coded: (u32, u32),
    /// Columns and rows of padding on the left and above.
    padding: (u32, u32),
    tile: Tile,
    /// How many low bits are dropped before anything else, as libheif does where there is no color to convert or 4:2:0.
    dropped: u32,
    colors: Option<Colors>,
}

impl Hevc {
    fn of(sps: &Sps) -> Result<Hevc, ContainerError> {
        let coded = (
            sps.pic_width_in_luma_samples,
            sps.pic_height_in_luma_samples,
        );
        if u64::from(coded.0) * u64::from(coded.1) > MAX_PIXELS {
            return Err(ContainerError::Unsupported(
                "a coded picture of more than 16 megapixels",
            ));
        }
        let [left, right, top, bottom] = sps.conformance_window;
        let bits = sps.bit_depth_luma;
        let chroma = match sps.chroma_format_idc {
            0 => None,
            1 => Some((1, 1)),
            2 => Some((1, 0)),
            _ => Some((0, 0)),
        };
        if chroma.is_some() && sps.bit_depth_chroma != bits {
            return Err(ContainerError::Unsupported(
                "luma and chroma of different depths",
            ));
        }
        let dropped = match chroma {
            None | Some((1, 1)) => bits - 8,
            Some(_) => 0,
        };
        Ok(Hevc {
            coded,
            padding: (left, top),
            tile: Tile {
                // The crate has checked that something is left.
                size: (coded.0 - left - right, coded.1 - top - bottom),
                bits: bits - dropped,
                chroma,
            },
            dropped,
            colors: sps.color_info.map(|named| Colors {
                matrix: named.matrix_coefficients,
                full_range: named.full_range,
            }),
        })
    }
}

impl Codec for Hevc {
    const FORMAT: Format = Format::Heic;
    const LIBRARY: Library = Library::Libheif;
    const TURNS_AS_EXIF: bool = false;

    /// Samples of each plane, and how many a row has.
    type Picture = [(Vec<i32>, usize); 3];

    fn read(heif: &Heif) -> Result<Hevc, ContainerError> {
        Hevc::of(&parameters(heif, 0)?.1)
    }

    fn tile(&self) -> Tile {
        self.tile
    }

    fn colors(&self) -> Option<Colors> {
        self.colors
    }

    fn memory(&self, longest: u64) -> u64 {
        let (width, height) = self.coded;
        let luma = u64::from(width) * u64::from(height);
        let samples = match self.tile.chroma {
            Some((across, down)) => luma + 2 * (luma >> (across + down)),
            None => luma,
        };
        let blocks = u64::from(width.div_ceil(4)) * u64::from(height.div_ceil(4));
        // The item's parts put together, and its units twice: as they are, and without the bytes that escape others.
        let data = 4 * longest;
        samples * SAMPLE_BYTES + blocks * BLOCK_BYTES + data + FIXED_BYTES
    }

    fn decode(&self, heif: &Heif, index: usize) -> Result<Self::Picture, ContainerError> {
        let (config, sps) = parameters(heif, index)?;
        let Hevc { tile, dropped, .. } = Hevc::of(&sps)?;
        if (tile, dropped) != (self.tile, self.dropped) {
            return Err(ContainerError::Unsupported(
                "tiles of several sizes or kinds",
            ));
        }
        let data = heif.tile(index, b"hvc1")?.into_owned();
        let image = ResolvedImage {
            hevc_config: config,
            data,
        };
        let decoded = heic_decoder::decode_one_image(&image);
        let Picture { y, cb, cr, .. } = decoded.map_err(|e| hevc_error(&e))?.1;
        Ok([y, cb, cr].map(|plane| {
            let stride = plane.width;
            (plane.into_samples(), stride)
        }))
    }

    fn copy_row(&self, picture: &Self::Picture, plane: usize, y: u32, x: u32, to: &mut [u16]) {
        let (across, down) = match plane {
            0 => (0, 0),
            _ => self.tile.chroma.unwrap_or_default(),
        };
        let (left, top) = (self.padding.0 >> across, self.padding.1 >> down);
        let (samples, stride) = &picture[plane];
        let row = &samples[(top + y) as usize * stride..][..*stride];
        for (to, sample) in to.iter_mut().zip(&row[(left + x) as usize..]) {
            *to = (*sample >> self.dropped) as u16;
        }
    }
}

/// The parameter sets of the coded picture of this number, and the first of them read.
fn parameters(heif: &Heif, index: usize) -> Result<(HevcDecoderConfig, Sps), ContainerError> {
    let hvcc = heif
        .property(index, b"hvcC")
        .ok_or(ContainerError::Unsupported(
            "a picture that is not coded by HEVC",
        ))?;
    let config = configuration(hvcc)?;
    let sps = config
        .nalus_of_type(NAL_SPS)
        .next()
        .and_then(|unit| unit.get(2..))
        .ok_or(ContainerError::Corrupt("no sequence parameters"))?;
    let sps = parse_sps(&strip_emulation_prevention(sps)).map_err(|e| hevc_error(&e))?;
    Ok((config, sps))
}

/// Reads the parameter sets of an `hvcC` box. Source: ISO/IEC 14496-15, section 8.3.3.1.
fn configuration(hvcc: &[u8]) -> Result<HevcDecoderConfig, ContainerError> {
    let cut = || ContainerError::Truncated;
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

fn hevc_error(error: &heic_decoder::HeifError) -> ContainerError {
    use heic_decoder::HeifError as E;
    match error {
        E::Truncated { .. } => ContainerError::Truncated,
        E::Unsupported(_) => ContainerError::Unsupported("a tool of HEVC that photos rarely have"),
        E::LimitExceeded(what)
        | E::NotHeif(what)
        | E::MalformedBox(what)
        | E::MalformedHevc(what)
        | E::CabacDesync(what) => ContainerError::Corrupt(what),
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
