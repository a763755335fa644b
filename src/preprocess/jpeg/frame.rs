//! What frame and scan headers say, in the form that decoding asks for.
//!
//! Made by `header`, read by everything behind it.

/// How the samples of a frame are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// Baseline and extended sequential (SOF0, SOF1).
    Sequential,
    /// Progressive (SOF2).
    Progressive,
}

/// What the components mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

/// One color component of a frame.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Horizontal sampling factor, 1 to 4.
    pub(super) h: usize,
    /// Vertical sampling factor, 1 to 4.
    pub(super) v: usize,
    /// The number of its quantization table.
    pub(super) quant_index: usize,
    /// Its quantization table, row-major, as it was when the component's first scan began.
    pub(super) quant: Option<[u16; 64]>,
}

/// The frame header, with what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) process: Process,
    pub(super) arithmetic: bool,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    pub(super) max_h: usize,
    pub(super) max_v: usize,
}

impl Frame {
    /// Columns and rows of MCUs when all components are interleaved.
    pub(super) fn mcus(&self) -> (usize, usize) {
        (
            self.width.div_ceil(8 * self.max_h),
            self.height.div_ceil(8 * self.max_v),
        )
    }

    /// Samples of a component, without padding.
    pub(super) fn samples(&self, component: &Component) -> (usize, usize) {
        (
            (self.width * component.h).div_ceil(self.max_h),
            (self.height * component.v).div_ceil(self.max_v),
        )
    }

    /// Columns and rows of blocks that hold samples of a component.
    pub(super) fn blocks(&self, component: &Component) -> (usize, usize) {
        let (width, height) = self.samples(component);
        (width.div_ceil(8), height.div_ceil(8))
    }
}

/// One component's part in a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanComponent {
    /// Position in [`Frame::components`].
    pub(super) index: usize,
    pub(super) dc_table: usize,
    pub(super) ac_table: usize,
}

/// A scan header.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// Spectral selection: first and last coefficient in zigzag order.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Successive approximation: bit position before and in this scan.
    pub(super) high: u32,
    pub(super) low: u32,
}
