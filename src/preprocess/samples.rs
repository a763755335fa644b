//! Stored samples of a PNG, and palettes, to 8-bit RGB.
//!
//! Used by `png`; `gif_head` and `bmp` use what is said of palettes, whoever has several samples in a byte `packed`.
//! Alpha and transparent colors are dropped, 16 bits keep their high byte, less than 8 bits of grey are spread over 0 to
//! 255, and an index beyond the palette is black. Source: what Pillow 13 does, by experiment, but for 16-bit grey, which
//! it clips; see `docs/PREPROCESSING.md`.

use std::ops::Range;

use ::png::{BitDepth, ColorType};

/// How the samples of one image become RGB.
pub(super) enum Samples {
    /// Whole bytes, `step` of them a pixel; the high bytes of red, green and blue lie at `bytes`.
    Direct { step: usize, bytes: [usize; 3] },
    /// One sample of `bits` bits a pixel, looked up: palettes, and grey of less than 8 bits.
    LookUp { bits: usize, colors: Vec<[u8; 3]> },
}

impl Samples {
    /// What the samples of this color type and depth mean; without a palette every indexed color is black.
    pub(super) fn new(color: ColorType, depth: BitDepth, palette: Option<&[u8]>) -> Samples {
        let bits = depth as usize;
        let (size, step) = (bits / 8, bits / 8 * color.samples());
        match color {
            ColorType::Indexed => Samples::LookUp {
                bits,
                colors: colors_of(palette.unwrap_or_default()),
            },
            ColorType::Grayscale if bits < 8 => {
                let most = (1 << bits) - 1;
                let colors = (0..=most).map(|v: usize| [(v * 255 / most) as u8; 3]);
                Samples::LookUp {
                    bits,
                    colors: colors.collect(),
                }
            }
            ColorType::Grayscale | ColorType::GrayscaleAlpha => Samples::Direct {
                step,
                bytes: [0; 3],
            },
            ColorType::Rgb | ColorType::Rgba => Samples::Direct {
                step,
                bytes: [0, size, 2 * size],
            },
        }
    }

    /// Appends the RGB of some columns of a row to `out`.
    ///
    /// # Shapes
    /// - `row`: the samples of a row, packed as PNG stores them
    /// - `out`: gains `[columns, 3]` `u8`
    pub(super) fn expand(&self, row: &[u8], columns: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Samples::Direct {
                step: 3,
                bytes: [0, 1, 2],
            } => out.extend_from_slice(&row[columns.start * 3..columns.end * 3]),
            Samples::Direct { step, bytes } => {
                for pixel in row[columns.start * step..columns.end * step].chunks_exact(*step) {
                    out.extend(bytes.map(|at| pixel[at]));
                }
            }
            Samples::LookUp { bits, colors } => {
                for x in columns {
                    let color = colors.get(usize::from(packed(row, x, *bits)));
                    out.extend(color.copied().unwrap_or_default());
                }
            }
        }
    }
}

/// The sample of 1, 2, 4 or 8 bits at an index of a row; the first one has the highest bits of its byte.
pub(super) fn packed(row: &[u8], index: usize, bits: usize) -> u8 {
    let shift = 8 - bits - index * bits % 8;
    row[index * bits / 8] >> shift & (u8::MAX >> (8 - bits))
}

/// The colors of a palette; a last one that is not whole is left out.
pub(super) fn colors_of(palette: &[u8]) -> Vec<[u8; 3]> {
    let (colors, _) = palette.as_chunks();
    colors.to_vec()
}

/// A palette that maps every index to its own grey does so beyond its end too; for Pillow it is no palette at all, and
/// without one the indices are greys.
pub(super) fn with_ramp(mut colors: Vec<[u8; 3]>) -> Vec<[u8; 3]> {
    if (0..=u8::MAX)
        .zip(&colors)
        .all(|(i, color)| *color == [i; 3])
    {
        let more = (0..=u8::MAX).skip(colors.len());
        colors.extend(more.map(|i| [i; 3]));
    }
    colors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(color: ColorType, depth: BitDepth, row: &[u8], columns: Range<usize>) -> Vec<u8> {
        let palette = [10, 20, 30, 40, 50, 60, 7];
        let samples = Samples::new(color, depth, Some(&palette));
        let mut out = Vec::new();
        samples.expand(row, columns, &mut out);
        out
    }

    #[test]
    fn grey_of_few_bits_spreads_over_the_whole_range() {
        let grey = |depth, row: &[u8], columns| {
            let rgb = expanded(ColorType::Grayscale, depth, row, columns);
            rgb.chunks_exact(3)
                .map(|pixel| pixel[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(grey(BitDepth::One, &[0b1010_0001], 5..8), [0, 0, 255]);
        assert_eq!(grey(BitDepth::Two, &[0b0001_1011], 0..4), [0, 85, 170, 255]);
        assert_eq!(grey(BitDepth::Four, &[0x01, 0xEF], 1..4), [17, 238, 255]);
        assert_eq!(
            grey(BitDepth::Sixteen, &[1, 255, 0xFE, 0x80], 0..2),
            [1, 254]
        );
    }

    #[test]
    fn samples_share_a_byte_from_its_highest_bits_on() {
        let row = [0b1011_0001, 0b0111_1110];
        let all = |bits: usize| {
            (0..16 / bits)
                .map(|i| packed(&row, i, bits))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(1), [1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!(all(2), [2, 3, 0, 1, 1, 3, 3, 2]);
        assert_eq!(all(4), [11, 1, 7, 14]);
        assert_eq!(all(8), row);
    }

    #[test]
    fn alpha_is_dropped_and_the_high_byte_kept() {
        let row = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(
            expanded(ColorType::Rgba, BitDepth::Eight, &row, 1..2),
            [5, 6, 7]
        );
        assert_eq!(
            expanded(ColorType::Rgba, BitDepth::Sixteen, &row, 0..1),
            [1, 3, 5]
        );
        assert_eq!(
            expanded(ColorType::GrayscaleAlpha, BitDepth::Eight, &row, 3..4),
            [7, 7, 7]
        );
    }

    #[test]
    fn index_beyond_the_palette_is_black() {
        let rgb = expanded(ColorType::Indexed, BitDepth::Two, &[0b0001_1000], 0..3);
        assert_eq!(rgb, [10, 20, 30, 40, 50, 60, 0, 0, 0]);
    }
}
