//! What stands in front of the first picture of a GIF: where it lies on the canvas, and its colors.
//!
//! Called by `gif`. Of the extensions only the control block says something about the picture; all others are stepped
//! over, known or not, as are stray bytes between two blocks. Source: GIF89a, and what Pillow 13 does, by experiment.

use super::decode::Region;
use super::samples::{colors_of, with_ramp};
use super::{Format, PreprocessError};

/// The first picture of a GIF, still encoded.
#[derive(Debug)]
pub(super) struct GifHead<'a> {
    /// Width and height of the canvas, enlarged where the frame reaches beyond it.
    pub(super) size: (u32, u32),
    /// Where the frame lies on the canvas.
    pub(super) frame: Region,
    pub(super) interlaced: bool,
    pub(super) colors: Vec<[u8; 3]>,
    /// The color of the canvas.
    pub(super) fill: [u8; 3],
    /// Bits of an index, one less than the first codes have.
    pub(super) code_size: u8,
    /// The sub-blocks of the encoded picture, and what follows them.
    pub(super) data: &'a [u8],
}

impl<'a> GifHead<'a> {
    /// Reads a file that starts with the signature.
    ///
    /// # Errors
    /// [`PreprocessError::Truncated`] if it ends before a picture begins, [`PreprocessError::Corrupt`] if it has none.
    pub(super) fn read(bytes: &'a [u8]) -> Result<GifHead<'a>, PreprocessError> {
        let mut rest = Rest(bytes);
        rest.take(6)?;
        let screen = [rest.u16()?, rest.u16()?];
        let flags = rest.byte()?;
        rest.take(2)?; // background color, which nobody shows, and aspect ratio
        let mut palette = rest.palette(flags)?;
        let mut transparent = None;
        loop {
            match rest.byte()? {
                b'!' => {
                    const CONTROL: u8 = 0xF9;
                    let is_control = rest.byte()? == CONTROL;
                    let mut blocks = SubBlocks(rest.0);
                    let first = blocks.next().unwrap_or_default();
                    if is_control
                        && let [flags, _, _, index, ..] = *first
                        && flags & 1 != 0
                    {
                        transparent = Some(index);
                    }
                    if !first.is_empty() {
                        blocks.by_ref().take_while(|b| !b.is_empty()).for_each(drop);
                    }
                    rest = Rest(blocks.0);
                }
                b',' => break,
                b';' => return Err(corrupt("no frame")),
                _ => {}
            }
        }
        let [left, top, width, height] = [rest.u16()?, rest.u16()?, rest.u16()?, rest.u16()?];
        let flags = rest.byte()?;
        palette = rest.palette(flags)?.or(palette);
        let colors = with_ramp(colors_of(palette.unwrap_or_default()));
        let fill = colors.get(usize::from(transparent.unwrap_or(0)));
        Ok(GifHead {
            size: (screen[0].max(left + width), screen[1].max(top + height)),
            frame: Region {
                left,
                top,
                width,
                height,
            },
            interlaced: flags & 0x40 != 0,
            fill: fill.copied().unwrap_or_default(),
            colors,
            code_size: rest.byte()?,
            data: rest.0,
        })
    }
}

/// Sub-blocks one after the other: one without bytes ends a series.
#[derive(Debug)]
pub(super) struct SubBlocks<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for SubBlocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        let (block, rest) = rest.split_at(rest.len().min(usize::from(length)));
        self.0 = rest;
        Some(block)
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], PreprocessError> {
        let ended = || PreprocessError::Truncated {
            format: Format::Gif,
            detail: "it ends before its first frame".to_owned(),
        };
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(ended)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, PreprocessError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u32, PreprocessError> {
        Ok(u32::from(self.byte()?) | u32::from(self.byte()?) << 8)
    }

    /// The palette that follows if the flags say so.
    fn palette(&mut self, flags: u8) -> Result<Option<&'a [u8]>, PreprocessError> {
        let follows = flags & 0x80 != 0;
        follows
            .then(|| self.take(3 << ((flags & 7) + 1)))
            .transpose()
    }
}

fn corrupt(detail: &str) -> PreprocessError {
    PreprocessError::corrupt(Format::Gif, detail)
}
