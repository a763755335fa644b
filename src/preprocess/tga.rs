//! TGA: color, grey and palettes, from any corner, plain or in runs.
//!
//! Called by `decode::open`. Samples of 5 bits are cut to 8 as Pillow does it, alpha is dropped, an index beyond the
//! palette is black. Source: the Truevision TGA file format specification, version 2.0.

use super::decode::{Decoder, Region, RowSink, check_size, hand_over_rows};
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// A TGA whose header has been read.
pub(super) struct TgaSource<'a> {
    size: (u32, u32),
    kind: Kind,
    /// Bytes of a pixel.
    step: usize,
    in_runs: bool,
    top_down: bool,
    from_right: bool,
    /// The palette's colors, from the index `first` on.
    colors: Vec<[u8; 3]>,
    first: usize,
    data: &'a [u8],
}

/// What a pixel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Color,
    Grey,
}

impl<'a> TgaSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<TgaSource<'a>, PreprocessError> {
        let (header, rest) = bytes.split_first_chunk::<18>().ok_or_else(truncated)?;
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let size = (word(12).into(), word(14).into());
        check_size(Format::Tga, size, limits)?;
        let kind = match header[2] & 7 {
            1 => Kind::Index,
            2 => Kind::Color,
            _ => Kind::Grey,
        };
        let step = usize::from(header[16]).div_ceil(8);
        let mut data = rest.get(usize::from(header[0])..).ok_or_else(truncated)?;
        let mut colors = Vec::new();
        if header[1] == 1 {
            let each = usize::from(header[7]).div_ceil(8);
            let length = usize::from(word(5)) * each;
            let (palette, rest) = data.split_at_checked(length).ok_or_else(truncated)?;
            colors.extend(palette.chunks_exact(each).map(color));
            data = rest;
        }
        Ok(TgaSource {
            size,
            kind,
            step,
            in_runs: header[2] & 8 != 0,
            top_down: header[17] & 0x20 != 0,
            from_right: header[17] & 0x10 != 0,
            colors,
            first: word(3).into(),
            data,
        })
    }

    /// Bytes of all pixels.
    fn length(&self) -> usize {
        self.size.0 as usize * self.size.1 as usize * self.step
    }

    fn rgb(&self, pixel: &[u8]) -> [u8; 3] {
        match self.kind {
            Kind::Index => {
                let index = usize::from(pixel[0]).checked_sub(self.first);
                let color = index.and_then(|index| self.colors.get(index));
                color.copied().unwrap_or_default()
            }
            Kind::Color => color(pixel),
            Kind::Grey => [pixel[0]; 3],
        }
    }

    /// The pixels of the runs, one after the other. A run may go on in the next row.
    fn unpacked(&self, watch: &Watch) -> Result<Vec<u8>, PreprocessError> {
        let length = self.length();
        let row = self.size.0 as usize * self.step;
        let mut pixels = Vec::with_capacity(length);
        let mut data = self.data;
        let mut looked = 0;
        while pixels.len() < length {
            if pixels.len() >= looked {
                watch.check()?;
                looked = pixels.len() + row;
            }
            let (&head, rest) = data.split_first().ok_or_else(truncated)?;
            let count = (usize::from(head & 0x7F) + 1).min((length - pixels.len()) / self.step);
            let repeats = head & 0x80 != 0;
            let stored = if repeats {
                self.step
            } else {
                count * self.step
            };
            let (stored, rest) = rest.split_at_checked(stored).ok_or_else(truncated)?;
            if repeats {
                pixels.extend(std::iter::repeat_n(stored, count).flatten());
            } else {
                pixels.extend(stored);
            }
            data = rest;
        }
        Ok(pixels)
    }
}

impl Decoder for TgaSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn memory(&self, region: Region) -> u64 {
        let unpacked = if self.in_runs {
            self.length() as u64
        } else {
            0
        };
        unpacked + u64::from(region.width) * 3
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let unpacked = if self.in_runs {
            Some(self.unpacked(watch)?)
        } else {
            None
        };
        let pixels = unpacked.as_deref().unwrap_or(self.data);
        let pixels = pixels.get(..self.length()).ok_or_else(truncated)?;
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        hand_over_rows(region, watch, sink, |y, rgb| {
            let stored = if self.top_down { y } else { height - 1 - y };
            let row = &pixels[stored * width * self.step..][..width * self.step];
            for x in region.left as usize..(region.left + region.width) as usize {
                let stored = if self.from_right { width - 1 - x } else { x };
                rgb.extend(self.rgb(&row[stored * self.step..][..self.step]));
            }
        })
    }
}

/// A color of two bytes, five bits each, or of three and more, blue first.
fn color(stored: &[u8]) -> [u8; 3] {
    match *stored {
        [low, high] => {
            let word = u32::from(u16::from_le_bytes([low, high]));
            [10, 5, 0].map(|shift| ((word >> shift & 31) * 255 / 31) as u8)
        }
        [blue, green, red, ..] => [red, green, blue],
        _ => [0; 3],
    }
}

fn truncated() -> PreprocessError {
    PreprocessError::too_short(Format::Tga)
}
