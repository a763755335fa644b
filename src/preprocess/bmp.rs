//! BMP, as a file or inside an icon: rows of pixels as they lie in the file, or runs of indices.
//!
//! Called by `decode::open` and `ico`. Samples of 5 and 6 bits are cut to 8 as Pillow does it, alpha is dropped, an index
//! beyond the palette is black, beyond one of greys its grey. Source: the structures `BITMAPFILEHEADER` to `BITMAPV5HEADER` of Windows and
//! `BITMAPCOREHEADER` of OS/2; for runs that leave pixels out Pillow 13.

use super::bmp_runs::indices_of;
use super::decode::{Decoder, Region, RowSink, check_size, hand_over_rows};
use super::samples::{packed, with_ramp};
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// Bytes of the header of a file, in front of that of the bitmap.
const FILE_HEADER: usize = 14;

/// How pixels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Indices into the palette, of so many bits.
    Indices(usize),
    /// So many bytes a pixel; red, green and blue are its bytes number `bytes`.
    Bytes { step: usize, bytes: [usize; 3] },
    /// Two bytes a pixel, with so many bits of green between five of red and of blue.
    Words { green: u32 },
    /// Indices in runs, of four bits or of eight.
    Runs { four_bits: bool },
}

/// A BMP whose header has been read.
pub(super) struct BmpSource<'a> {
    size: (u32, u32),
    top_down: bool,
    coding: Coding,
    /// Bits of a pixel.
    bits: usize,
    colors: Vec<[u8; 3]>,
    bytes: &'a [u8],
    /// Where the pixels begin.
    start: usize,
}

impl<'a> BmpSource<'a> {
    /// Reads the header of a file.
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<BmpSource<'a>, PreprocessError> {
        let start = Fields(bytes).long(10)?;
        BmpSource::read(bytes, FILE_HEADER, start as usize, 1, limits)
    }

    /// Reads the header of a bitmap in an icon, whose height counts the mask below it.
    pub(super) fn in_icon(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<BmpSource<'a>, PreprocessError> {
        BmpSource::read(bytes, 0, 0, 2, limits)
    }

    /// Reads the bitmap's header at `at`; `start` is where the pixels begin, or 0.
    fn read(
        bytes: &'a [u8],
        at: usize,
        start: usize,
        heights: u32,
        limits: ImageLimits,
    ) -> Result<BmpSource<'a>, PreprocessError> {
        const CORE: usize = 12;
        let fields = Fields(bytes);
        let header = fields.long(at)? as usize;
        let core = header == CORE;
        let (width, height, bits, compression, told) = if core {
            let size = (fields.word(at + 4)?, fields.word(at + 6)?);
            (size.0, size.1 as i32, fields.word(at + 10)?, 0, 0)
        } else if matches!(header, 40 | 52 | 56 | 64 | 108 | 124) {
            let (compression, told) = (fields.long(at + 16)?, fields.long(at + 32)?);
            let size = (fields.long(at + 4)?, fields.long(at + 8)? as i32);
            (size.0, size.1, fields.word(at + 14)?, compression, told)
        } else {
            return Err(unsupported("a header of a rare size; save it as PNG"));
        };
        let size = (width, height.unsigned_abs() / heights);
        check_size(Format::Bmp, size, limits)?;
        let masks = if compression == 3 {
            let alpha = if header >= 56 {
                fields.long(at + 52)?
            } else {
                0
            };
            let mask = |i: usize| fields.long(at + 40 + 4 * i);
            Some([mask(0)?, mask(1)?, mask(2)?, alpha])
        } else {
            None
        };
        let coding = Coding::of(bits, compression, masks)?;
        let mut end = at + header;
        if masks.is_some() && header == 40 {
            end += 12;
        }
        let (mut start, mut colors) = (start, Vec::new());
        if bits <= 8 {
            let count = if told == 0 { 1 << bits } else { told as usize };
            let each = if core { 3 } else { 4 };
            if count > 256 {
                return Err(corrupt(format!("a palette of {count} colors")));
            }
            if start == at + header {
                start += count * each;
            }
            let palette = bytes.get(end..).unwrap_or_default();
            let palette = &palette[..palette.len().min(count * each)];
            colors.extend(palette.chunks_exact(each).map(|c| [c[2], c[1], c[0]]));
            // Two greys are black and white for Pillow, or colors.
            if bits == 8 && colors.len() == count && count != 2 {
                colors = with_ramp(colors);
            }
            end += count * each;
        }
        Ok(BmpSource {
            size,
            top_down: height < 0,
            coding,
            bits: bits as usize,
            colors,
            bytes,
            start: if start == 0 { end } else { start },
        })
    }

    /// Appends the RGB of a row of stored pixels, or of indices of eight bits, to `rgb`.
    fn expand(&self, row: &[u8], columns: std::ops::Range<usize>, rgb: &mut Vec<u8>) {
        let color = |index: usize| self.colors.get(index).copied().unwrap_or_default();
        match self.coding {
            Coding::Runs { .. } | Coding::Indices(8) => {
                rgb.extend(
                    row[columns]
                        .iter()
                        .flat_map(|index| color(usize::from(*index))),
                );
            }
            Coding::Indices(bits) => {
                rgb.extend(columns.flat_map(|x| color(usize::from(packed(row, x, bits)))));
            }
            Coding::Bytes { step, bytes } => {
                let pixels = row[columns.start * step..columns.end * step].chunks_exact(step);
                rgb.extend(pixels.flat_map(|pixel| bytes.map(|at| pixel[at])));
            }
            Coding::Words { green } => {
                let (words, _) = row[columns.start * 2..columns.end * 2].as_chunks();
                let cut = |word: u32, bits: u32| {
                    ((word & ((1 << bits) - 1)) * 255 / ((1 << bits) - 1)) as u8
                };
                rgb.extend(words.iter().flat_map(|word| {
                    let word = u32::from(u16::from_le_bytes(*word));
                    [
                        cut(word >> (5 + green), 5),
                        cut(word >> 5, green),
                        cut(word, 5),
                    ]
                }));
            }
        }
    }
}

impl Coding {
    fn of(bits: u32, compression: u32, masks: Option<[u32; 4]>) -> Result<Coding, PreprocessError> {
        const BYTES: [u32; 4] = [0xFF, 0xFF00, 0x00FF_0000, 0xFF00_0000];
        let byte = |mask: u32| BYTES.iter().position(|byte| *byte == mask);
        Ok(match (bits, compression, masks) {
            (1 | 4 | 8, 0, _) => Coding::Indices(bits as usize),
            (8, 1, _) => Coding::Runs { four_bits: false },
            (4, 2, _) => Coding::Runs { four_bits: true },
            (16, 0, _) | (16, 3, Some([0x7C00, 0x03E0, 0x1F, _])) => Coding::Words { green: 5 },
            (16, 3, Some([0xF800, 0x07E0, 0x1F, _])) => Coding::Words { green: 6 },
            (24, 0, _) | (24, 3, Some([0x00FF_0000, 0xFF00, 0xFF, _])) => Coding::Bytes {
                step: 3,
                bytes: [2, 1, 0],
            },
            (32, 0, _) | (32, 3, Some([0, 0, 0, 0])) => Coding::Bytes {
                step: 4,
                bytes: [2, 1, 0],
            },
            (32, 3, Some([red, green, blue, _])) => match (byte(red), byte(green), byte(blue)) {
                (Some(red), Some(green), Some(blue)) => Coding::Bytes {
                    step: 4,
                    bytes: [red, green, blue],
                },
                _ => {
                    return Err(unsupported(
                        "masks of neither 5, 6 nor 8 bits; save it as PNG",
                    ));
                }
            },
            (16 | 24, 3, _) => {
                return Err(unsupported(
                    "masks of neither 5, 6 nor 8 bits; save it as PNG",
                ));
            }
            (_, 4 | 5, _) => return Err(unsupported("a JPEG or PNG inside; send that")),
            (_, 0..=3, _) => return Err(unsupported("a rare number of bits; save it as PNG")),
            _ => return Err(unsupported("a rare compression; save it as PNG")),
        })
    }
}

impl Decoder for BmpSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn memory(&self, region: Region) -> u64 {
        let indices = match self.coding {
            Coding::Runs { .. } => u64::from(self.size.0) * u64::from(self.size.1),
            _ => 0,
        };
        indices + u64::from(region.width) * 3
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let unpacked = match self.coding {
            Coding::Runs { four_bits } => Some(indices_of(
                self.bytes,
                self.start,
                (width, height),
                four_bits,
                watch,
            )?),
            _ => None,
        };
        // Rows begin at multiples of four bytes; the last may lack what fills it up.
        let (row, stride) = match self.coding {
            Coding::Runs { .. } => (width, width),
            _ => (
                (width * self.bits).div_ceil(8),
                (width * self.bits).div_ceil(32) * 4,
            ),
        };
        let data = self.bytes.get(self.start..).unwrap_or_default();
        let data = unpacked.as_deref().unwrap_or(data);
        if data.len() < stride * (height - 1) + row {
            return Err(truncated());
        }
        let columns = region.left as usize..(region.left + region.width) as usize;
        hand_over_rows(region, watch, sink, |y, rgb| {
            let stored = if self.top_down { y } else { height - 1 - y };
            self.expand(&data[stored * stride..][..row], columns.clone(), rgb);
        })
    }
}

/// Numbers of a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], PreprocessError> {
        let bytes = self.0.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.copied().ok_or_else(truncated)
    }

    fn word(&self, at: usize) -> Result<u32, PreprocessError> {
        Ok(u16::from_le_bytes(self.bytes(at)?).into())
    }

    fn long(&self, at: usize) -> Result<u32, PreprocessError> {
        Ok(u32::from_le_bytes(self.bytes(at)?))
    }
}

fn corrupt(detail: String) -> PreprocessError {
    PreprocessError::corrupt(Format::Bmp, detail)
}

pub(super) fn truncated() -> PreprocessError {
    PreprocessError::too_short(Format::Bmp)
}

fn unsupported(variant: &'static str) -> PreprocessError {
    let format = Format::Bmp;
    PreprocessError::UnsupportedVariant { format, variant }
}
