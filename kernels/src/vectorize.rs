//! Plain Rust loops, compiled once more for each instruction set.
//!
//! For loops that the compiler vectorizes well by itself: the source stays scalar, so the results are the same bits by
//! construction.

use super::Isa;

/// Work whose [`Task::run`] is compiled for each instruction set; what it calls must be inlined to gain from it.
pub trait Task {
    /// The result of the work.
    type Output;

    /// Does the work. Must be `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// The right to run tasks with one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vectorized {
    isa: Isa,
}

impl Vectorized {
    /// The right for `isa`, if this CPU supports it.
    #[must_use]
    pub fn new(isa: Isa) -> Option<Vectorized> {
        isa.is_supported().then_some(Vectorized { isa })
    }

    /// Runs a task.
    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Output {
        match self.isa {
            Isa::Scalar => task.run(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                // SAFETY: the value is only made for an instruction set that the CPU supports.
                unsafe { avx2(task) }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                // SAFETY: the value is only made for an instruction set that the CPU supports.
                unsafe { avx512(task) }
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => task.run(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,fma,lzcnt,popcnt")]
fn avx2<T: Task>(task: T) -> T::Output {
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,fma,lzcnt,popcnt")]
fn avx512<T: Task>(task: T) -> T::Output {
    task.run()
}
