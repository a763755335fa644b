//! WebP: the container here, the pictures in it by `image-webp`.
//!
//! Called by `decode::open`. Takes the first picture out of the container, so alpha chunks, later frames, profiles and
//! the canvas of an animation cost nothing. The crate decodes a picture as a whole. Lossless pixels are Pillow's, those
//! of transparent pixels included; around a frame that is smaller than its canvas Pillow has black. Source: RFC 9649,
//! and what Pillow 13 (libwebp 1.6) does, by experiment.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::decode::{Decoder, Region, RowSink, check_size, overlay};
use super::exif::{Orientation, orientation};
use super::vp8::check_partitions;
use super::vp8l::{self, ScanError};
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// What the crate holds of a lossy picture whatever its size: probabilities, borders and the list of chunks, in bytes;
/// rounded up from image-webp 0.2.4, `vp8.rs`.
const LOSSY_FIXED_BYTES: u64 = 16 << 10;

/// Where the first picture is, and what surrounds it.
struct Container<'a> {
    canvas: (u32, u32),
    /// Where the picture lies on the canvas.
    picture: Region,
    lossless: bool,
    /// The content of its VP8 or VP8L chunk.
    data: &'a [u8],
    exif: Option<&'a [u8]>,
}

/// A WebP whose container has been read.
pub(super) struct WebPSource<'a> {
    container: Container<'a>,
    limits: ImageLimits,
    /// Most bytes that decoding a lossless picture holds besides its pixels and its encoded bytes.
    tables: u64,
}

impl<'a> WebPSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<WebPSource<'a>, PreprocessError> {
        let container = Container::read(bytes)?;
        check_size(Format::WebP, container.canvas, limits)?;
        let tables = if container.lossless {
            vp8l::scan(container.data)?.bytes
        } else {
            check_partitions(container.data)?;
            0
        };
        Ok(WebPSource {
            container,
            limits,
            tables,
        })
    }
}

impl Decoder for WebPSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.container.canvas
    }

    fn orientation(&self) -> Orientation {
        orientation(self.container.exif)
    }

    fn memory(&self, region: Region) -> u64 {
        let (picture, data) = (self.container.picture, self.container.data.len() as u64);
        let pixels = u64::from(picture.width) * u64::from(picture.height);
        let line = u64::from(region.width.max(picture.width)) * 6;
        line + data
            + if self.container.lossless {
                pixels * 4 + self.tables
            } else {
                // RGB, and Y, U and V of whole macroblocks of 16×16 pixels. Then either the encoded picture, read into
                // a vector that grows to twice its size and is copied twice; or the last copy, and 29 bytes of state a
                // macroblock in a vector that grows to twice that beside its old self. 1 KiB of state a column of them.
                let columns = u64::from(picture.width.div_ceil(16));
                let blocks = columns * u64::from(picture.height.div_ceil(16));
                let growing = (4 * data).max(data + blocks * 3 * 29);
                pixels * 3 + blocks * 384 + growing + columns * 1024 + LOSSY_FIXED_BYTES
            }
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        // Its decoder cannot be interrupted; the size limit bounds it.
        watch.check()?;
        let (picture, canvas) = (self.container.picture, self.container.canvas);
        let refuse = |e: DecodingError| webp_error(&e, self.limits);
        let mut decoder =
            WebPDecoder::new(Cursor::new(self.container.as_file())).map_err(refuse)?;
        let channels = if decoder.has_alpha() { 4 } else { 3 };
        let stride = picture.width as usize * channels;
        let mut pixels = vec![0; stride * picture.height as usize];
        decoder.read_image(&mut pixels).map_err(refuse)?;
        if channels == 3 && (picture.width, picture.height) == canvas {
            super::decode::hand_over(&pixels, canvas.0, region, sink);
            return Ok(());
        }
        let mut line = vec![0; region.width as usize * 3];
        let mut rgb = Vec::with_capacity(picture.width as usize * 3);
        for y in region.top..region.top + region.height {
            line.fill(0);
            let row = y
                .checked_sub(picture.top)
                .filter(|row| *row < picture.height);
            if let Some(row) = row {
                rgb.clear();
                for pixel in pixels[row as usize * stride..][..stride].chunks_exact(channels) {
                    rgb.extend_from_slice(&pixel[..3]);
                }
                overlay(&mut line, region, picture.left, &rgb);
            }
            sink(&line);
        }
        Ok(())
    }
}

impl<'a> Container<'a> {
    fn read(bytes: &'a [u8]) -> Result<Container<'a>, PreprocessError> {
        let riff_length = bytes.get(4..8).map(u32_of).ok_or_else(truncated)?;
        let body = bytes
            .get(8..)
            .and_then(|rest| rest.get(..riff_length))
            .and_then(|body| body.get(4..))
            .ok_or_else(truncated)?;
        let (name, first, rest) = chunk(body)?.ok_or_else(truncated)?;
        match name {
            b"VP8 " | b"VP8L" => Container::still(name == b"VP8L", first, None),
            b"VP8X" => Container::extended(first, rest),
            _ => Err(corrupt("the first chunk is none of VP8, VP8L and VP8X")),
        }
    }

    fn still(
        lossless: bool,
        data: &'a [u8],
        exif: Option<&'a [u8]>,
    ) -> Result<Container<'a>, PreprocessError> {
        let canvas = picture_size(lossless, data)?;
        Ok(Container {
            canvas,
            picture: Region::whole(canvas),
            lossless,
            data,
            exif,
        })
    }

    fn extended(head: &'a [u8], mut rest: &'a [u8]) -> Result<Container<'a>, PreprocessError> {
        let head: &[u8; 10] = head
            .first_chunk()
            .ok_or_else(|| corrupt("the VP8X chunk is too short"))?;
        let animated = head[0] & 2 != 0;
        let canvas = (u24_of(&head[4..7]) + 1, u24_of(&head[7..10]) + 1);
        let (mut found, mut exif) = (None, None);
        while let Some((name, data, after)) = chunk(rest)? {
            match name {
                b"EXIF" => exif = exif.or(Some(data)),
                b"ANMF" if animated && found.is_none() => found = Some(frame(data)?),
                b"VP8 " | b"VP8L" if !animated && found.is_none() => {
                    found = Some((0, 0, name == b"VP8L", data));
                }
                _ => {}
            }
            rest = after;
        }
        let (left, top, lossless, data) = found.ok_or_else(|| corrupt("no picture"))?;
        let mut container = Container::still(lossless, data, exif)?;
        container.picture.left = left;
        container.picture.top = top;
        let (width, height) = container.canvas;
        let fits = if animated {
            left + width <= canvas.0 && top + height <= canvas.1
        } else {
            (width, height) == canvas
        };
        if !fits {
            let detail = format!("a picture of {width}×{height} at {left}, {top} on {canvas:?}");
            return Err(corrupt(&detail));
        }
        container.canvas = canvas;
        Ok(container)
    }

    /// The picture as a file that holds nothing else.
    fn as_file(&self) -> Vec<u8> {
        let (name, length) = (
            if self.lossless { b"VP8L" } else { b"VP8 " },
            self.data.len(),
        );
        let mut file = Vec::with_capacity(length + 21);
        for part in [
            &b"RIFF"[..],
            &((length + length % 2 + 12) as u32).to_le_bytes(),
            b"WEBP",
            name,
            &(length as u32).to_le_bytes(),
            self.data,
            &[0][..length % 2],
        ] {
            file.extend_from_slice(part);
        }
        if self.lossless {
            // With alpha announced the crate decodes into our buffer; without, into one of its own and then into ours.
            file[24] |= 0x10;
        }
        file
    }
}

/// The next chunk's name, its content and what follows it; `None` at the end.
type Chunk<'a> = (&'a [u8; 4], &'a [u8], &'a [u8]);

fn chunk(bytes: &[u8]) -> Result<Option<Chunk<'_>>, PreprocessError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (name, rest) = bytes.split_first_chunk::<4>().ok_or_else(truncated)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
    let length = u32_of(length);
    let data = rest.get(..length).ok_or_else(truncated)?;
    let after = rest.get(length + length % 2..).ok_or_else(truncated)?;
    Ok(Some((name, data, after)))
}

/// The first frame of an animation: its left and top, and its picture, lossless or not.
fn frame(data: &[u8]) -> Result<(u32, u32, bool, &[u8]), PreprocessError> {
    let (head, mut rest) = data
        .split_first_chunk::<16>()
        .ok_or_else(|| corrupt("the ANMF chunk is too short"))?;
    let (left, top) = (u24_of(&head[0..3]) * 2, u24_of(&head[3..6]) * 2);
    while let Some((name, data, after)) = chunk(rest)? {
        if let b"VP8 " | b"VP8L" = name {
            return Ok((left, top, name == b"VP8L", data));
        }
        rest = after;
    }
    Err(corrupt("a frame without a picture"))
}

/// Width and height in the head of a VP8 (RFC 6386, section 9.1) or VP8L picture (RFC 9649, section 4).
fn picture_size(lossless: bool, data: &[u8]) -> Result<(u32, u32), PreprocessError> {
    if lossless {
        let head: &[u8; 5] = data.first_chunk().ok_or_else(truncated)?;
        if head[0] != 0x2F {
            return Err(corrupt("no VP8L signature"));
        }
        let bits = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        return Ok(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1));
    }
    let head: &[u8; 10] = data.first_chunk().ok_or_else(truncated)?;
    if head[3..6] != [0x9D, 0x01, 0x2A] {
        return Err(corrupt("no VP8 start code"));
    }
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Ok((side(head[6], head[7]), side(head[8], head[9])))
}

fn u24_of(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) | u32::from(bytes[1]) << 8 | u32::from(bytes[2]) << 16
}

fn u32_of(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

fn truncated() -> PreprocessError {
    PreprocessError::truncated(Format::WebP, "a chunk is longer than what follows")
}

fn corrupt(detail: &str) -> PreprocessError {
    PreprocessError::corrupt(Format::WebP, detail)
}

impl From<ScanError> for PreprocessError {
    fn from(error: ScanError) -> PreprocessError {
        match error {
            ScanError::Truncated => PreprocessError::Truncated {
                format: Format::WebP,
                detail: "the lossless picture ends before its first pixel".to_owned(),
            },
            ScanError::Corrupt(detail) => corrupt(detail),
        }
    }
}

fn webp_error(error: &DecodingError, limits: ImageLimits) -> PreprocessError {
    let (format, detail) = (Format::WebP, error.to_string());
    match error {
        DecodingError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            PreprocessError::Truncated { format, detail }
        }
        DecodingError::ImageTooLarge | DecodingError::MemoryLimitExceeded => {
            PreprocessError::TooMuchMemory {
                format,
                max: limits.max_pixels,
            }
        }
        DecodingError::UnsupportedFeature(_) => PreprocessError::UnsupportedVariant {
            format,
            variant: "its compression",
        },
        _ => PreprocessError::Corrupt { format, detail },
    }
}
