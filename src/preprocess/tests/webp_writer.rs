//! Lossless pictures bit by bit, for the tests.

/// Bytes of the tables of each group of [`many_groups`]: 2^10 entries, and 2^11 symbols that are too long for them.
pub(in crate::preprocess) const LONG_CODE_BYTES: u64 = (1 << 10) * 4 + (1 << 11) * 2 * 16;

/// Writes a stream's bits, the least significant of each byte first.
#[derive(Default)]
pub(in crate::preprocess) struct Writer {
    pub(in crate::preprocess) bytes: Vec<u8>,
    used: u32,
}

impl Writer {
    pub(in crate::preprocess) fn new(width: u32, height: u32) -> Writer {
        let mut writer = Writer::default();
        let (width, height) = (width - 1, height - 1);
        writer.put([(0x2F, 8), (width, 14), (height, 14), (0, 1), (0, 3)]);
        writer
    }

    /// Values, each with its width in bits.
    pub(in crate::preprocess) fn put<const N: usize>(
        &mut self,
        values: [(u32, u32); N],
    ) -> &mut Writer {
        for (value, width) in values {
            for bit in 0..width {
                if self.used.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                let last = self.bytes.last_mut().expect("a byte");
                *last |= ((value >> bit & 1) as u8) << (self.used % 8);
                self.used += 1;
            }
        }
        self
    }

    /// Codes of one symbol each, which takes no bits.
    pub(in crate::preprocess) fn only<const N: usize>(&mut self, symbols: [u32; N]) -> &mut Writer {
        for symbol in symbols {
            self.put([(0b101, 3), (symbol, 8)]);
        }
        self
    }

    /// A code of two symbols of one bit each.
    pub(in crate::preprocess) fn two(&mut self, zero: u32, one: u32) -> &mut Writer {
        self.put([(0b111, 3), (zero, 8), (one, 8)])
    }

    /// A code of these symbols with their lengths.
    pub(in crate::preprocess) fn code(
        &mut self,
        alphabet: u32,
        lengths: &[(u32, u32)],
    ) -> &mut Writer {
        // The lengths 0 to 15 get 4 bits each, in their order; a code's first bit is its highest.
        self.put([(0, 1), (15, 4), (0, 6)]);
        for symbol in [0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] {
            self.put([(if symbol < 16 { 4 } else { 0 }, 3)]);
        }
        self.put([(0, 1)]);
        for symbol in 0..alphabet {
            let of = lengths.iter().find(|(s, _)| *s == symbol);
            let length = of.map_or(0, |(_, length)| *length);
            self.put([(length.reverse_bits() >> 28, 4)]);
        }
        self
    }

    /// A code of symbols 0 to 2047, 11 bits each.
    pub(in crate::preprocess) fn long_code(&mut self) -> &mut Writer {
        // Of the code length codes 15 are stored, of which those for 16 (a repetition) and 11 get a bit each.
        self.put([(0, 1), (11, 4)]);
        for symbol in [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11] {
            self.put([(u32::from(symbol == 16 || symbol == 11), 3)]);
        }
        // 343 codes for the lengths: 11, then 6 more 341 times, then 11.
        self.put([(1, 1), (4, 3), (343 - 2, 10), (0, 1)]);
        for _ in 0..341 {
            self.put([(1, 1), (3, 2)]);
        }
        self.put([(0, 1)])
    }
}

/// A picture of 1×1 with so many groups, each with one code of 2^11 symbols.
pub(in crate::preprocess) fn many_groups(groups: u32) -> Vec<u8> {
    let mut writer = Writer::new(1, 1);
    // No transform, a color cache of 2^11, groups numbered in blocks of 4×4: one pixel with the last number.
    writer.put([(0, 1), (1, 1), (11, 4), (1, 1), (0, 3), (0, 1)]);
    writer.only([(groups - 1) & 255, (groups - 1) >> 8, 0, 0, 0]);
    for _ in 0..groups {
        writer.long_code().only([7, 8, 9, 0]);
    }
    writer.put([(0, 11)]);
    writer.bytes.clone()
}

/// A picture of 20×9 with every transform and color caches, whose group numbers are at most `groups` - 1 = 256.
pub(in crate::preprocess) fn every_transform(groups: u32) -> Vec<u8> {
    let mut writer = Writer::new(20, 9);
    // A palette of 3 colors: a literal, again, and its repetition. Four pixels lie in one, so 5 columns remain.
    writer.put([(1, 1), (3, 2), (3 - 1, 8), (0, 1)]);
    writer.code(280, &[(9, 1), (256, 1)]).only([0, 0, 255, 1]);
    writer.put([(0, 1), (0, 1), (1, 1)]);
    // Predictors of 2×3 blocks of 4×4: a literal, and its repetition, 5 long.
    writer.put([(1, 1), (0, 2), (0, 3), (0, 1)]);
    writer.code(280, &[(11, 1), (260, 1)]).only([0, 0, 255, 1]);
    writer.put([(0, 1), (1, 1), (0, 1)]);
    // Color transforms of 1×2 blocks of 8×8: the two colors of a cache.
    writer.put([(1, 1), (1, 2), (1, 3), (1, 1), (1, 4)]);
    writer.code(282, &[(280, 1), (281, 1)]).only([0, 0, 0, 0]);
    writer.put([(0, 1), (1, 1)]);
    // Subtract green, and the end of the transforms. A cache of two colors, and group numbers of 2×3 blocks of 4×4.
    writer.put([(1, 1), (2, 2), (0, 1), (1, 1), (1, 4), (1, 1), (0, 3)]);
    // With a cache of 16 colors: 2, its repetition, 0, 2 from the cache, 256, 0.
    let place = 0x1E35_A7BD_u32.wrapping_mul(2 << 8) >> (32 - 4);
    writer.put([(1, 1), (4, 4)]);
    writer.code(296, &[(0, 2), (2, 2), (256, 2), (280 + place, 2)]);
    writer.two(0, 1).only([0, 0, 1]);
    // Codes count upwards, their bits are read downwards.
    writer.put([(0b10, 2), (0, 1), (0b01, 2), (0b00, 2), (0, 1)]);
    writer.put([(0b11, 2), (0b00, 2), (1, 1), (0b00, 2), (0, 1)]);
    for _ in 0..groups {
        writer.only([0, 0, 0, 255, 0]);
    }
    writer.bytes
}

/// A picture of noise: every channel takes 8 bits a pixel, alpha none.
pub(in crate::preprocess) fn noise(width: u32, height: u32) -> Vec<u8> {
    let mut writer = Writer::new(width, height);
    writer.put([(0, 3)]);
    let flat: Vec<(u32, u32)> = (0..256).map(|symbol| (symbol, 8)).collect();
    writer.code(280, &flat).code(256, &flat).code(256, &flat);
    writer.only([255, 0]);
    let mut noise = 1_u32;
    for _ in 0..width * height {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        writer.put([(noise >> 8, 24)]);
    }
    writer.bytes
}

/// The content of a VP8L chunk as a file.
pub(in crate::preprocess) fn file(data: &[u8]) -> Vec<u8> {
    let mut body = b"WEBPVP8L".to_vec();
    body.extend((data.len() as u32).to_le_bytes());
    body.extend(data);
    body.resize(body.len().next_multiple_of(2), 0);
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}
