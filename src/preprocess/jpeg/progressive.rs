//! Pictures that come in several scans: their coefficients are kept until the last scan has refined them.
//!
//! Run by `decode` for progressive JPEGs, and for sequential ones whose components come one after the other.
//!
//! Source: ITU-T T.81, G.1 and G.2; what happens to damaged data is what libjpeg does with it.

use super::JpegError;
use super::bits::{Bits, Restarts};
use super::frame::{Frame, Scan};
use super::huffman::{Huffman, extend};
use super::sequential::{Block, BlockSink, ScanGeometry};
use super::tables::{Tables, ZIGZAG};
use kernels::{Task, Vectorized};

/// The coefficients of a whole picture.
pub(super) struct Coefficients {
    components: Vec<Blocks>,
}

struct Blocks {
    /// Blocks a row, padded to whole MCUs.
    columns: usize,
    blocks: Vec<Block>,
}

impl Coefficients {
    /// Coefficients of a frame, all zero.
    pub(super) fn new(frame: &Frame) -> Coefficients {
        let component = |c: &super::frame::Component| {
            let (columns, rows) = padded_blocks(frame, c);
            Blocks {
                columns,
                blocks: vec![[0; 64]; columns * rows],
            }
        };
        Coefficients {
            components: frame.components.iter().map(component).collect(),
        }
    }

    /// What the coefficients of a frame take, in bytes.
    pub(super) fn bytes(frame: &Frame) -> u64 {
        let blocks = |c: &super::frame::Component| {
            let (columns, rows) = padded_blocks(frame, c);
            (columns * rows) as u64
        };
        frame.components.iter().map(blocks).sum::<u64>() * size_of::<Block>() as u64
    }

    pub(super) fn block(&self, component: usize, x: usize, y: usize) -> &Block {
        let component = &self.components[component];
        &component.blocks[y * component.columns + x]
    }

    fn block_mut(&mut self, component: usize, x: usize, y: usize) -> &mut Block {
        let component = &mut self.components[component];
        &mut component.blocks[y * component.columns + x]
    }
}

fn padded_blocks(frame: &Frame, component: &super::frame::Component) -> (usize, usize) {
    let (mcus_x, mcus_y) = frame.mcus();
    (mcus_x * component.h, mcus_y * component.v)
}

impl BlockSink for Coefficients {
    fn wants(&self, _component: usize, _x: usize, _y: usize) -> bool {
        true
    }

    fn put(&mut self, component: usize, x: usize, y: usize, block: &Block, _last: usize) {
        *self.block_mut(component, x, y) = *block;
    }
}

/// A progressive Huffman scan that is being decoded, one row of MCUs after the other.
pub(super) struct ProgressiveScan<'a> {
    bits: Bits<'a>,
    restarts: Restarts,
    pub(super) geometry: ScanGeometry,
    scan: Scan,
    /// One table a component in a first DC scan, one in an AC scan, none in a DC refinement.
    tables: Vec<Huffman>,
    predictions: Vec<i32>,
    /// Blocks, this one included, whose band holds nothing new.
    end_of_band_run: u32,
}

impl<'a> ProgressiveScan<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        at: usize,
        frame: &Frame,
        scan: Scan,
        tables: &Tables,
    ) -> Result<ProgressiveScan<'a>, JpegError> {
        let mut needed = Vec::new();
        for c in &scan.components {
            match (scan.first, scan.high) {
                (0, 0) => needed.push(Huffman::dc(tables.dc(c.dc_table)?)?),
                (0, _) => {}
                (_, 0) => needed.push(Huffman::ac(tables.ac(c.ac_table)?)?),
                // The bits after a code are no value here.
                (_, _) => needed.push(Huffman::codes(tables.ac(c.ac_table)?)?),
            }
        }
        Ok(ProgressiveScan {
            bits: Bits::new(bytes, at),
            restarts: Restarts::new(tables.restart_interval),
            geometry: ScanGeometry::new(frame, &scan),
            predictions: vec![0; scan.components.len()],
            scan,
            tables: needed,
            end_of_band_run: 0,
        })
    }

    /// Decodes the next row of MCUs into `coefficients`.
    pub(super) fn row(
        &mut self,
        mcu_y: usize,
        coefficients: &mut Coefficients,
        vectorized: Vectorized,
    ) -> Result<(), JpegError> {
        vectorized.run(Row {
            scan: self,
            mcu_y,
            coefficients,
        })
    }

    #[inline(always)]
    fn decode_row(
        &mut self,
        mcu_y: usize,
        coefficients: &mut Coefficients,
    ) -> Result<(), JpegError> {
        let mut bits = self.bits;
        for mcu_x in 0..self.geometry.mcus_x {
            if self.restarts.due() {
                bits.restart(&mut self.restarts)?;
                self.predictions.fill(0);
                self.end_of_band_run = 0;
            }
            if bits.exhausted() {
                continue; // as libjpeg: what is missing leaves the coefficients as they are
            }
            for (part, &(component, columns, rows)) in self.geometry.parts.iter().enumerate() {
                let blocks = (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y)));
                for (x, y) in blocks {
                    let (x, y) = (mcu_x * columns + x, mcu_y * rows + y);
                    let block = coefficients.block_mut(component, x, y);
                    match (self.scan.first, self.scan.high) {
                        (0, 0) => {
                            let difference = bits.dc_difference(&self.tables[part]);
                            let dc = self.predictions[part].wrapping_add(difference);
                            self.predictions[part] = dc;
                            block[0] = (dc << self.scan.low) as i16;
                        }
                        (0, _) => block[0] |= i16::from(bits.bit()) << self.scan.low,
                        (_, 0) => {
                            let run = &mut self.end_of_band_run;
                            first_pass(&mut bits, &self.tables[0], &self.scan, run, block);
                        }
                        (_, _) => {
                            let run = &mut self.end_of_band_run;
                            refinement(&mut bits, &self.tables[0], &self.scan, run, block);
                        }
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

struct Row<'s, 'a> {
    scan: &'s mut ProgressiveScan<'a>,
    mcu_y: usize,
    coefficients: &'s mut Coefficients,
}

impl Task for Row<'_, '_> {
    type Output = Result<(), JpegError>;

    #[inline(always)]
    fn run(self) -> Result<(), JpegError> {
        self.scan.decode_row(self.mcu_y, self.coefficients)
    }
}

/// The first bits of a band of AC coefficients. Source: T.81, G.1.2.2.
#[inline(always)]
fn first_pass(bits: &mut Bits, table: &Huffman, scan: &Scan, run: &mut u32, block: &mut Block) {
    if *run > 0 {
        *run -= 1;
        return;
    }
    let mut k = scan.first;
    while k <= scan.last {
        bits.refill_for_symbol();
        let found = bits.look_up(table);
        if found.value != 0 {
            bits.skip(u32::from(found.length));
            k += usize::from(found.run);
            block[usize::from(ZIGZAG[k])] = found.value << scan.low;
            k += 1;
            continue;
        }
        let symbol = bits.symbol(table, found);
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size != 0 {
            k += zeros as usize;
            let value = extend(bits.take(size), size);
            block[usize::from(ZIGZAG[k])] = (value << scan.low) as i16;
            k += 1;
        } else if zeros == 15 {
            k += 16;
        } else {
            *run = (1 << zeros) + bits.take(zeros) - 1;
            return;
        }
    }
}

/// One more bit of a band of AC coefficients. Source: T.81, G.1.2.3.
#[inline(always)]
fn refinement(bits: &mut Bits, table: &Huffman, scan: &Scan, run: &mut u32, block: &mut Block) {
    let one = 1i16 << scan.low;
    let mut k = scan.first;
    while *run == 0 && k <= scan.last {
        bits.refill_for_symbol();
        let symbol = bits.symbol(table, bits.look_up(table));
        let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
        let mut new = 0;
        if size != 0 {
            new = if bits.bit() { one } else { -one };
        } else if zeros != 15 {
            *run = (1 << zeros) + bits.take(zeros);
            break;
        }
        // Passes `zeros` coefficients that are still zero; those that are not each have a correction bit.
        while k <= scan.last {
            let coefficient = &mut block[usize::from(ZIGZAG[k])];
            if *coefficient != 0 {
                correct(bits, coefficient, one);
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            k += 1;
        }
        if new != 0 {
            block[usize::from(ZIGZAG[k])] = new;
        }
        k += 1;
    }
    if *run > 0 {
        for &natural in &ZIGZAG[k.min(64)..scan.last.max(k.min(64) - 1) + 1] {
            let coefficient = &mut block[usize::from(natural)];
            if *coefficient != 0 {
                correct(bits, coefficient, one);
            }
        }
        *run -= 1;
    }
}

/// Reads the correction bit of a coefficient that is not zero.
#[inline(always)]
fn correct(bits: &mut Bits, coefficient: &mut i16, one: i16) {
    if bits.bit() && *coefficient & one == 0 {
        // At most 13 bits of a damaged file's coefficient can be set below.
        *coefficient = coefficient.wrapping_add(if *coefficient >= 0 { one } else { -one });
    }
}
