//! Quantization and Huffman tables, and the restart interval, as the file sets them up.
//!
//! Filled by `header`, asked by the scans.
//!
//! Source: ITU-T T.81, B.2.4.

use super::JpegError;
use super::huffman::{HuffmanSpec, STANDARD_AC, STANDARD_DC};

/// Position in a row-major block of the k-th coefficient in zigzag order; what lies past the 64th lands on the last, as
/// in libjpeg, so that a damaged run length cannot reach outside of a block. As long as a position and a run in a `u8`
/// can reach, which spares the check.
pub(super) static ZIGZAG: [u8; 64 + 256] = {
    let mut order = [63; 64 + 256];
    let (mut x, mut y, mut k) = (0u8, 0u8, 0);
    while k < 64 {
        order[k] = y * 8 + x;
        // Even diagonals run up and to the right, odd ones down and to the left.
        if (x + y) % 2 == 0 {
            if x == 7 {
                y += 1;
            } else if y == 0 {
                x += 1;
            } else {
                x += 1;
                y -= 1;
            }
        } else if y == 7 {
            x += 1;
        } else if x == 0 {
            y += 1;
        } else {
            x -= 1;
            y += 1;
        }
        k += 1;
    }
    order
};

/// What the segments set up for the scans after them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub(super) quant: [Option<[u16; 64]>; 4],
    dc: [Option<HuffmanSpec>; 4],
    ac: [Option<HuffmanSpec>; 4],
    /// MCUs between restart markers; 0 for none.
    pub(super) restart_interval: usize,
}

impl Tables {
    /// Puts the tables of T.81, annex K, where there are none; motion JPEGs leave them out.
    pub(super) fn fill_up(&mut self) {
        for (table, standard) in self.dc.iter_mut().zip(STANDARD_DC) {
            table.get_or_insert(standard);
        }
        for (table, standard) in self.ac.iter_mut().zip(STANDARD_AC) {
            table.get_or_insert(standard);
        }
    }

    /// The DC table that a scan asks for.
    pub(super) fn dc(&self, index: usize) -> Result<&HuffmanSpec, JpegError> {
        Tables::defined(&self.dc, index)
    }

    /// The AC table that a scan asks for.
    pub(super) fn ac(&self, index: usize) -> Result<&HuffmanSpec, JpegError> {
        Tables::defined(&self.ac, index)
    }

    fn defined(tables: &[Option<HuffmanSpec>], index: usize) -> Result<&HuffmanSpec, JpegError> {
        tables
            .get(index)
            .and_then(Option::as_ref)
            .ok_or(JpegError::Corrupt("a Huffman table is missing"))
    }

    /// Reads the tables of a DHT segment.
    pub(super) fn define_huffman(&mut self, mut content: &[u8]) -> Result<(), JpegError> {
        const BAD: JpegError = JpegError::Corrupt("a Huffman table of the wrong length");
        while !content.is_empty() {
            let (head, rest) = content.split_at_checked(17).ok_or(BAD)?;
            let mut counts = [0; 16];
            counts.copy_from_slice(&head[1..]);
            let length = counts.iter().map(|&n| usize::from(n)).sum();
            let (values, rest) = rest.split_at_checked(length).ok_or(BAD)?;
            let tables = match head[0] & 0xF0 {
                0x00 => &mut self.dc,
                0x10 => &mut self.ac,
                _ => return Err(JpegError::Corrupt("a Huffman table of an unknown class")),
            };
            *tables
                .get_mut(usize::from(head[0] & 15))
                .ok_or(JpegError::Corrupt("a Huffman table above 3"))? =
                Some(HuffmanSpec::new(counts, values).ok_or(BAD)?);
            content = rest;
        }
        Ok(())
    }

    /// Reads the tables of a DQT segment.
    pub(super) fn define_quantization(&mut self, mut content: &[u8]) -> Result<(), JpegError> {
        while let [head, rest @ ..] = content {
            let wide = head >> 4 != 0;
            let size = if wide { 128 } else { 64 };
            let Some((values, rest)) = rest.split_at_checked(size) else {
                return Err(JpegError::Corrupt(
                    "a quantization table of the wrong length",
                ));
            };
            let mut table = [0; 64];
            for (k, &natural) in ZIGZAG[..64].iter().enumerate() {
                table[usize::from(natural)] = if wide {
                    u16::from_be_bytes([values[2 * k], values[2 * k + 1]])
                } else {
                    u16::from(values[k])
                };
            }
            *self
                .quant
                .get_mut(usize::from(head & 15))
                .ok_or(JpegError::Corrupt("a quantization table above 3"))? = Some(table);
            content = rest;
        }
        Ok(())
    }
}
