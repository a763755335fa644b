//! How images are decoded and what they may cost, for all models of a process.
//!
//! Made by `cli` from the flags, handed to every `Preprocessor`.

use std::sync::Arc;
use std::time::Duration;

use super::budget::MemoryBudget;
use kernels::Isa;

/// What an image may cost at most; checked against its header, before any pixel is decoded.
#[derive(Debug, Clone, Copy)]
pub struct ImageLimits {
    /// Largest width × height, in pixels.
    pub max_pixels: u64,
    /// Largest width or height, in pixels.
    pub max_side: u32,
}

impl Default for ImageLimits {
    /// 250 megapixels and 16384 pixels a side: above the 200 megapixels of the largest phone cameras. Rows are resized as
    /// they are decoded, so pixels cost time; what must be held costs memory, which has its own bound.
    fn default() -> Self {
        ImageLimits {
            max_pixels: 250_000_000,
            max_side: 16_384,
        }
    }
}

/// What happens to an image that is damaged or ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DamagedImages {
    /// Refuse the image where Pillow refuses it.
    #[default]
    Refuse,
    /// Decode the image as far as possible; what is missing is grey or black.
    Fill,
}

/// At which size a large JPEG is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecodeSize {
    /// Its own size, as in training.
    #[default]
    Full,
    /// A half, a quarter or an eighth, as long as the shorter side stays at least twice as long as what it is resized
    /// to. Faster, with slightly other pixels.
    Reduced,
}

/// How images are decoded and what they may cost.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// What one image may cost.
    pub limits: ImageLimits,
    /// How long one image may take to decode, waiting for memory included.
    pub timeout: Duration,
    /// What happens to damaged images.
    pub damaged: DamagedImages,
    /// At which size large JPEGs are decoded.
    pub size: DecodeSize,
    /// The memory for decoding, which all images share.
    pub memory: Arc<MemoryBudget>,
    /// The instruction set of the inner loops; [`Isa::is_supported`] must hold.
    pub isa: Isa,
}

impl Default for ImageOptions {
    /// The server's defaults: 10 seconds, 512 MiB, everything exact, the widest instruction set of this CPU.
    fn default() -> Self {
        ImageOptions {
            limits: ImageLimits::default(),
            timeout: Duration::from_secs(10),
            damaged: DamagedImages::default(),
            size: DecodeSize::default(),
            memory: MemoryBudget::new(512 << 20),
            isa: Isa::detect(),
        }
    }
}
