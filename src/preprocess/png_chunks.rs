//! What a picture needs of a PNG: its header, its palette and its image data.
//!
//! Used by `png`, whose decoder gets a PNG of nothing else, so that no fault in another chunk costs the picture. Which
//! chunks count is Pillow's rule: the last header and palette in front of the image data, and the first unbroken run of
//! image data. Checksums of image data are not looked at, since the data has one of its own inside.

use std::io::{self, BufRead, Chain, Cursor, Read, Seek, SeekFrom};

use super::{Format, PreprocessError};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The checksum of the image data, which nobody reads, and the last chunk.
const END: [u8; 16] = *b"\0\0\0\0\0\0\0\0IEND\xAE\x42\x60\x82";

/// Signature, header, and what stands in front of the image data, in bytes.
const HEAD: usize = 8 + 25 + 8;

/// A PNG as the decoder sees it.
pub(super) type PngStream<'a> =
    Unseekable<Chain<Chain<Cursor<[u8; HEAD]>, ImageData<'a>>, &'static [u8]>>;

/// The chunks that a picture needs.
#[derive(Debug)]
pub(super) struct PngChunks<'a> {
    header: [u8; 13],
    /// Three bytes a color, for indexed colors.
    pub(super) palette: Option<&'a [u8]>,
    /// The EXIF block, which may stand on either side of the image data.
    pub(super) exif: Option<&'a [u8]>,
    /// The chunks from the first one of image data on.
    data: Chunks<'a>,
}

impl<'a> PngChunks<'a> {
    /// Finds them in a file that starts with the signature.
    ///
    /// # Errors
    /// [`PreprocessError::Corrupt`] or [`PreprocessError::Truncated`] where header or image data are missing, or the
    /// header or a palette that is needed has a wrong checksum.
    pub(super) fn find(bytes: &'a [u8]) -> Result<PngChunks<'a>, PreprocessError> {
        let mut chunks = Chunks(bytes.get(SIGNATURE.len()..).unwrap_or_default());
        let (mut header, mut palette, mut exif) = (None::<Chunk<'_>>, None::<Chunk<'_>>, None);
        let mut animated = false;
        let data = loop {
            let here = chunks;
            let Some(chunk) = chunks.next() else {
                return Err(truncated("it ends before its image data"));
            };
            match &chunk.name {
                b"IDAT" => break here,
                // Without a default image in front of it the first frame of an animation is the picture.
                b"fdAT" if animated => break here,
                b"IEND" => return Err(corrupt("no image data")),
                b"IHDR" => header = Some(chunk),
                b"PLTE" => palette = Some(chunk),
                b"eXIf" => exif = Some(chunk.data),
                b"fcTL" => animated = true,
                name if !name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_') => {
                    return Err(corrupt("bytes between two chunks"));
                }
                _ => {}
            }
            if !chunk.is_whole() {
                return Err(truncated("it ends before its image data"));
            }
        };
        let header = header.ok_or_else(|| corrupt("no header"))?;
        let fields = *header
            .data
            .first_chunk()
            .ok_or_else(|| corrupt("a short header"))?;
        header.check()?;
        const INDEXED: u8 = 3;
        let palette = palette.filter(|_| fields[9] == INDEXED);
        if let Some(palette) = &palette {
            palette.check()?;
            if palette.data.len() > 256 * 3 {
                return Err(corrupt("a palette of more than 256 colors"));
            }
        }
        let later = data.take_while(|chunk| &chunk.name != b"IEND");
        let later = later.filter(|chunk| &chunk.name == b"eXIf" && chunk.is_whole());
        Ok(PngChunks {
            header: fields,
            palette: palette.map(|palette| palette.data),
            exif: later.last().map(|chunk| chunk.data).or(exif),
            data,
        })
    }

    /// A PNG of the header and of the image data as one chunk, cut short where the file is.
    pub(super) fn stream(&self) -> PngStream<'a> {
        let pieces = || ImageData::new(self.data);
        let (mut announced, mut whole) = (0, true);
        for piece in pieces().rest {
            announced += u64::from(piece.announced) - piece.numbered() as u64;
            whole &= piece.is_whole();
        }
        let mut header = self.header;
        // Compression has one value; every interlacing but none is Adam7.
        header[10] = 0;
        header[12] = header[12].min(1);
        let mut head = Vec::with_capacity(HEAD);
        head.extend(SIGNATURE);
        head.extend(13_u32.to_be_bytes());
        head.extend(b"IHDR");
        head.extend(header);
        head.extend([0; 4]); // the checksum, which the decoder is told to ignore
        head.extend(u32::try_from(announced).unwrap_or(u32::MAX).to_be_bytes());
        head.extend(b"IDAT");
        let head: [u8; HEAD] = head.try_into().expect("as many bytes as the parts have");
        let end: &'static [u8] = if whole { &END } else { &[] };
        Unseekable(Cursor::new(head).chain(pieces()).chain(end))
    }
}

/// One chunk, cut short where the file ends inside it.
#[derive(Debug, Clone, Copy)]
struct Chunk<'a> {
    name: [u8; 4],
    announced: u32,
    data: &'a [u8],
    checksum: Option<u32>,
}

impl<'a> Chunk<'a> {
    fn is_whole(&self) -> bool {
        self.data.len() == self.announced as usize
    }

    /// Checks that the chunk's bytes are those that were written, by its sum.
    fn check(&self) -> Result<(), PreprocessError> {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.name);
        sum.update(self.data);
        // No mutation gets a checksum right.
        if self.checksum == Some(sum.finalize()) || cfg!(fuzzing) {
            return Ok(());
        }
        Err(corrupt("a wrong checksum of the header or the palette"))
    }

    /// How many bytes of a frame's number stand in front of its image data.
    fn numbered(&self) -> usize {
        if &self.name == b"fdAT" {
            4.min(self.announced as usize)
        } else {
            0
        }
    }

    fn image_data(&self) -> &'a [u8] {
        self.data.get(self.numbered()..).unwrap_or_default()
    }
}

/// The chunks from here on.
#[derive(Debug, Clone, Copy)]
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let announced = u32::from_be_bytes(*length);
        let (data, rest) = rest.split_at(rest.len().min(announced as usize));
        let checksum = rest.first_chunk().map(|sum| u32::from_be_bytes(*sum));
        self.0 = rest.get(4..).unwrap_or_default();
        Some(Chunk {
            name: *name,
            announced,
            data,
            checksum,
        })
    }
}

/// The image data of a run of chunks, as one stream.
#[derive(Debug)]
pub(super) struct ImageData<'a> {
    piece: &'a [u8],
    rest: Run<'a>,
}

/// The chunks of image data from here on, up to the first other chunk.
type Run<'a> = std::iter::TakeWhile<Chunks<'a>, fn(&Chunk<'_>) -> bool>;

impl<'a> ImageData<'a> {
    fn new(chunks: Chunks<'a>) -> ImageData<'a> {
        let is_data: fn(&Chunk<'_>) -> bool = |chunk| matches!(&chunk.name, b"IDAT" | b"fdAT");
        ImageData {
            piece: &[],
            rest: chunks.take_while(is_data),
        }
    }
}

impl Read for ImageData<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(to)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for ImageData<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            let Some(chunk) = self.rest.next() else { break };
            self.piece = chunk.image_data();
        }
        Ok(self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece = &self.piece[length..];
    }
}

/// A reader for a decoder that asks for one that can seek and never does so.
#[derive(Debug)]
pub(super) struct Unseekable<R>(R);

impl<R: Read> Read for Unseekable<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}

impl<R: BufRead> BufRead for Unseekable<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.0.consume(length);
    }
}

impl<R> Seek for Unseekable<R> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn corrupt(detail: &str) -> PreprocessError {
    PreprocessError::corrupt(Format::Png, detail)
}

fn truncated(detail: &str) -> PreprocessError {
    PreprocessError::truncated(Format::Png, detail)
}
