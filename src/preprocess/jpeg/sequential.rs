//! Scans of sequential JPEGs: whole blocks, one after the other.
//!
//! Run by `decode` on the only scan of an ordinary photo, whose blocks go straight to the inverse transform, or on each
//! of several scans, whose blocks are kept.
//!
//! Source: ITU-T T.81, F.2; what happens to damaged data is what libjpeg does with it.

use super::JpegError;
use super::bits::{Bits, Restarts};
use super::frame::{Frame, Scan};
use super::huffman::{Huffman, extend};
use super::tables::{Tables, ZIGZAG};
use kernels::{Task, Vectorized};

/// The coefficients of one block, row-major, not yet multiplied by the quantization table.
pub(super) type Block = [i16; 64];

/// Where decoded blocks go.
pub(super) trait BlockSink {
    /// Whether a block is needed; others are decoded only as far as finding the next one takes.
    fn wants(&self, component: usize, block_x: usize, block_y: usize) -> bool;

    /// Takes a block. `last` is the zigzag position of its last coefficient that may differ from zero.
    fn put(&mut self, component: usize, block_x: usize, block_y: usize, block: &Block, last: usize);
}

/// The geometry of a scan: its MCUs, and the blocks of each component in one.
#[derive(Debug)]
pub(super) struct ScanGeometry {
    pub(super) mcus_x: usize,
    pub(super) mcus_y: usize,
    /// Component, and columns and rows of its blocks in an MCU.
    pub(super) parts: Vec<(usize, usize, usize)>,
}

impl ScanGeometry {
    /// T.81, A.2: an MCU of one component is a block, one of several has as many as the sampling factors say.
    pub(super) fn new(frame: &Frame, scan: &Scan) -> ScanGeometry {
        if let [only] = scan.components[..] {
            let (mcus_x, mcus_y) = frame.blocks(&frame.components[only.index]);
            return ScanGeometry {
                mcus_x,
                mcus_y,
                parts: vec![(only.index, 1, 1)],
            };
        }
        let (mcus_x, mcus_y) = frame.mcus();
        let part = |c: &super::frame::ScanComponent| {
            let component = &frame.components[c.index];
            (c.index, component.h, component.v)
        };
        ScanGeometry {
            mcus_x,
            mcus_y,
            parts: scan.components.iter().map(part).collect(),
        }
    }
}

/// A sequential Huffman scan that is being decoded, one row of MCUs after the other.
pub(super) struct SequentialScan<'a> {
    bits: Bits<'a>,
    restarts: Restarts,
    pub(super) geometry: ScanGeometry,
    /// DC and AC table of each part.
    tables: Vec<(Huffman, Huffman)>,
    /// DC prediction of each part.
    predictions: Vec<i32>,
}

impl<'a> SequentialScan<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        at: usize,
        frame: &Frame,
        scan: &Scan,
        tables: &Tables,
    ) -> Result<SequentialScan<'a>, JpegError> {
        let table = |c: &super::frame::ScanComponent| {
            Ok((
                Huffman::dc(tables.dc(c.dc_table)?)?,
                Huffman::ac(tables.ac(c.ac_table)?)?,
            ))
        };
        Ok(SequentialScan {
            bits: Bits::new(bytes, at),
            restarts: Restarts::new(tables.restart_interval),
            geometry: ScanGeometry::new(frame, scan),
            tables: scan
                .components
                .iter()
                .map(table)
                .collect::<Result<_, JpegError>>()?,
            predictions: vec![0; scan.components.len()],
        })
    }

    /// Decodes the next row of MCUs.
    pub(super) fn row(
        &mut self,
        mcu_y: usize,
        sink: &mut impl BlockSink,
        vectorized: Vectorized,
    ) -> Result<(), JpegError> {
        vectorized.run(Row {
            scan: self,
            mcu_y,
            sink,
        })
    }

    #[inline(always)]
    fn decode_row(&mut self, mcu_y: usize, sink: &mut impl BlockSink) -> Result<(), JpegError> {
        let mut bits = self.bits;
        let mut block = [0; 64];
        for mcu_x in 0..self.geometry.mcus_x {
            if self.restarts.due() {
                bits.restart(&mut self.restarts)?;
                self.predictions.fill(0);
            }
            // As libjpeg: after the MCU in which the data ended, blocks are zero.
            let missing = bits.exhausted();
            let parts = self.geometry.parts.iter().zip(&self.tables);
            for ((&(component, columns, rows), (dc, ac)), prediction) in
                parts.zip(&mut self.predictions)
            {
                let blocks = (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y)));
                for (x, y) in blocks {
                    let (x, y) = (mcu_x * columns + x, mcu_y * rows + y);
                    let wanted = sink.wants(component, x, y);
                    if missing {
                        if wanted {
                            sink.put(component, x, y, &[0; 64], 0);
                        }
                        continue;
                    }
                    // A damaged file can make the sum overflow; its blocks are garbage anyway.
                    *prediction = prediction.wrapping_add(bits.dc_difference(dc));
                    if wanted {
                        block.fill(0);
                        block[0] = *prediction as i16;
                        let last = coefficients::<true>(&mut bits, ac, &mut block);
                        sink.put(component, x, y, &block, last);
                    } else {
                        coefficients::<false>(&mut bits, ac, &mut block);
                    }
                }
            }
            if bits.truncated() {
                return Err(JpegError::Truncated("the data ends inside a scan"));
            }
        }
        self.bits = bits;
        Ok(())
    }

    /// Where the segments go on.
    pub(super) fn position(&self) -> usize {
        self.bits.position()
    }
}

struct Row<'s, 'a, S> {
    scan: &'s mut SequentialScan<'a>,
    mcu_y: usize,
    sink: &'s mut S,
}

impl<S: BlockSink> Task for Row<'_, '_, S> {
    type Output = Result<(), JpegError>;

    #[inline(always)]
    fn run(self) -> Result<(), JpegError> {
        self.scan.decode_row(self.mcu_y, self.sink)
    }
}

/// Decodes the 63 AC coefficients of a block, and stores them unless it is skipped; the position of the last.
#[inline(always)]
fn coefficients<const STORE: bool>(bits: &mut Bits, table: &Huffman, block: &mut Block) -> usize {
    let mut k = 1;
    let mut last = 0;
    'block: while k < 64 {
        bits.refill();
        // At least 56 bits are there: enough for two short symbols and one of any length after them.
        for _ in 0..3 {
            let found = bits.look_up(table);
            if found.value == 0 {
                // No break to the outer loop by way of a flag: most blocks end here.
                let symbol = bits.symbol(table, found);
                let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                if size == 0 {
                    if run != 15 {
                        break 'block;
                    }
                    k += 16;
                } else {
                    k += run;
                    let value = bits.take(size);
                    if STORE {
                        block[usize::from(ZIGZAG[k]) & 63] = extend(value, size) as i16;
                        last = k;
                    }
                    k += 1;
                }
                continue 'block;
            }
            bits.skip(u32::from(found.length));
            k += usize::from(found.run);
            if STORE {
                block[usize::from(ZIGZAG[k]) & 63] = found.value;
                last = k;
            }
            k += 1;
            if k > 63 {
                break 'block;
            }
        }
    }
    last
}
