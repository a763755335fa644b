//! What the tables of a lossless WebP take in its decoder, found out before it decodes.
//!
//! Called by `webp`. The crate `image-webp` builds prefix codes for as many groups as the stream asks for, up to
//! 65,536; its memory limit covers metadata alone. This scan reads the stream up to the first pixel: transforms, color cache, the
//! image of group numbers and the description of every code. It keeps no picture: what a back reference or a color
//! cache repeats has been a literal before, so the largest group number is a literal's. It takes time in proportion to
//! the bits read and the pixels of the images of blocks, at most 3/16 of the picture's, and holds less than 0.5 MiB.
//! Where RFC 9649 and the crate differ it reads as the crate does, or refuses. Source: RFC 9649, sections 3 to 6;
//! image-webp 0.2.4, `lossless.rs`.

mod codes;
#[cfg(test)]
mod tests;

use self::codes::{Bits, Description};

/// Symbols of the codes for green and lengths, red, blue, alpha, and distances, before the color cache adds to the
/// first.
const ALPHABETS: [usize; 5] = [256 + 24, 256, 256, 256, 40];

/// Bytes of the crate's group of five codes besides their tables, on a 64-bit machine.
const GROUP_BYTES: u64 = 5 * 56;

/// Bytes a pixel of the images of predictors, color transforms and group numbers.
const PIXEL_BYTES: u64 = 4;

/// Bytes of a group number, which the crate keeps beside its pixel for a while.
const NUMBER_BYTES: u64 = 2;

/// The lengths of a code's symbols while it is built, the 256 colors of a palette twice, and the decoder itself, in
/// bytes; rounded up from the crate's source.
const FIXED_BYTES: u64 = 16 << 10;

/// Why a stream cannot be scanned; it cannot be decoded either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanError {
    /// The stream ends before its first pixel.
    Truncated,
    /// The stream contradicts the format.
    Corrupt(&'static str),
}

/// What precedes the pixels of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tables {
    /// Groups of prefix codes, from 1 to 65,536.
    pub(super) groups: u32,
    /// What the crate holds at most besides the encoded and the decoded picture, in bytes.
    pub(super) bytes: u64,
}

/// Scans the content of a VP8L chunk.
///
/// # Errors
/// [`ScanError`] for a stream that ends or is damaged before its first pixel.
pub(super) fn scan(data: &[u8]) -> Result<Tables, ScanError> {
    let mut bits = Bits::new(data);
    if bits.take(8)? != 0x2F {
        return Err(ScanError::Corrupt("no VP8L signature"));
    }
    let (mut width, height) = (bits.take(14)? + 1, bits.take(14)? + 1);
    let _alpha_used = bits.take(1)?;
    if bits.take(3)? != 0 {
        return Err(ScanError::Corrupt("a version other than 0"));
    }

    let mut bytes = FIXED_BYTES;
    let mut seen = [false; 4];
    while bits.take(1)? == 1 {
        let transform = bits.take(2)?;
        if std::mem::replace(&mut seen[transform as usize], true) {
            return Err(ScanError::Corrupt("a transform that occurs twice"));
        }
        match transform {
            // Predictors and color transforms.
            0 | 1 => {
                let blocks = Blocks::read(&mut bits, width, height)?;
                bytes += blocks.image.bytes + blocks.count * PIXEL_BYTES;
            }
            // Subtract green.
            2 => {}
            // A palette, with which up to eight pixels lie in one.
            _ => {
                let colors = bits.take(8)? + 1;
                bytes += Image::read(&mut bits, u64::from(colors))?.bytes;
                width = width.div_ceil(match colors {
                    1..=2 => 8,
                    3..=4 => 4,
                    5..=16 => 2,
                    _ => 1,
                });
            }
        }
    }

    let cache = color_cache(&mut bits)?;
    let mut groups = 1;
    if bits.take(1)? == 1 {
        let blocks = Blocks::read(&mut bits, width, height)?;
        bytes += blocks.image.bytes + blocks.count * (PIXEL_BYTES + NUMBER_BYTES);
        groups = u32::from(blocks.image.largest) + 1;
    }
    bytes += groups_bytes(u64::from(groups), cache);
    for _ in 0..groups {
        for alphabet in alphabets(cache) {
            bytes += Description::read(&mut bits, alphabet)?.table_bytes();
        }
    }
    Ok(Tables { groups, bytes })
}

/// Reads the bits of the color cache; 0 where there is none.
fn color_cache(bits: &mut Bits<'_>) -> Result<u32, ScanError> {
    if bits.take(1)? == 0 {
        return Ok(0);
    }
    match bits.take(4)? {
        cache @ 1..=11 => Ok(cache),
        _ => Err(ScanError::Corrupt("a color cache of no or too many bits")),
    }
}

fn alphabets(cache: u32) -> [usize; 5] {
    let mut alphabets = ALPHABETS;
    if cache > 0 {
        alphabets[0] += 1 << cache;
    }
    alphabets
}

/// What so many groups take besides their tables, the color cache included. The list of groups grows to the next power
/// of two, at least four, and from half of it the old list is beside the new one.
fn groups_bytes(groups: u64, cache: u32) -> u64 {
    groups.next_power_of_two().max(4) * GROUP_BYTES * 3 / 2 + (4 << cache)
}

/// An image with one pixel for each square block of another.
struct Blocks {
    count: u64,
    image: Image,
}

impl Blocks {
    /// Reads the size of the blocks and the image of them.
    fn read(bits: &mut Bits<'_>, width: u32, height: u32) -> Result<Blocks, ScanError> {
        let side = 1 << (bits.take(3)? + 2);
        let count = u64::from(width.div_ceil(side)) * u64::from(height.div_ceil(side));
        let image = Image::read(bits, count)?;
        Ok(Blocks { count, image })
    }
}

/// An image within the stream, which has a single group of codes.
struct Image {
    /// The largest of its pixels as a group number: red and green, 8 bits each.
    largest: u16,
    /// What its codes take in the crate, in bytes.
    bytes: u64,
}

impl Image {
    /// Reads an image of so many pixels.
    fn read(bits: &mut Bits<'_>, pixels: u64) -> Result<Image, ScanError> {
        const END: ScanError = ScanError::Corrupt("a back reference beyond its image");
        let cache = color_cache(bits)?;
        let mut bytes = groups_bytes(1, cache);
        let mut read = |alphabet| {
            let description = Description::read(bits, alphabet)?;
            bytes += description.table_bytes();
            Ok(description.code())
        };
        let [green, red, blue, alpha, distance] = alphabets(cache);
        let (green, red, blue) = (read(green)?, read(red)?, read(blue)?);
        let (alpha, distance) = (read(alpha)?, read(distance)?);

        let mut largest = 0;
        let mut left = pixels;
        while left > 0 {
            let symbol = green.symbol(bits)?;
            if symbol < 256 {
                largest = largest.max(red.symbol(bits)? << 8 | symbol);
                blue.symbol(bits)?;
                alpha.symbol(bits)?;
                left -= 1;
                if [&green, &red, &blue, &alpha]
                    .iter()
                    .all(|c| c.only().is_some())
                {
                    // All other pixels are the same and take no bits.
                    break;
                }
            } else if symbol < 256 + 24 {
                let length = copied(bits, symbol - 256)?;
                let code = distance.symbol(bits)?;
                copied(bits, code)?;
                left = left.checked_sub(length).ok_or(END)?;
            } else {
                // A color of the cache.
                left -= 1;
            }
        }
        Ok(Image { largest, bytes })
    }
}

/// Reads the length or the distance that a symbol stands for, in pixels. Source: RFC 9649, section 5.2.2.
fn copied(bits: &mut Bits<'_>, symbol: u16) -> Result<u64, ScanError> {
    if symbol < 4 {
        return Ok(u64::from(symbol) + 1);
    }
    let extra = u32::from(symbol - 2) / 2;
    let base = (2 + u64::from(symbol & 1)) << extra;
    Ok(base + u64::from(bits.take(extra)?) + 1)
}
