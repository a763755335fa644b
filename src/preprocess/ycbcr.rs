//! Samples of YCbCr to 8-bit RGB, as libheif computes it.
//!
//! Used by `heic`. Colors are those of the coded picture: primaries, transfer and profiles are ignored, as for the other
//! formats. Source: ITU-T H.273, section 8.3, with libheif's numbers where those are others.

use super::heif::Colors;

/// Fraction bits of the factors: with samples of 16 bits the sums stay below 2³¹.
const BITS: u32 = 13;

/// What luma and chroma of limited range are stretched by. Source: libheif 1.23, `yuv2rgb.cc`; the standard's factor of
/// luma is 1.1644.
const LIMITED: [f64; 2] = [1.1689, 1.1429];

/// How the samples of one picture become RGB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversion {
    matrix: Matrix,
    /// Of a sample; those beyond 8 are dropped from the result.
    bits: u32,
    /// What is subtracted from luma, and from chroma.
    offsets: [i32; 2],
    /// Factors of luma and of chroma.
    scales: [i32; 2],
}

#[derive(Debug, Clone, Copy)]
enum Matrix {
    /// The samples are green, blue and red.
    Identity,
    /// Chroma is green and orange.
    YCgCo,
    /// Factors: red by Cr, green by Cb and by Cr, blue by Cb.
    Linear([i32; 4]),
}

impl Conversion {
    /// For samples of 8 to 16 bits.
    pub(super) fn new(colors: Colors, bits: u32) -> Conversion {
        let ([luma, chroma], black) = if colors.full_range {
            ([1.0, 1.0], 0)
        } else {
            (LIMITED, 16 << (bits - 8))
        };
        let matrix = match colors.matrix {
            0 => Matrix::Identity,
            8 => Matrix::YCgCo,
            number => {
                let (red, blue) = luma_weights(number);
                let green = 1.0 - red - blue;
                let (of_cr, of_cb) = (2.0 * (1.0 - red), 2.0 * (1.0 - blue));
                let factors = [of_cr, -of_cb * blue / green, -of_cr * red / green, of_cb];
                Matrix::Linear(factors.map(|factor| fixed(factor * chroma)))
            }
        };
        let is_identity = colors.matrix == 0;
        let middle = if is_identity { black } else { 1 << (bits - 1) };
        Conversion {
            matrix,
            bits,
            offsets: [black, middle],
            scales: [fixed(luma), fixed(chroma)],
        }
    }

    /// Appends the RGB of a row; the three slices are equally long.
    pub(super) fn row(&self, y: &[i32], cb: &[i32], cr: &[i32], out: &mut Vec<u8>) {
        let most = (1 << self.bits) - 1;
        let byte = |value: i32| {
            let sample = ((value + (1 << (BITS - 1))) >> BITS).clamp(0, most);
            (sample >> (self.bits - 8)) as u8
        };
        let ([black, middle], [luma, chroma]) = (self.offsets, self.scales);
        let pixels = y.iter().zip(cb).zip(cr);
        let samples = pixels.map(|((y, cb), cr)| ((y - black) * luma, cb - middle, cr - middle));
        match self.matrix {
            Matrix::Linear([red, green_by_cb, green_by_cr, blue]) => {
                out.extend(samples.flat_map(|(y, cb, cr)| {
                    [
                        byte(y + red * cr),
                        byte(y + green_by_cb * cb + green_by_cr * cr),
                        byte(y + blue * cb),
                    ]
                }));
            }
            Matrix::YCgCo => out.extend(samples.flat_map(|(y, cg, co)| {
                let (cg, co) = (cg << BITS, co << BITS);
                [byte(y - cg + co), byte(y + cg), byte(y - cg - co)]
            })),
            Matrix::Identity => {
                out.extend(
                    samples.flat_map(|(y, cb, cr)| [byte(cr * chroma), byte(y), byte(cb * chroma)]),
                );
            }
        }
    }
}

fn fixed(factor: f64) -> i32 {
    (factor * f64::from(1 << BITS)).round() as i32
}

/// How much of luma is red, and how much blue. Matrices that are no such sum are taken for BT.601, as unnamed ones.
fn luma_weights(matrix: u16) -> (f64, f64) {
    match matrix {
        1 => (0.2126, 0.0722),
        4 => (0.30, 0.11),
        7 => (0.212, 0.087),
        9 | 10 => (0.2627, 0.0593),
        _ => (0.299, 0.114),
    }
}
