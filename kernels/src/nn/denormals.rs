//! Denormal numbers as zeros, on a worker's thread while it computes.
//!
//! A vector instruction that meets a denormal can take a hundred cycles instead of four, and a value below 1e-38 means
//! nothing to a network. Called by whoever runs a program.
//!
//! # What the language promises
//! Nothing: Rust takes the two flags for cleared everywhere, and calls floating-point arithmetic with other ones
//! undefined (documentation of `core::arch::x86_64::_mm_setcsr`), as LLVM does outside of constrained intrinsics. What
//! a compiler makes of that assumption today is to compute constants with denormals, or to move an operation across the
//! change of the flags; both change values below 1e-38 and no address, length or branch that memory safety rests on.
//! Kernels and oracles are tested with the flags set and cleared. The alternative, kernels without denormals by
//! arithmetic alone, costs an instruction for each result.

use std::marker::PhantomData;

/// While it lives, `f32` arithmetic of its thread takes denormals for zeros and makes zeros of them.
#[derive(Debug)]
#[must_use = "denormals are flushed until it is dropped"]
pub struct FlushDenormals {
    before: u32,
    /// Keeps the guard on its thread, whose register it restores.
    _of_this_thread: PhantomData<*const ()>,
}

/// Sets the thread's denormals to zero until the guard is dropped; on CPUs other than x86-64 changes nothing.
///
/// A thread that is started meanwhile inherits the setting and keeps it.
pub fn flush_denormals() -> FlushDenormals {
    let before = control();
    set_control(before | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    FlushDenormals {
        before,
        _of_this_thread: PhantomData,
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        let ours = FLUSH_TO_ZERO | DENORMALS_ARE_ZERO;
        set_control(control() & !ours | self.before & ours);
    }
}

/// Bit of MXCSR: denormal results become zeros. Source: Intel's Software Developer's Manual, volume 1, 10.2.3.
const FLUSH_TO_ZERO: u32 = 1 << 15;
/// Bit of MXCSR: denormal operands count as zeros.
const DENORMALS_ARE_ZERO: u32 = 1 << 6;

/// MXCSR of this thread. By assembly, since the intrinsics are deprecated.
#[cfg(target_arch = "x86_64")]
fn control() -> u32 {
    let mut value = 0_u32;
    // SAFETY: stores four bytes at the address of `value`.
    unsafe {
        core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags));
    }
    value
}

#[cfg(target_arch = "x86_64")]
fn set_control(value: u32) {
    // SAFETY: loads four bytes at the address of `value`, which came from the same register but for the two bits, so
    // no reserved bit is set. What the changed flags mean for compiled code is told at the top of this file.
    unsafe {
        core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn control() -> u32 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn set_control(_: u32) {}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn half_of_the_least_normal() -> f32 {
        black_box(f32::MIN_POSITIVE) * black_box(0.5)
    }

    fn twice_a_denormal() -> f32 {
        black_box(f32::from_bits(0x0060_0000)) * black_box(2.0)
    }

    #[test]
    fn denormals_are_zeros_while_the_guard_lives() {
        let before = control();
        assert!(half_of_the_least_normal() > 0.0 && twice_a_denormal() > 0.0);
        {
            let _guard = flush_denormals();
            assert_eq!((half_of_the_least_normal(), twice_a_denormal()), (0.0, 0.0));
            {
                let _inner = flush_denormals();
            }
            assert_eq!(half_of_the_least_normal(), 0.0);
        }
        assert!(half_of_the_least_normal() > 0.0 && twice_a_denormal() > 0.0);
        // Sticky exception flags may differ.
        assert_eq!(control() & !0x3f, before & !0x3f);
    }

    #[test]
    fn threads_of_before_keep_their_denormals() {
        let (ask, asked) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            asked.recv().unwrap();
            half_of_the_least_normal() > 0.0
        });
        let _guard = flush_denormals();
        ask.send(()).unwrap();
        assert!(other.join().unwrap());
    }
}
