//! The strips and tiles of a TIFF: where they lie, and their rows of samples, unpacked as they are asked for.
//!
//! Called by `tiff`. A chunk is a strip or a tile, of one plane where the samples of a pixel lie apart. Source: TIFF
//! revision 6.0, sections 3, 9, 13, 14 and 15, and supplement 2 for deflate and JPEG.

use std::io::{self, Cursor, ErrorKind, Read};

use flate2::bufread::ZlibDecoder;
use weezl::{BitOrder, LzwStatus};

use super::decode::Region;
use super::jpeg::Jpeg;
use super::tiff_directory::{Directory, Values, tag};
use super::watch::Watch;
use super::{Format, PreprocessError};
use kernels::Isa;

/// What unpacks one chunk holds besides a row, in bytes; rounded up from the crates' source. LZW has the most.
pub(super) const UNPACKER_BYTES: u64 = 96 << 10;

/// What a chunk gets to be a JPEG of its own, besides tables: the start of an image and the marker of the colors.
const ADDED_BYTES: usize = 2 + 16;

/// How chunks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Lzw,
    Deflate,
    PackBits,
    Jpeg,
}

impl Packing {
    /// The packing of a number in the directory; for one that is not unpacked, what it stands for and what to do.
    pub(super) fn of(compression: u64) -> Result<Packing, &'static str> {
        Ok(match compression {
            1 => Packing::None,
            5 => Packing::Lzw,
            7 => Packing::Jpeg,
            8 | 32_946 => Packing::Deflate,
            32_773 => Packing::PackBits,
            2..=4 => return Err("fax compression; save it as PNG"),
            6 => return Err("old JPEG compression; save it as JPEG"),
            34_892 | 34_712 | 33_003 | 33_005 => {
                return Err("JPEG 2000 compression; save it as JPEG");
            }
            34_925 => return Err("LZMA compression; save it with LZW or deflate"),
            50_000 | 34_926 => return Err("zstd compression; save it with LZW or deflate"),
            50_001 | 34_927 => return Err("WebP compression; save it as WebP"),
            _ => return Err("an unknown compression; save it with LZW or deflate"),
        })
    }
}

/// Where the chunks of a picture lie, and their sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid<'a> {
    file: &'a [u8],
    offsets: Option<Values<'a>>,
    byte_counts: Option<Values<'a>>,
    /// Width and height of a chunk in pixels; the last strip may be lower.
    pub(super) chunk: (u32, u32),
    picture: (u32, u32),
}

impl<'a> Grid<'a> {
    /// Reads how a picture of this size is cut into chunks.
    ///
    /// # Errors
    /// [`PreprocessError::Corrupt`] without chunks, or with chunks of no pixels.
    pub(super) fn of(
        file: &'a [u8],
        directory: &Directory<'a>,
        picture: (u32, u32),
    ) -> Result<Grid<'a>, PreprocessError> {
        let tiled = directory.values(tag::STRIP_OFFSETS).is_none();
        let [offsets, byte_counts] = if tiled {
            [tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS]
        } else {
            [tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS]
        };
        let chunk = if tiled {
            let side = |tag| {
                directory
                    .value(tag)
                    .and_then(|side| u32::try_from(side).ok())
            };
            side(tag::TILE_WIDTH).zip(side(tag::TILE_LENGTH))
        } else {
            let rows = directory.value_or(tag::ROWS_PER_STRIP, u64::from(picture.1));
            Some((picture.0, rows.min(u64::from(picture.1)) as u32))
        };
        match chunk {
            Some(chunk) if chunk.0 > 0 && chunk.1 > 0 => Ok(Grid {
                file,
                offsets: directory.values(offsets),
                byte_counts: directory.values(byte_counts),
                chunk,
                picture,
            }),
            _ => Err(corrupt("no strips or tiles".to_owned())),
        }
    }

    /// Chunks beside each other.
    pub(super) fn across(&self) -> u32 {
        self.picture.0.div_ceil(self.chunk.0)
    }

    /// Chunks above each other.
    pub(super) fn down(&self) -> u32 {
        self.picture.1.div_ceil(self.chunk.1)
    }

    /// Rows of a chunk in this row of chunks that belong to the picture.
    pub(super) fn rows(&self, band: u32) -> u32 {
        self.chunk.1.min(self.picture.1 - band * self.chunk.1)
    }

    /// The bytes of a chunk as they are stored; to the end of the file where their number is not told.
    pub(super) fn stored(
        &self,
        plane: u32,
        band: u32,
        column: u32,
    ) -> Result<&'a [u8], PreprocessError> {
        let index =
            (plane as usize * self.down() as usize + band as usize) * self.across() as usize;
        let index = index + column as usize;
        let value = |values: Option<Values<'a>>| values?.get(index);
        let missing = || corrupt(format!("no strip or tile {index}"));
        let offset = usize::try_from(value(self.offsets).ok_or_else(missing)?).ok();
        let rest = offset.and_then(|offset| self.file.get(offset..));
        let rest =
            rest.ok_or_else(|| truncated(format!("strip or tile {index} lies behind its end")))?;
        let count = value(self.byte_counts).filter(|count| *count > 0);
        let count = count.and_then(|count| usize::try_from(count).ok());
        Ok(&rest[..rest.len().min(count.unwrap_or(usize::MAX))])
    }

    /// Bytes of the longest chunk at most: of the file, where a number is not told.
    fn longest(&self) -> usize {
        let chunks = self.across() as usize * self.down() as usize;
        let told = self.byte_counts.filter(|counts| counts.len() >= chunks);
        let counts = told.map(|counts| counts.iter().take(chunks));
        let longest = counts.and_then(|mut counts| {
            counts.try_fold(0, |longest, count| {
                (count > 0).then_some(longest.max(count))
            })
        });
        let longest = longest.and_then(|longest| usize::try_from(longest).ok());
        longest.unwrap_or(usize::MAX).min(self.file.len())
    }
}

/// The rows of one chunk, as they are asked for.
pub(super) struct Chunk<'a>(Box<dyn Read + 'a>);

impl<'a> Chunk<'a> {
    /// Begins to unpack the stored bytes; not for JPEG.
    pub(super) fn new(packing: Packing, stored: &'a [u8]) -> Chunk<'a> {
        Chunk(match packing {
            Packing::None | Packing::Jpeg => Box::new(stored),
            Packing::Lzw => Box::new(Lzw {
                unpack: weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
                stored,
            }),
            Packing::Deflate => Box::new(ZlibDecoder::new(stored)),
            Packing::PackBits => Box::new(PackBits {
                stored,
                run: Run::Copy(0),
            }),
        })
    }

    /// Fills `row` with the next bytes.
    pub(super) fn read(&mut self, row: &mut [u8]) -> Result<(), PreprocessError> {
        self.0.read_exact(row).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => truncated("a strip or tile ends early".to_owned()),
            _ => corrupt(e.to_string()),
        })
    }
}

/// What the chunks of a picture that are JPEGs have in common.
pub(super) struct JpegChunks<'a> {
    /// The JPEG tables in the directory, which all chunks share.
    tables: &'a [u8],
    is_ycbcr: bool,
    isa: Isa,
    /// Most bytes that decoding one of the chunks holds besides its pixels.
    pub(super) memory: u64,
}

impl<'a> JpegChunks<'a> {
    /// Reads the header of the first one. The others may not need more than that: there can be so many that nobody
    /// could stop a look at all of them.
    pub(super) fn of(
        directory: &Directory<'a>,
        grid: &Grid<'a>,
        is_ycbcr: bool,
        isa: Isa,
    ) -> JpegChunks<'a> {
        let tables = directory.values(tag::JPEG_TABLES);
        let mut jpegs = JpegChunks {
            tables: tables.map_or(&[], |tables| tables.bytes()),
            is_ycbcr,
            isa,
            memory: 0,
        };
        // Without a first one nothing is decoded.
        if let Ok(first) = grid.stored(0, 0, 0) {
            let whole = jpegs.whole(first);
            let needed = Jpeg::open(&whole, isa).map_or(0, |jpeg| needed(&jpeg));
            let copy = grid.longest() + jpegs.tables.len() + ADDED_BYTES;
            jpegs.memory = needed + copy as u64;
        }
        jpegs
    }

    /// Decodes a chunk of this size to RGB.
    pub(super) fn chunk(
        &self,
        stored: &[u8],
        size: (u32, u32),
        watch: &Watch,
    ) -> Result<Chunk<'a>, PreprocessError> {
        let whole = self.whole(stored);
        let mut jpeg = Jpeg::open(&whole, self.isa)?;
        if jpeg.size().0 != size.0 || jpeg.size().1 < size.1 {
            return Err(corrupt(format!("a JPEG of {:?} for {size:?}", jpeg.size())));
        }
        if needed(&jpeg) + whole.len() as u64 > self.memory {
            return Err(corrupt(
                "a JPEG that needs more memory than the first one".to_owned(),
            ));
        }
        let mut rgb = Vec::with_capacity(size.0 as usize * size.1 as usize * 3);
        jpeg.decode(Region::whole(size), watch, &mut |rows| {
            rgb.extend_from_slice(rows)
        })?;
        Ok(Chunk(Box::new(Cursor::new(rgb))))
    }

    /// A JPEG of its own: a chunk, the shared tables in front of it, and a marker that tells the colors, which a chunk
    /// lacks.
    fn whole(&self, chunk: &[u8]) -> Vec<u8> {
        let marker = *b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0";
        let tables = self.tables.strip_suffix(b"\xFF\xD9").unwrap_or(self.tables);
        let tables = if tables.is_empty() {
            b"\xFF\xD8"
        } else {
            tables
        };
        let chunk = chunk.strip_prefix(b"\xFF\xD8").unwrap_or(chunk);
        [tables, &marker, &[u8::from(self.is_ycbcr)], chunk].concat()
    }
}

/// What decoding a whole JPEG holds at most, in bytes.
fn needed(jpeg: &Jpeg<'_>) -> u64 {
    jpeg.memory(Region::whole(jpeg.size()))
}

/// LZW, whose codes grow one earlier than in a GIF.
struct Lzw<'a> {
    unpack: weezl::decode::Decoder,
    stored: &'a [u8],
}

impl Read for Lzw<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let done = self.unpack.decode_bytes(self.stored, to);
            self.stored = &self.stored[done.consumed_in..];
            match done.status.map_err(io::Error::other)? {
                LzwStatus::Ok if done.consumed_out == 0 => {}
                _ => return Ok(done.consumed_out),
            }
        }
    }
}

/// What is left of the last packet.
#[derive(Clone, Copy)]
enum Run {
    /// So many bytes that are copied.
    Copy(usize),
    /// One byte that is repeated so many times.
    Repeat(usize, u8),
}

/// Runs of bytes, repeated or as they are.
struct PackBits<'a> {
    stored: &'a [u8],
    run: Run,
}

impl Read for PackBits<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while let Run::Copy(0) | Run::Repeat(0, _) = self.run {
            let Some((&head, rest)) = self.stored.split_first() else {
                return Ok(0);
            };
            self.stored = rest;
            self.run = match head as i8 {
                -128 => continue,
                count @ 0.. => Run::Copy(count as usize + 1),
                count => {
                    let mut byte = [0];
                    self.stored.read_exact(&mut byte)?;
                    Run::Repeat(1 + usize::from(count.unsigned_abs()), byte[0])
                }
            };
        }
        match self.run {
            Run::Copy(left) => {
                let length = left.min(to.len());
                let length = self.stored.read(&mut to[..length])?;
                self.run = Run::Copy(left - length);
                Ok(length)
            }
            Run::Repeat(left, byte) => {
                let length = left.min(to.len());
                to[..length].fill(byte);
                self.run = Run::Repeat(left - length, byte);
                Ok(length)
            }
        }
    }
}

pub(super) fn corrupt(detail: String) -> PreprocessError {
    PreprocessError::corrupt(Format::Tiff, detail)
}

pub(super) fn truncated(detail: String) -> PreprocessError {
    PreprocessError::truncated(Format::Tiff, detail)
}
