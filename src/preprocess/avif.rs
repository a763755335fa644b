//! AVIF: pictures that are coded by AV1, in HEIF. The codec is `oxideav-av1`, which decodes one coded picture.
//!
//! Used by `decode::open`, in `heif::Tiled`. Pixels are those of libavif: of samples the bits beyond 8 are dropped before
//! anything else, chroma is interpolated, colors that no box names are those of the stream. Alpha is dropped. What the
//! decoder gets is the first frame and no more, and its size has been read here: it cannot be stopped within a picture, so
//! that one has a limit of its own.

use oxideav_av1::decoder::{SpecDecodeSession, SpecFrame};
use oxideav_av1::frame_header::{FrameHeader, FrameType, parse_frame_header};
use oxideav_av1::sequence_header::{SequenceHeader, parse_sequence_header};
use oxideav_av1::{Error, ObuIter, ObuType};

use super::Format;
use super::boxes::ContainerError;
use super::heif::{Codec, Colors, Heif, Tile};
use super::ycbcr::Library;

/// Pixels that a coded picture may have: 4096×3072. A photo takes some tenths of a second a megapixel, noise of 12 bits
/// without loss ten times as long.
const MAX_PIXELS: u64 = 12 << 20;

/// What a coded picture holds while it is decoded, in bytes a sample: 32 bits, 16 for what film grain is laid over, and
/// the result.
const SAMPLE_BYTES: u64 = 8;

/// What it holds besides where it is coded narrower than it is shown: copies before and behind the widening.
const WIDENED_SAMPLE_BYTES: u64 = 16;

/// What it holds for each block of 4×4 pixels: modes, palettes, edges. Rounded up from oxideav-av1 0.1.21, `cdf.rs`.
const BLOCK_BYTES: u64 = 80;

/// Tables of probabilities, and what a picture has for each of its rows; by a counting allocator, rounded up.
const FIXED_BYTES: u64 = 1 << 20;

/// What the coded AV1 pictures of an AVIF file have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Av1 {
    tile: Tile,
    /// Bits of a sample as it is coded.
    bits: u32,
    /// Whether a picture is coded narrower than it is shown.
    is_widened: bool,
    colors: (u16, bool),
}

/// The first frame of a coded picture.
struct FirstFrame<'a> {
    sequence: SequenceHeader,
    frame: FrameHeader,
    /// The bytes that it is decoded from.
    data: &'a [u8],
}

impl<'a> FirstFrame<'a> {
    /// Finds it. Source: AV1 bitstream specification, sections 5.3 and 7.5.
    fn find(data: &'a [u8]) -> Result<FirstFrame<'a>, ContainerError> {
        let (mut sequence, mut frame) = (None, None);
        let mut end = 0;
        let mut rest = data;
        while !rest.is_empty() {
            let unit = ObuIter::new(rest).next();
            let Some(unit) = unit.transpose().map_err(|e| av1_error(&e))? else {
                break;
            };
            let is_frame = matches!(unit.obu_type, ObuType::FrameHeader | ObuType::Frame);
            if frame.is_some() && (is_frame || unit.obu_type == ObuType::SequenceHeader) {
                break;
            }
            if unit.spatial_id > 0 {
                return Err(ContainerError::Unsupported("a picture of several layers"));
            }
            match unit.obu_type {
                ObuType::SequenceHeader => {
                    let read = parse_sequence_header(unit.payload);
                    sequence = Some(read.map_err(|e| av1_error(&e))?);
                }
                ObuType::FrameHeader | ObuType::Frame => {
                    let sequence = sequence.as_ref();
                    let sequence = sequence.ok_or(ContainerError::Corrupt("no sequence header"))?;
                    let read = parse_frame_header(unit.payload, sequence);
                    frame = Some(read.map_err(|e| av1_error(&e))?);
                }
                _ => {}
            }
            let size = unit.header_len + unit.payload_len;
            end += size;
            rest = &rest[size.min(rest.len())..];
        }
        match (sequence, frame) {
            (Some(sequence), Some(frame)) => Ok(FirstFrame {
                sequence,
                frame,
                data: &data[..end],
            }),
            _ => Err(ContainerError::Truncated),
        }
    }
}

impl Av1 {
    fn of(first: &FirstFrame) -> Result<Av1, ContainerError> {
        let FirstFrame {
            sequence, frame, ..
        } = first;
        if frame.show_existing_frame || frame.frame_type != FrameType::Key || !frame.show_frame {
            return Err(ContainerError::Unsupported(
                "a picture whose first frame is not shown as it is",
            ));
        }
        let size = frame.frame_size;
        let size = size.ok_or(ContainerError::Corrupt("a frame without a size"))?;
        let is_widened = size.use_superres;
        let size = (size.upscaled_width, size.frame_height);
        let pixels = u64::from(size.0) * u64::from(size.1);
        if pixels > MAX_PIXELS {
            return Err(ContainerError::TooLarge {
                got: pixels,
                unit: "pixels",
                max: MAX_PIXELS,
            });
        }
        let colors = &sequence.color_config;
        let shifts = (colors.subsampling_x.into(), colors.subsampling_y.into());
        Ok(Av1 {
            tile: Tile {
                size,
                bits: 8,
                chroma: (!colors.mono_chrome).then_some(shifts),
            },
            bits: colors.bit_depth.into(),
            is_widened,
            colors: (u16::from(colors.matrix_coefficients), colors.color_range),
        })
    }
}

impl Av1 {
    /// Whether a frame has the planes, sizes and depth that its head says.
    fn has_size(&self, frame: &SpecFrame) -> bool {
        let (width, height) = self.tile.size;
        let halves = |side: u32, shift: u32| side.div_ceil(1 << shift);
        let mut due = vec![(width, height)];
        if let Some((across, down)) = self.tile.chroma {
            due.extend([(halves(width, across), halves(height, down)); 2]);
        }
        let bytes = if self.bits == 8 { 1 } else { 2 };
        let lengths = due
            .iter()
            .map(|(width, height)| *width as usize * *height as usize * bytes);
        frame.plane_dims == due
            && u32::from(frame.bit_depth) == self.bits
            && lengths.eq(frame.planes.iter().map(Vec::len))
    }
}

impl Codec for Av1 {
    const FORMAT: Format = Format::Avif;
    const LIBRARY: Library = Library::Libavif;
    const TURNS_AS_EXIF: bool = true; // as Pillow has it

    type Picture = SpecFrame;

    fn read(heif: &Heif) -> Result<Av1, ContainerError> {
        // What `av1C` says is in the coded picture too.
        if heif.property(0, b"av1C").is_none() {
            return Err(ContainerError::Unsupported(
                "a picture that is not coded by AV1",
            ));
        }
        Av1::of(&FirstFrame::find(&heif.tile(0, b"av01")?)?)
    }

    fn tile(&self) -> Tile {
        self.tile
    }

    fn colors(&self) -> Option<Colors> {
        let (matrix, full_range) = self.colors;
        Some(Colors { matrix, full_range })
    }

    fn memory(&self, longest: u64) -> u64 {
        let (width, height) = self.tile.size;
        // Rows and columns are padded to blocks of 8.
        let padded = |side: u32| u64::from(side.next_multiple_of(8));
        let luma = padded(width) * padded(height);
        let samples = match self.tile.chroma {
            Some((across, down)) => luma + 2 * (luma >> (across + down)),
            None => luma,
        };
        // The item's parts put together, and its coded tiles.
        let of_sample = match self.is_widened {
            true => SAMPLE_BYTES + WIDENED_SAMPLE_BYTES,
            false => SAMPLE_BYTES,
        };
        samples * of_sample + luma / 16 * BLOCK_BYTES + 3 * longest + FIXED_BYTES
    }

    fn decode(&self, heif: &Heif, index: usize) -> Result<SpecFrame, ContainerError> {
        let data = heif.tile(index, b"av01")?;
        let first = FirstFrame::find(&data)?;
        let other = Av1::of(&first)?;
        if (Av1 {
            colors: self.colors,
            ..other
        }) != *self
        {
            return Err(ContainerError::Unsupported(
                "tiles of several sizes or kinds",
            ));
        }
        let decoded = SpecDecodeSession::new().decode_temporal_unit(first.data);
        let frame = decoded.map_err(|e| av1_error(&e))?.into_iter().next();
        let frame = frame.ok_or(ContainerError::Truncated)?;
        match self.has_size(&frame) {
            true => Ok(frame),
            false => Err(ContainerError::Corrupt(
                "a frame of another size than it says",
            )),
        }
    }

    fn copy_row(&self, frame: &SpecFrame, plane: usize, y: u32, x: u32, to: &mut [u16]) {
        let width = frame.plane_dims[plane].0 as usize;
        let first = y as usize * width + x as usize;
        let samples = &frame.planes[plane];
        match self.bits {
            8 => {
                let samples = samples[first..].iter().copied().map(u16::from);
                to.iter_mut().zip(samples).for_each(|(to, s)| *to = s);
            }
            bits => {
                let samples = samples[2 * first..].as_chunks::<2>().0;
                let samples = samples
                    .iter()
                    .map(|bytes| u16::from_le_bytes(*bytes) >> (bits - 8));
                to.iter_mut().zip(samples).for_each(|(to, s)| *to = s);
            }
        }
    }
}

fn av1_error(error: &Error) -> ContainerError {
    match error {
        Error::UnexpectedEnd => ContainerError::Truncated,
        Error::PictureSizeExceedsLimit => {
            ContainerError::Unsupported("a coded picture of more than 12 megapixels")
        }
        Error::NotImplemented | Error::TemporalPointInfoUnsupported => {
            ContainerError::Unsupported("a tool of AV1 that pictures rarely have")
        }
        _ => ContainerError::Corrupt("its AV1 data contradicts itself"),
    }
}
