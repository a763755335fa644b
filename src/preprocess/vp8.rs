//! The head of a lossy WebP picture, as far as it tells how long the parts of its data are.
//!
//! Called by `webp` before the picture is decoded: the decoder allocates a part of up to 16 MiB as soon as it is
//! announced, so one that the file does not hold must be refused before. Source: RFC 6386, sections 7.3 and 9.1 to 9.5.

use super::{Format, PreprocessError};

/// Bytes of the frame's tag, start code and size.
const HEAD_BYTES: usize = 10;

/// Refuses a picture that announces more data than there is, and one that is no key frame.
///
/// # Errors
/// [`PreprocessError::Truncated`] or [`PreprocessError::Corrupt`].
pub(super) fn check_partitions(data: &[u8]) -> Result<(), PreprocessError> {
    let head: &[u8; HEAD_BYTES] = data.first_chunk().ok_or_else(truncated)?;
    if head[0] & 1 != 0 {
        let detail = "the picture is no key frame".to_owned();
        return Err(PreprocessError::Corrupt {
            format: Format::WebP,
            detail,
        });
    }
    let first = u24_of(head) >> 5;
    let (first, rest) = data[HEAD_BYTES..]
        .split_at_checked(first)
        .ok_or_else(truncated)?;
    // The last partition takes what is left, so only the others have a size.
    let sized = 3 * (Bits::new(first).partitions() - 1);
    let (sizes, rest) = rest.split_at_checked(sized).ok_or_else(truncated)?;
    let announced: usize = sizes.chunks_exact(3).map(u24_of).sum();
    if announced > rest.len() {
        return Err(truncated());
    }
    Ok(())
}

/// The bits of a first partition that are as likely 0 as 1, which all before the number of partitions are.
struct Bits<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// Width of the interval, 128 to 255.
    range: u32,
    /// Two bytes of the data, less what has been decoded.
    value: u32,
    /// Bits of the second byte that have been shifted out.
    shifted: u32,
}

impl<'a> Bits<'a> {
    fn new(partition: &'a [u8]) -> Bits<'a> {
        let mut bits = Bits {
            bytes: partition.iter(),
            range: 255,
            value: 0,
            shifted: 0,
        };
        bits.value = bits.byte() << 8 | bits.byte();
        bits
    }

    /// The next byte; beyond the end there are zeros.
    fn byte(&mut self) -> u32 {
        self.bytes.next().copied().map_or(0, u32::from)
    }

    fn flag(&mut self) -> bool {
        let split = 1 + (((self.range - 1) * 128) >> 8);
        let set = self.value >= split << 8;
        if set {
            self.range -= split;
            self.value -= split << 8;
        } else {
            self.range = split;
        }
        while self.range < 128 {
            self.range <<= 1;
            self.value <<= 1;
            self.shifted += 1;
            if self.shifted == 8 {
                self.shifted = 0;
                self.value |= self.byte();
            }
        }
        set
    }

    fn literal(&mut self, bits: u32) -> u32 {
        (0..bits).fold(0, |value, _| value << 1 | u32::from(self.flag()))
    }

    /// Skips `count` values, each a flag and, where it is set, so many bits.
    fn skip_optional(&mut self, count: u32, bits: u32) {
        for _ in 0..count {
            if self.flag() {
                self.literal(bits);
            }
        }
    }

    /// Reads from the start up to the number of partitions: 1, 2, 4 or 8.
    fn partitions(mut self) -> usize {
        self.literal(2); // color space, clamping
        if self.flag() {
            let (map, features) = (self.flag(), self.flag());
            if features {
                self.flag(); // absolute or not
                self.skip_optional(4, 7 + 1); // quantizers, with their signs
                self.skip_optional(4, 6 + 1); // loop filter levels
            }
            if map {
                self.skip_optional(3, 8); // probabilities
            }
        }
        self.literal(1 + 6 + 3); // loop filter: kind, level, sharpness
        if self.flag() && self.flag() {
            self.skip_optional(8, 6 + 1); // adjustments
        }
        1 << self.literal(2)
    }
}

fn u24_of(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) | usize::from(bytes[1]) << 8 | usize::from(bytes[2]) << 16
}

fn truncated() -> PreprocessError {
    PreprocessError::truncated(Format::WebP, "a partition is longer than what follows")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits that are as likely 0 as 1. Source: RFC 6386, section 7.3.
    struct Writer {
        out: Vec<u8>,
        range: u32,
        /// The low end of the interval, of which the byte above 24 bits is the next to be written.
        bottom: u64,
        /// Shifts until that byte is written.
        left: u32,
    }

    impl Writer {
        fn flag(&mut self, set: bool) {
            let split = 1 + (((self.range - 1) * 128) >> 8);
            if set {
                self.bottom += u64::from(split);
                self.range -= split;
            } else {
                self.range = split;
            }
            while self.range < 128 {
                self.range <<= 1;
                self.bottom <<= 1;
                if self.bottom >> 32 != 0 {
                    let at = self.out.iter().rposition(|&b| b != 255);
                    let at = at.expect("a carry has where to go");
                    self.out[at] += 1;
                    self.out[at + 1..].fill(0);
                    self.bottom &= u64::from(u32::MAX);
                }
                self.left -= 1;
                if self.left == 0 {
                    self.out.push((self.bottom >> 24) as u8);
                    self.bottom &= (1 << 24) - 1;
                    self.left = 8;
                }
            }
        }

        fn literal(&mut self, value: u32, bits: u32) -> &mut Self {
            (0..bits).rev().for_each(|i| self.flag(value >> i & 1 == 1));
            self
        }

        fn finish(&mut self) -> Vec<u8> {
            self.literal(0, 32);
            std::mem::take(&mut self.out)
        }
    }

    /// A first partition that announces 2^`log2` of the others, after all that may stand before if `full`.
    fn first_partition(log2: u32, full: bool) -> Vec<u8> {
        let mut bits = Writer {
            out: Vec::new(),
            range: 255,
            bottom: 0,
            left: 24,
        };
        bits.literal(0b01, 2).literal(u32::from(full), 1);
        if full {
            bits.literal(0b111, 3);
            bits.literal(1 << 8 | 77, 9)
                .literal(0, 1)
                .literal(1 << 8 | 255, 9)
                .literal(0, 1);
            bits.literal(0, 2).literal(1 << 7 | 127, 8).literal(0, 1);
            bits.literal(1 << 8 | 3, 9)
                .literal(0, 1)
                .literal(1 << 8 | 200, 9);
        }
        bits.literal(0b00_1010_1111, 10).literal(u32::from(full), 1);
        if full {
            bits.literal(1, 1).literal(0, 7).literal(1 << 7 | 65, 8);
        }
        bits.literal(log2, 2).finish()
    }

    fn picture(log2: u32, full: bool, sizes: &[u32], data: usize) -> Vec<u8> {
        let first = first_partition(log2, full);
        let mut bytes = ((first.len() as u32) << 5).to_le_bytes()[..3].to_vec();
        bytes.extend([0x9D, 0x01, 0x2A, 16, 0, 16, 0]);
        bytes.extend(first);
        bytes.extend(
            sizes
                .iter()
                .flat_map(|size| size.to_le_bytes().into_iter().take(3)),
        );
        bytes.extend(vec![0; data]);
        bytes
    }

    #[test]
    fn number_of_partitions_is_found_behind_whatever_stands_before() {
        for log2 in 0..4 {
            for full in [false, true] {
                let first = first_partition(log2, full);
                assert_eq!(Bits::new(&first).partitions(), 1 << log2, "{full}");
            }
        }
    }

    #[test]
    fn partition_longer_than_the_file_is_refused_and_one_that_fits_is_not() {
        for full in [false, true] {
            assert!(check_partitions(&picture(0, full, &[], 0)).is_ok());
            assert!(check_partitions(&picture(1, full, &[5], 5)).is_ok());
            assert!(check_partitions(&picture(2, full, &[3, 0, 4], 8)).is_ok());
            for bad in [
                picture(1, full, &[6], 5),
                picture(1, full, &[0xFF_FFFF], 5),
                picture(2, full, &[3, 0, 6], 8),
                picture(3, full, &[0; 6], 0),
            ] {
                let error = check_partitions(&bad).expect_err("too long");
                assert!(
                    matches!(error, PreprocessError::Truncated { .. }),
                    "{error}"
                );
            }
        }
        let whole = picture(0, false, &[], 0);
        assert!(
            check_partitions(&whole[..whole.len() - 1]).is_err(),
            "the first one too"
        );
        assert!(check_partitions(&whole[..9]).is_err());
    }

    #[test]
    fn picture_that_is_no_key_frame_is_corrupt() {
        let mut bytes = picture(0, false, &[], 0);
        bytes[0] |= 1;
        let error = check_partitions(&bytes).expect_err("no key frame");
        assert!(matches!(error, PreprocessError::Corrupt { .. }), "{error}");
    }
}
