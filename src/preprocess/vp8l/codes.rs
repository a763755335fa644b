//! The bits of a VP8L stream and the prefix codes in it.
//!
//! Used by the scan of `vp8l`. Knows what a code's tables take in `image-webp`, and decodes symbols with a table of its
//! own. Sources: RFC 9649, sections 3.7.2 and 6.2.1; image-webp 0.2.4, `huffman.rs` and `read_huffman_code` in
//! `lossless.rs`.

use super::ScanError;

/// Symbols of the largest alphabet: 256 literals, 24 lengths and a color cache of 2^11.
const MAX_ALPHABET: usize = 256 + 24 + (1 << 11);

/// The longest code, in bits.
const MAX_LENGTH: usize = 15;

/// The order in which the lengths of the code length code are stored.
const CODE_LENGTH_ORDER: [usize; 19] = [
    17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
];

/// The crate's lookup table has up to 2^10 entries.
const TABLE_BITS: usize = 10;

/// Bytes of an entry of that table.
const ENTRY_BYTES: u64 = 4;

/// Bytes of a node of the tree that has the symbols of longer codes. The tree is allocated for two nodes a symbol.
const NODE_BYTES: u64 = 16;

/// Reads a stream's bits, the least significant of each byte first.
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Bits<'a> {
        Bits {
            rest: data,
            buffer: 0,
            count: 0,
        }
    }

    /// Takes `n` bits, at most 32.
    pub(super) fn take(&mut self, n: u32) -> Result<u32, ScanError> {
        self.fill(n);
        let value = self.buffer & ((1 << n) - 1);
        self.drop_bits(n)?;
        Ok(value as u32)
    }

    /// Has at least `n` bits in the buffer, at most 32, if there are as many.
    fn fill(&mut self, n: u32) {
        if self.count >= n {
            return;
        }
        while self.count <= 56
            && let Some((&byte, rest)) = self.rest.split_first()
        {
            self.buffer |= u64::from(byte) << self.count;
            self.count += 8;
            self.rest = rest;
        }
    }

    fn drop_bits(&mut self, n: u32) -> Result<(), ScanError> {
        self.count = self.count.checked_sub(n).ok_or(ScanError::Truncated)?;
        self.buffer >>= n;
        Ok(())
    }
}

/// A prefix code as the stream describes it.
pub(super) enum Description {
    /// The code's only symbol, which takes no bits.
    One(u16),
    /// The symbols of the bits 0 and 1; in the order of the stream, as the crate has them.
    Two(u16, u16),
    /// The lengths of several symbols, or of a single one.
    Lengths(Lengths),
}

/// The lengths of a complete code's symbols in bits, 0 for those that do not occur.
pub(super) struct Lengths {
    of: Vec<u8>,
    /// How many symbols have each length.
    histogram: [u16; MAX_LENGTH + 1],
}

impl Description {
    /// Reads the description of a code of `alphabet` symbols.
    pub(super) fn read(bits: &mut Bits<'_>, alphabet: usize) -> Result<Description, ScanError> {
        debug_assert!(alphabet <= MAX_ALPHABET);
        if bits.take(1)? == 0 {
            return Lengths::read(bits, alphabet)?.described();
        }
        let two = bits.take(1)? == 1;
        let mut symbol = |width| match bits.take(width)? {
            symbol if (symbol as usize) < alphabet => Ok(symbol as u16),
            _ => Err(ScanError::Corrupt("a symbol beyond its alphabet")),
        };
        let wide = symbol(1)?;
        let first = symbol(1 + 7 * u32::from(wide))?;
        Ok(if two {
            Description::Two(first, symbol(8)?)
        } else {
            Description::One(first)
        })
    }

    /// What the crate allocates for this code, in bytes.
    pub(super) fn table_bytes(&self) -> u64 {
        match self {
            Description::One(_) => 0,
            Description::Two(..) => 2 * ENTRY_BYTES + 3 * NODE_BYTES,
            Description::Lengths(lengths) => {
                let entries = 1 << lengths.longest().min(TABLE_BITS);
                let long: u64 = lengths.histogram[TABLE_BITS + 1..]
                    .iter()
                    .map(|&n| u64::from(n))
                    .sum();
                entries * ENTRY_BYTES + 2 * long * NODE_BYTES
            }
        }
    }

    /// The code, ready to decode.
    pub(super) fn code(&self) -> Code {
        match self {
            Description::One(symbol) => Code::One(*symbol),
            Description::Two(zero, one) => Code::Table(vec![entry(*zero, 1), entry(*one, 1)]),
            Description::Lengths(lengths) => Code::Table(lengths.table()),
        }
    }
}

impl Lengths {
    fn new(alphabet: usize) -> Lengths {
        Lengths {
            of: Vec::with_capacity(alphabet),
            histogram: [0; MAX_LENGTH + 1],
        }
    }

    /// The next `count` symbols have this length.
    fn push(&mut self, length: u8, count: usize) {
        self.of.resize(self.of.len() + count, length);
        self.histogram[usize::from(length)] += count as u16;
    }

    fn read(bits: &mut Bits<'_>, alphabet: usize) -> Result<Lengths, ScanError> {
        let mut stored = [0; CODE_LENGTH_ORDER.len()];
        let count = 4 + bits.take(4)? as usize;
        for &symbol in CODE_LENGTH_ORDER
            .get(..count)
            .ok_or(ScanError::Corrupt("more than 19 code length codes"))?
        {
            stored[symbol] = bits.take(3)? as u8;
        }
        let mut code = Lengths::new(stored.len());
        stored.iter().for_each(|&length| code.push(length, 1));
        let code = code.described()?.code();

        let mut left = alphabet;
        if bits.take(1)? == 1 {
            let width = 2 + 2 * bits.take(3)?;
            left = 2 + bits.take(width)? as usize;
            if left > alphabet {
                return Err(ScanError::Corrupt("more code lengths than symbols"));
            }
        }
        let (mut lengths, mut previous) = (Lengths::new(alphabet), 8);
        while lengths.of.len() < alphabet && left > 0 {
            left -= 1;
            let (length, count) = match code.symbol(bits)? {
                16 => (previous, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                18 => (0, 11 + bits.take(7)?),
                length => (length as u8, 1),
            };
            if lengths.of.len() + count as usize > alphabet {
                return Err(ScanError::Corrupt("a code length beyond the alphabet"));
            }
            lengths.push(length, count as usize);
            if length != 0 {
                previous = length;
            }
        }
        Ok(lengths)
    }

    fn longest(&self) -> usize {
        (1..=MAX_LENGTH)
            .rfind(|&length| self.histogram[length] > 0)
            .unwrap_or(0)
    }

    /// Checks that every sequence of bits is a symbol, and exactly one.
    fn described(self) -> Result<Description, ScanError> {
        let symbols: u16 = self.histogram[1..].iter().sum();
        if symbols == 1 {
            let only = self.of.iter().position(|&length| length > 0);
            return Ok(Description::One(only.unwrap_or(0) as u16));
        }
        let taken: u32 = (1..=MAX_LENGTH)
            .map(|length| u32::from(self.histogram[length]) << (MAX_LENGTH - length))
            .sum();
        if taken != 1 << MAX_LENGTH {
            return Err(ScanError::Corrupt("a prefix code that is not complete"));
        }
        Ok(Description::Lengths(self))
    }

    /// One entry for every sequence of as many bits as the longest code has.
    fn table(&self) -> Vec<u16> {
        let mut next = [0_u16; MAX_LENGTH + 1];
        for length in 2..=MAX_LENGTH {
            next[length] = (next[length - 1] + self.histogram[length - 1]) << 1;
        }
        let mut table = vec![0; 1 << self.longest()];
        for (symbol, &length) in self.of.iter().enumerate().filter(|(_, l)| **l > 0) {
            let code = &mut next[usize::from(length)];
            let first = code.reverse_bits() >> (16 - u32::from(length));
            *code += 1;
            for at in (usize::from(first)..table.len()).step_by(1 << length) {
                table[at] = entry(symbol as u16, length);
            }
        }
        table
    }
}

/// A code that decodes: at most 2^15 entries of 2 bytes.
pub(super) enum Code {
    One(u16),
    /// A symbol and its length for each value of the next bits.
    Table(Vec<u16>),
}

/// The symbol above its length in bits. The largest symbol is 2327, so it fits.
fn entry(symbol: u16, length: u8) -> u16 {
    symbol << 4 | u16::from(length)
}

impl Code {
    /// Reads the next symbol.
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u16, ScanError> {
        match self {
            Code::One(symbol) => Ok(*symbol),
            Code::Table(table) => {
                bits.fill(MAX_LENGTH as u32);
                // The table has a power of two entries.
                let entry = table[bits.buffer as usize & (table.len() - 1)];
                bits.drop_bits(u32::from(entry & 15))?;
                Ok(entry >> 4)
            }
        }
    }

    /// The only symbol, if it has no other.
    pub(super) fn only(&self) -> Option<u16> {
        match self {
            Code::One(symbol) => Some(*symbol),
            Code::Table(_) => None,
        }
    }
}
