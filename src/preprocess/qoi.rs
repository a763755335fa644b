//! QOI, row by row.
//!
//! Called by `decode::open`. Alpha is dropped, whatever the number of channels in the header; the end marker is not asked
//! for. Source: the QOI specification, version 1.0.

use super::decode::{Decoder, Region, RowSink, check_size};
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// Red, green, blue and alpha.
type Pixel = [u8; 4];

/// A QOI whose header has been read.
pub(super) struct QoiSource<'a> {
    size: (u32, u32),
    codes: &'a [u8],
}

impl<'a> QoiSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<QoiSource<'a>, PreprocessError> {
        const HEADER: usize = 14;
        let (header, codes) = bytes.split_at_checked(HEADER).ok_or_else(truncated)?;
        let side = |at: usize| {
            header[at..at + 4]
                .iter()
                .fold(0, |sum, b| sum << 8 | u32::from(*b))
        };
        let size = (side(4), side(8));
        check_size(Format::Qoi, size, limits)?;
        Ok(QoiSource { size, codes })
    }
}

impl Decoder for QoiSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn memory(&self, region: Region) -> u64 {
        u64::from(region.width) * 3
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let mut pixels = Pixels {
            codes: self.codes,
            last: [0, 0, 0, 255],
            seen: [[0; 4]; 64],
            run: 0,
        };
        let columns = region.left..region.left + region.width;
        let mut rgb = Vec::with_capacity(columns.len() * 3);
        // To the last row even where the region ends before: they must all be there.
        for y in 0..self.size.1 {
            watch.check()?;
            rgb.clear();
            for x in 0..self.size.0 {
                let [red, green, blue, _] = pixels.next().ok_or_else(truncated)?;
                if columns.contains(&x) {
                    rgb.extend([red, green, blue]);
                }
            }
            if (region.top..region.top + region.height).contains(&y) {
                sink(&rgb);
            }
        }
        Ok(())
    }
}

/// The pixels of a series of codes.
struct Pixels<'a> {
    codes: &'a [u8],
    last: Pixel,
    /// Pixels that were seen lately, by their hash.
    seen: [Pixel; 64],
    /// How often the last pixel still comes.
    run: u8,
}

impl Pixels<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.codes.split_first_chunk()?;
        self.codes = rest;
        Some(*taken)
    }

    fn code(&mut self) -> Option<Pixel> {
        const RGB: u8 = 0xFE;
        const RGBA: u8 = 0xFF;
        let [code] = self.take()?;
        let low = code & 0x3F;
        let [red, green, blue, alpha] = self.last;
        Some(match (code, code >> 6) {
            (RGBA, _) => self.take()?,
            (RGB, _) => {
                let [red, green, blue] = self.take()?;
                [red, green, blue, alpha]
            }
            (_, 0) => self.seen[usize::from(low)],
            (_, 1) => {
                let step =
                    |value: u8, shift: u8| value.wrapping_add(low >> shift & 3).wrapping_sub(2);
                [step(red, 4), step(green, 2), step(blue, 0), alpha]
            }
            (_, 2) => {
                let [more] = self.take()?;
                let all = low.wrapping_sub(32);
                let step = |value: u8, more: u8| {
                    value.wrapping_add(all).wrapping_add(more).wrapping_sub(8)
                };
                [
                    step(red, more >> 4),
                    green.wrapping_add(all),
                    step(blue, more & 15),
                    alpha,
                ]
            }
            _ => {
                self.run = low;
                return Some(self.last);
            }
        })
    }
}

impl Iterator for Pixels<'_> {
    type Item = Pixel;

    fn next(&mut self) -> Option<Pixel> {
        if self.run > 0 {
            self.run -= 1;
            return Some(self.last);
        }
        self.last = self.code()?;
        let [red, green, blue, alpha] = self.last.map(usize::from);
        self.seen[(red * 3 + green * 5 + blue * 7 + alpha * 11) % 64] = self.last;
        Some(self.last)
    }
}

fn truncated() -> PreprocessError {
    PreprocessError::too_short(Format::Qoi)
}
