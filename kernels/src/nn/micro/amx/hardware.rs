//! The tiles of the CPU, an instruction each; called by the micro-kernel.
//!
//! # Why tiles live from one `asm!` to the next
//! A register that an `asm!` block changes without naming it has to be restored, says the reference, because the
//! compiler may have a value in it. Tile registers are the exception that this file rests on: the compiler allocates
//! them for nothing but AMX intrinsics in functions with the feature `amx-tile`, no function of this program has that,
//! and no function that is called while tiles are in use ([`shape`](Tiles::shape) to the last [`store`](Tiles::store),
//! all inlined into one) uses them; calls save none. So their contents are memory beside the compiler's, as a device's
//! registers are. Each block is volatile (none is `pure`), so their order is that of the program.

use core::arch::asm;
use std::cell::Cell;

use super::tiles::Tiles;
use crate::nn::layout::line::Line;

/// What [`shape`](Tiles::shape) configures and the other functions use: the registers of the running thread.
pub(crate) struct Hardware;

thread_local! {
    /// Rows of both groups in this thread's configuration, zeros if it has none.
    static SHAPE: Cell<[u8; 2]> = const { Cell::new([0; 2]) };
}

/// The operand of `ldtilecfg`. Source: Intel's Software Developer's Manual, volume 1, chapter on AMX, "TILECFG".
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row, of each tile; palette 1 has eight tiles.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    fn new([first, second]: [u8; 2]) -> Configuration {
        let mut rows = [0; 16];
        rows[..8].copy_from_slice(&[first, first, second, second, first, second, 16, 16]);
        let mut row_bytes = [0; 16];
        row_bytes[..8].fill(64);
        Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes,
            rows,
        }
    }
}

#[cold]
#[inline(never)]
unsafe fn configure(shape: [u8; 2]) {
    let configuration = Configuration::new(shape);
    // SAFETY: reads 64 bytes; the caller has tiles, and rows and bytes are within those of palette 1.
    unsafe {
        asm!(
            "ldtilecfg [{}]", in(reg) &raw const configuration,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags),
        );
    }
    SHAPE.set(shape);
}

/// Releases the tiles of this thread, if it has configured any.
pub(crate) fn release() {
    if SHAPE.replace([0; 2]) != [0; 2] {
        // SAFETY: this thread has loaded a configuration, so it has tiles.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nomem, nostack, preserves_flags),
            );
        }
    }
}

/// Whether this thread has a configuration.
#[cfg(test)]
pub(crate) fn is_configured() -> bool {
    SHAPE.get() != [0; 2]
}

impl Tiles for Hardware {
    #[inline(always)]
    unsafe fn shape(&mut self, pixels: [u8; 2]) {
        if SHAPE.get() != pixels {
            // SAFETY: the caller promises a CPU with tiles that the system lets this process use.
            unsafe { configure(pixels) };
        }
    }

    #[inline(always)]
    unsafe fn load<const TILE: u8>(&mut self, from: *const Line, step: usize) {
        // SAFETY: reads the lines that the caller has; writes no register that the compiler uses.
        unsafe {
            asm!(
                "tileloadd tmm{tile}, [{from} + {step}*1]",
                tile = const TILE,
                from = in(reg) from,
                step = in(reg) step,
                options(nostack, readonly, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn dot_bytes<const SUM: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: writes no register that the compiler uses.
        unsafe {
            asm!(
                "tdpbusd tmm{sum}, tmm{a}, tmm{b}",
                sum = const SUM,
                a = const A,
                b = const B,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: writes no register that the compiler uses.
        unsafe {
            asm!(
                "tdpbf16ps tmm{sum}, tmm{a}, tmm{b}",
                sum = const SUM,
                a = const A,
                b = const B,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const TILE: u8>(&mut self, to: *mut Line, step: usize) {
        // SAFETY: writes the lines that the caller has to itself.
        unsafe {
            asm!(
                "tilestored [{to} + {step}*1], tmm{tile}",
                tile = const TILE,
                to = in(reg) to,
                step = in(reg) step,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_is_laid_out_as_the_manual_says() {
        assert_eq!(size_of::<Configuration>(), 64);
        assert_eq!(std::mem::offset_of!(Configuration, row_bytes), 16);
        assert_eq!(std::mem::offset_of!(Configuration, rows), 48);
        let configuration = Configuration::new([16, 9]);
        assert_eq!(configuration.rows[..9], [16, 16, 9, 9, 16, 9, 16, 16, 0]);
        assert_eq!(configuration.row_bytes[7..9], [64, 0]);
    }
}
