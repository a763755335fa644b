//! The two passes of an 8-bit image resample in fixed point: along a row of RGB pixels, and along columns of bytes.
//!
//! Called by `preprocess::resize` with the weights it has worked out. The horizontal pass takes interleaved RGB (HWC)
//! and hands on planes (CHW), which costs nothing there and spares the later stages all shuffling.
//!
//! # Numerics
//! A weight `w` has [`PRECISION_BITS`] fraction bits; an output is `clamp((Σ w·x + half) >> PRECISION_BITS, 0, 255)` in
//! exact 32-bit integers, so no order of summation matters. The vector code splits `w` into 15 low bits and the signed
//! rest to multiply in 16 bits; its partial sums wrap around, and the whole sum, which fits, comes out exact.

mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod packed;

#[cfg(target_arch = "x86_64")]
use self::packed::{PackedColumns, PackedRow};
use super::Isa;

/// Fraction bits of a weight: 32, less 8 for a value and 2 for the sum's sign and headroom.
///
/// Source: Pillow, `Resample.c`.
pub const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Half a unit of the output, so that the shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// For each output of a pass, the first source position that it reads and the fixed-point weights from there on.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    /// Per output: first source position, and the end of its weights in `values`.
    bounds: Vec<(usize, usize)>,
    values: Vec<i32>,
}

impl Weights {
    /// Appends an output that reads the source from `first` on with these weights.
    ///
    /// The absolute weights of an output must add up to less than `2 << PRECISION_BITS`, so that the sum fits 32 bits.
    ///
    /// # Panics
    /// If `first` is smaller than that of the output before: outputs are in the order of what they read.
    pub fn push(&mut self, first: usize, weights: impl IntoIterator<Item = i32>) {
        let before = self.bounds.last().map_or(0, |b| b.0);
        assert!(
            first >= before,
            "output reads from {first}, the one before from {before}"
        );
        self.values.extend(weights);
        self.bounds.push((first, self.values.len()));
    }

    /// Counts source positions from `origin` on, instead of from 0.
    ///
    /// # Panics
    /// If an output reads before `origin`.
    pub fn shift(&mut self, origin: usize) {
        let first = self.source_range().start;
        assert!(
            origin <= first,
            "weights read from {first} on, before {origin}"
        );
        for bound in &mut self.bounds {
            bound.0 -= origin;
        }
    }

    /// Number of outputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bounds.len()
    }

    /// Whether there is no output.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// First source position and weights of output `i`.
    #[must_use]
    pub fn taps(&self, i: usize) -> (usize, &[i32]) {
        let start = i.checked_sub(1).map_or(0, |before| self.bounds[before].1);
        let (first, end) = self.bounds[i];
        (first, &self.values[start..end])
    }

    /// First source position and weights of each output, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        (0..self.len()).map(|i| self.taps(i))
    }

    /// The most weights of any output.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.iter().map(|(_, w)| w.len()).max().unwrap_or(0)
    }

    /// The source positions that any output reads, as a half-open range.
    #[must_use]
    pub fn source_range(&self) -> std::ops::Range<usize> {
        let first = self.bounds.first().map_or(0, |b| b.0);
        let end = self.iter().map(|(f, w)| f + w.len()).max().unwrap_or(0);
        first..end
    }
}

/// The right to run the resampler's code for one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResampleKernel {
    isa: Isa,
}

impl ResampleKernel {
    /// The kernel for `isa`, if this CPU supports it.
    #[must_use]
    pub fn new(isa: Isa) -> Option<ResampleKernel> {
        isa.is_supported().then_some(ResampleKernel { isa })
    }

    /// The kernel for the widest instruction set of this CPU.
    #[must_use]
    pub fn detect() -> ResampleKernel {
        ResampleKernel { isa: Isa::detect() }
    }
}

/// The pass along a row: `[width, 3]` interleaved bytes to `[3, outputs]` planes.
#[derive(Debug)]
pub struct HorizontalPass {
    width: usize,
    outputs: usize,
    code: RowCode,
}

#[derive(Debug)]
enum RowCode {
    Scalar(Weights),
    #[cfg(target_arch = "x86_64")]
    Avx2(PackedRow),
    #[cfg(target_arch = "x86_64")]
    Avx512(PackedRow),
}

impl HorizontalPass {
    /// Prepares `weights`, whose positions count pixels of a row of `width` pixels.
    ///
    /// # Panics
    /// If an output reads beyond the row.
    #[must_use]
    pub fn new(kernel: ResampleKernel, weights: Weights, width: usize) -> HorizontalPass {
        let end = weights.source_range().end;
        assert!(end <= width, "weights read up to pixel {end} of {width}");
        let outputs = weights.len();
        let code = match kernel.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => RowCode::Avx2(PackedRow::new(&weights, width, 2)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => RowCode::Avx512(PackedRow::new(&weights, width, 4)),
            _ => RowCode::Scalar(weights),
        };
        HorizontalPass {
            width,
            outputs,
            code,
        }
    }

    /// Resamples one row.
    ///
    /// # Shapes
    /// - `row`: `[width, 3]`
    /// - `out`: `[3, outputs]`
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(&mut self, row: &[u8], out: &mut [u8]) {
        assert_eq!(row.len(), self.width * 3, "a row has {} pixels", self.width);
        assert_eq!(
            out.len(),
            self.outputs * 3,
            "there are {} outputs",
            self.outputs
        );
        match &mut self.code {
            RowCode::Scalar(weights) => scalar::horizontal(weights, row, out),
            #[cfg(target_arch = "x86_64")]
            RowCode::Avx2(packed) => packed.run(row, out, |blocks, out| {
                // SAFETY: this variant is only made from a kernel of this instruction set, which the CPU supports.
                unsafe { avx2::horizontal(blocks, out) }
            }),
            #[cfg(target_arch = "x86_64")]
            RowCode::Avx512(packed) => packed.run(row, out, |blocks, out| {
                // SAFETY: this variant is only made from a kernel of this instruction set, which the CPU supports.
                unsafe { avx512::horizontal(blocks, out) }
            }),
        }
    }
}

/// The pass along columns: some rows of equal length to one row of that length.
#[derive(Debug)]
pub struct VerticalPass {
    weights: Weights,
    code: ColumnCode,
}

#[derive(Debug)]
enum ColumnCode {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(PackedColumns),
    #[cfg(target_arch = "x86_64")]
    Avx512(PackedColumns),
}

impl VerticalPass {
    /// Prepares `weights`, whose positions count rows.
    #[must_use]
    pub fn new(kernel: ResampleKernel, weights: Weights) -> VerticalPass {
        let code = match kernel.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => ColumnCode::Avx2(PackedColumns::new(&weights)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => ColumnCode::Avx512(PackedColumns::new(&weights)),
            _ => ColumnCode::Scalar,
        };
        VerticalPass { weights, code }
    }

    /// The weights that the pass was made of.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Makes output row `i` of the source rows that it reads, from its first one on.
    ///
    /// # Shapes
    /// - `rows`: at least `[taps of output i, out.len()]`
    /// - `out`: one row
    ///
    /// # Panics
    /// If `rows` is shorter, or there is no output `i`.
    pub fn run(&self, i: usize, rows: &[u8], out: &mut [u8]) {
        let (_, weights) = self.weights.taps(i);
        let rows = &rows[..weights.len() * out.len()];
        match &self.code {
            ColumnCode::Scalar => scalar::vertical(weights, rows, out),
            #[cfg(target_arch = "x86_64")]
            ColumnCode::Avx2(packed) => {
                // SAFETY: this variant is only made from a kernel of this instruction set, which the CPU supports.
                unsafe { avx2::vertical(packed.pairs(i), weights, rows, out) }
            }
            #[cfg(target_arch = "x86_64")]
            ColumnCode::Avx512(packed) => {
                // SAFETY: this variant is only made from a kernel of this instruction set, which the CPU supports.
                unsafe { avx512::vertical(packed.pairs(i), weights, rows, out) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
