//! Why an image has no tensor.
//!
//! Made by every stage; `desk/error.rs` turns it into a code.

use std::time::Duration;

use super::Format;
use super::sniff::ACCEPTED;

/// Why an image was refused. The text is safe to show to a client, `detail` fields are for the log alone.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessError {
    /// Nothing was sent.
    #[error("the image is empty: 0 bytes were sent")]
    Empty,
    /// The first bytes are those of no accepted format; `looks_like` names what they are, where that is known.
    #[error(
        "this is not an image in an accepted format{}: send {}",
        looks_like.map(|l| format!(" (it looks like {l})")).unwrap_or_default(),
        ACCEPTED
    )]
    UnsupportedFormat {
        /// The recognised format that is not accepted.
        looks_like: Option<&'static str>,
    },
    /// The data ends before the image does.
    #[error("the {format} ends before its picture is complete")]
    Truncated {
        /// Format by its first bytes.
        format: Format,
        /// The decoder's words.
        detail: String,
    },
    /// The data contradicts its format.
    #[error("the {format} is damaged and cannot be decoded")]
    Corrupt {
        /// Format by its first bytes.
        format: Format,
        /// The decoder's words.
        detail: String,
    },
    /// The format is accepted, this variant of it is not.
    #[error("this variant of {format} is not supported: {variant}")]
    UnsupportedVariant {
        /// Format by its first bytes.
        format: Format,
        /// What is special about it.
        variant: &'static str,
    },
    /// More pixels than [`super::ImageLimits::max_pixels`].
    #[error("the image has {width}×{height} = {} pixels, allowed are {max}", u64::from(*width) * u64::from(*height))]
    TooManyPixels {
        /// Width from the header.
        width: u32,
        /// Height from the header.
        height: u32,
        /// The limit.
        max: u64,
    },
    /// Decoding would take more than all memory there is for it.
    #[error("the {format} needs {needed} bytes to decode, allowed are {max}")]
    OverBudget {
        /// Format by its first bytes.
        format: Format,
        /// Bytes that decoding would hold.
        needed: u64,
        /// The budget.
        max: u64,
    },
    /// Other images held the memory for decoding all the time.
    #[error("no memory to decode the image became free within {} s", .0.as_secs_f64())]
    MemoryBusy(Duration),
    /// The system has no memory for decoding.
    #[error("the server is out of memory: decoding the image needs {needed} bytes")]
    OutOfMemory {
        /// Bytes that decoding would hold.
        needed: u64,
    },
    /// Decoding took too long.
    #[error("decoding the image took more than {} s", .0.as_secs_f64())]
    DecodeTimeout(Duration),
    /// The client left while its image was being decoded.
    #[error("the client has left")]
    Canceled,
    /// The decoder panicked: a mistake of ours that this image brings to light.
    #[error("the {format} is damaged and cannot be decoded")]
    Panicked {
        /// Format by its first bytes.
        format: Format,
    },
    /// A frame that needs more memory than the largest image allowed.
    #[error("the {format} needs more memory to decode than an image of the allowed {max} pixels")]
    TooMuchMemory {
        /// Format by its first bytes.
        format: Format,
        /// The limit, in pixels.
        max: u64,
    },
    /// A picture that is coded as one, of which the decoder cannot be stopped within, above a limit of its own.
    #[error(
        "the {format} has a coded picture of {got} {unit}, allowed are {max}: save it in smaller tiles, or as JPEG"
    )]
    LargeCodedPicture {
        /// Format by its first bytes.
        format: Format,
        /// How many of `unit` it has.
        got: u64,
        /// What is counted.
        unit: &'static str,
        /// The limit.
        max: u64,
    },
    /// A side longer than [`super::ImageLimits::max_side`].
    #[error("the image is {width}×{height}, allowed are {max} pixels a side")]
    SideTooLong {
        /// Width from the header.
        width: u32,
        /// Height from the header.
        height: u32,
        /// The limit.
        max: u32,
    },
}

impl PreprocessError {
    /// The data of this format ends before the image does.
    pub(super) fn truncated(format: Format, detail: impl Into<String>) -> PreprocessError {
        let detail = detail.into();
        PreprocessError::Truncated { format, detail }
    }

    /// The data of this format, which is a header and pixels, ends before they do.
    pub(super) fn too_short(format: Format) -> PreprocessError {
        PreprocessError::truncated(format, "fewer bytes than header and pixels have")
    }

    /// The data contradicts its format.
    pub(super) fn corrupt(format: Format, detail: impl Into<String>) -> PreprocessError {
        let detail = detail.into();
        PreprocessError::Corrupt { format, detail }
    }

    /// The error of a picture inside a file of the format `outer`, told as that file's.
    #[must_use]
    pub(super) fn of(mut self, outer: Format) -> PreprocessError {
        match &mut self {
            PreprocessError::Truncated { format, .. }
            | PreprocessError::Corrupt { format, .. }
            | PreprocessError::UnsupportedVariant { format, .. }
            | PreprocessError::OverBudget { format, .. }
            | PreprocessError::LargeCodedPicture { format, .. }
            | PreprocessError::Panicked { format }
            | PreprocessError::TooMuchMemory { format, .. } => *format = outer,
            _ => {}
        }
        self
    }
}
