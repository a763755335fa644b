//! Huffman tables, in the form that decoding looks things up in.
//!
//! Made by `header` and the scans; read by every decoded symbol.
//!
//! Source: ITU-T T.81, annexes C and F.2.2.3; the standard tables are those of annex K.3.

use super::JpegError;

/// A table as the file gives it: how many codes of 1 to 16 bits, and their symbols.
#[derive(Debug, Clone, Copy)]
pub(super) struct HuffmanSpec {
    counts: [u8; 16],
    values: [u8; 256],
}

impl HuffmanSpec {
    /// The table of these codes; `None` for more than 256 symbols.
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Option<HuffmanSpec> {
        let mut values = [0; 256];
        values.get_mut(..symbols.len())?.copy_from_slice(symbols);
        Some(HuffmanSpec { counts, values })
    }

    const fn standard(counts: [u8; 16], symbols: &[u8]) -> HuffmanSpec {
        let mut values = [0; 256];
        let mut i = 0;
        while i < symbols.len() {
            values[i] = symbols[i];
            i += 1;
        }
        HuffmanSpec { counts, values }
    }
}

/// DC tables of luminance and chrominance.
pub(super) const STANDARD_DC: [HuffmanSpec; 2] = [
    HuffmanSpec::standard(
        [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    ),
    HuffmanSpec::standard(
        [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    ),
];

/// AC tables of luminance and chrominance.
pub(super) const STANDARD_AC: [HuffmanSpec; 2] = [
    HuffmanSpec::standard(
        [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
        &[
            1, 2, 3, 0, 4, 17, 5, 18, 33, 49, 65, 6, 19, 81, 97, 7, 34, 113, 20, 50, 129, 145, 161,
            8, 35, 66, 177, 193, 21, 82, 209, 240, 36, 51, 98, 114, 130, 9, 10, 22, 23, 24, 25, 26,
            37, 38, 39, 40, 41, 42, 52, 53, 54, 55, 56, 57, 58, 67, 68, 69, 70, 71, 72, 73, 74, 83,
            84, 85, 86, 87, 88, 89, 90, 99, 100, 101, 102, 103, 104, 105, 106, 115, 116, 117, 118,
            119, 120, 121, 122, 131, 132, 133, 134, 135, 136, 137, 138, 146, 147, 148, 149, 150,
            151, 152, 153, 154, 162, 163, 164, 165, 166, 167, 168, 169, 170, 178, 179, 180, 181,
            182, 183, 184, 185, 186, 194, 195, 196, 197, 198, 199, 200, 201, 202, 210, 211, 212,
            213, 214, 215, 216, 217, 218, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234, 241,
            242, 243, 244, 245, 246, 247, 248, 249, 250,
        ],
    ),
    HuffmanSpec::standard(
        [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
        &[
            0, 1, 2, 3, 17, 4, 5, 33, 49, 6, 18, 65, 81, 7, 97, 113, 19, 34, 50, 129, 8, 20, 66,
            145, 161, 177, 193, 9, 35, 51, 82, 240, 21, 98, 114, 209, 10, 22, 36, 52, 225, 37, 241,
            23, 24, 25, 26, 38, 39, 40, 41, 42, 53, 54, 55, 56, 57, 58, 67, 68, 69, 70, 71, 72, 73,
            74, 83, 84, 85, 86, 87, 88, 89, 90, 99, 100, 101, 102, 103, 104, 105, 106, 115, 116,
            117, 118, 119, 120, 121, 122, 130, 131, 132, 133, 134, 135, 136, 137, 138, 146, 147,
            148, 149, 150, 151, 152, 153, 154, 162, 163, 164, 165, 166, 167, 168, 169, 170, 178,
            179, 180, 181, 182, 183, 184, 185, 186, 194, 195, 196, 197, 198, 199, 200, 201, 202,
            210, 211, 212, 213, 214, 215, 216, 217, 218, 226, 227, 228, 229, 230, 231, 232, 233,
            234, 242, 243, 244, 245, 246, 247, 248, 249, 250,
        ],
    ),
];

/// Bits that one look-up covers. With 10, nine of ten symbols of a photo are found together with their value, and the
/// four tables of a color picture fit into half of a 32 KiB first-level cache.
pub(super) const LOOKUP_BITS: u32 = 10;

/// What the next [`LOOKUP_BITS`] bits begin with.
///
/// - `value != 0`: a symbol and its value, `length` bits in all, after `run` zeros
/// - `length != 0`: a code of `length` bits for the symbol `run`; its value's bits, if any, follow
/// - otherwise: a longer code, or none
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Lookup {
    pub(super) length: u8,
    pub(super) run: u8,
    pub(super) value: i16,
}

/// A table ready to decode with.
#[derive(Debug)]
pub(super) struct Huffman {
    pub(super) lookup: [Lookup; 1 << LOOKUP_BITS],
    /// For codes of each length, left-aligned in 17 bits: the first code that is too large for it.
    limit: [u32; 18],
    /// Add a code of a length to get its symbol's position.
    offset: [i32; 18],
    values: [u8; 256],
}

impl Huffman {
    /// A table for DC differences, whose symbols are sizes of at most 15 bits.
    pub(super) fn dc(spec: &HuffmanSpec) -> Result<Huffman, JpegError> {
        let table = Huffman::codes(spec)?;
        let count: usize = spec.counts.iter().map(|&n| usize::from(n)).sum();
        if spec.values[..count].iter().any(|&size| size > 15) {
            return Err(JpegError::Corrupt("a DC difference of more than 15 bits"));
        }
        Ok(table)
    }

    /// A table for AC coefficients: the short codes' look-ups hold the value too.
    pub(super) fn ac(spec: &HuffmanSpec) -> Result<Huffman, JpegError> {
        let mut table = Huffman::codes(spec)?;
        for (bits, entry) in table.lookup.iter_mut().enumerate() {
            let (length, size) = (u32::from(entry.length), u32::from(entry.run & 15));
            if length == 0 || size == 0 || length + size > LOOKUP_BITS {
                continue;
            }
            let raw = bits as u32 >> (LOOKUP_BITS - length - size) & ((1 << size) - 1);
            *entry = Lookup {
                length: (length + size) as u8,
                run: entry.run >> 4,
                value: extend(raw, size) as i16, // fits: size is below 10
            };
        }
        Ok(table)
    }

    /// A table whose look-ups hold symbols only.
    pub(super) fn codes(spec: &HuffmanSpec) -> Result<Huffman, JpegError> {
        let mut table = Huffman {
            lookup: [Lookup::default(); 1 << LOOKUP_BITS],
            limit: [0; 18],
            offset: [0; 18],
            values: spec.values,
        };
        let (mut code, mut position) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = u32::from(spec.counts[length as usize - 1]);
            // No code may be all ones (T.81, C.2), so one must be left.
            if count > 0 && code + count >= 1 << length {
                return Err(JpegError::Corrupt("a Huffman table with too many codes"));
            }
            table.offset[length as usize] = position as i32 - code as i32;
            if length <= LOOKUP_BITS {
                let each = 1 << (LOOKUP_BITS - length);
                let first = (code << (LOOKUP_BITS - length)) as usize;
                for (i, entries) in table.lookup[first..first + count as usize * each]
                    .chunks_exact_mut(each)
                    .enumerate()
                {
                    entries.fill(Lookup {
                        length: length as u8,
                        run: spec.values[position + i],
                        value: 0,
                    });
                }
            }
            position += count as usize;
            code += count;
            table.limit[length as usize] = code << (17 - length);
            code <<= 1;
        }
        table.limit[17] = u32::MAX;
        Ok(table)
    }

    /// The symbol of a code that no look-up found, and its length, from the next 17 bits.
    ///
    /// Bits that are no code give symbol 0 and count 17, as in libjpeg, which goes on with a warning.
    #[cold]
    pub(super) fn long_code(&self, bits: u32) -> (u8, u32) {
        let fits = |&length: &u32| bits < self.limit[length as usize];
        let length = (1..=17).find(fits).unwrap_or(17);
        if length == 17 {
            return (0, 17);
        }
        let position = (bits >> (17 - length)) as i32 + self.offset[length as usize];
        (self.values[position as usize & 255], length)
    }
}

/// The value that `size` additional bits stand for. Source: T.81, figure F.12.
pub(super) fn extend(bits: u32, size: u32) -> i32 {
    let bits = bits as i32;
    if size > 0 && bits < 1 << (size - 1) {
        bits - (1 << size) + 1
    } else {
        bits
    }
}
