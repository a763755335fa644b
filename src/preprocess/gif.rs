//! GIF: the first frame on its canvas, row by row unless it is interlaced; the `weezl` crate unpacks the indices.
//!
//! Called by `decode::open`; what stands in front of the picture is `gif_head`. Transparency is dropped: a transparent
//! pixel has its palette color. The canvas around a smaller frame has the transparent index's color, or color 0; the
//! background color of the header is not used. A frame that reaches beyond the canvas enlarges it. Source: what Pillow
//! 13 does, by experiment.

use weezl::{BitOrder, LzwStatus};

use super::decode::{Decoder, Region, RowSink, check_size, overlay};
use super::gif_head::{GifHead, SubBlocks};
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// LZW tables and the palette, in bytes; rounded up from the crate's source.
const FIXED_BUFFERS: u64 = 128 << 10;

/// Bits of an index. One of 12 has no code left for the end. Source: GIF89a, appendix F.
const CODE_SIZES: std::ops::RangeInclusive<u8> = 1..=11;

/// First row and row step of an interlaced frame's passes. Source: GIF89a, appendix E.
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

/// A GIF whose first frame's head has been read.
pub(super) struct GifSource<'a> {
    head: GifHead<'a>,
    unpack: weezl::decode::Decoder,
    blocks: SubBlocks<'a>,
    /// The bytes of the current block that are not unpacked yet.
    block: &'a [u8],
}

impl<'a> GifSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<GifSource<'a>, PreprocessError> {
        let head = GifHead::read(bytes)?;
        check_size(Format::Gif, head.size, limits)?;
        if head.frame.width == 0 || head.frame.height == 0 {
            return Err(corrupt("the first frame is empty".to_owned()));
        }
        if !CODE_SIZES.contains(&head.code_size) {
            return Err(corrupt(format!("codes of {} bits", head.code_size)));
        }
        Ok(GifSource {
            unpack: weezl::decode::Decoder::new(BitOrder::Lsb, head.code_size),
            blocks: SubBlocks(head.data),
            block: &[],
            head,
        })
    }

    /// Fills `indices` with the next pixels as they are stored. Blocks without bytes in between are passed over.
    fn read(&mut self, mut indices: &mut [u8], watch: &Watch) -> Result<(), PreprocessError> {
        while !indices.is_empty() {
            let done = self.unpack.decode_bytes(self.block, indices);
            self.block = &self.block[done.consumed_in..];
            indices = &mut indices[done.consumed_out..];
            match done.status {
                Ok(LzwStatus::NoProgress) => {
                    self.block = self.blocks.next().ok_or_else(truncated)?;
                    if self.block.is_empty() {
                        watch.check()?;
                    }
                }
                Ok(LzwStatus::Done) if !indices.is_empty() => return Err(truncated()),
                Ok(_) => {}
                Err(e) => return Err(corrupt(e.to_string())),
            }
        }
        Ok(())
    }

    /// Hands over the rows of `region`; `row_of` gives the indices of a row of the frame.
    fn paint(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
        mut row_of: impl FnMut(&mut Self, usize, &mut [u8]) -> Result<(), PreprocessError>,
    ) -> Result<(), PreprocessError> {
        let (frame, size, fill) = (self.head.frame, self.head.size, self.head.fill);
        let mut indices = vec![0; frame.width as usize];
        let mut rgb = Vec::with_capacity(indices.len() * 3);
        let mut line = Vec::with_capacity(region.width as usize * 3);
        // To the last row of the frame even where the region ends before: its data must be whole.
        for y in 0..size.1 {
            watch.check()?;
            line.clear();
            line.extend(std::iter::repeat_n(fill, region.width as usize).flatten());
            if (frame.top..frame.top + frame.height).contains(&y) {
                row_of(self, (y - frame.top) as usize, &mut indices)?;
                rgb.clear();
                for &index in &indices {
                    let color = self.head.colors.get(usize::from(index));
                    rgb.extend(color.copied().unwrap_or_default());
                }
                overlay(&mut line, region, frame.left, &rgb);
            }
            if (region.top..region.top + region.height).contains(&y) {
                sink(&line);
            }
        }
        Ok(())
    }
}

impl Decoder for GifSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.head.size
    }

    fn memory(&self, region: Region) -> u64 {
        let frame = self.head.frame;
        let (width, height) = (u64::from(frame.width), u64::from(frame.height));
        let whole = if self.head.interlaced {
            width * height
        } else {
            0
        };
        whole + width * 4 + u64::from(region.width) * 3 + FIXED_BUFFERS
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        if !self.head.interlaced {
            return self.paint(region, watch, sink, |source, _, indices| {
                source.read(indices, watch)
            });
        }
        let (width, height) = (
            self.head.frame.width as usize,
            self.head.frame.height as usize,
        );
        let mut whole = vec![0; width * height];
        let mut rows = PASSES
            .iter()
            .flat_map(|&(first, step)| (first..height).step_by(step));
        let (mut read, mut any) = (Ok(()), false);
        while let (Ok(()), Some(y)) = (&read, rows.next()) {
            watch.check()?;
            read = self.read(&mut whole[y * width..][..width], watch);
            any |= read.is_ok();
        }
        // What there is of a damaged picture as well: it may be wanted all the same.
        if any {
            self.paint(region, watch, sink, |_, y, indices| {
                indices.copy_from_slice(&whole[y * width..][..width]);
                Ok(())
            })?;
        }
        read
    }
}

fn corrupt(detail: String) -> PreprocessError {
    PreprocessError::corrupt(Format::Gif, detail)
}

fn truncated() -> PreprocessError {
    PreprocessError::truncated(Format::Gif, "fewer pixels than the frame's head says")
}
