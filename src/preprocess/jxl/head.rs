//! What a JPEG XL codestream says in front of its first frame: size, orientation, channels, colors.
//!
//! Read by our own code, because the decoder would unpack a color profile of up to 256 MiB on the way. Source: ISO/IEC
//! 18181-1, annex D.

use super::bits::Stored::{As, Bits as InBits};
use super::bits::{Bits, ENUM, Stored};
use crate::preprocess::exif::Orientation;

/// Why a head cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadError {
    /// The codestream ends inside its head.
    Cut,
    /// The head has no signature, or values that are not allowed.
    Corrupt(&'static str),
}

/// The head of a codestream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Width and height as stored.
    pub(super) size: (u32, u32),
    pub(super) orientation: Orientation,
    /// Channels beside the colors: alpha, depth and others.
    pub(super) extra_channels: u32,
    /// Whether a small preview of the picture comes first.
    pub(super) has_preview: bool,
    /// Whether frames have durations, and whether they have time codes.
    pub(super) animated: (bool, bool),
    /// Whether the colors are those of the format's own space, which is converted to the colors that are asked for.
    pub(super) xyb: bool,
    /// Bytes that a sample takes which is predicted from others: 2 or 4.
    pub(super) sample_bytes: u64,
    /// Whether a packed color profile follows; the frames begin behind it.
    pub(super) has_profile: bool,
    /// The length of the head in bits. Without a profile the frames begin with the next byte.
    pub(super) bits: usize,
}

/// The ways in which a coordinate of a chromaticity is stored.
const COORDINATE: [Stored; 4] = [
    InBits(19, 0),
    InBits(19, 524_288),
    InBits(20, 1_048_576),
    InBits(21, 2_097_152),
];

/// Values of the head's enumerations.
const CUSTOM: u32 = 2;
const GREY: u32 = 1;
const XYB: u32 = 2;

impl Head {
    /// Reads the head from the first bytes of a codestream.
    pub(super) fn read(bytes: &[u8]) -> Result<Head, HeadError> {
        let mut bits = Bits::new(bytes);
        if bits.read(16)? != 0x0AFF {
            return Err(HeadError::Corrupt("no signature of a codestream"));
        }
        let mut head = Head {
            size: size(&mut bits)?,
            orientation: Orientation::default(),
            extra_channels: 0,
            has_preview: false,
            animated: (false, false),
            xyb: true,
            sample_bytes: 2,
            has_profile: false,
            bits: 0,
        };
        if !bits.flag()? {
            head.metadata(&mut bits)?;
        }
        head.transforms(&mut bits)?;
        head.bits = bits.position();
        Ok(head)
    }

    fn metadata(&mut self, bits: &mut Bits) -> Result<(), HeadError> {
        let has_more = bits.flag()?;
        if has_more {
            let tag = bits.read(3)? + 1;
            self.orientation = Orientation::of_tag(tag).unwrap_or_default();
            if bits.flag()? {
                size(bits)?; // at which it is meant to be shown
            }
            self.has_preview = bits.flag()?;
            if self.has_preview {
                preview_size(bits)?;
            }
            if bits.flag()? {
                bits.select([As(100), As(1000), InBits(10, 1), InBits(30, 1)])?;
                bits.select([As(1), As(1001), InBits(8, 1), InBits(10, 1)])?;
                bits.select([As(0), InBits(3, 0), InBits(16, 0), InBits(32, 0)])?;
                self.animated = (true, bits.flag()?);
            }
        }
        depth(bits)?;
        self.sample_bytes = if bits.flag()? { 2 } else { 4 };
        self.extra_channels = bits.select([As(0), As(1), InBits(4, 2), InBits(12, 1)])?;
        for _ in 0..self.extra_channels {
            extra_channel(bits)?;
        }
        self.xyb = bits.flag()?;
        if !bits.flag()? {
            self.has_profile = colors(bits)?;
        }
        if has_more && !bits.flag()? {
            // How bright it is meant to be.
            bits.skip_fractions(2)?;
            bits.flag()?;
            bits.skip_fractions(1)?;
        }
        extensions(bits)
    }

    /// Steps over the numbers of the conversion of colors and of enlarging.
    fn transforms(&self, bits: &mut Bits) -> Result<(), HeadError> {
        if bits.flag()? {
            return Ok(());
        }
        if self.xyb && !bits.flag()? {
            bits.skip_fractions(9 + 3 + 4)?;
        }
        let weights = bits.read(3)?;
        for (bit, count) in [15, 55, 210].into_iter().enumerate() {
            if weights >> bit & 1 == 1 {
                bits.skip_fractions(count)?;
            }
        }
        Ok(())
    }
}

/// A size, and its width by one of a few ratios where it has one.
fn size(bits: &mut Bits) -> Result<(u32, u32), HeadError> {
    let sides = [InBits(9, 1), InBits(13, 1), InBits(18, 1), InBits(30, 1)];
    let small = bits.flag()?;
    let side = |bits: &mut Bits| match small {
        true => Ok((bits.read(5)? + 1) * 8),
        false => bits.select(sides),
    };
    let height = side(bits)?;
    let by_ratio = |numerator: u64, denominator: u64| {
        let width = u64::from(height) * numerator / denominator;
        u32::try_from(width).map_err(|_| HeadError::Corrupt("a width beyond 2³²"))
    };
    let width = match bits.read(3)? {
        0 => side(bits)?,
        1 => height,
        2 => by_ratio(12, 10)?,
        3 => by_ratio(4, 3)?,
        4 => by_ratio(3, 2)?,
        5 => by_ratio(16, 9)?,
        6 => by_ratio(5, 4)?,
        _ => by_ratio(2, 1)?,
    };
    Ok((width, height))
}

/// Steps over the size of a preview.
fn preview_size(bits: &mut Bits) -> Result<(), HeadError> {
    let sides = match bits.flag()? {
        true => [As(16), As(32), InBits(5, 1), InBits(9, 33)],
        false => [
            InBits(6, 1),
            InBits(8, 65),
            InBits(10, 321),
            InBits(12, 1345),
        ],
    };
    bits.select(sides)?;
    if bits.read(3)? == 0 {
        bits.select(sides)?;
    }
    Ok(())
}

/// Steps over what kind of numbers samples are.
fn depth(bits: &mut Bits) -> Result<(), HeadError> {
    if bits.flag()? {
        bits.select([As(32), As(16), As(24), InBits(6, 1)])?;
        bits.read(4)?;
    } else {
        bits.select([As(8), As(10), As(12), InBits(6, 1)])?;
    }
    Ok(())
}

/// Steps over the description of a channel beside the colors.
fn extra_channel(bits: &mut Bits) -> Result<(), HeadError> {
    const ALPHA: u32 = 0;
    const SPOT_COLOR: u32 = 2;
    const COLOR_FILTER: u32 = 5;
    if bits.flag()? {
        return Ok(());
    }
    let kind = bits.select(ENUM)?;
    depth(bits)?;
    bits.select([As(0), As(3), As(4), InBits(3, 1)])?;
    let name = bits.select([As(0), InBits(4, 0), InBits(5, 16), InBits(10, 48)])?;
    bits.skip(8 * u64::from(name))?;
    match kind {
        ALPHA => bits.skip(1),
        SPOT_COLOR => bits.skip_fractions(4),
        COLOR_FILTER => {
            bits.select([As(1), InBits(2, 0), InBits(4, 3), InBits(8, 19)])?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Steps over the colors; whether a profile describes them.
fn colors(bits: &mut Bits) -> Result<bool, HeadError> {
    let has_profile = bits.flag()?;
    let space = bits.select(ENUM)?;
    if has_profile {
        return Ok(true);
    }
    let coordinates = |bits: &mut Bits, count: usize| {
        (0..count).try_for_each(|_| bits.select(COORDINATE).map(|_| ()))
    };
    if space != XYB {
        if bits.select(ENUM)? == CUSTOM {
            coordinates(bits, 2)?; // of white
        }
        if space != GREY && bits.select(ENUM)? == CUSTOM {
            coordinates(bits, 6)?; // of red, green and blue
        }
        if bits.flag()? {
            bits.skip(24)?; // a gamma
        } else {
            bits.select(ENUM)?; // a known transfer
        }
    }
    bits.select(ENUM)?; // for what it is meant
    Ok(false)
}

/// Steps over what later versions of the standard may add.
pub(super) fn extensions(bits: &mut Bits) -> Result<(), HeadError> {
    let which = bits.u64()?;
    let mut total: u64 = 0;
    for _ in 0..which.count_ones() {
        total = total.saturating_add(bits.u64()?);
    }
    bits.skip(total)
}
