//! Samples of YCbCr to 8-bit RGB, as the libraries of HEIC and AVIF compute it.
//!
//! Used by `heif`. Colors are those of the coded picture: primaries, transfer and profiles are ignored, as for the other
//! formats. Source: ITU-T H.273, section 8.3, with libheif's numbers where those are others.

use super::heif::Colors;

/// Fraction bits of the factors: with samples of 16 bits the sums stay below 2³¹.
const BITS: u32 = 13;

/// What luma and chroma of limited range are stretched by in HEIC. Source: libheif 1.23, `yuv2rgb.cc`; the standard's
/// factor of luma is 1.1644.
const LIBHEIF_LIMITED: [f64; 2] = [1.1689, 1.1429];

/// The largest factor of Cb, where the standard has up to 2.14. Source: libyuv, which libavif uses, `row.h`: it is 128,
/// of which a signed byte has no more.
const MOST_BLUE: f64 = 2.0;

/// The library whose numbers a conversion must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    /// Chroma samples are repeated; a monochrome picture is as its samples are; bits beyond 8 are dropped in the end.
    #[cfg_attr(not(feature = "heic"), allow(dead_code, reason = "HEIC's"))]
    Libheif,
    /// Chroma is interpolated; a monochrome picture has a range too; blue has at most twice Cb.
    #[cfg_attr(not(feature = "avif"), allow(dead_code, reason = "AVIF's"))]
    Libavif,
}

/// How the samples of one picture become RGB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversion {
    library: Library,
    matrix: Matrix,
    /// The largest value of a result, and how many of its low bits are dropped.
    most: i32,
    dropped: u32,
    /// The offsets that are subtracted from luma, and from chroma.
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
    /// The conversion of samples of 8 to 16 bits.
    pub(super) fn new(colors: Colors, bits: u32, library: Library) -> Conversion {
        let black = match colors.full_range {
            true => 0,
            false => 16 << (bits - 8),
        };
        let most = (1 << bits) - 1;
        let [luma, chroma] = match (library, colors.full_range) {
            (Library::Libheif, true) => [1.0, 1.0],
            (Library::Libheif, false) => LIBHEIF_LIMITED,
            (Library::Libavif, true) => [255.0 / f64::from(most); 2],
            (Library::Libavif, false) => {
                [219, 224].map(|range| 255.0 / f64::from(range << (bits - 8)))
            }
        };
        let matrix = match colors.matrix {
            0 => Matrix::Identity,
            8 => Matrix::YCgCo,
            number => {
                let (red, blue) = luma_weights(number);
                let green = 1.0 - red - blue;
                let (of_cr, of_cb) = (2.0 * (1.0 - red), 2.0 * (1.0 - blue));
                let factors = [of_cr, -of_cb * blue / green, -of_cr * red / green, of_cb];
                let [red, by_cb, by_cr, blue] = factors.map(|factor| factor * chroma);
                let blue = match library {
                    Library::Libheif => blue,
                    Library::Libavif => blue.min(MOST_BLUE),
                };
                Matrix::Linear([red, by_cb, by_cr, blue].map(fixed))
            }
        };
        let chroma = match (matrix, library) {
            (Matrix::YCgCo, Library::Libheif) => 1.0,
            (Matrix::Identity, Library::Libavif) => luma,
            _ => chroma,
        };
        let is_identity = colors.matrix == 0;
        let (most, dropped) = match library {
            Library::Libheif => (most, bits - 8),
            Library::Libavif => (255, 0),
        };
        Conversion {
            library,
            matrix,
            most,
            dropped,
            offsets: [black, if is_identity { black } else { 1 << (bits - 1) }],
            scales: [fixed(luma), fixed(chroma)],
        }
    }

    /// Whether chroma between two samples is a mean of both.
    pub(super) fn interpolates(&self) -> bool {
        self.library == Library::Libavif
    }

    fn byte(&self, value: i32) -> u8 {
        let sample = ((value + (1 << (BITS - 1))) >> BITS).clamp(0, self.most);
        (sample >> self.dropped) as u8
    }

    /// Appends the RGB of a row; the three slices are equally long.
    pub(super) fn row(&self, y: &[u16], cb: &[u16], cr: &[u16], out: &mut Vec<u8>) {
        let ([black, middle], [luma, chroma]) = (self.offsets, self.scales);
        let pixels = y.iter().zip(cb).zip(cr);
        let samples = pixels.map(|((y, cb), cr)| {
            let [y, cb, cr] = [*y, *cb, *cr].map(i32::from);
            ((y - black) * luma, cb - middle, cr - middle)
        });
        match self.matrix {
            Matrix::Linear([red, green_by_cb, green_by_cr, blue]) => {
                out.extend(samples.flat_map(|(y, cb, cr)| {
                    [
                        self.byte(y + red * cr),
                        self.byte(y + green_by_cb * cb + green_by_cr * cr),
                        self.byte(y + blue * cb),
                    ]
                }));
            }
            Matrix::YCgCo => out.extend(samples.flat_map(|(y, cg, co)| {
                let (cg, co) = (cg * chroma, co * chroma);
                [
                    self.byte(y - cg + co),
                    self.byte(y + cg),
                    self.byte(y - cg - co),
                ]
            })),
            Matrix::Identity => {
                out.extend(samples.flat_map(|(y, cb, cr)| {
                    [self.byte(cr * chroma), self.byte(y), self.byte(cb * chroma)]
                }));
            }
        }
    }

    /// Appends the RGB of a row of a monochrome picture.
    pub(super) fn grey_row(&self, y: &[u16], out: &mut Vec<u8>) {
        let grey = |sample: i32| match self.library {
            Library::Libheif => (sample >> self.dropped) as u8,
            Library::Libavif => self.byte((sample - self.offsets[0]) * self.scales[0]),
        };
        out.extend(y.iter().flat_map(|y| [grey(i32::from(*y)); 3]));
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
