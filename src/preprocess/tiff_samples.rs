//! Samples of a TIFF to 8-bit RGB.
//!
//! Used by `tiff`. 16 bits keep their high byte; fewer than 8 bits of grey are spread over 0 to 255. Alpha is dropped,
//! after colors that were multiplied by it are divided again. Source: what Pillow 13 does, by experiment, but for 16-bit
//! grey, which it clips; see `docs/PREPROCESSING.md`.

use super::PreprocessError;
use super::samples::packed;
use super::tiff::unsupported;
use super::tiff_chunks::{Packing, corrupt};
use super::tiff_directory::{Directory, tag};

/// How the samples of a pixel become RGB.
#[derive(Debug)]
enum Colors {
    /// One sample, looked up: grey and palettes.
    LookUp(Vec<[u8; 3]>),
    Rgb,
    /// Grey, the second sample alpha that it was multiplied by.
    GreyByAlpha,
    /// RGB, the fourth sample alpha that it was multiplied by.
    RgbByAlpha,
    Cmyk,
}

/// What the samples of a picture mean.
#[derive(Debug)]
pub(super) struct Samples {
    /// Samples of a pixel.
    pub(super) count: usize,
    /// Bits of a sample: 1, 2, 4, 8 or 16.
    pub(super) bits: usize,
    /// Whether the picture has luma and chroma, which JPEG alone may have here.
    pub(super) is_ycbcr: bool,
    little_endian: bool,
    colors: Colors,
}

/// Values of field 262. Source: TIFF revision 6.0.
mod photometric {
    pub(super) const WHITE_IS_ZERO: u64 = 0;
    pub(super) const BLACK_IS_ZERO: u64 = 1;
    pub(super) const RGB: u64 = 2;
    pub(super) const PALETTE: u64 = 3;
    pub(super) const CMYK: u64 = 5;
    pub(super) const YCBCR: u64 = 6;
}

impl Samples {
    /// Reads what the samples mean.
    ///
    /// # Errors
    /// [`PreprocessError::UnsupportedVariant`] for kinds of samples that are not decoded, by name, and
    /// [`PreprocessError::Corrupt`] where the fields contradict each other.
    pub(super) fn of(
        directory: &Directory<'_>,
        packing: Packing,
    ) -> Result<Samples, PreprocessError> {
        let kind = directory.value_or(tag::PHOTOMETRIC_INTERPRETATION, photometric::WHITE_IS_ZERO);
        let count = directory.value_or(tag::SAMPLES_PER_PIXEL, 1) as usize;
        let format = directory.value_or(tag::SAMPLE_FORMAT, 1);
        let bits = directory.value_or(tag::BITS_PER_SAMPLE, 1) as usize;
        let told = directory.values(tag::BITS_PER_SAMPLE);
        if told.is_some_and(|told| told.iter().take(count).any(|one| one != bits as u64)) {
            return Err(unsupported(
                "samples of different bits; save it with 8 bits each",
            ));
        }
        if format != 1 {
            return Err(unsupported(
                "samples that are signed or fractions; save it with 8 bits each",
            ));
        }
        if !matches!(bits, 1 | 2 | 4 | 8 | 16) {
            return Err(unsupported(
                "samples of neither 8 nor 16 bits; save it with 8 bits each",
            ));
        }
        let needed = match kind {
            photometric::RGB | photometric::YCBCR => 3,
            photometric::CMYK => 4,
            _ => 1,
        };
        if !(needed..=needed + 4).contains(&count) {
            return Err(corrupt(format!(
                "{count} samples for colors of kind {kind}"
            )));
        }
        if bits < 8 && count > 1 {
            return Err(unsupported(
                "several samples of fewer than 8 bits; save it with 8 bits each",
            ));
        }
        const MULTIPLIED: u64 = 1;
        let by_alpha = count > needed && directory.value(tag::EXTRA_SAMPLES) == Some(MULTIPLIED);
        let is_ycbcr = kind == photometric::YCBCR;
        let colors = match kind {
            photometric::BLACK_IS_ZERO if by_alpha => Colors::GreyByAlpha,
            photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO => {
                let last = (1_usize << bits.min(8)) - 1;
                let level = |value: usize| match kind {
                    photometric::WHITE_IS_ZERO => 255 - value * 255 / last,
                    _ => value * 255 / last,
                };
                Colors::LookUp((0..=last).map(|value| [level(value) as u8; 3]).collect())
            }
            photometric::RGB if by_alpha => Colors::RgbByAlpha,
            photometric::RGB => Colors::Rgb,
            photometric::PALETTE if bits <= 8 => Colors::LookUp(palette(directory, bits)?),
            photometric::CMYK if packing != Packing::Jpeg => Colors::Cmyk,
            // The decoder makes RGB of it.
            photometric::YCBCR if packing == Packing::Jpeg => Colors::Rgb,
            photometric::YCBCR => return Err(unsupported("YCbCr without JPEG; save it as RGB")),
            _ => return Err(unsupported("a rare kind of colors; save it as RGB")),
        };
        let mut samples = Samples {
            count,
            bits,
            is_ycbcr,
            little_endian: directory.is_little_endian(),
            colors,
        };
        if packing == Packing::Jpeg {
            samples.for_jpeg()?;
        }
        Ok(samples)
    }

    /// The decoder of JPEGs gives RGB, whatever is stored.
    fn for_jpeg(&mut self) -> Result<(), PreprocessError> {
        let grey = matches!(&self.colors, Colors::LookUp(levels) if levels[0] == [0; 3]);
        let decoded =
            matches!((&self.colors, self.count), (Colors::Rgb, 3)) || grey && self.count == 1;
        if self.bits != 8 || !decoded {
            return Err(unsupported(
                "rare colors in JPEG compression; save it as JPEG",
            ));
        }
        self.count = 3;
        self.colors = Colors::Rgb;
        Ok(())
    }

    /// The sample at an index of a row, as far as 8 bits hold it; fewer bits as they are.
    pub(super) fn at(&self, row: &[u8], index: usize) -> u8 {
        match self.bits {
            8 => row[index],
            16 => row[2 * index + usize::from(self.little_endian)],
            bits => packed(row, index, bits),
        }
    }

    /// Undoes horizontal differencing: each sample becomes the sum of those on its left, `step` samples apart.
    ///
    /// Source: TIFF revision 6.0, section 14.
    pub(super) fn add_up(&self, row: &mut [u8], step: usize) {
        if self.bits == 8 {
            for at in step..row.len() {
                row[at] = row[at].wrapping_add(row[at - step]);
            }
            return;
        }
        let (words, _) = row.as_chunks_mut::<2>();
        let add: fn([u8; 2], [u8; 2]) -> [u8; 2] = if self.little_endian {
            |a, b| {
                u16::from_le_bytes(a)
                    .wrapping_add(u16::from_le_bytes(b))
                    .to_le_bytes()
            }
        } else {
            |a, b| {
                u16::from_be_bytes(a)
                    .wrapping_add(u16::from_be_bytes(b))
                    .to_be_bytes()
            }
        };
        for at in step..words.len() {
            words[at] = add(words[at], words[at - step]);
        }
    }

    /// Appends the RGB of pixels to `out`.
    ///
    /// # Shapes
    /// - `row`: `[columns, count]` `u8`
    /// - `out`: gains `[columns, 3]` `u8`
    pub(super) fn expand(&self, row: &[u8], out: &mut Vec<u8>) {
        let pixels = row.chunks_exact(self.count);
        match &self.colors {
            Colors::LookUp(colors) => {
                out.extend(
                    pixels.flat_map(|p| colors.get(usize::from(p[0])).copied().unwrap_or_default()),
                );
            }
            Colors::Rgb => out.extend(pixels.flat_map(|p| [p[0], p[1], p[2]])),
            Colors::GreyByAlpha => out.extend(pixels.flat_map(|p| [divided(p[0], p[1]); 3])),
            Colors::RgbByAlpha => {
                out.extend(pixels.flat_map(|p| [p[0], p[1], p[2]].map(|c| divided(c, p[3]))));
            }
            Colors::Cmyk => {
                out.extend(
                    pixels.flat_map(|p| [p[0], p[1], p[2]].map(|ink| under_black(ink, p[3]))),
                );
            }
        }
    }
}

/// The colors of field 320: all reds, then all greens, then all blues, of 16 bits.
fn palette(directory: &Directory<'_>, bits: usize) -> Result<Vec<[u8; 3]>, PreprocessError> {
    let map = directory.values(tag::COLOR_MAP);
    let map = map.ok_or_else(|| corrupt("no palette".to_owned()))?;
    let colors = map.len() / 3;
    let color = |i| [i, i + colors, i + 2 * colors].map(|at| (map.get(at).unwrap_or(0) >> 8) as u8);
    Ok((0..colors.min(1 << bits)).map(color).collect())
}

/// A sample that was multiplied by alpha.
fn divided(sample: u8, alpha: u8) -> u8 {
    let quotient = (u32::from(sample) * 255).checked_div(u32::from(alpha));
    quotient.unwrap_or(0).min(255) as u8
}

/// What is left of a color's light under its ink and black. Source: Pillow's `cmyk2rgb`.
fn under_black(ink: u8, black: u8) -> u8 {
    let paper = 255 - u32::from(black);
    let product = u32::from(ink) * paper + 128;
    (paper - (((product >> 8) + product) >> 8)) as u8
}
