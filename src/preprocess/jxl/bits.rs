//! Numbers of a JPEG XL codestream's heads, read bit by bit from the lowest bit of each byte on.
//!
//! Used by the files beside it. Source: ISO/IEC 18181-1, section 9.2.

use super::head::HeadError;

/// One of the four ways in which a number is stored: as itself, or as so many bits behind an offset.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored {
    /// The number itself, without any bits.
    As(u32),
    /// So many bits, and the offset that is added to them.
    Bits(u32, u32),
}

use Stored::{As, Bits as InBits};

/// The ways in which a value of an enumeration is stored.
pub(super) const ENUM: [Stored; 4] = [As(0), As(1), InBits(4, 2), InBits(6, 18)];

/// Reads from the front of the bytes.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, position: 0 }
    }

    /// How many bits have been read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// A number of up to 32 bits.
    pub(super) fn read(&mut self, count: u32) -> Result<u32, HeadError> {
        let mut value = 0;
        for bit in 0..count {
            let byte = self.bytes.get(self.position / 8).ok_or(HeadError::Cut)?;
            value |= u32::from(byte >> (self.position % 8) & 1) << bit;
            self.position += 1;
        }
        Ok(value)
    }

    pub(super) fn flag(&mut self) -> Result<bool, HeadError> {
        self.read(1).map(|bit| bit == 1)
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), HeadError> {
        let left = self.bytes.len() * 8 - self.position;
        match usize::try_from(count).ok().filter(|count| *count <= left) {
            Some(count) => self.position += count,
            None => return Err(HeadError::Cut),
        }
        Ok(())
    }

    /// A number in the one of four ways that two bits choose.
    pub(super) fn select(&mut self, ways: [Stored; 4]) -> Result<u32, HeadError> {
        Ok(match ways[self.read(2)? as usize] {
            As(value) => value,
            // Offsets and bits of the standard stay below 2³²; a larger sum is nobody's number.
            InBits(count, offset) => self.read(count)?.saturating_add(offset),
        })
    }

    /// A number of up to 64 bits, of which small ones take few.
    pub(super) fn u64(&mut self) -> Result<u64, HeadError> {
        Ok(match self.read(2)? {
            0 => 0,
            1 => 1 + u64::from(self.read(4)?),
            2 => 17 + u64::from(self.read(8)?),
            _ => {
                let mut value = u64::from(self.read(12)?);
                let mut shift = 12;
                while self.flag()? {
                    if shift == 60 {
                        return Ok(value | u64::from(self.read(4)?) << shift);
                    }
                    value |= u64::from(self.read(8)?) << shift;
                    shift += 8;
                }
                value
            }
        })
    }

    /// Steps over so many fractions of 16 bits.
    pub(super) fn skip_fractions(&mut self, count: u64) -> Result<(), HeadError> {
        self.skip(16 * count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_from_the_lowest_on_and_end_with_the_bytes() {
        let mut bits = Bits::new(&[0b1011_0110, 0b1]);
        assert_eq!(bits.read(3), Ok(0b110));
        assert_eq!(bits.read(6), Ok(0b11_0110));
        assert_eq!(bits.position(), 9);
        assert_eq!(bits.skip(7), Ok(()));
        assert_eq!(bits.read(1), Err(HeadError::Cut));
        assert_eq!(bits.skip(1), Err(HeadError::Cut));
        assert_eq!(bits.read(0), Ok(0));
    }

    #[test]
    fn numbers_are_stored_in_ways_of_other_lengths() {
        let ways = [As(7), InBits(1, 3), InBits(4, 20), InBits(6, 18)];
        assert_eq!(Bits::new(&[0b00]).select(ways), Ok(7));
        assert_eq!(Bits::new(&[0b101]).select(ways), Ok(4));
        assert_eq!(Bits::new(&[0b11_1110]).select(ways), Ok(35));
        assert_eq!(Bits::new(&[0b00]).u64(), Ok(0));
        assert_eq!(Bits::new(&[0b10_1001]).u64(), Ok(11));
        assert_eq!(Bits::new(&[0b0000_0110, 0]).u64(), Ok(18));
        // Twelve bits, a mark, eight bits, and no mark.
        assert_eq!(
            Bits::new(&[0b0000_0111, 0b1100_0000, 0b0000_0000, 0]).u64(),
            Ok(1 | 1 << 12)
        );
        let all = Bits::new(&[0xFF; 20]).u64();
        assert_eq!(all, Ok(u64::MAX));
    }
}
