//! JPEG, decoded to the very samples that libjpeg-turbo gives Pillow, and no more of them than the crop needs.
//!
//! Called by `preprocess::decode`. Our own, because no Rust decoder gives the reference's pixels, and the largest part
//! of a photo's preprocessing is spent here. Safe code throughout; what a file claims is checked before it is believed,
//! and damaged data is treated as libjpeg treats it.
//!
//! The way of the bytes: `header` reads segments into `frame` and `tables`, `bits` undoes byte stuffing, `huffman`
//! finds symbols, `sequential` and `progressive` make coefficients of them, `idct` makes samples of those, and `planes`
//! rows of RGB.

mod bits;
mod frame;
mod header;
mod huffman;
mod idct;
mod planes;
mod progressive;
mod sequential;
mod tables;

use self::frame::{Color, Frame, Process, Scan};
use self::header::{NO_MARKER, Segments, next_marker};
use self::planes::Planes;
use self::progressive::{Coefficients, ProgressiveScan};
use self::sequential::{BlockSink, SequentialScan};
use super::decode::{Region, RowSink};
use super::watch::{Stopped, Watch};
use kernels::{ColorKernel, IdctKernel, Isa, Vectorized};

/// Scans a picture may come in. Encoders write about 10; thousands of empty ones are a known way to burn CPU.
const MAX_SCANS: usize = 100;

/// The Huffman tables of a scan of four components, in bytes: eight of 4.5 KiB, and as much as making them takes;
/// measured with a counting allocator, rounded up.
const TABLES: u64 = 64 << 10;

/// Why a JPEG has no pixels; the words are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum JpegError {
    /// The file ends before the picture does.
    #[error("{0}")]
    Truncated(&'static str),
    /// The file contradicts itself or the standard.
    #[error("{0}")]
    Corrupt(&'static str),
    /// The file is not decoded here, though it may be right.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Decoding was stopped, which is not the file's fault.
    #[error("decoding was stopped: {0:?}")]
    Stopped(Stopped),
}

impl From<Stopped> for JpegError {
    fn from(stopped: Stopped) -> JpegError {
        JpegError::Stopped(stopped)
    }
}

/// A JPEG whose segments have been read up to its first scan.
pub(super) struct Jpeg<'a> {
    segments: Segments<'a>,
    frame: Frame,
    scan: Scan,
    color: Color,
    isa: Isa,
    /// Samples a block side becomes: 8, or 4, 2 or 1 to reduce the picture while decoding.
    block: usize,
}

/// The inner loops for one instruction set.
#[derive(Debug, Clone, Copy)]
struct Kernels {
    idct: IdctKernel,
    color: ColorKernel,
    loops: Vectorized,
}

impl Kernels {
    fn new(isa: Isa) -> Kernels {
        const SUPPORTED: &str = "the instruction set has been detected on this CPU";
        Kernels {
            idct: IdctKernel::new(isa).expect(SUPPORTED),
            color: ColorKernel::new(isa).expect(SUPPORTED),
            loops: Vectorized::new(isa).expect(SUPPORTED),
        }
    }
}

impl<'a> Jpeg<'a> {
    /// Reads the segments up to the first scan.
    pub(super) fn open(bytes: &'a [u8], isa: Isa) -> Result<Jpeg<'a>, JpegError> {
        let mut segments = Segments::new(bytes)?;
        let scan = segments
            .next_scan()?
            .ok_or(JpegError::Corrupt("no scan before the end of the image"))?;
        let frame = segments
            .frame
            .clone()
            .expect("a scan header needs a frame header before it");
        if frame.arithmetic {
            return Err(JpegError::Unsupported("arithmetic coding"));
        }
        if frame.process == Process::Sequential {
            segments.tables.fill_up(); // as libjpeg does, not for progressive ones
        }
        let color = segments.color(&frame);
        Ok(Jpeg {
            segments,
            frame,
            scan,
            color,
            isa,
            block: 8,
        })
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        let reduced = |side: usize| (side * self.block).div_ceil(8) as u32;
        (reduced(self.frame.width), reduced(self.frame.height))
    }

    /// Reduces the picture to a half, a quarter or an eighth while decoding, as far as no side falls below `shortest`.
    pub(super) fn reduce(&mut self, shortest: u32) {
        while self.block > 1 {
            self.block /= 2;
            let (width, height) = self.size();
            if width.min(height) < shortest {
                self.block *= 2;
                return;
            }
        }
    }

    /// The content of the EXIF segment.
    pub(super) fn exif(&self) -> Option<&'a [u8]> {
        self.segments.exif
    }

    /// What decoding holds besides the file, in bytes: the tables, rows of two MCUs, and all coefficients where several
    /// scans must be put together.
    pub(super) fn memory(&self, region: Region) -> u64 {
        let rows = 2 * 8 * self.frame.max_v as u64 + 8 * self.frame.max_v as u64;
        let samples = (u64::from(region.width) + 64) * rows * 4;
        let kept = if self.in_several_scans() {
            Coefficients::bytes(&self.frame)
        } else {
            0
        };
        TABLES + samples + kept
    }

    fn in_several_scans(&self) -> bool {
        self.frame.process == Process::Progressive
            || self.scan.components.len() < self.frame.components.len()
    }

    /// Decodes and hands the rows of `region` to `sink`, from top to bottom, several at a time.
    pub(super) fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), JpegError> {
        let kernels = Kernels::new(self.isa);
        let vectorized = kernels.loops;
        if self.in_several_scans() {
            let mut coefficients = Coefficients::new(&self.frame);
            let mut rows = 0;
            let collected = self.collect(&mut coefficients, &mut rows, vectorized, watch);
            // What there is of a damaged picture as well: it may be wanted all the same.
            if rows > 0 {
                let mut planes = Planes::new(&self.frame, self.color, region, self.block, kernels);
                self.show(&coefficients, &mut planes, watch, sink)?;
            }
            return collected;
        }
        let (frame, color) = (&self.frame, self.color);
        let mut planes = Planes::new(frame, color, region, self.block, kernels);
        let (bytes, at) = (self.segments.bytes, self.segments.at);
        let tables = &self.segments.tables;
        let mut scan = SequentialScan::new(bytes, at, frame, &self.scan, tables)?;
        // What lies below the region is not decoded.
        for mcu_y in 0..planes.needed_mcu_rows(&scan.geometry.parts) {
            watch.check()?;
            scan.row(mcu_y, &mut planes, vectorized)?;
            let parts = &scan.geometry.parts;
            planes.emit(|component| (mcu_y + 1) * parts[component].2, sink);
        }
        planes.emit_rest(sink);
        self.segments.at = scan.position();
        self.end()
    }

    /// Reads what follows the picture's only scan, whose last rows may not have been decoded, and refuses what libjpeg
    /// refuses there: data without a marker at its end, a damaged segment, another scan.
    fn end(&mut self) -> Result<(), JpegError> {
        let segments = &mut self.segments;
        let (mut marker, mut behind) = next_marker(segments.bytes, segments.at)?;
        while segments.tables.restart_interval != 0 && (0xD0..=0xD7).contains(&marker) {
            (marker, behind) = next_marker(segments.bytes, behind)?;
        }
        segments.at = behind - 2;
        match segments.next_scan() {
            // The picture is complete, even if nothing says that it is.
            Ok(None) | Err(NO_MARKER) => Ok(()),
            Ok(Some(_)) => Err(JpegError::Corrupt("a scan after that of all components")),
            Err(error) => Err(error),
        }
    }

    /// Decodes all scans, and counts their rows of MCUs.
    fn collect(
        &mut self,
        coefficients: &mut Coefficients,
        rows: &mut usize,
        vectorized: Vectorized,
        watch: &Watch,
    ) -> Result<(), JpegError> {
        let bytes = self.segments.bytes;
        let mut next = Some(self.scan.clone());
        let mut count = 0;
        while let Some(header) = next {
            count += 1;
            if count > MAX_SCANS {
                return Err(JpegError::Corrupt("more than 100 scans"));
            }
            // A component has the quantization table of its first scan.
            self.frame = self
                .segments
                .frame
                .clone()
                .expect("it has been there since the first scan");
            let (at, tables) = (self.segments.at, &self.segments.tables);
            self.segments.at = if self.frame.process == Process::Progressive {
                let mut scan = ProgressiveScan::new(bytes, at, &self.frame, header, tables)?;
                for mcu_y in 0..scan.geometry.mcus_y {
                    watch.check()?;
                    scan.row(mcu_y, coefficients, vectorized)?;
                    *rows += 1;
                }
                scan.position()
            } else {
                let mut scan = SequentialScan::new(bytes, at, &self.frame, &header, tables)?;
                for mcu_y in 0..scan.geometry.mcus_y {
                    watch.check()?;
                    scan.row(mcu_y, coefficients, vectorized)?;
                    *rows += 1;
                }
                scan.position()
            };
            next = self.segments.next_scan()?;
        }
        Ok(())
    }

    /// Makes rows of coefficients.
    fn show(
        &self,
        coefficients: &Coefficients,
        planes: &mut Planes,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), JpegError> {
        let frame = &self.frame;
        let (_, mcu_rows) = frame.mcus();
        for mcu_y in 0..mcu_rows {
            watch.check()?;
            for (index, component) in frame.components.iter().enumerate() {
                let (_, rows) = frame.blocks(component);
                for y in (mcu_y * component.v..(mcu_y + 1) * component.v).filter(|&y| y < rows) {
                    for x in planes.wanted_columns(index, y) {
                        let block = coefficients.block(index, x, y);
                        let last = usize::from(block[1..].iter().any(|&c| c != 0));
                        planes.put(index, x, y, block, last);
                    }
                }
            }
            planes.emit(|c| (mcu_y + 1) * frame.components[c].v, sink);
        }
        planes.emit_rest(sink);
        Ok(())
    }
}
