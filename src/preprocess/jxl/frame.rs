//! The head of a JPEG XL codestream's first frame: what decoding it must hold.
//!
//! Source: ISO/IEC 18181-1, annex F.

use super::bits::Bits;
use super::bits::Stored::{As, Bits as InBits};
use super::head::{Head, HeadError};

/// What the first frame is, as far as memory depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstFrame {
    /// The picture itself, by the cosine transform, in one go: groups are decoded and shown one by one.
    Groups,
    /// The picture itself, by the cosine transform, in several passes, so that all coefficients are held.
    Passes,
    /// The picture itself, by predicted samples, which may all be held; in groups of so many columns and rows.
    Samples(u32),
    /// One of several frames: others come first, are kept for it, or it is kept for others.
    OfSeveral,
}

/// Flag that a frame's coarse picture is an earlier frame.
const HAS_COARSE_FRAME: u64 = 0x20;

/// Ways in which a frame is laid over what is there.
const REPLACE: u32 = 0;
const BLEND: u32 = 2;
const ADD_BY_ALPHA: u32 = 3;
const MULTIPLY: u32 = 4;

impl FirstFrame {
    /// Reads it from the bytes behind a codestream's head.
    pub(super) fn read(bytes: &[u8], head: &Head) -> Result<FirstFrame, HeadError> {
        let mut bits = Bits::new(bytes);
        if head.has_preview {
            return Ok(FirstFrame::OfSeveral);
        }
        if bits.flag()? {
            return Ok(FirstFrame::Groups);
        }
        // Regular ones, and those that go without the coarse picture.
        if !matches!(bits.read(2)?, 0 | 3) {
            return Ok(FirstFrame::OfSeveral);
        }
        let by_samples = bits.flag()?;
        let flags = bits.u64()?;
        let has_coarse_frame = flags & HAS_COARSE_FRAME != 0;
        if has_coarse_frame {
            return Ok(FirstFrame::OfSeveral);
        }
        if !head.xyb && bits.flag()? {
            bits.skip(6)?; // how its chroma is sampled
        }
        bits.skip(2 + 2 * u64::from(head.extra_channels))?; // how much it is enlarged
        let mut group = 256;
        if by_samples {
            group = 128 << bits.read(2)?;
        } else if head.xyb {
            bits.skip(6)?; // scales of two channels
        }
        let passes = passes(&mut bits)?;
        if crop_or_blend(&mut bits, head)? {
            return Ok(FirstFrame::OfSeveral);
        }
        let (has_durations, has_time_codes) = head.animated;
        let mut is_shown = false;
        if has_durations {
            let duration = bits.select([As(0), As(1), InBits(8, 0), InBits(32, 0)])?;
            is_shown = duration > 0;
        }
        if has_time_codes {
            bits.skip(32)?;
        }
        let is_last = bits.flag()?;
        let is_kept = !is_last && (!is_shown || bits.read(2)? != 0);
        Ok(match (is_kept, by_samples, passes) {
            (true, ..) => FirstFrame::OfSeveral,
            (false, true, _) => FirstFrame::Samples(group),
            (false, false, 1) => FirstFrame::Groups,
            (false, false, _) => FirstFrame::Passes,
        })
    }
}

/// In how many passes a frame comes.
fn passes(bits: &mut Bits) -> Result<u32, HeadError> {
    let passes = bits.select([As(1), As(2), As(3), InBits(3, 4)])?;
    if passes != 1 {
        let coarser = bits.select([As(0), As(1), As(2), InBits(1, 3)])?;
        bits.skip(2 * u64::from(passes - 1))?;
        bits.skip(2 * u64::from(coarser))?;
        for _ in 0..coarser {
            bits.select([As(0), As(1), As(2), InBits(3, 0)])?;
        }
    }
    Ok(passes)
}

/// Steps over a frame's place and how it is laid over what is there; whether it is less than, or more than, the picture.
fn crop_or_blend(bits: &mut Bits, head: &Head) -> Result<bool, HeadError> {
    if bits.flag()? {
        return Ok(true);
    }
    let has_extra = head.extra_channels > 0;
    for _ in 0..=head.extra_channels {
        let mode = bits.select([As(0), As(1), As(2), InBits(2, 3)])?;
        let by_alpha = has_extra && matches!(mode, BLEND | ADD_BY_ALPHA);
        if by_alpha {
            bits.select([As(0), As(1), As(2), InBits(3, 3)])?;
        }
        if by_alpha || mode == MULTIPLY {
            bits.flag()?;
        }
        if mode != REPLACE {
            bits.skip(2)?;
        }
    }
    Ok(false)
}
