//! PNM, the plain formats of Netpbm: PBM, PGM and PPM as text or bytes, and PAM; row by row.
//!
//! Called by `decode::open`. A sample is a fraction of the largest value in the header and becomes that fraction of 255,
//! rounded as Pillow does it. Alpha is dropped. Source: the Netpbm manual pages `pbm`, `pgm`, `ppm` and `pam`; for
//! comments and white space Pillow 13.

use super::decode::{Decoder, Region, RowSink, check_size};
use super::samples::packed;
use super::watch::Watch;
use super::{Format, ImageLimits, PreprocessError};

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// One bit each, eight to a byte, set for black.
    Bits,
    /// One byte each.
    Bytes,
    /// Two bytes each, the high one first.
    Words,
    /// The digit 1 for black or 0 for white.
    Digits,
    /// Decimal numbers.
    Numbers,
}

/// A PNM whose header has been read.
pub(super) struct PnmSource<'a> {
    size: (u32, u32),
    coding: Coding,
    /// Samples of a pixel.
    channels: usize,
    /// What each value of a sample becomes.
    levels: Vec<u8>,
    data: &'a [u8],
}

impl<'a> PnmSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<PnmSource<'a>, PreprocessError> {
        let kind = bytes.get(1).copied().unwrap_or_default();
        let mut header = Header(bytes.get(2..).unwrap_or_default());
        let (size, channels, largest) = match kind {
            b'7' => header.pam()?,
            _ => {
                let size = (header.number()?, header.number()?);
                let channels = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
                let bilevel = matches!(kind, b'1' | b'4');
                (size, channels, if bilevel { 1 } else { header.number()? })
            }
        };
        check_size(Format::Pnm, size, limits)?;
        if !(1..=65_535).contains(&largest) {
            return Err(corrupt(format!("largest value of {largest}")));
        }
        if !(1..=4).contains(&channels) {
            return Err(corrupt(format!("{channels} samples a pixel")));
        }
        let coding = match kind {
            b'1' => Coding::Digits,
            b'2' | b'3' => Coding::Numbers,
            b'4' => Coding::Bits,
            _ if largest > 255 => Coding::Words,
            _ => Coding::Bytes,
        };
        Ok(PnmSource {
            size,
            coding,
            channels: channels as usize,
            levels: match coding {
                Coding::Bits | Coding::Digits => vec![255, 0],
                Coding::Bytes => levels(255, largest),
                Coding::Words => levels(65_535, largest),
                Coding::Numbers => levels(largest, largest),
            },
            data: header.0,
        })
    }

    /// The samples of a row as levels, taken from the front of `data`; none where they are not all there.
    ///
    /// # Errors
    /// [`PreprocessError::Corrupt`] for a number that is none, or too large.
    fn row(&self, data: &mut &[u8], row: &mut Vec<u8>) -> Result<Option<()>, PreprocessError> {
        let samples = self.size.0 as usize * self.channels;
        let stored = match self.coding {
            Coding::Bits => samples.div_ceil(8),
            Coding::Bytes => samples,
            Coding::Words => samples * 2,
            Coding::Digits | Coding::Numbers => {
                for _ in 0..samples {
                    let Some(value) = self.written(data)? else {
                        return Ok(None);
                    };
                    row.push(
                        *self
                            .levels
                            .get(value)
                            .ok_or_else(|| corrupt(format!("a sample of {value}")))?,
                    );
                }
                return Ok(Some(()));
            }
        };
        let Some((bytes, rest)) = data.split_at_checked(stored) else {
            return Ok(None);
        };
        *data = rest;
        let level = |value: usize| self.levels[value];
        match self.coding {
            Coding::Bits => row.extend((0..samples).map(|x| level(packed(bytes, x, 1).into()))),
            Coding::Words => {
                let words = bytes.as_chunks().0.iter();
                row.extend(words.map(|word| level(usize::from(u16::from_be_bytes(*word)))));
            }
            _ => row.extend(bytes.iter().map(|byte| level(usize::from(*byte)))),
        }
        Ok(Some(()))
    }

    /// The next sample of a text.
    fn written(&self, data: &mut &[u8]) -> Result<Option<usize>, PreprocessError> {
        let mut text = Header(data);
        // Digits may stand without white space between them.
        let longest = if self.coding == Coding::Digits {
            1
        } else {
            LONGEST + 1
        };
        let token = text.token(longest);
        *data = text.0;
        match token {
            Some(token) => Ok(Some(number(token.as_slice())? as usize)),
            None => Ok(None),
        }
    }
}

impl Decoder for PnmSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn memory(&self, region: Region) -> u64 {
        let row = u64::from(self.size.0) * self.channels as u64;
        row + u64::from(region.width) * 3 + self.levels.len() as u64
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let columns = region.left as usize..(region.left + region.width) as usize;
        let columns = columns.start * self.channels..columns.end * self.channels;
        let mut data = self.data;
        let mut row = Vec::with_capacity(self.size.0 as usize * self.channels);
        let mut rgb = Vec::with_capacity(region.width as usize * 3);
        // To the last row even where the region ends before: they must all be there.
        for y in 0..self.size.1 {
            watch.check()?;
            row.clear();
            if self.row(&mut data, &mut row)?.is_none() {
                return Err(PreprocessError::Truncated {
                    format: Format::Pnm,
                    detail: format!("{y} rows of {}", self.size.1),
                });
            }
            if (region.top..region.top + region.height).contains(&y) {
                rgb.clear();
                for pixel in row[columns.clone()].chunks_exact(self.channels) {
                    rgb.extend(match *pixel {
                        [red, green, blue, ..] => [red, green, blue],
                        _ => [pixel[0]; 3],
                    });
                }
                sink(&rgb);
            }
        }
        Ok(())
    }
}

/// Most characters of a number; one more is read to see where it ends. Source: Pillow.
const LONGEST: usize = 10;

/// The characters of a word.
#[derive(Debug, Default)]
struct Token {
    bytes: [u8; LONGEST + 1],
    length: usize,
}

impl Token {
    fn push(&mut self, c: u8) {
        self.bytes[self.length] = c;
        self.length += 1;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What is not read yet of a header, or of samples as text.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    /// The next word, of at most so many characters: white space and comments are passed over, and one character of
    /// white space behind a word that is shorter.
    fn token(&mut self, longest: usize) -> Option<Token> {
        let mut token = Token::default();
        while let Some((&c, rest)) = self.0.split_first() {
            self.0 = rest;
            match c {
                b' ' | b'\t'..=b'\r' if token.length == 0 => continue,
                b' ' | b'\t'..=b'\r' => break,
                b'#' => {
                    let end = self.0.iter().position(|c| matches!(c, b'\r' | b'\n'));
                    self.0 = end.map_or(&[], |end| &self.0[end + 1..]);
                }
                _ => token.push(c),
            }
            if token.length >= longest {
                break;
            }
        }
        (token.length > 0).then_some(token)
    }

    fn number(&mut self) -> Result<u32, PreprocessError> {
        number(self.token(LONGEST + 1).ok_or_else(ended)?.as_slice())
    }

    /// Size, samples of a pixel and largest value of a PAM, whose lines have names.
    fn pam(&mut self) -> Result<((u32, u32), u32, u32), PreprocessError> {
        let (mut width, mut height, mut depth, mut largest) = (0, 0, 0, 0);
        loop {
            let end = self.0.iter().position(|c| *c == b'\n').ok_or_else(ended)?;
            let line = &self.0[..end];
            self.0 = &self.0[end + 1..];
            let mut words = line
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            let name = words.next().unwrap_or_default();
            let value = words.next().unwrap_or_default();
            match name {
                b"ENDHDR" => return Ok(((width, height), depth, largest)),
                b"WIDTH" => width = number(value)?,
                b"HEIGHT" => height = number(value)?,
                b"DEPTH" => depth = number(value)?,
                b"MAXVAL" => largest = number(value)?,
                // A comment, or the kind of tuple: what the samples mean is told by their number.
                _ => {}
            }
        }
    }
}

fn number(token: &[u8]) -> Result<u32, PreprocessError> {
    let text = std::str::from_utf8(token).ok();
    let number = text
        .filter(|_| token.len() <= LONGEST)
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        corrupt(format!(
            "{:?} for a number",
            token.escape_ascii().to_string()
        ))
    })
}

/// What each value up to `last` becomes of 255, where `largest` is white.
fn levels(last: u32, largest: u32) -> Vec<u8> {
    let level = |value| (f64::from(value) / f64::from(largest) * 255.0).round_ties_even();
    (0..=last).map(|value| level(value) as u8).collect()
}

fn ended() -> PreprocessError {
    PreprocessError::Truncated {
        format: Format::Pnm,
        detail: "it ends inside its header".to_owned(),
    }
}

fn corrupt(detail: String) -> PreprocessError {
    PreprocessError::corrupt(Format::Pnm, detail)
}
