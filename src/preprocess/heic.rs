//! HEIC: pictures that are coded by HEVC, in HEIF. The codec is `heic-decoder`'s, which decodes one coded picture.
//!
//! Used by `decode::open`, in `heif::Tiled`. Pixels are those of libheif: of samples the bits beyond 8 are dropped, at
//! 4:2:0 before colors are converted; chroma samples are repeated; a monochrome picture is taken for full range; colors
//! that no box names are those of the stream, else BT.601 in full range. Alpha is dropped. The crate's internals are
//! used, so its version is exact. It cannot be stopped within a coded picture, so that one has limits of its own.

use heic_decoder::hevc::ctu::Picture;
use heic_decoder::hevc::params::Sps;
use heic_decoder::isobmff::{HevcDecoderConfig, ResolvedImage};

use super::Format;
use super::boxes::ContainerError;
use super::heic_units::{check_slices, configuration, hevc_error, sequence_parameters};
use super::heif::{Codec, Colors, Heif, Tile};
use super::ycbcr::Library;

/// Samples that a coded picture may have, a tile of a grid or all: 25 megapixels at 4:2:0, 12 at 4:4:4. It cannot be
/// stopped within, and takes 75 to 110 ns a sample with the worst content that was found.
const MAX_SAMPLES: u64 = 36 << 20;

/// Pixels a side of a coded picture, padding included, so that it has 2048 rows of blocks at most.
const MAX_SIDE: u32 = 1 << 15;

/// What a coded picture holds while it is decoded, in bytes a sample: 32 bits, whether it is decoded, and a copy for the
/// last filter.
const SAMPLE_BYTES: u64 = 9;

/// What it holds for each block of 4×4 pixels: motion, modes, edges. Rounded up from heic-decoder 0.1.1, `ctu.rs`.
const BLOCK_BYTES: u64 = 28;

/// Tables, what a picture has for each of its rows, and the lists of units and entry points, as long as they may be.
const FIXED_BYTES: u64 = 3 << 19;

/// What the coded HEVC pictures of a HEIC file have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hevc {
    /// Width and height as they are coded, padding included.
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
        if coded.0.max(coded.1) > MAX_SIDE {
            return Err(ContainerError::TooLarge {
                got: coded.0.max(coded.1).into(),
                unit: "pixels a side",
                max: MAX_SIDE.into(),
            });
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
        let samples = samples(coded, chroma);
        if samples > MAX_SAMPLES {
            return Err(ContainerError::TooLarge {
                got: samples,
                unit: "samples",
                max: MAX_SAMPLES,
            });
        }
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
        let samples = samples(self.coded, self.tile.chroma);
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
        let data = heif.tile(index, b"hvc1")?;
        check_slices(&data, &config, &sps)?;
        let data = data.into_owned();
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

/// Samples of all planes of a coded picture of this size, whose chroma is shared by pixels as these shifts say.
fn samples((width, height): (u32, u32), chroma: Option<(u32, u32)>) -> u64 {
    let luma = u64::from(width) * u64::from(height);
    match chroma {
        Some((across, down)) => luma + 2 * (luma >> (across + down)),
        None => luma,
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
    let sps = sequence_parameters(&config)?;
    Ok((config, sps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coded_picture_may_have_36_mebi_samples_whatever_their_planes() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/heic/plain.heic"
        );
        let file = std::fs::read(path).expect("a fixture");
        let heif = Heif::read(&file).expect("a HEIC");
        let (_, mut sps) = parameters(&heif, 0).expect("parameter sets");
        for (planes, width, height) in [
            (0, 6144, 6144),
            (1, 6144, 4096),
            (2, 4608, 4096),
            (3, 4096, 3072),
            (1, 1 << 15, 768),
        ] {
            sps.chroma_format_idc = planes;
            sps.pic_width_in_luma_samples = width;
            sps.pic_height_in_luma_samples = height;
            let largest = Hevc::of(&sps).expect("as large as it may be");
            // What `--decode-memory` is by default.
            assert!(largest.memory(16 << 20) < 512 << 20, "{planes}");
            sps.pic_height_in_luma_samples += 8;
            let refused = Hevc::of(&sps);
            assert!(
                matches!(
                    refused,
                    Err(ContainerError::TooLarge {
                        unit: "samples",
                        ..
                    })
                ),
                "{planes}: {refused:?}"
            );
        }
        sps.pic_width_in_luma_samples = (1 << 15) + 8;
        sps.pic_height_in_luma_samples = 8;
        assert_eq!(
            Hevc::of(&sps),
            Err(ContainerError::TooLarge {
                got: 32_776,
                unit: "pixels a side",
                max: 32_768,
            })
        );
    }
}
