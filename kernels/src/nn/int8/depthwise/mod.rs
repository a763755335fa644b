//! Depthwise convolution of bytes: each channel under a window of its own, 64 channels of a pixel at a time.
//!
//! Called by the program's steps. There is no sum over channels, so what one instruction multiplies and adds are four
//! rows of a column of the window, interleaved channel by channel; a column that is interleaved once serves all windows
//! of a tile that lie over it.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod row;

use self::row::{Row, RowFn, Window, pack};
use super::pack::QuantizedWeights;
use super::requantize::Finish;
use super::tile::Kind;
#[cfg(target_arch = "x86_64")]
use crate::Int8Unit;
use crate::nn::arena::memory::Lines;
use crate::nn::arena::scratch::share;
use crate::nn::arithmetic::Arithmetic;
use crate::nn::conv::shape::{ConvShape, ConvUse};
use crate::nn::layer::Unsupported;
use crate::nn::layout::line::{Line, View};
use crate::nn::team::Lead;

/// Most rows of the output that a task computes.
const ROWS: usize = 8;

/// A depthwise convolution of bytes ready to run between values of fixed geometry.
#[derive(Debug)]
pub(crate) struct Depthwise {
    kernel: RowFn,
    window: Window,
    shape: ConvShape,
    about: ConvUse,
    /// For each block of 64 channels what sums begin with, their factors and the weights, laid out by `pack`.
    lines: Lines,
    finish: Finish,
}

impl Depthwise {
    /// Whether a convolution of this shape is depthwise: each channel has a window of its own.
    pub(crate) fn is(shape: ConvShape) -> bool {
        shape.groups > 1 && shape.groups == shape.inputs && shape.groups == shape.outputs
    }

    /// Packs the weights, `[channels, 1, height, width]`, of a shape that [is](Depthwise::is) depthwise.
    ///
    /// # Errors
    /// [`Unsupported`]: sums too large to be exact, a result that is not stored as bytes.
    pub(crate) fn new(
        arithmetic: Arithmetic,
        shape: ConvShape,
        about: ConvUse,
        source: &QuantizedWeights<'_>,
        finish: Finish,
    ) -> Result<Depthwise, Unsupported> {
        debug_assert!(Depthwise::is(shape), "{shape:?}");
        if source.kind == Kind::Float {
            return Err(Unsupported(
                "a depthwise layer of bytes whose result is not stored as bytes".into(),
            ));
        }
        if about.across_images {
            return Err(Unsupported(
                "a depthwise layer of bytes over single values".into(),
            ));
        }
        let window = Window {
            kernel: shape.kernel,
            pitch: about.input.pitch() * size_of::<Line>(),
            stride: shape.stride[1] * size_of::<Line>(),
        };
        let kernel = kernel(arithmetic, source.kind, shape)
            .ok_or_else(|| Unsupported("no kernel for bytes on this CPU".into()))?;
        Ok(Depthwise {
            kernel,
            window,
            shape,
            about,
            lines: pack(source, shape.kernel)?,
            finish,
        })
    }

    /// Bytes of weights, of their factors and of what sums begin with.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Computes `images` images.
    ///
    /// # Safety
    /// The views have the geometry given to `new`, their memory lives, holds `images` images, and nobody else uses the
    /// output or writes the others meanwhile; the output overlaps with none of them.
    pub(crate) unsafe fn run(
        &self,
        lead: &Lead<'_>,
        input: View,
        residual: Option<View>,
        output: View,
        images: usize,
    ) {
        let (blocks, plane) = (output.blocks, output.plane);
        let parts = plane.height.div_ceil(ROWS);
        let lines = self.lines.len() / blocks;
        lead.for_each(images * blocks * parts, &|task| {
            let (image, rest) = (task / (blocks * parts), task % (blocks * parts));
            let (block, part) = (rest / parts, rest % parts);
            for row in share(plane.height, part, parts) {
                let first = self.about.first_line(self.shape, row, 0);
                // SAFETY: inside of the values: the border is as wide as the windows reach. No other task has this row
                // of this block, and the kernel is one that this CPU has.
                unsafe {
                    (self.kernel)(&Row {
                        window: self.window,
                        weights: &raw const self.lines[block * lines],
                        finish: &self.finish,
                        from: input.plane_start(image, block).add(first).cast(),
                        residual: residual.map_or(std::ptr::null(), |r| {
                            r.line(image, block, row, 0).cast::<u8>().cast_const()
                        }),
                        to: output.line(image, block, row, 0).cast(),
                        pixels: plane.width,
                        channels: (self.shape.outputs - 64 * block).min(64),
                    });
                }
            }
        });
    }
}

/// The fastest kernel of this CPU for a shape.
fn kernel(arithmetic: Arithmetic, kind: Kind, shape: ConvShape) -> Option<RowFn> {
    #[cfg(target_arch = "x86_64")]
    {
        let (window, stride) = (shape.kernel, shape.stride[1]);
        Some(match arithmetic.features().int8 {
            Some(Int8Unit::Amx | Int8Unit::Avx512Vnni) => avx512::kernel(kind, window, stride),
            Some(Int8Unit::AvxVnni) => avx2::vnni_kernel(kind, window, stride),
            None => avx2::kernel(kind, window, stride),
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (arithmetic, kind, shape);
        None
    }
}
