//! What the 64 bytes of a line mean.

/// How the values of a network are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Store {
    /// 16 `f32` a line.
    F32,
    /// 32 bfloat16 a line, rounded to nearest even.
    Bf16,
    /// Two lines of bfloat16 for 32 channels: the rounded values, and in the next block the rounded rests.
    Split,
    /// 64 bytes a line, which [`Quantization`](crate::nn::Quantization) gives a meaning.
    U8,
}

impl Store {
    /// Vectors of 16 outputs in a block.
    pub(crate) fn vectors_per_block(self) -> usize {
        match self {
            Store::F32 => 1,
            Store::Bf16 | Store::Split => 2,
            Store::U8 => 4,
        }
    }

    /// Planes of a block.
    pub(crate) fn planes_per_block(self) -> usize {
        match self {
            Store::F32 | Store::Bf16 | Store::U8 => 1,
            Store::Split => 2,
        }
    }

    /// Channels of a block.
    pub(crate) fn lanes(self) -> usize {
        16 * self.vectors_per_block()
    }

    /// Planes that `channels` channels take.
    pub(crate) fn blocks(self, channels: usize) -> usize {
        channels.div_ceil(self.lanes()) * self.planes_per_block()
    }
}
