//! Bits of entropy-coded data: byte stuffing undone, markers found, nothing read past the end.
//!
//! Used by the Huffman scans. A segment is what lies between two markers. Bits past its end read as zeros and are
//! counted, because libjpeg goes on like that too: a scan whose data ends early at a marker is filled up, and only a
//! file that ends without any marker is truncated.

use super::JpegError;
use super::header::next_marker;
use super::huffman::{Huffman, LOOKUP_BITS, Lookup, extend};

/// What ended a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The end has not been reached yet.
    Ahead,
    /// A marker, and the position behind it.
    Marker(u8, usize),
    /// The end of the file.
    File,
}

/// A position in entropy-coded data. `Copy`, so that a loop can keep one in registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to load.
    at: usize,
    /// Loaded bits, the next one uppermost; those below `count` are zero or the bits that follow.
    bits: u64,
    count: u32,
    /// How many of the loaded bits are zeros that stand for missing data.
    missing: u32,
    pub(super) end: End,
}

impl<'a> Bits<'a> {
    /// Starts at a position right behind a marker segment.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Bits<'a> {
        Bits {
            bytes,
            at,
            bits: 0,
            count: 0,
            missing: 0,
            end: End::Ahead,
        }
    }

    /// Loads until at least 56 bits are there.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(next) = self.bytes.get(self.at..self.at + 8) {
            let next = u64::from_be_bytes(next.try_into().expect("eight bytes"));
            // Zero bytes of the complement are 0xFF bytes of the data.
            let inverse = !next;
            let ff = inverse.wrapping_sub(0x0101_0101_0101_0101) & next & 0x8080_8080_8080_8080;
            if ff == 0 {
                self.bits |= next >> self.count;
                self.at += (63 - self.count as usize) >> 3;
                self.count |= 56;
                return;
            }
        }
        *self = self.refill_bytewise();
    }

    /// [`Bits::refill`] where a 0xFF or the end is near.
    #[cold]
    #[inline(never)]
    fn refill_bytewise(mut self) -> Bits<'a> {
        // The quick path leaves bits below `count` that it will load again.
        self.bits &= !(u64::MAX >> self.count);
        while self.count < 56 {
            let byte = match self.end {
                End::Ahead => self.next_byte(),
                _ => None,
            };
            match byte {
                Some(byte) => self.bits |= u64::from(byte) << (56 - self.count),
                None => self.missing += 8,
            }
            self.count += 8;
        }
        self
    }

    /// The next byte with stuffing undone; `None` and [`Bits::end`] set where the segment ends.
    fn next_byte(&mut self) -> Option<u8> {
        let Some(&byte) = self.bytes.get(self.at) else {
            self.end = End::File;
            return None;
        };
        if byte != 0xFF {
            self.at += 1;
            return Some(byte);
        }
        let rest = &self.bytes[self.at..];
        let Some(after) = rest.iter().position(|&b| b != 0xFF) else {
            self.end = End::File;
            return None;
        };
        if rest[after] == 0 {
            self.at += after + 1;
            return Some(0xFF);
        }
        self.end = End::Marker(rest[after], self.at + after + 1);
        None
    }

    /// The next bits, uppermost first, without taking them.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> u32 {
        (self.bits >> (64 - count)) as u32
    }

    /// Takes bits that [`Bits::refill`] has loaded.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.bits <<= count;
        self.count -= count;
    }

    /// Takes up to 16 bits that [`Bits::refill`] has loaded, as a number.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        // In two steps, since shifting out all 64 bits at once is not defined.
        let value = (self.bits >> 1 >> (63 - count)) as u32;
        self.skip(count);
        value
    }

    /// One bit, loaded where needed.
    #[inline(always)]
    pub(super) fn bit(&mut self) -> bool {
        if self.count < 1 {
            self.refill();
        }
        self.take(1) != 0
    }

    /// Finds what the next bits begin with.
    #[inline(always)]
    pub(super) fn look_up(&self, table: &Huffman) -> Lookup {
        table.lookup[self.peek(LOOKUP_BITS) as usize]
    }

    /// Takes a symbol; at least 17 bits are loaded.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &Huffman, found: Lookup) -> u8 {
        if found.length != 0 {
            self.skip(u32::from(found.length));
            return found.run;
        }
        let (symbol, length) = table.long_code(self.peek(17));
        self.skip(length);
        symbol
    }

    /// Takes the difference of a DC coefficient.
    #[inline(always)]
    pub(super) fn dc_difference(&mut self, table: &Huffman) -> i32 {
        self.refill_for_symbol();
        let size = u32::from(self.symbol(table, self.look_up(table)));
        extend(self.take(size), size)
    }

    /// Loads what a symbol and its value can need: 17 and 15 bits.
    #[inline(always)]
    pub(super) fn refill_for_symbol(&mut self) {
        if self.count < 32 {
            self.refill();
        }
    }

    /// Whether bits have been taken that the data does not have.
    #[inline(always)]
    pub(super) fn exhausted(&self) -> bool {
        self.missing > self.count
    }

    /// Whether the data has ended without a marker before what has been taken.
    pub(super) fn truncated(&self) -> bool {
        self.end == End::File && self.exhausted()
    }
}

/// Restart markers, as libjpeg's `jpeg_resync_to_restart` treats them.
#[derive(Debug)]
pub(super) struct Restarts {
    interval: usize,
    left: usize,
    next: u8,
}

/// What a restart found.
pub(super) enum Resume {
    /// The data goes on at this position.
    Data(usize),
    /// A later marker stands here already; what is missing is filled up.
    Missing(u8, usize),
}

impl Restarts {
    pub(super) fn new(interval: usize) -> Restarts {
        Restarts {
            interval,
            left: interval,
            next: 0,
        }
    }

    /// Counts an MCU that is about to be decoded; true if a restart marker stands before it.
    #[inline(always)]
    pub(super) fn due(&mut self) -> bool {
        if self.interval == 0 {
            return false;
        }
        if self.left == 0 {
            self.left = self.interval - 1;
            return true;
        }
        self.left -= 1;
        false
    }

    /// Finds the restart marker that is due, from a marker that ended the segment or the position of the data.
    pub(super) fn resync(
        &mut self,
        end: End,
        at: usize,
        bytes: &[u8],
    ) -> Result<Resume, JpegError> {
        let (mut marker, mut behind) = match end {
            End::Marker(marker, behind) => (marker, behind),
            End::Ahead | End::File => next_marker(bytes, at)?,
        };
        let wanted = self.next;
        self.next = (wanted + 1) & 7;
        loop {
            let ahead = marker.wrapping_sub(0xD0).wrapping_sub(wanted) & 7;
            match marker {
                0xD0..=0xD7 if matches!(ahead, 1 | 2) => {
                    return Ok(Resume::Missing(marker, behind));
                }
                // A restart marker that has been passed already; below 0xC0, no marker that may stand here.
                0xD0..=0xD7 if matches!(ahead, 6 | 7) => {
                    (marker, behind) = next_marker(bytes, behind)?
                }
                0xD0..=0xD7 => return Ok(Resume::Data(behind)),
                0..0xC0 => (marker, behind) = next_marker(bytes, behind)?,
                _ => return Ok(Resume::Missing(marker, behind)),
            }
        }
    }
}

impl<'a> Bits<'a> {
    /// Crosses the restart marker that is due.
    pub(super) fn restart(&mut self, restarts: &mut Restarts) -> Result<(), JpegError> {
        let resume = restarts.resync(self.end, self.at, self.bytes)?;
        *self = match resume {
            Resume::Data(at) => Bits::new(self.bytes, at),
            // At the marker itself, so that no byte before it is taken for data. As in libjpeg, a segment that had run
            // out of data goes on being filled up with zero blocks, another one first decodes an MCU of zero bits.
            Resume::Missing(marker, behind) => Bits {
                end: End::Marker(marker, behind),
                missing: u32::from(self.exhausted()),
                ..Bits::new(self.bytes, behind - 2)
            },
        };
        Ok(())
    }

    /// Where the segments go on after the scan: at its end marker, or at whatever comes next.
    pub(super) fn position(&self) -> usize {
        match self.end {
            // Back before the marker: a number of 0xFF and the marker itself.
            End::Marker(_, behind) => behind - 2,
            End::Ahead | End::File => self.at,
        }
    }
}
